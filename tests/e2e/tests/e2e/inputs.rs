//! What the inputs promise beyond lines and HTTP: followed files, standard input, tokens, networks, TLS,
//! idle connections, the quarantine.

mod first_sight;

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::daemon::Daemon;
use sluice_e2e::lines::Lines;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "followed files survive rotations, kill -9 and restarts without a gap",
        tail,
    ),
    (
        "standard input ends with an exit code that tells the truth",
        stdin,
    ),
    (
        "cumulative acks count every line, and the last one is told at the end and at a stop",
        cumulative_acks,
    ),
    (
        "a stream input can ask for tokens, networks and TLS",
        who_may_send,
    ),
    (
        "malformed syslog is in the quarantine with its reason and counted",
        quarantine,
    ),
];

fn append(path: &Path, lines: std::ops::Range<u32>) -> Outcome {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for line in lines {
        writeln!(file, "line {line:05}")?;
    }
    Ok(())
}

/// The lines of a topic, each as often as it is there.
fn numbers(stack: &Stack, topic: &str) -> Outcome<Vec<u32>> {
    let values = kafka::values(stack.bootstrap(), topic)?;
    let number = |value: &String| value.trim_start_matches("line ").parse().ok();
    Ok(values.iter().filter_map(number).collect())
}

fn wait_numbers(stack: &Stack, topic: &str, count: u32) -> Outcome<Vec<u32>> {
    let looked = wait_for(&format!("{topic} has the lines 0 to {count}"), || {
        // A topic that is new has no leader in some broker's eyes.
        let found = numbers(stack, topic).unwrap_or_default();
        let distinct: std::collections::BTreeSet<_> = found.iter().copied().collect();
        Ok((distinct.len() == count as usize).then_some(found))
    });
    looked.map_err(|error| {
        let found: std::collections::BTreeSet<_> = numbers(stack, topic)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let missing: Vec<_> = (0..count)
            .filter(|line| !found.contains(line))
            .take(20)
            .collect();
        format!("{error}; missing: {missing:?}").into()
    })
}

fn tail(stack: &Stack) -> Outcome {
    stack.active_topic("tail.lines")?;
    let settings = [
        "inputs.tail.enabled=true",
        "inputs.tail.paths=[\"logs/*.log\"]",
        "inputs.tail.topic=tail.lines",
        "inputs.tail.poll=50ms",
    ];
    let mut daemon = Daemon::start(stack, "tail", &settings, Stdio::null())?;
    let logs = daemon.dir().join("logs");
    std::fs::create_dir_all(&logs)?;
    let log = logs.join("app.log");
    append(&log, 0..100)?;
    wait_numbers(stack, "tail.lines", 100)?;
    // Renamed; the writer goes on in the old file for a while.
    std::fs::rename(&log, logs.join("app.log.1"))?;
    append(&logs.join("app.log.1"), 100..150)?;
    append(&log, 150..200)?;
    wait_numbers(stack, "tail.lines", 200)?;
    noted(&daemon, &log)?;
    // Copied and truncated, with lines that were not read yet; the daemon is dead meanwhile.
    daemon.kill()?;
    append(&log, 200..300)?;
    std::fs::copy(&log, logs.join("app.log.2"))?;
    File::create(&log)?;
    append(&log, 300..350)?;
    daemon.again(stack, &settings)?;
    wait_numbers(stack, "tail.lines", 350)?;
    noted(&daemon, &log)?;
    // The same with a file of which not even the first line was noted as sent.
    first_sight::run(stack)?;
    // Renamed while the daemon is dead; a compressed file is not read.
    daemon.kill()?;
    append(&log, 350..400)?;
    std::fs::rename(&log, logs.join("app.log.3"))?;
    append(&log, 400..450)?;
    std::fs::write(logs.join("old.log"), b"\x1f\x8b\x08line 99999\n")?;
    daemon.again(stack, &settings)?;
    wait_numbers(stack, "tail.lines", 450)?;
    // A part of a line waits for the rest.
    write!(OpenOptions::new().append(true).open(&log)?, "line 00")?;
    for round in 0..5 {
        append(
            &logs.join("other.log"),
            451 + round * 100..551 + round * 100,
        )?;
        if round == 2 {
            daemon.kill()?;
            daemon.again(stack, &settings)?;
        }
    }
    writeln!(OpenOptions::new().append(true).open(&log)?, "450")?;
    let found = wait_numbers(stack, "tail.lines", 951)?;
    ensure!(
        found.len() < 2 * 951,
        "{} records for 951 lines: far too many repeats",
        found.len()
    );
    ensure!(
        daemon.stop()?.success(),
        "the stop failed: {}",
        daemon.words()
    );
    let before = numbers(stack, "tail.lines")?.len();
    daemon.again(stack, &settings)?;
    append(&log, 951..952)?;
    let found = wait_numbers(stack, "tail.lines", 952)?;
    ensure_eq!(found.len(), before + 1, "a clean restart repeats nothing");
    let keys = kafka::read_all(stack.bootstrap(), "tail.lines")?;
    ensure!(
        keys.iter().all(|record| record
            .key
            .as_deref()
            .is_some_and(|key| key.ends_with("app.log") || key.ends_with("other.log"))),
        "the key of a line is the path of its file"
    );
    Ok(())
}

/// Waits until the positions on disk say that a file was read to its end: without them nobody could know
/// which copy of it goes on where.
fn noted(daemon: &Daemon, log: &Path) -> Outcome {
    let length = std::fs::metadata(log)?.len();
    wait_for("the position is on disk", || {
        let (mut states, mut dirs) = (Vec::new(), vec![daemon.dir().to_path_buf()]);
        while let Some(dir) = dirs.pop() {
            for path in std::fs::read_dir(dir)?.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    states.push(path);
                }
            }
        }
        let texts = states
            .iter()
            .filter(|path| path.ends_with("tail.json"))
            .filter_map(|path| std::fs::read_to_string(path).ok());
        let noted = texts
            .filter_map(|text| serde_json::from_str::<Value>(&text).ok())
            .any(|state| state.to_string().contains(&format!("\"offset\":{length}")));
        Ok(noted.then_some(()))
    })
}

fn wait_count(stack: &Stack, topic: &str, count: usize) -> Outcome {
    wait_for(&format!("{topic} has {count} records"), || {
        let found = kafka::count(stack.bootstrap(), topic).unwrap_or(0);
        ensure!(
            found <= count,
            "{topic} has {found} records, more than {count}"
        );
        Ok((found == count).then_some(()))
    })
}

fn stdin(stack: &Stack) -> Outcome {
    stack.active_topic("stdin.lines")?;
    let settings = ["inputs.stdin.enabled=true"];
    let run = |name: &str, text: &str| -> Outcome<(Option<i32>, String)> {
        // A regular file, as `< file` gives it.
        let path = std::env::temp_dir().join(format!("sluice-stdin-{}-{name}", std::process::id()));
        std::fs::write(&path, text)?;
        let mut daemon = Daemon::start(stack, name, &settings, File::open(&path)?.into())?;
        let ended = daemon.end();
        std::fs::remove_file(&path)?;
        Ok((ended?.code(), daemon.words()))
    };
    let line = |value: u32| json!({"topic": "stdin.lines", "value": value}).to_string();
    let many: String = (0..5000).map(|value| line(value) + "\n").collect();
    let (code, words) = run("stdin-good", &(many + &line(5000)))?;
    ensure_eq!(code, Some(0), "all lines are safe: {words}");
    wait_count(stack, "stdin.lines", 5001)?;
    let (code, words) = run("stdin-bad", &format!("{}\nnonsense\n", line(1)))?;
    ensure_eq!(code, Some(1), "a line was refused: {words}");
    ensure!(
        words.contains("standard input"),
        "the log says why: {words}"
    );
    // A pipe whose writer is silent does not keep the daemon from stopping, but its end was not reached.
    let mut daemon = Daemon::start(stack, "stdin-open", &settings, Stdio::piped())?;
    daemon.address("http")?;
    ensure_eq!(
        daemon.stop()?.code(),
        Some(1),
        "stopped before the end of the input"
    );
    Ok(())
}

fn cumulative_acks(stack: &Stack) -> Outcome {
    stack.active_topic("acks.lines")?;
    let settings = ["inputs.tcp.enabled=true"];
    let mut daemon = Daemon::start(stack, "acks", &settings, Stdio::null())?;
    let tcp = daemon.address("tcp")?;
    let good = "{\"topic\":\"acks.lines\",\"value\":1}\n";
    // Blank and refused lines count; a last line may be without its line feed.
    let mut lines = Lines::tcp(&tcp)?;
    lines.send(&format!("{good}\n  \nnonsense\n{good}"))?;
    let refused = lines.acked(5)?;
    ensure_eq!(refused.len(), 1, "{refused:?}");
    ensure_eq!(refused[0]["refused"], json!(4), "the line of the refusal");
    lines.send(good.trim_end())?;
    ensure_eq!(lines.finish()?, 6, "after the half-close");
    // A stop: what was read is answered, then the connection closes.
    let mut open = Lines::tcp(&tcp)?;
    let mut silent = Lines::tcp(&tcp)?;
    open.send(&good.repeat(1000))?;
    open.acked(1)?;
    let stopped = daemon.stop()?;
    ensure!(stopped.success(), "the stop: {}", daemon.words());
    let mut last = 0;
    while let Ok(Some(answer)) = open.answer() {
        last = answer["acked"].as_u64().unwrap_or(last).max(last);
    }
    ensure!(
        silent.answer().is_ok_and(|answer| answer.is_none()),
        "a silent connection is closed"
    );
    // Some may be held in its spool: the next start delivers them.
    daemon.again(stack, &settings)?;
    wait_for(&format!("3 and {last} records are in Kafka"), || {
        let count = kafka::count(stack.bootstrap(), "acks.lines").unwrap_or(0) as u64;
        Ok((count >= 3 + last).then_some(()))
    })
}

fn answer(address: &str, text: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(sluice_e2e::SOON))?;
    stream.write_all(text.as_bytes())?;
    // A connection that was refused may be closed or reset already.
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut all = String::new();
    stream.read_to_string(&mut all).ok();
    Ok(all)
}

fn who_may_send(stack: &Stack) -> Outcome {
    stack.active_topic("guarded.lines")?;
    let daemon = Daemon::start(
        stack,
        "token",
        &["inputs.tcp.enabled=true", "inputs.tcp.require_token=true"],
        Stdio::null(),
    )?;
    let tcp = daemon.address("tcp")?;
    let line = "{\"topic\":\"guarded.lines\",\"value\":1}\n";
    let hello = |token: &str| {
        format!(
            "{}\n{line}",
            json!({"hello": {"acks": "cumulative", "token": token}})
        )
    };
    let good = answer(&tcp, &hello(stack.token("producer")))?;
    ensure!(
        good.contains("{\"acked\": 0}") && good.contains("{\"acked\": 1}"),
        "a good token: {good}"
    );
    for (text, code) in [
        (line.to_owned(), "unauthenticated"),
        (hello("wrong"), "unauthenticated"),
        (hello(stack.token("viewer")), "forbidden"),
    ] {
        let answer = answer(&tcp, &text)?;
        ensure!(
            answer.contains(code) && !answer.contains("acked"),
            "{code}: {answer}"
        );
    }
    wait_count(stack, "guarded.lines", 1)?;
    drop(daemon);
    // Networks.
    let daemon = Daemon::start(
        stack,
        "networks",
        &[
            "inputs.tcp.enabled=true",
            "inputs.tcp.networks=[\"10.0.0.0/8\"]",
        ],
        Stdio::null(),
    )?;
    let refused = answer(&daemon.address("tcp")?, line)?;
    ensure_eq!(refused, "", "an address that is not listed gets nothing");
    let metrics = daemon.http()?.get("/metrics")?.text;
    ensure!(
        metrics.contains("producer_connections_refused_total{input=\"tcp\",reason=\"network\"} 1"),
        "{metrics}"
    );
    drop(daemon);
    // An open address without either is refused at the start.
    let mut daemon = Daemon::start(
        stack,
        "open",
        &["inputs.tcp.enabled=true", "inputs.tcp.listen=0.0.0.0:0"],
        Stdio::null(),
    )?;
    ensure_eq!(
        daemon.end()?.code(),
        Some(78),
        "an open address: {}",
        daemon.words()
    );
    ensure!(
        daemon.words().contains("inputs.tcp.networks"),
        "{}",
        daemon.words()
    );
    tls(stack, line)
}

fn tls(stack: &Stack, line: &str) -> Outcome {
    let dir = std::env::temp_dir().join(format!("sluice-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()?;
    ensure!(
        made.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let files = [
        format!("inputs.tcp.tls_cert_file={}", cert.display()),
        format!("inputs.tcp.tls_key_file={}", key.display()),
    ];
    // Outside loopback TLS makes the token necessary.
    let settings = [
        "inputs.tcp.enabled=true",
        "inputs.tcp.listen=0.0.0.0:0",
        &files[0],
        &files[1],
    ];
    let daemon = Daemon::start(stack, "tls", &settings, Stdio::null())?;
    let port = daemon
        .address("tcp")?
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-CAfile"])
        .arg(&cert)
        .args([
            "-servername",
            "localhost",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let hello = json!({"hello": {"acks": "cumulative", "token": stack.token("producer")}});
    let mut input = client.stdin.take().ok_or("no stdin")?;
    write!(input, "{hello}\n{line}")?;
    input.flush()?;
    let mut output = std::io::BufReader::new(client.stdout.take().ok_or("no stdout")?);
    for want in ["{\"acked\": 0}\n", "{\"acked\": 1}\n"] {
        let mut got = String::new();
        std::io::BufRead::read_line(&mut output, &mut got)?;
        ensure_eq!(got, want, "over TLS");
    }
    client.kill()?;
    client.wait()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn quarantine(stack: &Stack) -> Outcome {
    stack.active_topic("q.syslog")?;
    let daemon = Daemon::start(
        stack,
        "quarantine",
        &[
            "inputs.syslog_tcp.enabled=true",
            "inputs.syslog_tcp.listen=127.0.0.1:0",
            "inputs.syslog_tcp.topic=q.syslog",
            "inputs.syslog_udp.enabled=true",
            "inputs.syslog_udp.listen=127.0.0.1:0",
            "inputs.syslog_udp.topic=q.syslog",
        ],
        Stdio::null(),
    )?;
    let text = "12 monkeys\n<13>1 - h a - - - first\n19 <13>1 - h a - - - x2026 <13>1 - cut";
    answer(&daemon.address("syslog_tcp")?, text)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let udp = daemon.address("syslog_udp")?;
    socket.send_to(b"no syslog", &udp)?;
    socket.send_to(b"<14>Jan  2 03:04:05 host app[7]: by UDP", &udp)?;
    let file = daemon.dir().join("data/quarantine/refused.jsonl");
    let lines = wait_for("the quarantine has what is no syslog", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect();
        Ok((lines.len() == 3).then_some(lines))
    })?;
    let data: std::collections::BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line["data"].as_str())
        .collect();
    ensure_eq!(
        data,
        ["12 monkeys", "<13>1 - cut", "no syslog"].into(),
        "what is no syslog"
    );
    ensure!(
        lines.iter().all(|line| line["source"] == "127.0.0.1"),
        "{lines:?}"
    );
    let values = wait_for("the messages are in Kafka", || {
        let values = kafka::values(stack.bootstrap(), "q.syslog").unwrap_or_default();
        Ok((values.len() == 3).then_some(values))
    })?;
    let messages: std::collections::BTreeSet<_> = values
        .iter()
        .filter_map(|value| {
            serde_json::from_str::<Value>(value).ok()?["message"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    ensure_eq!(
        messages,
        ["first".to_owned(), "x".to_owned(), "by UDP".to_owned()].into(),
        "messages"
    );
    let status = daemon.http()?.get("/status")?.expect(200)?;
    ensure_eq!(
        (&status["refused"], &status["accepted"]),
        (&json!(3), &json!(3)),
        "counted: {status}"
    );
    Ok(())
}
