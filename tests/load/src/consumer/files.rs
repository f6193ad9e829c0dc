//! A topic to a file: a managed consumer with `file_sink`, exactly once, beside what else writes values
//! as lines. Each starts at the topic's beginning; the time runs from its start to its last byte.

use super::bare::{filled, next};
use super::managed::{Managed, until};
use crate::bench::{Bench, note, row};
use crate::figures::{median, per_second};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _};
use serde_json::json;
use sluice_e2e::Outcome;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for Kafka Connect's file.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a bare loop gathers before it writes.
const WRITE_BYTES: usize = 1024 * 1024;

pub(crate) fn run(bench: &Bench) -> Outcome {
    for (size, count) in [(100, 2_000_000), (1024, 400_000)] {
        let topic = filled(bench, size, count)?;
        let read = Read {
            bench,
            topic,
            bytes: (count * (size + 1)) as u64,
            size,
            count,
        };
        compare(&read)?;
    }
    Ok(())
}

/// What is read.
struct Read<'a> {
    bench: &'a Bench,
    topic: String,
    size: usize,
    count: usize,
    /// The length of a file with all of it.
    bytes: u64,
}

fn compare(read: &Read<'_>) -> Outcome {
    let (mut ours, mut whole, mut bares, mut kcats) = (vec![], vec![], vec![], vec![]);
    bare(read)?;
    for _ in 0..read.bench.rounds {
        bares.push(bare(read)?);
        ours.push(managed(read, "value")?);
        whole.push(managed(read, "envelope")?);
        kcats.extend(kcat(read)?);
    }
    let connect = connect(read)?;
    let (ours, bare, size) = (median(ours), median(bares), read.size);
    let what = format!("topic to file, {size} B, managed consumer (fsync and commit included)");
    let beside = |name: &str, figure: f64| {
        row(
            &what,
            &per_second(ours),
            &format!("{name} {}", per_second(figure)),
            Some(ours / figure),
        );
    };
    beside("bare rdkafka loop, tuned", bare);
    if kcats.is_empty() {
        note("kcat is not installed");
    } else {
        beside("kcat -C -e", median(kcats));
    }
    match connect {
        Some(figure) => beside("Kafka Connect FileStreamSink", figure),
        None => note("Kafka Connect did not run; its log is beside its files"),
    }
    row(
        &format!("topic to file, {size} B, whole records as JSON"),
        &per_second(median(whole)),
        &format!("values alone {}", per_second(ours)),
        None,
    );
    Ok(())
}

/// A name that was not used before.
pub(super) fn fresh(kind: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("bench-{kind}-{}", now.map_or(0, |now| now.as_micros()))
}

fn rate(read: &Read<'_>, started: Instant) -> f64 {
    read.count as f64 / started.elapsed().as_secs_f64()
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

fn managed(read: &Read<'_>, format: &str) -> Outcome<f64> {
    let name = fresh("file");
    let file = format!("{name}.txt");
    let config = json!({"file_path": file, "format": format});
    let consumer = Managed::create(read.bench, &read.topic, &name, "file_sink", &config)?;
    let path = PathBuf::from(read.bench.fact("/consumer_api/files")).join(file);
    let started = Instant::now();
    consumer.tell("start")?;
    // Lengths of whole records vary with their offsets: their count is asked for.
    until("the file is whole", || match format {
        "value" => Ok(length(&path) >= read.bytes),
        _ => Ok(consumer.written()? >= read.count as u64),
    })?;
    let rate = rate(read, started);
    consumer.tell("stop")?;
    consumer.reaches("INACTIVE")?;
    if format == "value" && length(&path) != read.bytes {
        return Err(format!("{} bytes instead of {}", length(&path), read.bytes).into());
    }
    drop(consumer);
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// A loop with our own consumer's settings that writes, syncs at the end, and commits nothing.
fn bare(read: &Read<'_>) -> Outcome<f64> {
    let path = std::env::temp_dir().join(fresh("bare"));
    let started = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", read.bench.bootstrap())
        .set("group.id", fresh("bare"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "2")
        .create()?;
    consumer.subscribe(&[&read.topic])?;
    let mut file = BufWriter::with_capacity(WRITE_BYTES, File::create(&path)?);
    for _ in 0..read.count {
        let message = next(&consumer)?;
        file.write_all(message.payload().unwrap_or_default())?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_data()?;
    let rate = rate(read, started);
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// None where it is not installed.
fn kcat(read: &Read<'_>) -> Outcome<Option<f64>> {
    let path = std::env::temp_dir().join(fresh("kcat"));
    let started = Instant::now();
    let ran = Command::new("kcat")
        .args([
            "-q",
            "-C",
            "-e",
            "-o",
            "beginning",
            "-b",
            read.bench.bootstrap(),
            "-t",
            &read.topic,
        ])
        .stdout(File::create(&path)?)
        .stderr(Stdio::null())
        .status();
    let rate = rate(read, started);
    let (found, wanted) = (length(&path), read.bytes);
    std::fs::remove_file(path)?;
    match ran {
        Ok(status) if status.success() && found == wanted => Ok(Some(rate)),
        Ok(status) => Err(format!("kcat: {status}, {found} bytes instead of {wanted}").into()),
        Err(_) => Ok(None),
    }
}

/// A process that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Kafka Connect, standalone, with its own file sink and strings; once, for it takes seconds to start.
fn connect(read: &Read<'_>) -> Outcome<Option<f64>> {
    let dir = std::env::temp_dir().join(fresh("connect"));
    std::fs::create_dir_all(&dir)?;
    let (worker, sink, out) = (dir.join("worker"), dir.join("sink"), dir.join("out"));
    let name = fresh("connect");
    let string = "org.apache.kafka.connect.storage.StringConverter";
    std::fs::write(
        &worker,
        format!(
            "bootstrap.servers={}\nkey.converter={string}\nvalue.converter={string}\nlisteners=http://127.0.0.1:0\n\
             offset.storage.file.filename={}\nconsumer.auto.offset.reset=earliest\n",
            read.bench.bootstrap(),
            dir.join("offsets").display()
        ),
    )?;
    std::fs::write(
        &sink,
        format!(
            "name={name}\nconnector.class=org.apache.kafka.connect.file.FileStreamSinkConnector\ntasks.max=1\n\
             topics={}\nfile={}\n",
            read.topic,
            out.display()
        ),
    )?;
    let started = Instant::now();
    let java = std::env::var_os("JAVA_HOME").map_or_else(
        || PathBuf::from("java"),
        |home| PathBuf::from(home).join("bin").join("java"),
    );
    let log = File::create(dir.join("log"))?;
    let child = Command::new(java)
        .args([
            "-Xms256m",
            "-Xmx2g",
            "-cp",
            &format!("{}/*", read.bench.fact("/kafka/home")),
        ])
        .arg("org.apache.kafka.connect.cli.ConnectStandalone")
        .args([&worker, &sink])
        .current_dir(&dir)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    let Ok(child) = child else {
        return Ok(None);
    };
    let mut child = Running(child);
    let whole = loop {
        if length(&out) >= read.bytes {
            break true;
        }
        if child.0.try_wait()?.is_some() || started.elapsed() > PATIENCE {
            break false;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let rate = rate(read, started);
    drop(child);
    if !whole {
        note(&format!("Kafka Connect left {}", dir.display()));
        return Ok(None);
    }
    std::fs::remove_dir_all(dir)?;
    Ok(Some(rate))
}
