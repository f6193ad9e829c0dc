//! The yardstick of `scripts/bench`: a bare rdkafka `BaseProducer` loop, without inputs, routing or
//! spool, with the settings that the daemon uses.
//!
//! `bare_loop BOOTSTRAP TOPIC COUNT SIZE [KEY=VALUE ...]` sends COUNT records of SIZE bytes, waits for
//! every acknowledgement and prints one JSON line. KEY=VALUE are librdkafka settings.

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::time::{Duration, Instant};

/// Records between two looks at the delivery reports.
const POLL_EVERY: u64 = 2_000;
/// Time that the last acknowledgements may take.
const FLUSH_MAX: Duration = Duration::from_secs(120);

#[expect(clippy::print_stdout, reason = "the result is the output")]
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, count, size, settings @ ..] = args.as_slice() else {
        bail!("usage: bare_loop BOOTSTRAP TOPIC COUNT SIZE [KEY=VALUE ...]");
    };
    let count: u64 = count.parse().context("COUNT is a number")?;
    let size: usize = size.parse().context("SIZE is a number")?;
    let producer = producer(bootstrap, settings)?;
    let metadata = producer
        .client()
        .fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let led = |topic: &rdkafka::metadata::MetadataTopic| {
        !topic.partitions().is_empty() && topic.partitions().iter().all(|p| p.leader() >= 0)
    };
    if !metadata.topics().iter().all(led) {
        bail!("topic {topic} has no leaders");
    }
    let value = vec![b'x'; size];
    // The first record pays for the producer's id; it is not measured.
    send(&producer, topic, &value)?;
    producer.flush(FLUSH_MAX)?;
    let started = Instant::now();
    for sent in 0..count {
        send(&producer, topic, &value)?;
        if sent % POLL_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH_MAX)?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    println!(
        r#"{{"records": {count}, "size": {size}, "seconds": {seconds:.3}, "records_per_s": {rate:.0}}}"#
    );
    Ok(())
}

fn producer(bootstrap: &str, settings: &[String]) -> anyhow::Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "131072")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("allow.auto.create.topics", "false");
    for setting in settings {
        let (key, value) = setting.split_once('=').context("settings are KEY=VALUE")?;
        config.set(key, value);
    }
    Ok(config.create()?)
}

fn send(producer: &BaseProducer, topic: &str, value: &[u8]) -> Result<(), KafkaError> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error),
        }
    }
}
