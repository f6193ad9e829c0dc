//! One record at a time on one quiet connection: from the write to the socket to the acknowledgement.

use crate::bench::{Bench, row};
use crate::figures::Times;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use sluice_e2e::{Outcome, ensure_eq};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Records of one measurement.
const RECORDS: usize = 3000;
/// Records that go before, so that connections and caches are warm.
const WARM: usize = 300;
/// Pause between two records: the connection is idle then.
const PAUSE: Duration = Duration::from_micros(300);
/// Time for one record of the bare loop.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a value.
const SIZES: [usize; 2] = [100, 1024];

pub(super) fn run(bench: &Bench) -> Outcome {
    let topic = "bench_single";
    bench.topic(topic, 1)?;
    for size in SIZES {
        let value = "x".repeat(size);
        let (mut ours, mut bare) = (Times::default(), Times::default());
        for _ in 0..bench.rounds {
            bare.extend(alone(bench.bootstrap(), topic, &value)?);
            ours.extend(through(bench.fact("/producer/tcp"), topic, &value)?);
        }
        row(
            &format!("one record at a time, from socket to acknowledgement, {size} B"),
            &ours.to_string(),
            &format!("rdkafka with linger 0: {bare}"),
            Some(ours.p50() / bare.p50()),
        );
    }
    Ok(())
}

/// A client of the daemon.
fn through(address: &str, topic: &str, value: &str) -> Outcome<Times> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    stream.write_all(b"{\"hello\": {\"acks\": \"cumulative\"}}\n")?;
    answers.read_line(&mut line)?;
    let record = format!("{{\"topic\":\"{topic}\",\"value\":\"{value}\"}}\n");
    let mut times = Times::default();
    for number in 1..=WARM + RECORDS {
        let began = Instant::now();
        stream.write_all(record.as_bytes())?;
        line.clear();
        answers.read_line(&mut line)?;
        let took = began.elapsed();
        let answer: Value = serde_json::from_str(&line)?;
        ensure_eq!(answer["acked"], number, "one answer a record");
        if number > WARM {
            times.push(took);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

/// The client library by itself.
fn alone(bootstrap: &str, topic: &str, value: &str) -> Outcome<Times> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()?;
    let mut times = Times::default();
    for number in 1..=WARM + RECORDS {
        let began = Instant::now();
        let record = FutureRecord::<(), str>::to(topic).payload(value);
        let sent = producer.send(record, PATIENCE);
        runtime.block_on(sent).map_err(|(error, _)| error)?;
        if number > WARM {
            times.push(began.elapsed());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}
