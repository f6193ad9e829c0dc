//! The floor: a bare `BaseConsumer` loop that reads a topic and throws it away.

use crate::bench::{Bench, row};
use crate::figures::{median, per_second};
use crate::producer::bulk;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sluice_e2e::Outcome;
use std::time::{Duration, Instant};

/// Partitions of the topics that are read.
pub(crate) const PARTITIONS: usize = 4;
/// Longest wait for the next record.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(bench: &Bench) -> Outcome {
    for (size, count) in [(100, 2_000_000), (1024, 400_000)] {
        let topic = filled(bench, size, count)?;
        let mut figures = Vec::new();
        for _ in 0..bench.rounds {
            figures.push(read(bench.bootstrap(), &topic, count)?);
        }
        let reference = per_second(median(figures));
        row(
            &format!("bare rdkafka consumer loop, {size} B"),
            "",
            &reference,
            None,
        );
    }
    Ok(())
}

/// A topic with records of a size; filled once in a run.
pub(crate) fn filled(bench: &Bench, size: usize, count: usize) -> Outcome<String> {
    let topic = format!("bench_read_{size}");
    bench.topic(&topic, PARTITIONS)?;
    let stored = sluice_e2e::kafka::count(bench.bootstrap(), &topic)?;
    if stored < count {
        bulk(bench.bootstrap(), &topic, size, count - stored)?;
    }
    Ok(topic)
}

/// The next record. A poll also ends without one, when it has served an event.
pub(crate) fn next(consumer: &BaseConsumer) -> Outcome<BorrowedMessage<'_>> {
    if let Some(message) = consumer.poll(PATIENCE) {
        return Ok(message?);
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(message) = consumer.poll(PATIENCE) {
            return Ok(message?);
        }
    }
    Err("Kafka gives no more".into())
}

/// Records per second from the first to the last of `count`, start of the client included.
pub(crate) fn read(bootstrap: &str, topic: &str, count: usize) -> Outcome<f64> {
    let started = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "2")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::try_from(PARTITIONS)? {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut read = 0;
    while read < count {
        next(&consumer)?;
        read += 1;
    }
    Ok(read as f64 / started.elapsed().as_secs_f64())
}
