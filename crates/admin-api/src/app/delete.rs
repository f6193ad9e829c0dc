//! Asking for a deletion, and deciding about it.

use super::transition::{Note, record, write};
use super::{Context, Decision, check_four_eyes, check_version, decide, topic};
use crate::error::Outcome;
use crate::store::{changes, changes::Feed, requests};
use rusqlite::Connection;
use sluice_model::lifecycle::{Event, Facts, State, decisions};
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::time::Timestamp;
use sluice_model::topic::{Decided, Topic, TopicSpec};

/// When a deletion that is approved now becomes due; never when there is no grace time.
pub(super) fn due(context: &Context) -> Option<Timestamp> {
    let grace = context.lifecycle.grace.0?;
    Some(
        context
            .now
            .plus_millis(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX)),
    )
}

/// Files a request to delete an inactive topic.
///
/// # Errors
/// 404, 409 unless the topic is inactive or when a request is open, 412.
pub fn request_delete(
    connection: &Connection,
    context: &Context,
    topic_id: i64,
    decision: &Decision,
) -> Outcome<Request> {
    let topic = topic(connection, topic_id)?;
    check_version(decision.if_match, topic.version)?;
    let purging = topic.purge_started_at.is_some();
    if topic.status != State::Inactive || purging {
        let way_out = if purging {
            "it is being deleted"
        } else {
            "deactivate it first"
        };
        let detail = format!(
            "only an inactive topic can be deleted; this one is {}: {way_out}",
            topic.status
        );
        let mut problem = Problem::new(Code::IllegalTransition, detail);
        let facts = Facts {
            state: topic.status,
            purge_started: purging,
        };
        problem.allowed = Some(decisions(facts));
        return Err(problem.into());
    }
    if let Some(open) = requests::open_of_topic(connection, topic_id)? {
        let detail = format!(
            "request {} ({}) about this topic is open",
            open.request_id, open.kind
        );
        return Err(Problem::new(Code::Duplicate, detail).into());
    }
    let spec = TopicSpec {
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: topic.configs.clone(),
    };
    let mut request = Request {
        request_id: 0,
        kind: Kind::Delete,
        status: RequestStatus::Pending,
        topic_id,
        topic_name: topic.topic_name.clone(),
        requested_by: context.actor.account.clone(),
        spec,
        reason: decision.reason.clone(),
        created_at: context.now,
        decided_at: None,
        decided_by: None,
        decision_reason: None,
        version: 1,
    };
    request.request_id = requests::insert(connection, &request)?;
    let reason = decision.reason.as_deref();
    let note = Note {
        action: "request",
        reason,
        request: Some(&request),
    };
    record(connection, context, Some(&topic), &topic, &note)?;
    changed(connection, context, &request)?;
    Ok(request)
}

fn changed(connection: &Connection, context: &Context, request: &Request) -> Outcome<()> {
    let status = request.status.as_str();
    changes::append(
        connection,
        context.now,
        Feed::Request,
        &request.topic_name,
        status,
        None,
    )
}

/// Decides about a request to delete a topic.
pub(super) fn decide(
    connection: &Connection,
    context: &Context,
    before: &Topic,
    mut request: Request,
    event: Event,
    decision: &Decision,
) -> Outcome<Decided> {
    let reason = decision.reason.as_deref();
    let status = match event {
        Event::Approve => {
            check_four_eyes(context, &request.requested_by)?;
            RequestStatus::Approved
        }
        Event::Reject if reason.is_none_or(|reason| reason.trim().is_empty()) => {
            let message = "is required: who asked learns why";
            return Err(Problem::invalid("/reason", message).into());
        }
        Event::Reject => RequestStatus::Rejected,
        _ => RequestStatus::Withdrawn,
    };
    decide::close(connection, context, request.clone(), status, reason)?;
    request.status = status;
    changed(connection, context, &request)?;
    let note = Note {
        action: event.as_str(),
        reason,
        request: Some(&request),
    };
    let mut after = before.clone();
    if event == Event::Approve {
        after.purge_after = due(context);
        after = write(connection, context, before, after, &note)?;
    } else {
        record(connection, context, Some(before), before, &note)?;
    }
    Ok(Decided {
        message: format!("Deletion {}", request.status),
        topic_id: after.topic_id,
        status: after.status,
        version: after.version,
    })
}

/// Calls off what a reactivation overrules: a pending request, or an approved one that has not begun.
pub(super) fn call_off(connection: &Connection, context: &Context, topic_id: i64) -> Outcome<()> {
    let Some(request) = requests::newest_of_topic(connection, topic_id, Kind::Delete)? else {
        return Ok(());
    };
    if !matches!(
        request.status,
        RequestStatus::Pending | RequestStatus::Approved
    ) {
        return Ok(());
    }
    decide::close(
        connection,
        context,
        request,
        RequestStatus::Cancelled,
        Some("reactivated"),
    )
}
