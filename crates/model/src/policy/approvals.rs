//! Who must approve: rules that a human wrote, the first that fits counts.

use super::pattern_matches;
use crate::access::Actor;
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
    /// Two approvers who have no team in common, neither of them the requester.
    TwoTeams,
}

impl Approvals {
    /// How many.
    pub const fn needed(self) -> i64 {
        match self {
            Self::Auto => 0,
            Self::One => 1,
            Self::Two | Self::TwoTeams => 2,
        }
    }

    /// Whether the approvers must be in different teams.
    pub const fn different_teams(self) -> bool {
        matches!(self, Self::TwoTeams)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One => "one",
            Self::Two => "two",
            Self::TwoTeams => "two_teams",
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
    /// Only these accounts decide; empty for everybody with the role approver.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// Only members of these teams decide; `@owner` stands for the team that owns the topic. Who is
    /// in `approvers` decides as well.
    #[serde(default)]
    pub approver_teams: Vec<String>,
}

/// The team that owns the topic, in lists of teams.
pub const OWNER_TEAM: &str = "@owner";

impl ApprovalRule {
    /// Whether the rule is about a request.
    pub fn fits(&self, kind: Kind, name: &str, spec: &TopicSpec) -> bool {
        pattern_matches(&self.name_pattern, name)
            && self.partitions_max.is_none_or(|max| spec.partitions <= max)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    /// Whether somebody is among those who decide about what fits, the topic's owner given.
    ///
    /// # Errors
    /// Who decides instead, in words.
    pub fn admits(&self, actor: &Actor, owner: Option<&str>) -> Result<(), String> {
        let open = self.approvers.is_empty() && self.approver_teams.is_empty();
        let teams: Vec<&str> = self
            .approver_teams
            .iter()
            .filter_map(|team| (team != OWNER_TEAM).then_some(team.as_str()).or(owner))
            .collect();
        let member = actor
            .teams
            .iter()
            .any(|team| teams.contains(&team.as_str()));
        if open || member || self.approvers.contains(&actor.account) {
            return Ok(());
        }
        let mut who: Vec<String> = self.approvers.clone();
        who.extend(teams.iter().map(|team| format!("members of {team}")));
        if who.is_empty() {
            who.push("members of the team that owns it, and it has no owner".to_owned());
        }
        Err(who.join(", "))
    }
}
