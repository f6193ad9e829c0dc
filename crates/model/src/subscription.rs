//! User-topic mappings.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One user's wish to read one topic. It goes inactive with its topic and comes back with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Subscription {
    /// Identity.
    pub subscription_id: i64,
    /// Who wants to read; the account unless an admin says otherwise.
    pub user_id: String,
    /// Which topic.
    pub topic_name: String,
    /// `active` while the topic is, else `inactive`.
    pub status: SubscriptionStatus,
    /// When it was made.
    pub subscribed_at: Timestamp,
}

/// Whether records flow to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// The topic is active.
    Active,
    /// The topic is not active now.
    Inactive,
}

impl SubscriptionStatus {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// The body of `POST` and `DELETE /api/subscriptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriptionKey {
    /// Whose subscription; the caller's account when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Which topic.
    pub topic_name: String,
}

/// What changed, as `GET /api/changes` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    /// Its place in the feed.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// `topic`, `request` or `subscription`.
    pub kind: String,
    /// Which topic, by name.
    pub topic_name: String,
    /// The topic's status after the change, or the subscription's.
    pub status: String,
    /// For subscriptions: whose.
    #[serde(default)]
    pub user_id: Option<String>,
}

/// The answer of `GET /api/changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Changes {
    /// `EPOCH-N`; opaque to clients.
    pub revision: String,
    /// What changed since the revision that was asked about; everything may have when `reset`.
    pub changes: Vec<Change>,
    /// The revision asked about is not known any more: read everything again.
    pub reset: bool,
}
