//! Managed consumers on the wire.

use crate::lifecycle::State;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the user sees first: wanted and working, not wanted, or failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Wanted running, group joined, sinks healthy; idle counts.
    Active,
    /// Anything else: stopped, paused, starting.
    Inactive,
    /// Wanted running, but failing or retrying.
    Error,
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Read and write.
    Running,
    /// Stay in the group, read nothing.
    Paused,
    /// Leave the group.
    Stopped,
}

impl Desired {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Stopped]
            .into_iter()
            .find(|d| d.as_str() == text)
    }
}

/// What is really going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Nothing runs.
    Stopped,
    /// Connecting, joining the group, opening sinks.
    Starting,
    /// Assigned and making progress, or idle at the end.
    Running,
    /// In the group, reading nothing.
    Paused,
    /// Finishing what is in flight.
    Stopping,
    /// Failed; will try again.
    Retrying,
}

/// One processor of a consumer, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProcessorSpec {
    /// Which processor, by the names of `GET /processors/`.
    pub processor_type: String,
    /// Its configuration.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
}

/// One processor of a consumer, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Processor {
    /// Identity (UUID).
    pub id: String,
    /// Which processor.
    pub processor_type: String,
    /// Its configuration; secrets are masked.
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The body of `POST /consumers/` and `PUT /consumers/{id}/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConsumerSpec {
    /// Host of a bootstrap or advertised address of a configured cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_ip: Option<String>,
    /// Port of that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_port: Option<u16>,
    /// A configured cluster by name, instead of an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Who owns it: the account, one of its teams, or for admins anybody; the account when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The topic to read; `topics` names several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The topics to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The consumer group.
    pub consumer_group: String,
    /// The client id in Kafka; the consumer's id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whether it starts at once.
    #[serde(default)]
    pub auto_start: bool,
    /// Where records go.
    #[serde(default)]
    pub downstream_processors: Vec<ProcessorSpec>,
    /// How it meets trouble.
    #[serde(flatten)]
    pub policies: Policies,
    /// Where it starts: `earliest`, `latest`, `{"timestamp"}` or `{"offsets"}`; where its group stands
    /// when absent. At create only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<Value>,
}

/// A dead-letter topic of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadLetterTopic {
    /// Its name.
    pub topic_name: String,
    /// Where it stands; null while nobody has asked for it (a dry run: it is asked for at the creation).
    pub status: Option<State>,
}

/// A managed consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Consumer {
    /// Identity (UUID).
    pub id: String,
    /// Wanted and working, not wanted, or failing.
    pub status: Status,
    /// What the user wants.
    pub desired: Desired,
    /// What is going on, in one sentence.
    pub detail: String,
    /// Counts the changes of the spec and of what is wanted; the ETag.
    pub generation: i64,
    /// Host of the cluster's address.
    pub broker_ip: String,
    /// Port of the cluster's address.
    pub broker_port: u16,
    /// The cluster, by its configured name.
    pub cluster: String,
    /// The first topic.
    pub topic: String,
    /// All topics.
    pub topics: Vec<String>,
    /// The consumer group.
    pub consumer_group: String,
    /// The client id in Kafka.
    pub client_id: Option<String>,
    /// Whether it started at once.
    pub auto_start: bool,
    /// The account that owns it.
    pub owner: String,
    /// The instance that runs it, where several share the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Where records go.
    pub downstream_processors: Vec<Processor>,
    /// How it meets trouble.
    #[serde(flatten)]
    pub policies: Policies,
    /// The topics that its dead letters go to while they are active; otherwise a file takes them.
    #[serde(default)]
    pub dead_letters: Vec<DeadLetterTopic>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What kind of failure it is, and so what is done about it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It may work soon: tried again with growing delays.
    #[default]
    Transient,
    /// A record that is never taken: a dead letter, or the end.
    Poison,
    /// Somebody must mend something: tried again seldom.
    Environment,
    /// Another one does this one's work: it steps back.
    Fenced,
}

impl FailureClass {
    /// The word on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Poison => "poison",
            Self::Environment => "environment",
            Self::Fenced => "fenced",
        }
    }
}

/// One failure of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConsumerError {
    /// When.
    pub at: Timestamp,
    /// Where: `kafka`, or the type of the processor.
    pub stage: String,
    /// What kind.
    #[serde(default)]
    pub class: FailureClass,
    /// What.
    pub message: String,
    /// The records that are gone from Kafka, when that is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// Records that are gone from Kafka and were not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Gap {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The first offset that is missing.
    pub from: i64,
    /// The offset after the last one that is missing.
    pub to: i64,
}

/// What happens when Kafka has deleted what comes next.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AutoOffsetReset {
    /// Go on with the first record that is there.
    #[default]
    Earliest,
    /// Go on with new records.
    Latest,
    /// Stop and say so.
    None,
}

/// What happens to a record that a processor never takes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// It is kept with the reason in the dead-letter topic or file, and the consumer goes on.
    #[default]
    DeadLetter,
    /// The consumer stops at it.
    Stop,
}

/// How a consumer meets trouble; all of it can be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Policies {
    /// What happens to a record that a processor never takes.
    pub on_poison: OnPoison,
    /// The consumer stops when more records than this would be dead letters ...
    pub poison_max: u64,
    /// ... among this many of the last records.
    pub poison_window: u64,
    /// What happens when Kafka has deleted what comes next.
    pub auto_offset_reset: AutoOffsetReset,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            on_poison: OnPoison::default(),
            poison_max: 100,
            poison_window: 1000,
            auto_offset_reset: AutoOffsetReset::default(),
        }
    }
}

/// The answer of `GET /consumers/{id}/status/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConsumerStatus {
    /// Which consumer.
    pub id: String,
    /// Wanted and working, not wanted, or failing.
    pub status: Status,
    /// What the user wants.
    pub desired: Desired,
    /// What is going on.
    pub observed: Observed,
    /// The same in one word: running, starting, stopping, paused, stopped, held (a topic may not be read),
    /// stuck, or the class of the failure.
    #[serde(default)]
    pub reason: String,
    /// The same in one sentence.
    pub detail: String,
    /// Counts the changes of the spec and of what is wanted.
    pub generation: i64,
    /// The generation that the worker works by; less than `generation` while a change is on its way.
    #[serde(default)]
    pub observed_generation: i64,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it tries again after a failure.
    pub next_retry_at: Option<Timestamp>,
    /// Failures since it last worked.
    pub attempts: u32,
    /// Records read since it started.
    pub records: u64,
    /// Bytes read since it started.
    pub bytes: u64,
    /// Records per second over the last ten seconds.
    pub records_per_second: f64,
    /// Bytes per second over the last ten seconds.
    #[serde(default)]
    pub bytes_per_second: f64,
    /// Records not yet written, if known.
    pub lag: Option<i64>,
    /// What keeps it from being faster, in one sentence.
    #[serde(default)]
    pub bottleneck: String,
    /// Partitions that are assigned.
    #[serde(default)]
    pub partitions: u64,
    /// Records that became dead letters since it started.
    #[serde(default)]
    pub dead_letters: u64,
    /// The processors.
    pub processors: Vec<ProcessorStatus>,
    /// The last failures, newest first.
    pub errors: Vec<ConsumerError>,
}

/// How a processor is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ProcessorStatus {
    /// Which processor.
    pub processor_type: String,
    /// Records that it wrote since the start.
    pub records: u64,
    /// Batches that it wrote since the start.
    pub batches: u64,
    /// Batches that failed since the start.
    pub failures: u64,
    /// Records that it never took and that became dead letters.
    pub dead_letters: u64,
    /// How long its last batch took, in milliseconds.
    pub last_batch_ms: f64,
    /// The median of its last 256 batches, in milliseconds.
    pub p50_ms: f64,
    /// What 99 % of them stayed below.
    pub p99_ms: f64,
    /// The longest of them.
    pub max_ms: f64,
}

/// How far a consumer is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lag {
    /// Records not yet committed over all partitions; null when nothing is committed anywhere.
    pub total_lag: Option<i64>,
    /// The partitions.
    pub partitions: Vec<PartitionLag>,
}

/// How far a consumer is behind on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartitionLag {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The next offset to read, while it runs.
    pub position: Option<i64>,
    /// The next offset after what is safely written; null when nothing is committed.
    pub committed: Option<i64>,
    /// The end of the partition.
    pub end: Option<i64>,
    /// `end - committed`; null when nothing is committed.
    pub lag: Option<i64>,
    /// Age of the oldest record that is not committed, in seconds; 0 when nothing waits, null when unknown.
    pub lag_seconds: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_words_of_the_reference_document() {
        let word = |status: Status| serde_json::to_string(&status).unwrap();
        assert_eq!(word(Status::Active), "\"ACTIVE\"");
        assert_eq!(word(Status::Inactive), "\"INACTIVE\"");
        assert_eq!(word(Status::Error), "\"ERROR\"");
    }
}
