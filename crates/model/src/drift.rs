//! Drift: where Kafka and governance disagree. Reported, and mended only when somebody says how.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How they disagree.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Kafka has it, and nobody has approved it.
    Orphan,
    /// It is approved and Kafka has lost it.
    Missing,
    /// Kafka has another topic under its name.
    Recreated,
    /// A config differs.
    Config,
    /// The number of partitions differs.
    Partitions,
    /// The number of copies differs.
    Replication,
}

/// Every kind.
pub const DRIFT_KINDS: [DriftKind; 6] = [
    DriftKind::Orphan,
    DriftKind::Missing,
    DriftKind::Recreated,
    DriftKind::Config,
    DriftKind::Partitions,
    DriftKind::Replication,
];

impl DriftKind {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Missing => "missing",
            Self::Recreated => "recreated",
            Self::Config => "config",
            Self::Partitions => "partitions",
            Self::Replication => "replication",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        DRIFT_KINDS.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for DriftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which disagreement.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct DriftKey {
    /// Which topic.
    pub topic_name: String,
    /// How they disagree.
    pub kind: DriftKind,
    /// Which config, if it is about one.
    #[serde(default)]
    pub key: Option<String>,
}

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drift {
    /// Which.
    #[serde(flatten)]
    pub of: DriftKey,
    /// What was approved.
    pub want: Option<String>,
    /// What Kafka has.
    pub have: Option<String>,
    /// Since when it is known here.
    pub first_seen: Timestamp,
    /// Somebody said that it may stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<Ignored>,
}

/// Who said that a disagreement may stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ignored {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What somebody does about a disagreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// What Kafka has becomes what is approved.
    Adopt,
    /// Kafka gets back what is approved.
    Restore,
    /// It may stay as it is.
    Ignore,
    /// It is not ignored any more.
    Heed,
    /// An orphan is taken in behind a fence, and its deletion is asked for.
    Delete,
}

impl Remedy {
    /// Reads the verb of a path.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "adopt" => Self::Adopt,
            "restore" => Self::Restore,
            "ignore" => Self::Ignore,
            "heed" => Self::Heed,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    /// The verb on the wire and in the audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Restore => "restore",
            Self::Ignore => "ignore",
            Self::Heed => "heed",
            Self::Delete => "delete",
        }
    }

    /// Why a remedy does not fit a kind; none when it does.
    pub const fn refusal(self, kind: DriftKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Adopt, DriftKind::Missing) => Some(
                "a topic that Kafka has lost cannot be adopted: deactivate it and ask for its deletion",
            ),
            (Self::Delete, DriftKind::Orphan)
            | (Self::Ignore | Self::Heed | Self::Adopt, _)
            | (Self::Restore, DriftKind::Config | DriftKind::Partitions) => None,
            (Self::Delete, _) => {
                Some("it is governed: deactivate it and ask for its deletion as for any topic")
            }
            (Self::Restore, DriftKind::Replication) => Some(
                "Sluice does not move replicas: reassign them in Kafka, or adopt what is there",
            ),
            (Self::Restore, DriftKind::Orphan) => Some(
                "nothing of it was approved: adopt it, and delete it as a governed topic if it shall go",
            ),
            (Self::Restore, DriftKind::Missing | DriftKind::Recreated) => Some(
                "the data is gone: adopt what is there, or deactivate it and ask for its deletion",
            ),
        }
    }
}
