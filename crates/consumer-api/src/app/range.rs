//! Reading a range of a topic, without a group and without a trace.

use super::kafka_problem;
use crate::clusters::{Cluster, Quiet, QuietConsumer};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::problem::Problem;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes that one reader fetches ahead.
const PREFETCH_BYTES: u32 = 2 * 1024 * 1024;

/// A part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last one.
    pub to: i64,
}

/// Reads spans of one topic.
pub struct Reader {
    client: QuietConsumer,
    /// Where each partition ends, of those that are not read yet.
    left: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// Starts reading.
    ///
    /// # Errors
    /// When librdkafka cannot make a client.
    pub fn open(
        cluster: &Cluster,
        client_id: &str,
        topic: &str,
        spans: &[Span],
    ) -> Result<Self, Problem> {
        let text = |error: KafkaError| kafka_problem(error.to_string());
        let mut config = cluster
            .client(client_id)
            .map_err(|error| kafka_problem(error.to_string()))?;
        config
            .set("group.id", "sluice-range")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "2")
            .set(
                "queued.max.messages.kbytes",
                (PREFETCH_BYTES / 1024).to_string(),
            )
            .set("fetch.max.bytes", PREFETCH_BYTES.to_string());
        let client: QuietConsumer = config.create_with_context(Quiet).map_err(text)?;
        let mut list = TopicPartitionList::new();
        let mut left = BTreeMap::new();
        for span in spans.iter().filter(|span| span.from < span.to) {
            list.add_partition_offset(topic, span.partition, Offset::Offset(span.from))
                .map_err(text)?;
            left.insert(span.partition, span.to);
        }
        if list.count() > 0 {
            client.assign(&list).map_err(text)?;
        }
        Ok(Self { client, left })
    }

    /// The next records: at most so many, and what came until the wait is over. None: that was all.
    ///
    /// # Errors
    /// When Kafka says that it cannot go on.
    pub fn next(
        &mut self,
        records: usize,
        wait: Duration,
    ) -> Result<Option<Vec<BorrowedMessage<'_>>>, Problem> {
        let until = Instant::now() + wait;
        let mut found = Vec::new();
        while !self.left.is_empty() && found.len() < records {
            let Some(rest) = until.checked_duration_since(Instant::now()) else {
                break;
            };
            match self.client.poll(rest) {
                None => {}
                Some(Ok(message)) => {
                    let partition = message.partition();
                    let Some(to) = self.left.get(&partition).copied() else {
                        continue;
                    };
                    let next = message.offset() + 1;
                    if next <= to {
                        found.push(message);
                    }
                    if next >= to {
                        self.left.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.left.remove(&partition);
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(kafka_problem(format!("Kafka: {code}")));
                }
                // Brokers come and go; who reads has a bound of its own.
                Some(Err(error)) => tracing::debug!(error = %error, "while reading a range"),
            }
        }
        let over = self.left.is_empty() && found.is_empty();
        Ok((!over).then_some(found))
    }
}
