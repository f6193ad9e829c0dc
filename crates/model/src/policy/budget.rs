//! Budgets: how much of the cluster a team may have, pending requests included.

use crate::problem::{FieldError, field};
use crate::topic::TopicSpec;
use serde::{Deserialize, Serialize};

/// The team of a budget that is for every team without one of its own, each for itself.
pub const ANY_TEAM: &str = "*";
/// Kafka's name for the most bytes that a partition keeps.
pub const RETENTION_BYTES: &str = "retention.bytes";

/// What a team may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The owner of the topics; `*` for every owner without a budget of its own, and for topics of nobody.
    pub team: String,
    /// Topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<i64>,
    /// Partitions of all its topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i64>,
    /// Bytes: `retention.bytes` × partitions × copies of all its topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// An amount of what budgets are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Topics.
    pub topics: i64,
    /// Partitions.
    pub partitions: i64,
    /// Bytes; those of topics without a bound do not count.
    pub bytes: i64,
}

impl Amount {
    /// What one topic takes.
    pub fn of(spec: &TopicSpec) -> Self {
        let each = retention_bytes(spec).unwrap_or(0);
        let copies = i64::from(spec.partitions).saturating_mul(spec.replication_factor.into());
        Self {
            topics: 1,
            partitions: spec.partitions.into(),
            bytes: each.saturating_mul(copies),
        }
    }

    /// What a topic takes more with another spec.
    pub fn growth(before: &TopicSpec, after: &TopicSpec) -> Self {
        let (old, new) = (Self::of(before), Self::of(after));
        Self {
            topics: 0,
            partitions: new.partitions - old.partitions,
            bytes: new.bytes.saturating_sub(old.bytes),
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            topics: self.topics.saturating_add(other.topics),
            partitions: self.partitions.saturating_add(other.partitions),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

fn retention_bytes(spec: &TopicSpec) -> Option<i64> {
    let value = spec.configs.get(RETENTION_BYTES)?.parse().ok()?;
    (value >= 0).then_some(value)
}

/// One line of a budget as a request sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetLine {
    /// `topics`, `partitions` or `bytes`.
    pub resource: String,
    /// What the team's topics take.
    pub used: i64,
    /// What other requests that wait would take.
    pub reserved: i64,
    /// What this request takes.
    pub asked: i64,
    /// What the team may have.
    pub limit: i64,
    /// The same in words.
    pub summary: String,
}

/// A team's budget as a request sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetUse {
    /// The team; empty for topics that nobody owns.
    pub team: String,
    /// What is bounded.
    pub lines: Vec<BudgetLine>,
}

/// The budget of a team: its own, or the one for every team.
pub fn budget_of<'a>(budgets: &'a [Budget], team: Option<&str>) -> Option<&'a Budget> {
    let own = budgets
        .iter()
        .find(|budget| Some(budget.team.as_str()) == team);
    own.or_else(|| budgets.iter().find(|budget| budget.team == ANY_TEAM))
}

/// How a request stands to a budget.
pub fn reckon(
    budget: &Budget,
    team: Option<&str>,
    used: Amount,
    reserved: Amount,
    asked: Amount,
) -> BudgetUse {
    let rows = [
        (
            "topics",
            budget.topics,
            used.topics,
            reserved.topics,
            asked.topics,
        ),
        (
            "partitions",
            budget.partitions,
            used.partitions,
            reserved.partitions,
            asked.partitions,
        ),
        (
            "bytes",
            budget.bytes,
            used.bytes,
            reserved.bytes,
            asked.bytes,
        ),
    ];
    let lines = rows
        .into_iter()
        .filter_map(|(resource, limit, used, reserved, asked)| {
            let limit = limit?;
            let total = used.saturating_add(reserved).saturating_add(asked);
            Some(BudgetLine {
                resource: resource.to_owned(),
                used,
                reserved,
                asked,
                limit,
                summary: format!("would use {total} of {limit} {resource}"),
            })
        });
    BudgetUse {
        team: team.unwrap_or_default().to_owned(),
        lines: lines.collect(),
    }
}

/// Why a budget does not take a request; what takes no more than before always fits.
pub fn budget_faults(budget: &Budget, found: &BudgetUse, spec: &TopicSpec) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for line in &found.lines {
        let pointer = match line.resource.as_str() {
            "topics" => "/owner",
            "partitions" => "/partitions",
            _ => "/configs/retention.bytes",
        };
        if line.asked > 0
            && line
                .used
                .saturating_add(line.reserved)
                .saturating_add(line.asked)
                > line.limit
        {
            let message = format!(
                "{} of the budget of {}: {} are in use and {} are asked for by requests that wait",
                line.summary,
                if found.team.is_empty() {
                    "topics without an owner"
                } else {
                    &found.team
                },
                line.used,
                line.reserved
            );
            faults.push(field(pointer, message));
        }
    }
    if budget.bytes.is_some() && retention_bytes(spec).is_none() {
        let message = "is required, and not -1, where a budget of bytes holds";
        faults.push(field("/configs/retention.bytes", message));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(partitions: i32, bytes: Option<&str>) -> TopicSpec {
        let bytes = bytes.map(|bytes| (RETENTION_BYTES.to_owned(), bytes.to_owned()));
        TopicSpec {
            partitions,
            replication_factor: 2,
            configs: bytes.into_iter().collect(),
        }
    }

    fn budget(team: &str, partitions: i64) -> Budget {
        Budget {
            team: team.to_owned(),
            topics: None,
            partitions: Some(partitions),
            bytes: None,
        }
    }

    #[test]
    fn what_waits_is_reserved_and_the_line_says_so() {
        let budget = budget("red", 500);
        let amount = |partitions| Amount {
            partitions,
            ..Amount::default()
        };
        let asked = spec(12, None);
        let found = reckon(
            &budget,
            Some("red"),
            amount(300),
            amount(100),
            Amount::of(&asked),
        );
        assert_eq!(found.lines[0].summary, "would use 412 of 500 partitions");
        assert!(budget_faults(&budget, &found, &asked).is_empty());
        let found = reckon(
            &budget,
            Some("red"),
            amount(300),
            amount(190),
            Amount::of(&asked),
        );
        assert_eq!(
            budget_faults(&budget, &found, &asked)[0].pointer,
            "/partitions"
        );
        let shrinks = Amount::growth(&asked, &asked);
        let over = reckon(&budget, Some("red"), amount(900), amount(0), shrinks);
        assert!(budget_faults(&budget, &over, &asked).is_empty());
    }

    #[test]
    fn a_budget_of_bytes_wants_a_bound_on_bytes() {
        let budget = Budget {
            bytes: Some(1000),
            partitions: None,
            ..budget("red", 0)
        };
        for (bytes, faults) in [
            (None, 1),
            (Some("-1"), 1),
            (Some("100"), 0),
            (Some("9223372036854775807"), 1),
        ] {
            let asked = spec(2, bytes);
            let found = reckon(
                &budget,
                None,
                Amount::default(),
                Amount::default(),
                Amount::of(&asked),
            );
            assert_eq!(
                budget_faults(&budget, &found, &asked).len(),
                faults,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_team_has_its_own_budget_or_that_of_every_team() {
        let budgets = [budget(ANY_TEAM, 5), budget("red", 9)];
        let limit = |team| budget_of(&budgets, team).and_then(|budget| budget.partitions);
        assert_eq!(
            (limit(Some("red")), limit(Some("blue")), limit(None)),
            (Some(9), Some(5), Some(5))
        );
        assert!(budget_of(&budgets[1..], None).is_none());
    }
}
