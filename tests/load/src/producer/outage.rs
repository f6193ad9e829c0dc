//! Memory while Kafka is down and records come as fast as they are taken: the spool fills up to its bound,
//! then they are refused.

use crate::bench::{Bench, row};
use crate::process::Process;
use sluice_e2e::stack::script;
use sluice_e2e::{Outcome, wait_for};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the memory is looked at, in seconds of the outage.
const LOOKS: [u64; 5] = [2, 5, 10, 20, 30];
/// Lines of one write to the socket.
const CHUNK_LINES: usize = 200;
/// Bytes of values.
const SIZES: [usize; 2] = [100, 1024];

pub(super) fn run(bench: &Bench) -> Outcome {
    let topic = "bench_outage";
    bench.topic(topic, 4)?;
    for size in SIZES {
        kafka(bench, "stop")?;
        let looked = full_input(bench, topic, size);
        kafka(bench, "start")?;
        let (figures, lines) = looked?;
        let (first, last) = (figures.first().copied(), figures.last().copied());
        let ratio = first
            .zip(last)
            .map(|(first, last)| last as f64 / first as f64);
        let all: Vec<String> = LOOKS
            .iter()
            .zip(&figures)
            .map(|(second, mb)| format!("{mb} MB at {second} s"))
            .collect();
        row(
            &format!("memory, Kafka stopped, full input, {size} B"),
            &format!("{} ({lines} lines answered)", all.join(", ")),
            "flat",
            ratio,
        );
        wait_for("what was held has drained", || {
            let flow = bench.flow(topic)?;
            Ok((flow["held_records"] == 0).then_some(()))
        })?;
    }
    Ok(())
}

fn kafka(bench: &Bench, verb: &str) -> Outcome {
    let dir = bench.dir().display().to_string();
    script("stack", &[verb, "kafka", "--dir", &dir])?;
    Ok(())
}

/// The resident memory at the looks, and how many lines were answered.
fn full_input(bench: &Bench, topic: &str, size: usize) -> Outcome<(Vec<u64>, u64)> {
    let process = Process::of(bench, "producer")?;
    let stream = TcpStream::connect(bench.fact("/producer/tcp"))?;
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&stream, (topic, size), &stop));
        let reader = scope.spawn(|| read(&stream, &answered));
        let started = Instant::now();
        let mut figures = Vec::new();
        for second in LOOKS {
            let due = started + Duration::from_secs(second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            figures.push(process.rss_mb());
        }
        stop.store(true, Ordering::Release);
        // A sender that waits for room is freed by the end of the connection.
        stream.shutdown(std::net::Shutdown::Both)?;
        sender.join().map_err(|_| "the sender panicked")?;
        reader.join().map_err(|_| "the reader panicked")?;
        let figures = figures.into_iter().collect::<Outcome<_>>()?;
        Ok((figures, answered.load(Ordering::Acquire)))
    })
}

fn send(mut stream: &TcpStream, (topic, size): (&str, usize), stop: &AtomicBool) {
    let value = "x".repeat(size);
    let record = format!("{{\"topic\":\"{topic}\",\"value\":\"{value}\"}}\n");
    let chunk = record.repeat(CHUNK_LINES);
    let hello = stream.write_all(b"{\"hello\": {\"acks\": \"cumulative\"}}\n");
    let mut going = hello.is_ok();
    while going && !stop.load(Ordering::Acquire) {
        going = stream.write_all(chunk.as_bytes()).is_ok();
    }
}

/// Reads the answers: `{"acked": N}` and refusals.
fn read(stream: &TcpStream, answered: &AtomicU64) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let acked = line.strip_prefix("{\"acked\": ");
        let acked = acked.and_then(|rest| rest.trim_end_matches('}').parse().ok());
        answered.fetch_max(acked.unwrap_or_default(), Ordering::AcqRel);
    }
}
