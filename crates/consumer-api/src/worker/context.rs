//! What librdkafka tells a consumer between records: changes of the assignment, commits, errors.
//!
//! Everything here runs inside `poll`, on the consumer's own thread. A change of the assignment is only
//! noted here; the session carries it out, so that it can write and commit what it has before it gives
//! partitions away, and look at what is committed before it reads.

use crate::clusters::log_quietly;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A change of the assignment that waits for the session.
#[derive(Debug)]
pub enum Change {
    /// These partitions are ours.
    Assign(TopicPartitionList),
    /// These go to another one; lost: they are gone already.
    Revoke {
        /// Which.
        partitions: TopicPartitionList,
        /// Whether another one reads them already.
        lost: bool,
    },
}

/// The group as this member sees it.
#[derive(Debug, Default)]
pub struct Group {
    /// Whether an assignment was received and not lost.
    pub joined: bool,
    /// Grows with every change of the assignment.
    pub epoch: u64,
    /// What the session has to carry out, in order. librdkafka waits for it: there is at most one.
    pub changes: VecDeque<Change>,
    /// Partitions that are ours.
    pub owned: HashSet<(String, i32)>,
    /// Whether a position was outside what Kafka still has.
    pub out_of_range: bool,
    /// Why Kafka does not serve us, if it says so.
    pub trouble: Option<String>,
    /// The last reason why a connection failed.
    pub last_connect: Option<String>,
}

/// The context of a managed consumer.
#[derive(Debug)]
pub struct Context {
    consumer_id: String,
    group: Mutex<Group>,
    closing: AtomicBool,
}

impl Context {
    /// For one session of a worker.
    pub fn new(consumer_id: &str) -> Self {
        Self {
            consumer_id: consumer_id.to_owned(),
            group: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// The group as it is.
    pub fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session is over: changes are carried out at once from here on.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
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
}

/// A reason without how long the try took and how often it was the same: those change all the time.
fn plain(reason: &str) -> String {
    reason.split(" (after ").next().unwrap_or(reason).to_owned()
}

/// The partitions of a list.
pub fn pairs(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements()
        .iter()
        .map(|e| (e.topic().to_owned(), e.partition()))
        .collect()
}

/// Tells librdkafka that partitions are read from now on.
///
/// # Errors
/// When it does not expect that.
pub fn take(client: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_assign(partitions),
        _ => client.assign(partitions),
    }
}

/// Tells librdkafka that partitions are not read any more. It commits what was stored for them.
///
/// # Errors
/// When it does not expect that.
pub fn give(client: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_unassign(partitions),
        _ => client.unassign(),
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        client: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assign = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let done = if assign {
                take(client, partitions)
            } else {
                give(client, partitions)
            };
            if let Err(error) = done {
                tracing::debug!(consumer.id = self.consumer_id, error = %error, "at the close");
            }
            return;
        }
        let partitions = partitions.clone();
        let change = if assign {
            Change::Assign(partitions)
        } else {
            let lost = client.assignment_lost();
            Change::Revoke { partitions, lost }
        };
        self.group().changes.push_back(change);
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
