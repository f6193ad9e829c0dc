//! Records from one topic to another: a managed consumer with `streaming_forwarder`, in transactions that
//! carry its offsets, beside a bare loop that consumes and produces without either.

use super::bare::{filled, next};
use super::files::fresh;
use super::managed::{Managed, until};
use crate::bench::{Bench, row};
use crate::figures::{median, per_second};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _};
use serde_json::json;
use sluice_e2e::Outcome;
use std::time::{Duration, Instant};

/// Longest wait for the next record, and for the last acknowledgement.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(bench: &Bench) -> Outcome {
    for (size, count) in [(100, 1_000_000), (1024, 200_000)] {
        let topic = filled(bench, size, count)?;
        let (ours_to, bare_to) = (
            format!("bench_forward_{size}"),
            format!("bench_copy_{size}"),
        );
        bench.topic(&ours_to, 4)?;
        bench.topic(&bare_to, 4)?;
        let (mut ours, mut bares) = (vec![], vec![]);
        for _ in 0..bench.rounds {
            bares.push(bare(bench, &topic, &bare_to, count)?);
            ours.push(managed(bench, &topic, &ours_to, count)?);
        }
        let (ours, bare) = (median(ours), median(bares));
        row(
            &format!("topic to topic, {size} B, in transactions"),
            &per_second(ours),
            &format!("bare consume and produce loop {}", per_second(bare)),
            Some(ours / bare),
        );
    }
    Ok(())
}

fn managed(bench: &Bench, from: &str, to: &str, count: usize) -> Outcome<f64> {
    let config = json!({"cluster": "governed", "topic": to});
    let consumer = Managed::create(
        bench,
        from,
        &fresh("forward"),
        "streaming_forwarder",
        &config,
    )?;
    let started = Instant::now();
    consumer.tell("start")?;
    let mut written = 0;
    until("the records are forwarded", || {
        written = consumer.written()?;
        Ok(written >= count as u64)
    })?;
    let rate = written as f64 / started.elapsed().as_secs_f64();
    consumer.tell("stop")?;
    consumer.reaches("INACTIVE")?;
    Ok(rate)
}

fn bare(bench: &Bench, from: &str, to: &str, count: usize) -> Outcome<f64> {
    let started = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bench.bootstrap())
        .set("group.id", fresh("copy"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "2")
        .create()?;
    consumer.subscribe(&[from])?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bench.bootstrap())
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .create()?;
    for _ in 0..count {
        let message = next(&consumer)?;
        let mut record =
            BaseRecord::<[u8], [u8]>::to(to).payload(message.payload().unwrap_or_default());
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
    producer.flush(PATIENCE)?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
