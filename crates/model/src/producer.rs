//! What a producer daemon tells about itself.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The body of `POST /api/producers/heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Heartbeat {
    /// Which daemon; stable over restarts.
    pub instance: String,
    /// The revision of the routes that it routes by.
    pub revision: String,
    /// Topics that it holds records of or has in flight.
    #[serde(default)]
    pub topics: Vec<HeldTopic>,
}

/// What a daemon holds of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeldTopic {
    /// Which topic.
    pub topic_name: String,
    /// Records in the spool.
    #[serde(default)]
    pub held_records: u64,
    /// Their bytes.
    #[serde(default)]
    pub held_bytes: u64,
    /// Age of the oldest of them in milliseconds.
    #[serde(default)]
    pub oldest_held_ms: u64,
    /// Records handed to Kafka and not yet acknowledged.
    #[serde(default)]
    pub in_flight: u64,
    /// Records that come in per second.
    #[serde(default)]
    pub records_per_s: u64,
}

/// One entry of `GET /api/producers`: the last heartbeat of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProducerSeen {
    /// The heartbeat itself.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
    /// The account that sent it.
    pub account: String,
    /// When it was last heard.
    pub seen_at: Timestamp,
}

/// Where a topic stands in a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    #[default]
    /// Nobody has asked for it, as far as this daemon knows.
    Unknown,
    /// Asked for, approved at most; Kafka does not serve it yet.
    Pending,
    /// Active; what was held goes first.
    Draining,
    /// Active; records go straight to Kafka.
    Live,
    /// Active, but Kafka cannot take records now.
    Paused,
    /// Fenced: records are held.
    Inactive,
    /// Stopped for good: records are refused.
    Rejected,
}

impl FlowState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Draining => "draining",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Inactive => "inactive",
            Self::Rejected => "rejected",
        }
    }
}

/// One topic in `GET /status` of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFlow {
    /// Which topic.
    pub topic_name: String,
    /// Where it stands here.
    pub state: FlowState,
    /// Its status in governance, as last heard.
    pub status: Option<String>,
    /// Records in the spool.
    pub held_records: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// Age of the oldest of them in milliseconds.
    pub oldest_held_ms: u64,
    /// Records handed to Kafka and not yet acknowledged.
    pub in_flight: u64,
    /// Records that Kafka acknowledged.
    pub delivered: u64,
    /// Records that were never taken in.
    #[serde(default)]
    pub refused: u64,
    /// Records moved to a dead letter.
    #[serde(default)]
    pub dead_lettered: u64,
    /// Records thrown away on the admin's word.
    #[serde(default)]
    pub discarded: u64,
    /// Records that come in per second.
    #[serde(default)]
    pub records_per_s: u64,
    /// Seconds until what is held has flowed; none while it does not flow.
    #[serde(default)]
    pub drain_eta_s: Option<u64>,
    /// Milliseconds from hearing of the approval to the first record that Kafka acknowledged.
    #[serde(default)]
    pub approve_to_first_delivery_ms: Option<u64>,
}

/// The spool in `GET /status` of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Bytes of all held records.
    pub held_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bound on `held_bytes`.
    pub max_bytes: u64,
    /// Bound on the held bytes of one topic.
    pub max_topic_bytes: u64,
    /// Damaged blocks that were set aside at start.
    pub quarantined_blocks: u64,
    /// Why the spool takes nothing now, if so.
    pub problem: Option<String>,
}

/// The answer of `GET /status` of a daemon, taken from one snapshot of the publisher, so that
/// accepted = delivered + held + in_flight + dead_lettered + discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStatus {
    /// Which daemon.
    pub instance: String,
    /// Records taken in since the start; those found in the spool count once.
    pub accepted: u64,
    /// Of those, records found in the spool at start.
    pub recovered: u64,
    /// Records that Kafka acknowledged.
    pub delivered: u64,
    /// Records in the spool.
    pub held: u64,
    /// Records handed to Kafka and not yet acknowledged.
    pub in_flight: u64,
    /// Records moved to a dead letter.
    pub dead_lettered: u64,
    /// Records thrown away on the admin's word.
    pub discarded: u64,
    /// Records that were never taken in.
    pub refused: u64,
    /// The revision of the routes.
    pub revision: String,
    /// Milliseconds since the admin API was last heard.
    pub routes_age_ms: u64,
    /// The spool.
    pub spool: SpoolStatus,
    /// Topics.
    pub topics: Vec<TopicFlow>,
}

impl ProducerStatus {
    /// Records that were taken in and are nowhere: 0, or something is wrong.
    pub fn unaccounted(&self) -> i64 {
        let out = [
            self.delivered,
            self.held,
            self.in_flight,
            self.dead_lettered,
            self.discarded,
        ];
        self.accepted as i64 - out.iter().sum::<u64>() as i64
    }
}
