//! Real senders: util-linux's logger, rsyslog's omfwd, curl. What is missing on this
//! machine and cannot be installed is said loudly.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::stack::{Stack, root};
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "util-linux's logger is understood in every form and over both transports",
        logger,
    ),
    (
        "rsyslog forwards everything in both framings, lines that begin with digits too",
        rsyslog,
    ),
    ("curl speaks both versions of Confluent's REST API", curl),
];

/// Whether a program is there; says so loudly when it is not.
pub(crate) fn have(program: &str, package: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let there = found.is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("NOT TESTED: {program} is missing; install {package}");
    }
    there
}

pub(crate) fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {words}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The messages of `syslog` of one app.
fn messages(stack: &Stack, app: &str) -> Outcome<Vec<Value>> {
    let values = kafka::values(stack.bootstrap(), "syslog")?;
    let read = values
        .iter()
        .filter_map(|value| serde_json::from_str::<Value>(value).ok());
    Ok(read.filter(|message| message["appname"] == app).collect())
}

fn syslog_topic(stack: &Stack) -> Outcome {
    // Two tests share it.
    static ONCE: std::sync::Mutex<bool> = std::sync::Mutex::new(false);
    let mut done = ONCE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*done {
        stack.active_topic("syslog")?;
        *done = true;
    }
    Ok(())
}

fn logger(stack: &Stack) -> Outcome {
    if !have("logger", "bsdutils") {
        return Ok(());
    }
    syslog_topic(stack)?;
    let tcp = stack.fact("/producer/syslog_tcp").to_owned();
    let udp = stack.fact("/producer/syslog_udp").to_owned();
    ensure!(
        !tcp.is_empty() && !udp.is_empty(),
        "stack.json names the inputs: {}",
        stack.facts
    );
    let mut want = BTreeSet::new();
    for (transport, address) in [("--tcp", &tcp), ("--udp", &udp)] {
        let (host, port) = address.rsplit_once(':').ok_or("no port")?;
        for form in ["--rfc5424", "--rfc3164"] {
            for counted in [false, true] {
                if counted && transport == "--udp" {
                    continue;
                }
                let text = format!("12 via {transport} {form} {counted}");
                let mut command = Command::new("logger");
                command.args([
                    transport,
                    "--server",
                    host,
                    "--port",
                    port,
                    form,
                    "--tag",
                    "e2e-logger",
                ]);
                command.args(["--priority", "local3.warning", "--id=4711"]);
                if counted {
                    command.arg("--octet-count");
                }
                run(command.arg(&text))?;
                want.insert(text);
            }
        }
    }
    let found = wait_for("Kafka has what logger sent", || {
        let found = messages(stack, "e2e-logger")?;
        Ok((found.len() >= want.len()).then_some(found))
    })?;
    let texts: BTreeSet<_> = found
        .iter()
        .filter_map(|m| m["message"].as_str().map(str::to_owned))
        .collect();
    ensure_eq!(texts, want, "messages of logger");
    for message in &found {
        ensure_eq!(
            (
                &message["facility"],
                &message["severity"],
                &message["procid"]
            ),
            (&json!("local3"), &json!("warning"), &json!("4711")),
            "{message}"
        );
        ensure!(
            message["timestamp"].is_string() && message["hostname"].is_string(),
            "{message}"
        );
    }
    let keys = kafka::read_all(stack.bootstrap(), "syslog")?;
    ensure!(
        keys.iter().all(|record| record.key.is_some()),
        "the key is the hostname"
    );
    Ok(())
}

fn rsyslog(stack: &Stack) -> Outcome {
    const LINES: usize = 2000;
    if !have("rsyslogd", "rsyslog") {
        return Ok(());
    }
    syslog_topic(stack)?;
    let address = stack.fact("/producer/syslog_tcp").to_owned();
    let (host, port) = address.rsplit_once(':').ok_or("no port")?;
    let dir = root().join(".sluice/e2e/rsyslog");
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir)?;
    let mut conf = "module(load=\"imfile\" PollingInterval=\"1\")\n".to_owned();
    writeln!(conf, "global(workDirectory=\"{}\")", dir.display())?;
    for framing in ["traditional", "octet-counted"] {
        let tag = format!("e2e-rsyslog-{framing}");
        let file = dir.join(framing);
        // Lines that begin with digits and a space: taken for octet counts they swallow what follows.
        let text: String = (0..LINES).fold(String::new(), |mut text, line| {
            let _written = writeln!(text, "{line} <{framing}> {}", "x".repeat(line % 50));
            text
        });
        std::fs::write(&file, text)?;
        writeln!(
            conf,
            "input(type=\"imfile\" File=\"{}\" Tag=\"{tag}\" ruleset=\"{framing}\")\n\
             ruleset(name=\"{framing}\") {{ action(type=\"omfwd\" Target=\"{host}\" Port=\"{port}\" Protocol=\"tcp\"\n\
             TCP_Framing=\"{framing}\" Template=\"RSYSLOG_SyslogProtocol23Format\" action.resumeRetryCount=\"-1\") }}",
            file.display()
        )?;
    }
    let config = dir.join("rsyslog.conf");
    std::fs::write(&config, conf)?;
    let mut daemon = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(dir.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log"))?)
        .spawn()?;
    let compared = ["traditional", "octet-counted"]
        .iter()
        .try_for_each(|framing| {
            let app = format!("e2e-rsyslog-{framing}");
            let found = wait_for(
                &format!("Kafka has all lines of rsyslog, {framing}"),
                || {
                    let found = messages(stack, &app)?;
                    Ok((found.len() >= LINES).then_some(found))
                },
            )?;
            ensure_eq!(found.len(), LINES, "each line once");
            let words = |m: &Value| m["message"].as_str().map(|text| text.trim().to_owned());
            let texts: BTreeSet<_> = found.iter().filter_map(words).collect();
            for line in 0..LINES {
                let text = format!("{line} <{framing}> {}", "x".repeat(line % 50));
                ensure!(
                    texts.contains(text.trim()),
                    "{framing}: {text:?} is missing"
                );
            }
            Ok(())
        });
    daemon.kill()?;
    daemon.wait()?;
    compared.map_err(|error: sluice_e2e::Fault| {
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        format!("{error}\nrsyslogd: {log}").into()
    })
}

/// Runs curl on a path of the daemon; answers status and body.
pub(crate) fn send(
    stack: &Stack,
    path: &str,
    headers: &[&str],
    arguments: &[&str],
) -> Outcome<(u16, String)> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--write-out",
        "\n%{http_code}",
    ]);
    command.args([
        "--header",
        &format!("Authorization: Bearer {}", stack.token("producer")),
    ]);
    for header in headers {
        command.args(["--header", header]);
    }
    command
        .args(arguments)
        .arg(format!("{}{path}", stack.fact("/producer/http")));
    let output = run(&mut command)?;
    let (body, status) = output
        .trim_end()
        .rsplit_once('\n')
        .ok_or("curl printed no status")?;
    Ok((status.parse()?, body.to_owned()))
}

fn reports(body: &str) -> Outcome<Vec<Value>> {
    let read = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    read.map(|report| report.map_err(Into::into)).collect()
}

fn curl(stack: &Stack) -> Outcome {
    if !have("curl", "curl") {
        return Ok(());
    }
    stack.active_topic("rest.curl")?;
    // The first record wakes the topic up and may be held meanwhile.
    let first = ["--data", r#"{"records":[{"value":0}]}"#];
    let v2 = "Content-Type: application/vnd.kafka.json.v2+json";
    send(stack, "/topics/rest.curl", &[v2], &first)?;
    stack.wait_live("rest.curl")?;
    let body = r#"{"records":[{"key":"k","value":{"n":0}},{"value":null,"partition":0},{"value":1,"partition":99}]}"#;
    let (status, answer) = send(stack, "/topics/rest.curl", &[v2], &["--data", body])?;
    let answer: Value = serde_json::from_str(&answer)?;
    ensure_eq!(status, 200, "v2: {answer}");
    ensure_eq!(
        answer["offsets"].as_array().map(Vec::len),
        Some(3),
        "v2: {answer}"
    );
    ensure!(answer["offsets"][0]["offset"].is_number(), "v2: {answer}");
    ensure!(
        answer["offsets"][2]["error_code"].is_number(),
        "there is no partition 99: {answer}"
    );
    let (status, answer) = send(
        stack,
        "/topics/rest.curl/partitions/0",
        &[v2],
        &["--data", r#"{"records":[{"value":2}]}"#],
    )?;
    ensure_eq!(status, 200, "v2 to a partition: {answer}");
    let (status, answer) = send(
        stack,
        "/topics/rest.curl",
        &[v2],
        &["--data", r#"{"records":[{"vlaue":2}]}"#],
    )?;
    ensure!(
        status == 422 && answer.contains("error_code"),
        "v2 with a wrong member: {status} {answer}"
    );
    // v3: one record, a stream, a batch.
    let json_type = "Content-Type: application/json";
    let (status, answer) = send(stack, "/v3/clusters", &[], &[])?;
    ensure_eq!(status, 200, "v3 clusters: {answer}");
    let clusters: Value = serde_json::from_str(&answer)?;
    let cluster = clusters["data"][0]["cluster_id"]
        .as_str()
        .ok_or("no cluster")?
        .to_owned();
    let path = format!("/v3/clusters/{cluster}/topics/rest.curl/records");
    let record = |n: u32| {
        json!({"key": {"type": "STRING", "data": "k"}, "value": {"type": "JSON", "data": {"n": n}},
            "headers": [{"name": "h", "value": "eA=="}], "timestamp": "2026-01-02T03:04:05Z"})
        .to_string()
    };
    let (status, answer) = send(stack, &path, &[json_type], &["--data", &record(3)])?;
    let report: Value = serde_json::from_str(&answer)?;
    ensure!(
        status == 200 && report["error_code"] == 200,
        "v3: {status} {answer}"
    );
    ensure_eq!(
        (&report["topic_name"], &report["value"]),
        (&json!("rest.curl"), &json!({"type": "JSON", "size": 7})),
        "v3"
    );
    let many: String = (0..500).map(|n| record(n + 4)).collect();
    let file = root().join(".sluice/e2e/curl-v3.json");
    std::fs::write(&file, many + r#"{"value":{"type":"AVRO","data":1}}"#)?;
    let upload = format!("@{}", file.display());
    let chunked = "Transfer-Encoding: chunked";
    let (status, answer) = send(
        stack,
        &path,
        &[json_type, chunked],
        &["--data-binary", &upload],
    )?;
    let all = reports(&answer)?;
    ensure!(
        status == 200 && all.len() == 501,
        "v3 stream: {status}, {} reports",
        all.len()
    );
    let offsets: Vec<_> = all
        .iter()
        .take(500)
        .filter_map(|report| report["offset"].as_i64())
        .collect();
    // What is held meanwhile has no offset yet.
    let known: Vec<_> = offsets.iter().filter(|offset| **offset >= 0).collect();
    ensure!(
        offsets.len() == 500 && known.is_sorted(),
        "v3 stream: reports in order"
    );
    ensure_eq!(
        all[500]["error_code"],
        json!(422),
        "v3 stream: a record that cannot be taken"
    );
    let batch = json!({"entries": [
        {"id": "a", "value": {"type": "BINARY", "data": "AQI="}},
        {"id": "b", "value": {"type": "BINARY", "data": "!"}}]});
    let (status, answer) = send(
        stack,
        &format!("{path}:batch"),
        &[json_type],
        &["--data", &batch.to_string()],
    )?;
    let answer: Value = serde_json::from_str(&answer)?;
    ensure_eq!(status, 207, "v3 batch: {answer}");
    ensure_eq!(
        (&answer["successes"][0]["id"], &answer["failures"][0]["id"]),
        (&json!("a"), &json!("b")),
        "v3 batch: {answer}"
    );
    // Held records, and a stream whose reports come while it is open.
    stack.request(&json!({"name": "rest.pending"}))?;
    wait_for("the daemon knows the topic", || {
        Ok((stack.flow("rest.pending")?["state"] == "pending").then_some(()))
    })?;
    let pending = format!("/v3/clusters/{cluster}/topics/rest.pending/records");
    let (_, answer) = send(
        stack,
        &pending,
        &[json_type],
        &["--include", "--data", &record(1)],
    )?;
    ensure!(
        answer.to_ascii_lowercase().contains("sluice-held: 1") && answer.contains("\"offset\":-1"),
        "held: {answer}"
    );
    open_stream(stack, &path)
}

/// One record at a time over an open request: each is reported before the next one is sent. Over a plain
/// socket: curl looks at answers only when it has something to send.
fn open_stream(stack: &Stack, path: &str) -> Outcome {
    use std::io::{BufRead as _, BufReader, Write as _};
    let address = stack.fact("/producer/http").trim_start_matches("http://");
    let mut client = std::net::TcpStream::connect(address)?;
    client.set_read_timeout(Some(sluice_e2e::SOON))?;
    let token = stack.token("producer");
    write!(
        client,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nAuthorization: Bearer {token}\r\n\r\n"
    )?;
    let mut output = BufReader::new(client.try_clone()?).lines();
    for n in 0..3 {
        let record = json!({"value": {"type": "JSON", "data": n}}).to_string();
        write!(client, "{:x}\r\n{record}\r\n", record.len())?;
        let report = loop {
            let line = output.next().ok_or("the stream ended")??;
            // Between the reports stand the head and the sizes of chunks.
            if line.starts_with('{') {
                break serde_json::from_str::<Value>(&line)?;
            }
        };
        ensure_eq!(
            report["error_code"],
            json!(200),
            "report {n} comes while the stream is open"
        );
    }
    write!(client, "0\r\n\r\n")?;
    Ok(())
}
