//! Budgets of teams: what requests would use of them. Pending requests hold what they ask for.

use super::Context;
use crate::error::Outcome;
use crate::store::budgets;
use rusqlite::Connection;
use sluice_model::policy::{Amount, BudgetUse, Policy, budget_faults, budget_of, reckon};
use sluice_model::problem::FieldError;
use sluice_model::request::{Kind, Request};
use sluice_model::topic::{Topic, TopicSpec};

/// Why the budget of its owner does not take a new topic.
pub(super) fn new_faults(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
) -> Outcome<Vec<FieldError>> {
    let spec = topic.spec();
    judge(connection, context, topic, Amount::of(&spec), &spec)
}

/// Why the budget of its owner does not take a topic with another spec.
pub(super) fn change_faults(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    spec: &TopicSpec,
) -> Outcome<Vec<FieldError>> {
    let asked = Amount::growth(&topic.spec(), spec);
    judge(connection, context, topic, asked, spec)
}

/// Why the budget does not take a pending request with another spec.
pub(super) fn faults(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    request: &Request,
    spec: &TopicSpec,
) -> Outcome<Vec<FieldError>> {
    if request.kind == Kind::Create {
        return judge(connection, context, topic, Amount::of(spec), spec);
    }
    change_faults(connection, context, topic, spec)
}

fn judge(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    asked: Amount,
    spec: &TopicSpec,
) -> Outcome<Vec<FieldError>> {
    let team = topic.owner.as_deref();
    let Some(budget) = budget_of(&context.policy.budgets, team) else {
        return Ok(Vec::new());
    };
    let found = reckoned(connection, &context.policy, topic, asked)?;
    Ok(found.map_or_else(Vec::new, |found| budget_faults(budget, &found, spec)))
}

/// How a topic that takes so much stands to the budget of its owner; `None` without one.
fn reckoned(
    connection: &Connection,
    policy: &Policy,
    topic: &Topic,
    asked: Amount,
) -> Outcome<Option<BudgetUse>> {
    let team = topic.owner.as_deref();
    let Some(budget) = budget_of(&policy.budgets, team) else {
        return Ok(None);
    };
    let is_new = asked.topics > 0;
    let (mut used, reserved) = budgets::usage(connection, team, topic.topic_id)?;
    if !is_new {
        used = used.plus(Amount::of(&topic.spec()));
    }
    Ok(Some(reckon(budget, team, used, reserved, asked)))
}

/// How a pending request stands to the budget of its topic's owner; `None` without one.
///
/// # Errors
/// When the store fails.
pub fn of_request(
    connection: &Connection,
    policy: &Policy,
    request: &Request,
    topic: &Topic,
) -> Outcome<Option<BudgetUse>> {
    let asked = match request.kind {
        Kind::Create => Amount::of(&request.spec),
        Kind::Change => Amount::growth(&topic.spec(), &request.spec),
        Kind::Delete | Kind::Reactivate => return Ok(None),
    };
    reckoned(connection, policy, topic, asked)
}
