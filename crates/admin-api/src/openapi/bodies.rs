//! Bodies as the document shows them, where the code reads or writes them member by member.
#![expect(dead_code, reason = "they only have schemas")]

use crate::store::switches::Switch;
use sluice_model::drift::{DriftKey, DriftKind};
use sluice_model::policy::Policy;
use sluice_model::request::{Asked, Request};
use sluice_model::time::Timestamp;
use sluice_model::topic::NewTopic;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Why something is decided.
#[derive(Debug, ToSchema)]
pub struct Reasoned {
    /// Why; a rejection needs it.
    reason: Option<String>,
    /// The topic's name once more, where a deletion has to be confirmed.
    confirm: Option<String>,
}

/// A decision; only an approval may have `changes`.
#[derive(Debug, ToSchema)]
pub struct DecisionBody {
    /// Why; a rejection needs it.
    reason: Option<String>,
    /// The topic's name once more, where a deletion has to be confirmed.
    confirm: Option<String>,
    /// What the approver makes of what is asked for.
    changes: Option<Asked>,
}

/// The body of `POST /api/topics/activate_by_name`.
#[derive(Debug, ToSchema)]
pub struct Named {
    /// Which topic.
    topic_name: String,
}

/// The body of `PUT /api/deletions`.
#[derive(Debug, ToSchema)]
pub struct SwitchTurn {
    /// Whether anything may be deleted.
    enabled: bool,
    /// Why.
    reason: Option<String>,
}

/// The switch of all deletions, and what the configuration says.
#[derive(Debug, ToSchema)]
pub struct SwitchView {
    #[schema(inline)]
    #[serde(flatten)]
    switch: Switch,
    /// Whether the configuration allows deletions.
    configured: bool,
}

/// The body of `POST /api/drift/{verb}`.
#[derive(Debug, ToSchema)]
pub struct RemedyBody {
    /// Which topic.
    topic_name: String,
    /// How it and Kafka disagree.
    kind: DriftKind,
    /// Which config, if it is about one.
    key: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// What was done about a disagreement.
#[derive(Debug, ToSchema)]
pub struct Remedied {
    #[serde(flatten)]
    of: DriftKey,
    /// What happened, in words.
    message: String,
}

/// The body of `POST /api/apply`.
#[derive(Debug, ToSchema)]
pub struct Declared {
    /// The topics as they shall be.
    topics: Vec<NewTopic>,
    /// Only says what would be.
    dry_run: Option<bool>,
}

/// The body of `POST /api/requests/{id}/comments`.
#[derive(Debug, ToSchema)]
pub struct CommentBody {
    /// What is said.
    text: String,
}

/// The body of `POST /api/requests/decide`.
#[derive(Debug, ToSchema)]
pub struct BulkDecision {
    /// Which requests.
    ids: Vec<BulkId>,
    /// What becomes of them.
    decision: BulkVerb,
    /// Why; a rejection needs it.
    reason: Option<String>,
}

/// A request, by its id or with the version that was seen.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum BulkId {
    /// Its id.
    Id(i64),
    /// Its id, and the version that was seen.
    Seen {
        /// Which request.
        request_id: i64,
        /// The version that was seen; absent means the current one.
        version: Option<i64>,
    },
}

/// What becomes of many requests.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkVerb {
    /// They are approved.
    Approve,
    /// They are rejected.
    Reject,
    /// They are taken back.
    Withdraw,
}

/// The body of `POST /api/policy/try`; one of both is needed.
#[derive(Debug, ToSchema)]
pub struct TrialBody {
    /// The policy to judge, or to judge by.
    policy: Option<Policy>,
    /// The topic to judge.
    topic: Option<NewTopic>,
}

/// A request that was filed.
#[derive(Debug, ToSchema)]
pub struct Filed {
    #[serde(flatten)]
    request: Request,
    /// What happened, in words.
    message: String,
}

/// The answer of `GET /api/health`.
#[derive(Debug, ToSchema)]
pub struct HealthView {
    /// `healthy`, or what it is instead.
    status: String,
    /// Now.
    timestamp: Timestamp,
    /// What is in trouble.
    degraded: Vec<String>,
    /// Why, by what is in trouble.
    reasons: BTreeMap<String, String>,
}
