//! Looking into Kafka directly, past our own services.

use crate::{Outcome, wait_for};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Time for one call to Kafka.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A record as Kafka has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<String>,
    /// Value.
    pub value: Option<String>,
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "e2e-observer")
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("fetch.queue.backoff.ms", "5");
    config
}

/// What Kafka answers, once it does: a broker that just started names old leaders and errors for a moment.
fn settled<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Outcome<T> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The partitions of a topic and the least number of replicas; `None` when Kafka has no such topic.
///
/// # Errors
/// When Kafka does not answer.
pub fn shape(bootstrap: &str, topic: &str) -> Outcome<Option<(usize, usize)>> {
    let consumer: BaseConsumer = config(bootstrap).create()?;
    let metadata = settled(|| consumer.fetch_metadata(None, TIMEOUT))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(found.map(|found| {
        let replicas = found.partitions().iter().map(|p| p.replicas().len()).min();
        (found.partitions().len(), replicas.unwrap_or(0))
    }))
}

/// The broker that leads a partition.
///
/// # Errors
/// When Kafka does not answer, or there is none.
pub fn leader(bootstrap: &str, topic: &str, partition: i32) -> Outcome<i32> {
    let consumer: BaseConsumer = config(bootstrap).create()?;
    let metadata = settled(|| consumer.fetch_metadata(Some(topic), TIMEOUT))?;
    let found = metadata.topics().first().and_then(|found| {
        let mut partitions = found.partitions().iter();
        partitions.find(|found| found.id() == partition)
    });
    let leader = found.map_or(-1, rdkafka::metadata::MetadataPartition::leader);
    if leader < 0 {
        return Err(format!("partition {partition} of {topic} has no leader").into());
    }
    Ok(leader)
}

/// One config of a topic.
///
/// # Errors
/// When Kafka does not answer.
pub fn topic_config(bootstrap: &str, topic: &str, name: &str) -> Outcome<Option<String>> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let runtime = runtime()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let resources = [ResourceSpecifier::Topic(topic)];
    let described = runtime.block_on(admin.describe_configs(&resources, &options))?;
    let mut entries = described
        .into_iter()
        .flatten()
        .flat_map(|resource| resource.entries);
    Ok(entries
        .find(|entry| entry.name == name)
        .and_then(|entry| entry.value))
}

/// Sets one config of a topic behind the back of governance.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub fn alter(bootstrap: &str, topic: &str, name: &str, value: &str) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let changes = [(name.to_owned(), Some(value.to_owned()))].into();
    sluice_service::kafka::admin::alter_topic_configs(admin.inner(), topic, &changes, TIMEOUT)?;
    Ok(())
}

/// Creates a topic behind the back of governance.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub fn create(bootstrap: &str, topic: &str, partitions: i32) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    for outcome in runtime()?.block_on(admin.create_topics([&new], &options))? {
        outcome.map_err(|(name, code)| format!("{name} is not created: {code}"))?;
    }
    Ok(())
}

/// Deletes a topic behind the back of governance.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub fn delete(bootstrap: &str, topic: &str) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    for outcome in runtime()?.block_on(admin.delete_topics(&[topic], &options))? {
        outcome.map_err(|(name, code)| format!("{name} is not deleted: {code}"))?;
    }
    Ok(())
}

/// Deletes the records of partition 0 below an offset, as retention does.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub fn delete_records(bootstrap: &str, topic: &str, below: i64) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(below))?;
    runtime()?.block_on(admin.delete_records(&list, &options))?;
    Ok(())
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// How many records a topic has now, by the ends of its partitions.
///
/// # Errors
/// When Kafka does not answer.
pub fn count(bootstrap: &str, topic: &str) -> Outcome<usize> {
    let consumer: BaseConsumer = config(bootstrap).create()?;
    let (partitions, _) = shape(bootstrap, topic)?.unwrap_or_default();
    let mut count = 0;
    for partition in 0..i32::try_from(partitions)? {
        let (low, high) = settled(|| consumer.fetch_watermarks(topic, partition, TIMEOUT))?;
        count += usize::try_from(high - low)?;
    }
    Ok(count)
}

/// Everything that a topic has now, by partition and offset.
///
/// # Errors
/// When Kafka does not answer, or does not give in time what it says it has.
pub fn read_all(bootstrap: &str, topic: &str) -> Outcome<Vec<Stored>> {
    let consumer: BaseConsumer = config(bootstrap).create()?;
    let metadata = settled(|| consumer.fetch_metadata(Some(topic), TIMEOUT))?;
    let partitions = metadata
        .topics()
        .first()
        .map_or(0, |found| found.partitions().len());
    let mut wanted = 0;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        let (low, high) = settled(|| consumer.fetch_watermarks(topic, partition, TIMEOUT))?;
        wanted += usize::try_from(high - low)?;
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut found = Vec::with_capacity(wanted);
    wait_for("Kafka gives all records of the topic", || {
        while found.len() < wanted {
            let Some(message) = consumer.poll(Duration::from_millis(200)) else {
                return Ok(None);
            };
            let message = message?;
            let text =
                |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
            found.push(Stored {
                partition: message.partition(),
                offset: message.offset(),
                key: text(message.key()),
                value: text(message.payload()),
            });
        }
        Ok(Some(()))
    })?;
    found.sort_by_key(|record| (record.partition, record.offset));
    Ok(found)
}

/// A record with all that it has, as readers of finished transactions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Everything of a topic that a `read_committed` reader sees, up to the ends of its partitions, in the order
/// of partition and offset.
///
/// # Errors
/// When Kafka does not answer, or an end is not reached in time.
pub fn read_committed(bootstrap: &str, topic: &str) -> Outcome<Vec<Whole>> {
    let consumer: BaseConsumer = config(bootstrap)
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let (partitions, _) = shape(bootstrap, topic)?.ok_or("no such topic")?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let (mut found, mut ended) = (Vec::new(), BTreeSet::new());
    wait_for("every partition is read to its end", || {
        while ended.len() < partitions {
            match consumer.poll(Duration::from_millis(200)) {
                None => return Ok(None),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                Some(message) => found.push(whole(&message?)),
            }
        }
        Ok(Some(()))
    })?;
    found.sort_by_key(|record| (record.partition, record.offset));
    Ok(found)
}

fn whole(message: &BorrowedMessage<'_>) -> Whole {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Whole {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: owned(message.key()),
        value: owned(message.payload()),
        headers: headers
            .map(|header| (header.key.to_owned(), owned(header.value)))
            .collect(),
    }
}

/// Writes records past our own services: for each number the one that `make` gives, as (key, value, headers).
///
/// # Errors
/// When Kafka does not take all of them.
pub fn produce(
    bootstrap: &str,
    topic: &str,
    numbers: std::ops::Range<usize>,
    make: impl Fn(usize) -> Whole,
) -> Outcome {
    let producer: BaseProducer = config(bootstrap)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .create()?;
    for number in numbers {
        let record = make(number);
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            let value = value.as_deref();
            headers = headers.insert(Header { key, value });
        }
        let mut next: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).headers(headers);
        next.key = record.key.as_deref();
        next.payload = record.value.as_deref();
        next.timestamp = record.timestamp;
        while let Err((error, back)) = producer.send(next) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            next = back;
        }
    }
    producer.flush(TIMEOUT)?;
    Ok(())
}

/// The values of a topic in the order of partition and offset.
///
/// # Errors
/// See [`read_all`].
pub fn values(bootstrap: &str, topic: &str) -> Outcome<Vec<String>> {
    Ok(read_all(bootstrap, topic)?
        .into_iter()
        .filter_map(|record| record.value)
        .collect())
}
