//! What a policy would say: to a topic, and to what exists and was asked for already.

use super::BudgetUse;
use crate::problem::FieldError;
use crate::request::RequestStatus;
use serde::Serialize;

/// What a policy would say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Trial {
    /// `refuse`, `auto`, `one`, `two` or `two_teams`: what becomes of the topic that was asked about.
    pub verdict: Option<String>,
    /// Why it is refused.
    pub findings: Vec<FieldError>,
    /// What the topic that was asked about would use of the budget of its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetUse>,
    /// Topics that exist and could not be asked for any more.
    pub broken: Vec<Broken>,
    /// Past requests, the newest first, about which the policy would say something else.
    pub requests: Vec<Otherwise>,
    /// Owners whose topics and waiting requests take more than their budget.
    pub over_budget: Vec<BudgetUse>,
}

/// A past request about which a policy would say something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Otherwise {
    /// Which request.
    pub request_id: i64,
    /// Which topic.
    pub topic_name: String,
    /// What became of it.
    pub status: RequestStatus,
    /// Who had to approve: `auto`, `one`, `two` or `two_teams`.
    pub was: String,
    /// The same under the policy that is tried, or `refuse`.
    pub would_be: String,
    /// The rules that it breaks.
    pub findings: Vec<FieldError>,
}

/// A topic that exists and breaks a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Broken {
    /// Which topic.
    pub topic_name: String,
    /// The rules that it breaks.
    pub findings: Vec<FieldError>,
}
