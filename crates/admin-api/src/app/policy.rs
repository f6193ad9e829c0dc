//! Writing a new version of the policy.

use super::approval::{as_asked, as_new_topic};
use super::{About, Context, check_version, record_about};
use crate::error::Outcome;
use crate::store::{budgets, policies};
use rusqlite::Connection;
use sluice_model::policy::{
    Amount, BudgetUse, Policy, Verdict, budget_faults, budget_of, config_faults, judge, reckon,
};
use sluice_model::problem::{FieldError, field};
use sluice_model::request::{Kind, Request};
use sluice_model::topic::{NewTopic, Topic};
use std::collections::BTreeSet;

/// Appends a version; answers its number.
///
/// # Errors
/// 412 when another version was written meanwhile.
pub fn write(
    connection: &Connection,
    context: &Context,
    if_match: Option<i64>,
    policy: &Policy,
    reason: Option<&str>,
) -> Outcome<i64> {
    let current = policies::newest(connection)?;
    let version = current.as_ref().map_or(0, |(version, _)| *version);
    check_version(if_match, version)?;
    let before = current.map_or_else(|| Policy::clone(&context.policy), |(_, policy)| policy);
    let version = policies::append(connection, policy, &context.actor.account, context.now)?;
    let about = About {
        reason,
        ..About::default()
    };
    let (action, before, after) = ("policy_written", Some(&before), Some(policy));
    record_about(connection, context, action, before, after, about)?;
    Ok(version)
}

/// What a policy says against a request; its name and labels count for new topics only.
pub fn findings(policy: &Policy, request: &Request, topic: &Topic) -> Vec<FieldError> {
    let asked = match request.kind {
        Kind::Create => as_asked(&request.spec),
        Kind::Change => {
            let faults = config_faults(policy, &request.spec.configs);
            let partitions = policy.partitions;
            let wanted = request.spec.partitions;
            let fits = (partitions.min..=partitions.max).contains(&wanted);
            let message = format!(
                "is {} to {} by policy, not {wanted}",
                partitions.min, partitions.max
            );
            let wide = (!fits).then(|| field("/partitions", message));
            return wide.into_iter().chain(faults).collect();
        }
        Kind::Delete | Kind::Reactivate => return Vec::new(),
    };
    match judge(policy, &as_new_topic(topic, request, &asked)) {
        Verdict::Refuse(faults) => faults,
        Verdict::Accept { .. } => Vec::new(),
    }
}

/// What a new topic would use of the budget of its owner, and why that does not take it.
///
/// # Errors
/// When the store fails.
pub fn budget_of_new(
    connection: &Connection,
    policy: &Policy,
    asked: &NewTopic,
) -> Outcome<(Option<BudgetUse>, Vec<FieldError>)> {
    let owner = asked.owner.as_deref().filter(|owner| !owner.is_empty());
    let Some((budget, Verdict::Accept { spec, .. })) =
        budget_of(&policy.budgets, owner).map(|budget| (budget, judge(policy, asked)))
    else {
        return Ok((None, Vec::new()));
    };
    let (used, reserved) = budgets::usage(connection, owner, 0)?;
    let found = reckon(budget, owner, used, reserved, Amount::of(&spec));
    let faults = budget_faults(budget, &found, &spec);
    Ok((Some(found), faults))
}

/// The owners whose topics and waiting requests take more than a policy gives them.
///
/// # Errors
/// When the store fails.
pub fn over_budget(
    connection: &Connection,
    policy: &Policy,
    there: &[Topic],
) -> Outcome<Vec<BudgetUse>> {
    let mut over = Vec::new();
    let owners: BTreeSet<Option<&str>> = there.iter().map(|topic| topic.owner.as_deref()).collect();
    for owner in owners {
        let Some(budget) = budget_of(&policy.budgets, owner) else {
            continue;
        };
        let (used, reserved) = budgets::usage(connection, owner, 0)?;
        let mut found = reckon(budget, owner, used, reserved, Amount::default());
        found
            .lines
            .retain(|line| line.used.saturating_add(line.reserved) > line.limit);
        if !found.lines.is_empty() {
            over.push(found);
        }
    }
    Ok(over)
}
