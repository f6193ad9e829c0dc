//! Throughput of one TCP connection beside a bare `BaseProducer` loop with the daemon's own settings.

use crate::bench::{Bench, row};
use crate::figures::{median, per_second};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sluice_e2e::{Outcome, kafka};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Lines of one write to the socket.
const CHUNK_LINES: usize = 1000;
/// Time for the last records of the bare loop.
const FLUSH: Duration = Duration::from_secs(60);

/// Sizes of values, and how many of each are sent.
pub(super) const SIZES: [(usize, usize); 2] = [(100, 2_000_000), (1024, 400_000)];

pub(super) fn run(bench: &Bench) -> Outcome {
    for (size, count) in SIZES {
        compare(bench, size, count)?;
    }
    Ok(())
}

/// Measures both in turn, so that the machine's moods hit both.
fn compare(bench: &Bench, size: usize, count: usize) -> Outcome {
    let topic = format!("bench_{size}");
    bench.topic(&topic, 4)?;
    let bootstrap = bench.bootstrap();
    let before = kafka::count(bootstrap, &topic)?;
    bulk(bootstrap, &topic, size, count / 4)?;
    tcp(bench.fact("/producer/tcp"), &topic, size, count / 4)?;
    let (mut tcps, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        bares.push(bulk(bootstrap, &topic, size, count)?);
        tcps.push(tcp(bench.fact("/producer/tcp"), &topic, size, count)?);
    }
    let wanted = (count / 4 + bench.rounds * count) * 2;
    let stored = kafka::count(bootstrap, &topic)? - before;
    if stored != wanted {
        return Err(
            format!("{topic}: {wanted} records were acknowledged, Kafka has {stored}").into(),
        );
    }
    let (ours, reference) = (median(tcps), median(bares));
    row(
        &format!("TCP lines to Kafka, {size} B values, one connection"),
        &per_second(ours),
        &format!("bare rdkafka loop {}", per_second(reference)),
        Some(ours / reference),
    );
    Ok(())
}

/// A bare loop; records per second until the last is acknowledged.
pub(crate) fn bulk(bootstrap: &str, topic: &str, size: usize, count: usize) -> Outcome<f64> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "100000")
        .create()?;
    let value = vec![b'x'; size];
    let started = Instant::now();
    for _ in 0..count {
        let mut record = BaseRecord::<(), [u8]>::to(topic).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                    producer.poll(Duration::from_millis(1));
                    record = back;
                }
                other => return Err(other.into()),
            }
        }
    }
    producer.flush(FLUSH)?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Lines over one TCP connection; records per second until the last is acknowledged.
pub(super) fn tcp(address: &str, topic: &str, size: usize, count: usize) -> Outcome<f64> {
    let mut stream = TcpStream::connect(address)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    stream.write_all(b"{\"hello\": {\"acks\": \"cumulative\"}}\n")?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let record = format!(
        "{{\"topic\":\"{topic}\",\"value\":\"{}\"}}\n",
        "x".repeat(size)
    );
    let chunk = record.repeat(CHUNK_LINES);
    let started = Instant::now();
    let writer = std::thread::Builder::new()
        .name("sender".into())
        .spawn(move || {
            let mut outcome = Ok(());
            for _ in 0..count / CHUNK_LINES {
                outcome = outcome.and_then(|()| stream.write_all(chunk.as_bytes()));
            }
            outcome
        })?;
    let wanted = (count / CHUNK_LINES * CHUNK_LINES) as u64;
    let mut acked = 0;
    while acked < wanted {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(format!("closed after {acked} of {wanted} acks").into());
        }
        let answer: serde_json::Value = serde_json::from_str(&line)?;
        if answer["refused"].is_number() {
            return Err(format!("refused: {answer}").into());
        }
        acked = answer["acked"].as_u64().unwrap_or(acked);
    }
    let took = started.elapsed();
    writer.join().map_err(|_| "the sender panicked")??;
    Ok(wanted as f64 / took.as_secs_f64())
}
