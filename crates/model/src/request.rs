//! Requests: what a human decides about.

use crate::time::Timestamp;
use crate::topic::TopicSpec;
use serde::{Deserialize, Serialize};
use std::fmt;

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
}

impl Kind {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Create, Self::Change, Self::Delete]
            .into_iter()
            .find(|kind| kind.as_str() == text)
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
    /// The accounts that have approved so far, while more are needed.
    #[serde(default)]
    pub approved_by: Vec<String>,
    /// Why it was decided so.
    #[serde(default)]
    pub decision_reason: Option<String>,
    /// Counts its changes; the ETag.
    pub version: i64,
}

const fn one() -> i64 {
    1
}
