//! Other programs that bring records into Kafka, beside the daemon: kcat, rsyslog's omkafka, and the perf
//! tool of Kafka's Java producer. One that is not on this machine is left out, and that is said.

use super::lines::{SIZES, bulk, tcp};
use crate::bench::{Bench, note, row};
use crate::figures::{median, per_second};
use sluice_e2e::{Outcome, kafka, wait_for};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Lines of one write to a socket or a file.
const CHUNK_LINES: usize = 1000;
/// Where rsyslog has its modules.
const MODULES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/rsyslog",
    "/usr/lib/aarch64-linux-gnu/rsyslog",
    "/usr/lib/rsyslog",
];

/// What is sent.
#[derive(Clone, Copy)]
struct Task<'a> {
    bench: &'a Bench,
    topic: &'a str,
    size: usize,
    count: usize,
}

/// A program: its name, whether it is here, and how it sends; records per second.
type Peer = (
    &'static str,
    fn(&Bench) -> bool,
    fn(Task<'_>) -> Outcome<f64>,
);

const PEERS: [Peer; 3] = [
    ("kcat -P from a file", |_| runs("kcat", "-V"), kcat),
    (
        "rsyslog imptcp, omkafka",
        |_| runs("rsyslogd", "-v") && omkafka(),
        rsyslog,
    ),
    (
        "Java ProducerPerformance",
        |bench| runs("java", "-version") && !bench.fact("/kafka/home").is_empty(),
        java,
    ),
];

#[expect(
    clippy::unnecessary_wraps,
    reason = "every part has this shape; what a peer lacks fails nothing"
)]
pub(super) fn run(bench: &Bench) -> Outcome {
    for (name, is_here, send) in PEERS {
        if !is_here(bench) {
            note(&format!(
                "{name} is not installed (packages kcat, rsyslog-kafka, a JRE): left out"
            ));
            continue;
        }
        for (size, count) in SIZES {
            if let Err(error) = compare(bench, (name, send), size, count) {
                note(&format!("{name} is left out: {error}"));
            }
        }
    }
    Ok(())
}

fn compare(
    bench: &Bench,
    (name, send): (&str, fn(Task<'_>) -> Outcome<f64>),
    size: usize,
    count: usize,
) -> Outcome {
    let topic = format!("bench_{size}");
    bench.topic(&topic, 4)?;
    let address = bench.fact("/producer/tcp");
    let task = Task {
        bench,
        topic: &topic,
        size,
        count,
    };
    tcp(address, &topic, size, count / 4)?;
    let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        bare.push(bulk(bench.bootstrap(), &topic, size, count)?);
        theirs.push(send(task)?);
        ours.push(tcp(address, &topic, size, count)?);
    }
    let (ours, bare, theirs) = (median(ours), median(bare), median(theirs));
    row(
        &format!("TCP lines to Kafka, {size} B values, beside {name}"),
        &format!("{} ({:.2} of the bare loop)", per_second(ours), ours / bare),
        &format!(
            "{} ({:.2} of the bare loop)",
            per_second(theirs),
            theirs / bare
        ),
        Some(ours / theirs),
    );
    Ok(())
}

fn runs(program: &str, argument: &str) -> bool {
    let tried = Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn omkafka() -> bool {
    MODULES
        .iter()
        .any(|dir| Path::new(dir).join("omkafka.so").exists())
}

fn scratch(task: Task<'_>, name: &str) -> PathBuf {
    task.bench.dir().join(format!("bench-{name}"))
}

fn finished(mut command: Command) -> Outcome<String> {
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(words);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {words} {errors}").into())
}

/// With the settings of the bare loop.
fn kcat(task: Task<'_>) -> Outcome<f64> {
    let path = scratch(task, "lines");
    let chunk = format!("{}\n", "x".repeat(task.size)).repeat(CHUNK_LINES);
    let mut file = std::fs::File::create(&path)?;
    for _ in 0..task.count / CHUNK_LINES {
        file.write_all(chunk.as_bytes())?;
    }
    drop(file);
    let mut command = Command::new("kcat");
    command.args(["-P", "-b", task.bench.bootstrap(), "-t", task.topic]);
    for setting in [
        "acks=all",
        "enable.idempotence=true",
        "linger.ms=20",
        "batch.size=1000000",
    ] {
        command.args(["-X", setting]);
    }
    command.arg("-l").arg(&path);
    let started = Instant::now();
    let done = finished(command);
    let took = started.elapsed();
    std::fs::remove_file(&path)?;
    done?;
    Ok(task.count as f64 / took.as_secs_f64())
}

/// Kafka's own tool; it measures itself, without the start of its machine.
fn java(task: Task<'_>) -> Outcome<f64> {
    let mut command = Command::new("java");
    let libraries = format!("{}/*", task.bench.fact("/kafka/home"));
    command
        .args(["-cp", &libraries])
        .arg("org.apache.kafka.tools.ProducerPerformance")
        .args(["--topic", task.topic, "--throughput", "-1"])
        .args(["--num-records", &task.count.to_string()])
        .args(["--record-size", &task.size.to_string()])
        .args(["--bootstrap-server", task.bench.bootstrap()])
        .arg("--command-property")
        .args(["acks=all", "linger.ms=20", "batch.size=1000000"]);
    let words = finished(command)?;
    let last = words
        .lines()
        .rev()
        .find(|line| line.contains("records/sec"));
    let rate = last.and_then(|line| {
        let before = line.split(" records/sec").next()?;
        before.rsplit([' ', ',']).next()?.parse().ok()
    });
    rate.ok_or_else(|| format!("the perf tool says {words:?}").into())
}

/// A process that is ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill().and_then(|()| self.0.wait().map(|_| ()));
    }
}

/// From the first line until Kafka has the last.
fn rsyslog(task: Task<'_>) -> Outcome<f64> {
    let dir = scratch(task, "rsyslog");
    std::fs::create_dir_all(&dir)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = dir.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{dir}\")\n\
         module(load=\"imptcp\")\nmodule(load=\"omkafka\")\n\
         template(name=\"value\" type=\"string\" string=\"%rawmsg%\")\n\
         main_queue(queue.type=\"LinkedList\" queue.size=\"500000\" queue.dequeueBatchSize=\"4096\")\n\
         input(type=\"imptcp\" address=\"127.0.0.1\" port=\"{port}\" supportOctetCountedFraming=\"off\")\n\
         action(type=\"omkafka\" broker=\"{broker}\" topic=\"{topic}\" template=\"value\"\n\
         confParam=[\"acks=all\", \"enable.idempotence=true\", \"linger.ms=20\", \"batch.size=1000000\",\n\
         \"queue.buffering.max.messages=1000000\"])\n",
        dir = dir.display(),
        broker = task.bench.bootstrap(),
        topic = task.topic,
    );
    std::fs::write(&config, text)?;
    let child = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(dir.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    let mut stream = wait_for("rsyslog listens", || {
        Ok(TcpStream::connect(("127.0.0.1", port)).ok())
    })?;
    let before = kafka::count(task.bench.bootstrap(), task.topic)?;
    let chunk = format!("{}\n", "x".repeat(task.size)).repeat(CHUNK_LINES);
    let started = Instant::now();
    for _ in 0..task.count / CHUNK_LINES {
        stream.write_all(chunk.as_bytes())?;
    }
    drop(stream);
    wait_for("Kafka has every line of rsyslog", || {
        let now = kafka::count(task.bench.bootstrap(), task.topic)? - before;
        Ok((now >= task.count).then_some(()))
    })?;
    let took = started.elapsed();
    drop(running);
    std::fs::remove_dir_all(&dir)?;
    Ok(task.count as f64 / took.as_secs_f64())
}
