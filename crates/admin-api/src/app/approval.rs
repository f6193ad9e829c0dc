//! Approvals: who may decide, how many it takes, and what an approver may change about a request.

use super::transition::{Note, record_request, write};
use super::{Context, POLICY, budget};
use crate::error::Outcome;
use crate::store::{requests, topics};
use rusqlite::Connection;
use sluice_model::lifecycle::Event;
use sluice_model::policy::{Approvals, Verdict, judge, judge_change};
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Amended, Asked, Kind, Request};
use sluice_model::topic::{NewTopic, Topic, TopicChange, TopicSpec};

/// The time over which the policy's own approvals are counted.
const AUTO_WINDOW_MS: i64 = 3_600_000;

/// Who must approve a request that is filed or changed now.
pub(super) fn needed(
    connection: &Connection,
    context: &Context,
    request: &Request,
) -> Outcome<Approvals> {
    let policy = &context.policy;
    let approvals = policy.approvals(request.kind, &request.topic_name, &request.spec);
    if approvals != Approvals::Auto {
        return Ok(approvals);
    }
    // What nobody looks at must not subscribe others.
    let account = &request.requested_by;
    if request.subscribe.iter().any(|user| user != account) {
        return Ok(Approvals::One);
    }
    if let Some(limit) = policy.auto_approvals_per_hour {
        let since = context.now.plus_millis(-AUTO_WINDOW_MS);
        if requests::approved_by_policy(connection, account, since)? >= limit {
            return Ok(Approvals::One);
        }
    }
    Ok(Approvals::Auto)
}

/// Whether the policy leaves the decision to this actor.
///
/// # Errors
/// 403 that names who decides.
pub(super) fn check_decider(
    context: &Context,
    topic: &Topic,
    event: Event,
    request: Option<&Request>,
) -> Outcome<()> {
    let kind = match (event, request) {
        (Event::Approve | Event::Reject, Some(request)) => request.kind,
        (Event::Approve | Event::Reject | Event::Cancel, _) => Kind::Create,
        (Event::Deactivate, _) => Kind::Change,
        (Event::Reactivate, _) => Kind::Reactivate,
        _ => return Ok(()),
    };
    if is_policy(context) {
        return Ok(());
    }
    let spec = request.map_or_else(|| topic.spec(), |request| request.spec.clone());
    let Some(rule) = context.policy.rule(kind, &topic.topic_name, &spec) else {
        return Ok(());
    };
    let owner = topic.owner.as_deref();
    rule.admits(&context.actor, owner).map_err(|who| {
        let detail = format!(
            "{} does not decide about {}: by policy that is for {who}",
            context.actor.account, topic.topic_name
        );
        Problem::new(Code::Forbidden, detail).into()
    })
}

/// The policy itself acts, which no account can: accounts that act have roles.
fn is_policy(context: &Context) -> bool {
    context.actor.account == POLICY && context.actor.roles.is_empty()
}

/// Counts one approval of a request under the two-person rule; says whether it has enough now.
pub(super) fn approve(context: &Context, request: &mut Request) -> Outcome<bool> {
    let account = &context.actor.account;
    if request.requested_by == *account && !context.policy.allow_self_approval {
        let detail = format!("{account} asked for it; somebody else approves it");
        return Err(Problem::new(Code::SelfApproval, detail).into());
    }
    if request.approved_by.contains(account) {
        let detail = format!(
            "{account} has approved it already; it needs {} different approvers",
            request.approvals_needed
        );
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    if request.different_teams && !is_policy(context) {
        check_teams(context, request)?;
    }
    request.approved_by.push(account.clone());
    request.approver_teams.push(context.actor.teams.clone());
    Ok(i64::try_from(request.approved_by.len()).unwrap_or(i64::MAX) >= request.approvals_needed)
}

/// Approvers of different teams are in a team, and in none that another approver is in.
fn check_teams(context: &Context, request: &Request) -> Outcome<()> {
    let teams = &context.actor.teams;
    if teams.is_empty() {
        let detail = "it takes approvers of different teams, and this account is in none";
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    let shared = request
        .approver_teams
        .iter()
        .flatten()
        .find(|team| teams.contains(team));
    let Some(shared) = shared else { return Ok(()) };
    let detail = format!(
        "it takes approvers of different teams; {} of {shared} has approved it already",
        request.approved_by.join(", ")
    );
    Err(Problem::new(Code::Forbidden, detail).into())
}

/// What a request asks for, in the form in which it is asked.
pub(super) fn as_asked(spec: &TopicSpec) -> Asked {
    let configs = spec.configs.iter();
    Asked {
        partitions: Some(spec.partitions),
        replication_factor: Some(spec.replication_factor),
        configs: configs
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect(),
    }
}

/// The request for a topic as it would be written now.
pub(super) fn as_new_topic(topic: &Topic, request: &Request, asked: &Asked) -> NewTopic {
    let configs = asked.configs.iter();
    NewTopic {
        name: topic.topic_name.clone(),
        created_by: Some(topic.created_by.clone()),
        partitions: asked.partitions,
        replication_factor: asked.replication_factor,
        description: Some(topic.description.clone()).filter(|text| !text.is_empty()),
        configs: configs
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect(),
        owner: topic.owner.clone(),
        on_stop: Some(topic.on_stop),
        subscribe: request.subscribe.clone(),
    }
}

/// The spec that a request of kind create or change would have with other wishes.
///
/// # Errors
/// 422 with every broken rule.
pub(super) fn respec(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    request: &Request,
    asked: &Asked,
) -> Outcome<TopicSpec> {
    let (spec, mut faults) = match request.kind {
        Kind::Create => match judge(&context.policy, &as_new_topic(topic, request, asked)) {
            Verdict::Accept { spec, .. } => (spec, Vec::new()),
            Verdict::Refuse(faults) => (request.spec.clone(), faults),
        },
        Kind::Change => {
            let mut change = TopicChange {
                partitions: asked.partitions,
                configs: asked.configs.clone(),
                reason: None,
            };
            let base = topic.spec();
            // Taking back what is not set is nothing, when it was asked for before.
            change
                .configs
                .retain(|name, value| value.is_some() || base.configs.contains_key(name));
            judge_change(&context.policy, &base, &change).map_or_else(
                |faults| (request.spec.clone(), faults),
                |spec| (spec, Vec::new()),
            )
        }
        Kind::Delete | Kind::Reactivate => {
            let message = format!(
                "has nothing that could be changed: it is a {} request",
                request.kind
            );
            return Err(Problem::invalid("", message).into());
        }
    };
    if faults.is_empty() {
        faults = budget::faults(connection, context, topic, request, &spec)?;
    }
    if faults.is_empty() {
        return Ok(spec);
    }
    Err(Problem::from_errors(Code::Invalid, faults).into())
}

/// Changes a pending request as an approver wants it, within the policy; earlier approvals were for
/// something else and are gone. The requester sees what it was.
pub(super) fn amend(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    request: &mut Request,
    changes: &Asked,
) -> Outcome<Topic> {
    let before = request.clone();
    let mut asked = as_asked(&request.spec);
    if request.kind == Kind::Change {
        // Only what differs from the topic is a change.
        let base = topic.spec();
        asked.replication_factor = None;
        asked
            .configs
            .retain(|name, value| base.configs.get(name) != value.as_ref());
        let gone = base
            .configs
            .keys()
            .filter(|name| !request.spec.configs.contains_key(*name));
        asked.configs.extend(gone.map(|name| (name.clone(), None)));
        if changes.replication_factor.is_some() {
            let message = "cannot be changed for a topic that exists";
            return Err(Problem::invalid("/changes/replication_factor", message).into());
        }
    }
    let spec = respec(
        connection,
        context,
        topic,
        request,
        &asked.overlaid(changes),
    )?;
    if spec == request.spec {
        return Ok(topic.clone());
    }
    request.amended = Some(Amended {
        by: context.actor.account.clone(),
        at: context.now,
        before: before.spec.clone(),
    });
    request.spec = spec;
    request.approved_by.clear();
    request.approver_teams.clear();
    let approvals = context
        .policy
        .approvals(request.kind, &request.topic_name, &request.spec);
    request.approvals_needed = request.approvals_needed.max(approvals.needed());
    request.different_teams |= approvals.different_teams();
    request.version += 1;
    requests::update(connection, request)?;
    rewrite(connection, context, topic, &before, request, "amend")
}

/// Writes what a changed request makes of its topic (a pending one is what its request says), and the
/// audit row.
pub(super) fn rewrite(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    before: &Request,
    request: &Request,
    action: &'static str,
) -> Outcome<Topic> {
    if request.kind != Kind::Create {
        record_request(connection, context, action, Some(before), request)?;
        return Ok(topic.clone());
    }
    let was = super::topic(connection, topic.topic_id)?;
    let mut after = topic.clone();
    after.partitions = request.spec.partitions;
    after.replication_factor = request.spec.replication_factor;
    after.configs.clone_from(&request.spec.configs);
    topics::update_asked(connection, &after)?;
    let note = Note {
        action,
        reason: None,
        request: Some(request),
    };
    write(connection, context, &was, after, &note)
}
