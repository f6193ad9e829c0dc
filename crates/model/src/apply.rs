//! Declared topics: what a set of them comes to, one by one.

use crate::problem::FieldError;
use crate::topic::TopicSpec;
use serde::{Deserialize, Serialize};

/// The most topics that one call declares.
pub const APPLY_MAX: usize = 1000;

/// What a declared topic comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nobody has it: a request for a new topic.
    Create,
    /// It is otherwise: a request to change it, or an edit of the request that waits.
    Change,
    /// It is, or is asked for, as declared.
    Unchanged,
    /// It cannot be asked for.
    Refused,
}

/// One declared topic in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanItem {
    /// Which topic.
    pub topic_name: String,
    /// What it comes to.
    pub step: Step,
    /// The same in words.
    pub detail: String,
    /// The request that was filed, edited, or waits already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<i64>,
    /// What the topic is, or what was asked for until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TopicSpec>,
    /// What it shall be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TopicSpec>,
    /// Why it is refused, or what is left as it is.
    #[serde(default)]
    pub findings: Vec<FieldError>,
}

/// The answer of `POST /api/apply`: what was asked for, or would be. What the set does not name stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// Whether nothing was filed.
    pub dry_run: bool,
    /// Topics that are asked for.
    pub create: usize,
    /// Topics that shall change.
    pub change: usize,
    /// Topics that are as declared.
    pub unchanged: usize,
    /// Topics that cannot be asked for.
    pub refused: usize,
    /// Each of them, in the order of the set.
    pub topics: Vec<PlanItem>,
}

impl Plan {
    /// A plan with its counts.
    pub fn new(dry_run: bool, topics: Vec<PlanItem>) -> Self {
        let count = |step| topics.iter().filter(|item| item.step == step).count();
        Self {
            dry_run,
            create: count(Step::Create),
            change: count(Step::Change),
            unchanged: count(Step::Unchanged),
            refused: count(Step::Refused),
            topics,
        }
    }
}
