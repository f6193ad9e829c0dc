//! What librdkafka tells a consumer between records: assignments, commits, errors, statistics.
//!
//! Everything here runs inside `poll`, on the consumer's own thread.

use super::Link;
use crate::clusters::log_quietly;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The group as this member sees it.
#[derive(Debug, Default)]
pub struct Group {
    /// Whether an assignment was received and not lost.
    pub joined: bool,
    /// Grows with every change of the assignment.
    pub epoch: u64,
    /// Partitions that were taken away and whose records must be forgotten.
    pub revoked: Vec<(String, i32)>,
    /// Partitions that are ours.
    pub owned: HashSet<(String, i32)>,
    /// Why Kafka does not serve us, if it says so.
    pub trouble: Option<String>,
    /// The last reason why a connection failed.
    pub last_connect: Option<String>,
}

/// The context of a managed consumer.
#[derive(Debug)]
pub struct Context {
    link: Arc<Link>,
    consumer_id: String,
    group: Mutex<Group>,
}

impl Context {
    /// For one session of a worker.
    pub fn new(link: Arc<Link>, consumer_id: &str) -> Self {
        Self {
            link,
            consumer_id: consumer_id.to_owned(),
            group: Mutex::default(),
        }
    }

    /// The group as it is.
    pub fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_quietly(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(consumer.id = self.consumer_id, error = %error, reason, "librdkafka says");
        let mut group = self.group();
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => {
                let last = group.last_connect.clone();
                group.trouble = Some(last.unwrap_or_else(|| plain(reason)));
            }
            Some(Code::BrokerTransportFailure | Code::Resolve) => {
                group.last_connect = Some(plain(reason));
            }
            Some(
                Code::Authentication
                | Code::SSL
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic,
            ) => group.trouble = Some(plain(reason)),
            _ => {}
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut report = self.link.report();
        for (topic, state) in &statistics.topics {
            for (partition, state) in &state.partitions {
                let key = (topic.clone(), *partition);
                // Before the first record, what is committed (or fetched next) is where it is.
                let at = [state.committed_offset, state.next_offset]
                    .into_iter()
                    .find(|at| *at >= 0);
                if let Some(at) = at.filter(|_| state.hi_offset >= 0) {
                    report.positions.entry(key.clone()).or_insert(at);
                    report.ends.insert(key, state.hi_offset);
                }
            }
        }
    }
}

/// A reason without how long the try took and how often it was the same: those change all the time.
fn plain(reason: &str) -> String {
    reason.split(" (after ").next().unwrap_or(reason).to_owned()
}

fn pairs(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements()
        .iter()
        .map(|e| (e.topic().to_owned(), e.partition()))
        .collect()
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut group = self.group();
        if let Rebalance::Revoke(list) = rebalance {
            // What is in the batch of these partitions is not written: the next owner reads it again.
            for pair in pairs(list) {
                group.owned.remove(&pair);
                group.revoked.push(pair);
            }
            group.joined = false;
            group.epoch += 1;
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut group = self.group();
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(
                    consumer.id = self.consumer_id,
                    partitions = list.count(),
                    "assigned"
                );
                group.owned.extend(pairs(list));
                group.joined = true;
                group.trouble = None;
                group.epoch += 1;
            }
            Rebalance::Revoke(list) => {
                tracing::info!(
                    consumer.id = self.consumer_id,
                    partitions = list.count(),
                    "revoked"
                );
            }
            Rebalance::Error(error) => group.trouble = Some(error.to_string()),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(Code::NoOffset)) => {}
            // It is tried again with the next commit; what is not committed is read and skipped again.
            Err(error) => {
                tracing::warn!(consumer.id = self.consumer_id, error = %error, "commit failed");
                metrics::counter!("consumer_commit_failures_total", "reason" => "kafka")
                    .increment(1);
            }
        }
    }
}
