//! Topics on the wire: what is asked, what is, and what producers route by.

use crate::lifecycle::State;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 1000;
/// The most characters of labels such as `created_by` and `owner`.
pub const LABEL_CHARS_MAX: usize = 200;
/// The most characters of a reason.
pub const REASON_CHARS_MAX: usize = 1000;

/// What a topic shall be in Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TopicSpec {
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Copies of each partition, at least 1 and at most the number of brokers.
    pub replication_factor: i16,
    /// Topic configs that differ from the broker's defaults, by Kafka's names.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

/// What happens to records that are held when their topic is stopped for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStop {
    /// Kept in the spool.
    #[default]
    Hold,
    /// Moved to a dead-letter file.
    DeadLetter,
    /// Thrown away and counted.
    Discard,
}

impl OnStop {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::DeadLetter => "dead_letter",
            Self::Discard => "discard",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Hold, Self::DeadLetter, Self::Discard]
            .into_iter()
            .find(|p| p.as_str() == text)
    }
}

/// A topic row: intent (status, spec, version) and observation (attempts, last problem) side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Topic {
    /// Identity; a name that is asked for again gets a new id.
    pub topic_id: i64,
    /// The name in Kafka.
    pub topic_name: String,
    /// Where it stands.
    pub status: State,
    /// Partitions asked for.
    pub partitions: i32,
    /// Copies of each partition asked for.
    pub replication_factor: i16,
    /// Topic configs asked for.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// A free label, returned as it was sent.
    pub created_by: String,
    /// The account whose credential asked.
    pub requested_by: String,
    /// The team or person that answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// What it is for.
    pub description: String,
    /// What happens to held records when it is stopped for good.
    #[serde(default)]
    pub on_stop: OnStop,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was approved.
    pub approved_at: Option<Timestamp>,
    /// When Kafka first served it, or when it was last reactivated.
    pub activated_at: Option<Timestamp>,
    /// When it was last fenced.
    #[serde(default)]
    pub deactivated_at: Option<Timestamp>,
    /// When it ended (deleted, rejected, withdrawn, expired).
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// The reason of the last decision.
    #[serde(default)]
    pub reason: Option<String>,
    /// When an approved deletion will be carried out.
    #[serde(default)]
    pub purge_after: Option<Timestamp>,
    /// When the deletion from Kafka began; from then on there is no way back.
    #[serde(default)]
    pub purge_started_at: Option<Timestamp>,
    /// The approved change that Kafka does not show yet.
    #[serde(default)]
    pub change_request_id: Option<i64>,
    /// Kafka's own id of it: another one under the same name is another topic.
    #[serde(default)]
    pub kafka_id: Option<String>,
    /// An admin's label: it is never deleted.
    #[serde(default)]
    pub never_delete: bool,
    /// Counts the changes of the intent; the ETag.
    pub version: i64,
    /// Failed tries of the reconciler since the last success.
    #[serde(default)]
    pub attempts: i64,
    /// When the reconciler tries again.
    #[serde(default)]
    pub next_attempt_at: Option<Timestamp>,
    /// Why the last try failed.
    #[serde(default)]
    pub last_problem: Option<String>,
}

impl Topic {
    /// What it shall be in Kafka.
    pub fn spec(&self) -> TopicSpec {
        TopicSpec {
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: self.configs.clone(),
        }
    }
}

/// One entry of `GET /api/routes`: the newest row of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Route {
    /// Identity; a name that is asked for again gets a new id.
    pub topic_id: i64,
    /// The name in Kafka.
    pub topic_name: String,
    /// Where it stands.
    pub status: State,
    /// Partitions asked for.
    pub partitions: i32,
    /// What happens to held records when it is stopped for good.
    #[serde(default)]
    pub on_stop: OnStop,
}

/// The answer of `GET /api/routes`: always the whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Routes {
    /// `EPOCH-N`; opaque to clients.
    pub revision: String,
    /// The newest row per name, every status.
    pub topics: Vec<Route>,
}

/// One entry of `GET /api/topics/active`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ActiveTopic {
    /// Identity.
    pub topic_id: i64,
    /// The name in Kafka.
    pub topic_name: String,
    /// What it is for.
    pub description: String,
    /// Partitions.
    pub partitions: i32,
    /// When Kafka first served it, or when it was last reactivated.
    pub activated_at: Option<Timestamp>,
}

/// The body of `POST /api/topics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewTopic {
    /// The name in Kafka.
    pub name: String,
    /// A free label; the account when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Partitions; the policy's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Copies of each partition; the policy's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Topic configs by Kafka's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, String>,
    /// The team or person that answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What happens to held records when it is stopped for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<OnStop>,
    /// Users who are subscribed when it becomes active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
}

/// The body of `PATCH /api/topics/{id}`: what shall change; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TopicChange {
    /// Partitions; they can only grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Configs by Kafka's names; null takes one back to the brokers' default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, Option<String>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer of `POST /api/topics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Requested {
    /// What happened, in words.
    pub message: String,
    /// Identity of the new row.
    pub topic_id: i64,
    /// The name asked for.
    pub topic_name: String,
    /// Where it stands: pending, or approved when the policy decided.
    pub status: State,
    /// The request that a human decides about.
    pub request_id: i64,
    /// Counts the changes of the intent; the ETag.
    pub version: i64,
}

/// The answer of every decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Decided {
    /// What happened, in words.
    pub message: String,
    /// Which topic.
    pub topic_id: i64,
    /// Where it stands now; with `?wait=` the status that was reached in time.
    pub status: State,
    /// Counts the changes of the intent; the ETag.
    pub version: i64,
    /// The request that was filed instead, where the policy wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<i64>,
}

/// The answer of `GET /api/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stats {
    /// Topics that are not ended.
    pub total_topics: i64,
    /// Topics that wait for a decision.
    pub pending_topics: i64,
    /// Topics that are approved and not yet served by Kafka.
    pub approved_topics: i64,
    /// Topics that Kafka serves.
    pub active_topics: i64,
    /// Topics that are fenced.
    pub inactive_topics: i64,
    /// Requests of any kind that wait for a decision.
    pub pending_requests: i64,
    /// User-topic mappings.
    pub total_subscriptions: i64,
    /// When these figures were read.
    pub timestamp: Timestamp,
}
