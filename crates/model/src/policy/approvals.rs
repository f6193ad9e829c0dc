//! Who must approve: rules that a human wrote, the first that fits counts.

use super::pattern_matches;
use crate::request::Kind;
use crate::topic::TopicSpec;
use serde::{Deserialize, Serialize};

/// How many people must approve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approvals {
    /// None: whoever wrote the rule has approved already.
    Auto,
    /// One approver who is not the requester.
    #[default]
    One,
    /// Two approvers, neither of them the requester.
    Two,
}

impl Approvals {
    /// How many.
    pub const fn needed(self) -> i64 {
        match self {
            Self::Auto => 0,
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// One rule: what it leaves out fits everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// A regular expression that the topic's name matches as a whole; empty fits every name.
    #[serde(default)]
    pub name_pattern: String,
    /// Fits topics of at most so many partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_max: Option<i32>,
    /// Fits requests of these kinds; empty fits all.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// Who must approve what fits.
    pub approvals: Approvals,
}

impl ApprovalRule {
    /// Whether the rule is about a request.
    pub fn fits(&self, kind: Kind, name: &str, spec: &TopicSpec) -> bool {
        pattern_matches(&self.name_pattern, name)
            && self.partitions_max.is_none_or(|max| spec.partitions <= max)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}
