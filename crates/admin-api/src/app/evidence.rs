//! No deletion without evidence: what the reconciler found is put on the request, and weighs on its decision.

use super::transition::{Note, write};
use super::{About, Context, Decision, decide, record_about, topic};
use crate::error::Outcome;
use crate::store::switches::Switch;
use crate::store::{evidence, requests, switches};
use rusqlite::Connection;
use sluice_model::lifecycle::Event;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::topic::Topic;
use sluice_model::usage::Evidence;

/// Evidence that is older than this decides nothing, in milliseconds.
const FRESH_MS: i64 = 60_000;
/// Approvers of the deletion of a topic that is in use.
const APPROVERS_IN_USE: i64 = 2;

/// Puts evidence on a pending deletion. One that the policy approves by itself takes effect now, unless the
/// topic is in use.
///
/// # Errors
/// When the store fails.
pub fn gathered(
    connection: &Connection,
    context: &Context,
    request_id: i64,
    found: &Evidence,
) -> Outcome<()> {
    let Some(request) = requests::by_id(connection, request_id)? else {
        return Ok(());
    };
    if request.status != RequestStatus::Pending || request.kind != Kind::Delete {
        return Ok(());
    }
    evidence::put(connection, request_id, found)?;
    if !found.in_use.is_empty() {
        return requests::need_approvals(connection, request_id, APPROVERS_IN_USE);
    }
    if request.approvals_needed == 0 {
        let (by_policy, decision) = (context.by_policy(), Decision::default());
        decide::decide_request(
            connection,
            &by_policy,
            request_id,
            Event::Approve,
            &decision,
        )?;
    }
    Ok(())
}

/// Whether the evidence allows this approval of a deletion.
///
/// # Errors
/// 409 without fresh evidence or for a topic that is never deleted, 422 when it is in use and its name is not
/// given to confirm.
pub(super) fn check(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    request: &mut Request,
    decision: &Decision,
) -> Outcome<()> {
    check_label(topic)?;
    let found = evidence::of_request(connection, request.request_id)?;
    let oldest = context.now.plus_millis(-FRESH_MS);
    let Some(found) = found.filter(|found| found.gathered_at >= oldest) else {
        let detail =
            "no deletion without evidence: what uses the topic is being looked up; try again";
        return Err(Problem::new(Code::Conflict, detail).retry_after(1).into());
    };
    if found.in_use.is_empty() {
        return Ok(());
    }
    request.approvals_needed = request.approvals_needed.max(APPROVERS_IN_USE);
    if decision.confirm.as_deref() == Some(topic.topic_name.as_str()) {
        return Ok(());
    }
    let message = format!(
        "is the topic's name, given to confirm the deletion of a topic that is in use: {}",
        found.in_use.join("; ")
    );
    Err(Problem::invalid("/confirm", message).into())
}

/// 409 for a topic with the label that it is never deleted.
///
/// # Errors
/// That.
pub(super) fn check_label(topic: &Topic) -> Outcome<()> {
    if !topic.never_delete {
        return Ok(());
    }
    let detail = format!(
        "{} has the label never_delete; an admin takes it away with POST /api/topics/{}/unprotect",
        topic.topic_name, topic.topic_id
    );
    Err(Problem::new(Code::Conflict, detail).into())
}

/// Puts the label on a topic that it is never deleted, or takes it away.
///
/// # Errors
/// 404, 409 when it has ended or its deletion has begun, 412.
pub fn protect(
    connection: &Connection,
    context: &Context,
    topic_id: i64,
    never_delete: bool,
    decision: &Decision,
) -> Outcome<Topic> {
    let before = topic(connection, topic_id)?;
    super::check_version(decision.if_match, before.version)?;
    if before.status.is_ended() || before.purge_started_at.is_some() {
        let detail = "the topic has ended or is being deleted; a label changes nothing any more";
        return Err(super::petition::not_now(&before, detail.to_owned()).into());
    }
    if before.never_delete == never_delete {
        return Ok(before);
    }
    let mut after = before.clone();
    after.never_delete = never_delete;
    let note = Note {
        action: if never_delete { "protect" } else { "unprotect" },
        reason: decision.reason.as_deref(),
        request: None,
    };
    write(connection, context, &before, after, &note)
}

/// Whether anything may be deleted from Kafka now.
///
/// # Errors
/// When the store fails.
pub fn deletions(connection: &Connection, context: &Context) -> Outcome<bool> {
    Ok(context.lifecycle.deletions && switches::deletions(connection)?.enabled)
}

/// Turns the switch of all deletions.
///
/// # Errors
/// When the store fails.
pub fn turn(
    connection: &Connection,
    context: &Context,
    enabled: bool,
    reason: Option<String>,
) -> Outcome<Switch> {
    let before = switches::deletions(connection)?;
    let after = Switch {
        enabled,
        by: Some(context.actor.account.clone()),
        at: Some(context.now),
        reason,
    };
    switches::turn_deletions(connection, &after)?;
    let action = if enabled {
        "deletions_on"
    } else {
        "deletions_off"
    };
    let about = About {
        topic_name: None,
        reason: after.reason.as_deref(),
    };
    record_about(
        connection,
        context,
        action,
        Some(&before),
        Some(&after),
        about,
    )?;
    Ok(after)
}
