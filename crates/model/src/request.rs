//! Requests: what a human decides about.

use crate::problem::Problem;
use crate::time::Timestamp;
use crate::topic::{Decided, NewTopic, TopicChange, TopicSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The most characters of a comment.
pub const COMMENT_CHARS_MAX: usize = 2000;
/// The most comments on one request.
pub const COMMENTS_MAX: i64 = 500;
/// The most users that one request subscribes.
pub const SUBSCRIBE_MAX: usize = 50;
/// The most requests that one call decides.
pub const BULK_MAX: usize = 500;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new topic.
    Create,
    /// More partitions or other configs.
    Change,
    /// The end of an inactive topic, data included.
    Delete,
    /// The end of a fence, where the policy wants a request for it.
    Reactivate,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Create, Self::Change, Self::Delete, Self::Reactivate];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Reactivate => "reactivate",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a request stands. All but `pending` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// Nobody has decided.
    Pending,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Rejected,
    /// The requester took it back.
    Withdrawn,
    /// It waited too long.
    Expired,
    /// It was approved and called off before it took effect.
    Cancelled,
}

impl RequestStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Withdrawn,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for RequestStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Request {
    /// Identity.
    pub request_id: i64,
    /// What is asked for.
    pub kind: Kind,
    /// Where it stands.
    pub status: RequestStatus,
    /// The topic that it is about.
    pub topic_id: i64,
    /// That topic's name.
    pub topic_name: String,
    /// The account that asks; it never decides.
    pub requested_by: String,
    /// What the topic shall be.
    pub spec: TopicSpec,
    /// What it was when a change was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<TopicSpec>,
    /// Why it is asked for.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was filed.
    pub created_at: Timestamp,
    /// When it was decided.
    #[serde(default)]
    pub decided_at: Option<Timestamp>,
    /// The account that decided.
    #[serde(default)]
    pub decided_by: Option<String>,
    /// How many approvals it needs.
    #[serde(default = "one")]
    pub approvals_needed: i64,
    /// Whether the approvers must be in different teams.
    #[serde(default)]
    pub different_teams: bool,
    /// The accounts that have approved so far, while more are needed.
    #[serde(default)]
    pub approved_by: Vec<String>,
    /// The teams of each of them, in the same order.
    #[serde(default)]
    pub approver_teams: Vec<Vec<String>>,
    /// What the requester wrote; the rest of `spec` comes from the policy or from the topic.
    #[serde(default)]
    pub asked: Asked,
    /// What an approver made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amended: Option<Amended>,
    /// The users who are subscribed when the topic becomes active.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// When those who decide were last reminded of it.
    #[serde(default)]
    pub reminded_at: Option<Timestamp>,
    /// Why it was decided so.
    #[serde(default)]
    pub decision_reason: Option<String>,
    /// Counts its changes; the ETag.
    pub version: i64,
}

const fn one() -> i64 {
    1
}

/// What somebody wrote into a request; what is absent was left to the policy or stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Asked {
    /// Partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Copies of each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    /// Configs by Kafka's names; null takes one back to the brokers' default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, Option<String>>,
}

impl Asked {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same with what a later text says on top.
    pub fn overlaid(mut self, later: &Self) -> Self {
        self.partitions = later.partitions.or(self.partitions);
        self.replication_factor = later.replication_factor.or(self.replication_factor);
        let named = later.configs.iter();
        self.configs
            .extend(named.map(|(name, value)| (name.clone(), value.clone())));
        self
    }
}

impl From<&NewTopic> for Asked {
    fn from(asked: &NewTopic) -> Self {
        let configs = asked.configs.iter();
        Self {
            partitions: asked.partitions,
            replication_factor: asked.replication_factor,
            configs: configs
                .map(|(name, value)| (name.clone(), Some(value.clone())))
                .collect(),
        }
    }
}

impl From<&TopicChange> for Asked {
    fn from(asked: &TopicChange) -> Self {
        Self {
            partitions: asked.partitions,
            replication_factor: None,
            configs: asked.configs.clone(),
        }
    }
}

/// An approver's changes to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Amended {
    /// The account that changed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What was asked for until then.
    pub before: TopicSpec,
}

/// The body of `PATCH /api/requests/{id}`: what shall be asked for instead; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RequestEdit {
    /// Partitions, copies and configs.
    #[serde(flatten)]
    pub asked: Asked,
    /// What the topic is for (requests for new topics).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The team or person that answers for it (requests for new topics).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who is subscribed when it becomes active (requests for new topics).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Vec<String>>,
    /// Why it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A remark about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Comment {
    /// Identity.
    pub comment_id: i64,
    /// Which request.
    pub request_id: i64,
    /// The account that wrote it.
    pub author: String,
    /// When.
    pub created_at: Timestamp,
    /// What it says.
    pub text: String,
}

/// What became of one request of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BulkItem {
    /// Which request.
    pub request_id: i64,
    /// The HTTP status that it alone would have been answered with.
    pub status: u16,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The answer of `POST /api/requests/decide`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BulkDecided {
    /// Requests that were decided.
    pub decided: usize,
    /// Requests that were not.
    pub refused: usize,
    /// Each of them, in the order of the body.
    pub results: Vec<BulkItem>,
}
