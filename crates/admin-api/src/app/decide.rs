//! Deciding: about a topic's open create request, about a topic's fence, and about any request by id.

use super::approval::{amend, approve, check_decider};
use super::transition::{Note, facts, record, transition};
use super::{
    COUNTED, Context, Decision, check_pending, check_reason, check_request_version,
    check_topic_version, delete, petition, request, topic,
};
use crate::auth::require;
use crate::error::Outcome;
use crate::store::requests;
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::lifecycle::{Event, step};
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::topic::{Decided, Topic};

/// Lets an approver (or, for withdraw, the requester) decide about a topic.
///
/// # Errors
/// 404, 403 for the requester's own approval, 409 with the allowed events, 412, 422 without a reason.
pub fn decide(
    connection: &Connection,
    context: &Context,
    topic_id: i64,
    event: Event,
    decision: &Decision,
) -> Outcome<Decided> {
    let before = topic(connection, topic_id)?;
    check_topic_version(connection, decision.if_match, &before)?;
    if event == Event::Reactivate {
        let wants = context
            .policy
            .reactivation_is_asked_for(&before.topic_name, &before.spec());
        if wants {
            return petition::ask_to_reactivate(connection, context, &before, decision);
        }
        require(&context.actor, Role::Approver)?;
    }
    let create = requests::newest_of_topic(connection, topic_id, Kind::Create)?;
    let after = decide_topic(connection, context, &before, create, event, decision)?;
    Ok(decided(event, &before, &after))
}

fn decided(event: Event, before: &Topic, topic: &Topic) -> Decided {
    let waits = event == Event::Approve && before.status == topic.status;
    let message = if waits { COUNTED } else { message(event) };
    Decided {
        message: message.to_owned(),
        topic_id: topic.topic_id,
        status: topic.status,
        version: topic.version,
        request_id: None,
    }
}

const fn message(event: Event) -> &'static str {
    match event {
        Event::Approve => "Topic approved successfully",
        Event::Reject => "Topic rejected",
        Event::Withdraw => "Topic request withdrawn",
        Event::Cancel => "Topic cancelled before it was created",
        Event::Expire => "Topic request expired",
        Event::Deactivate => "Topic deactivated",
        Event::Reactivate => "Topic reactivated",
        Event::Provisioned => "Topic activated",
        Event::Purged => "Topic deleted",
    }
}

pub(super) fn decide_topic(
    connection: &Connection,
    context: &Context,
    before: &Topic,
    mut create: Option<Request>,
    event: Event,
    decision: &Decision,
) -> Outcome<Topic> {
    check_reason(event, decision)?;
    if event == Event::Withdraw {
        check_owner(context, &before.requested_by)?;
    }
    let reason = decision.reason.as_deref();
    let mut before = before.clone();
    // An illegal step is told before anything else.
    step(facts(&before), event, context.now)?;
    let about = create.as_ref().filter(|_| request_status(event).is_some());
    check_decider(context, &before, event, about)?;
    if event == Event::Approve
        && let Some(request) = &mut create
    {
        if let Some(changes) = &decision.changes {
            before = amend(connection, context, &before, request, changes)?;
        }
        if !approve(context, request)? {
            count_approval(connection, context, &before, request, reason)?;
            return Ok(before);
        }
    }
    let after = transition(connection, context, &before, event, reason, create.as_ref())?;
    if let (Some(status), Some(create)) = (request_status(event), create) {
        close(connection, context, create, status, reason)?;
    }
    if event == Event::Reactivate {
        delete::call_off(connection, context, after.topic_id)?;
    }
    Ok(after)
}

/// Writes down an approval that is not enough by itself.
pub(super) fn count_approval(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    request: &mut Request,
    reason: Option<&str>,
) -> Outcome<()> {
    request.version += 1;
    requests::update(connection, request)?;
    let note = Note {
        action: Event::Approve.as_str(),
        reason,
        request: Some(request),
    };
    record(connection, context, Some(topic), topic, &note)
}

const fn request_status(event: Event) -> Option<RequestStatus> {
    match event {
        Event::Approve => Some(RequestStatus::Approved),
        Event::Reject => Some(RequestStatus::Rejected),
        Event::Withdraw => Some(RequestStatus::Withdrawn),
        Event::Expire => Some(RequestStatus::Expired),
        Event::Cancel => Some(RequestStatus::Cancelled),
        Event::Deactivate | Event::Reactivate | Event::Provisioned | Event::Purged => None,
    }
}

fn check_owner(context: &Context, requested_by: &str) -> Outcome<()> {
    if requested_by == context.actor.account || context.actor.may(Role::Admin) {
        return Ok(());
    }
    let detail = format!("{requested_by} asked for it and may take it back; you may reject it");
    Err(Problem::new(Code::Forbidden, detail).into())
}

/// Ends a request.
pub(super) fn close(
    connection: &Connection,
    context: &Context,
    mut request: Request,
    status: RequestStatus,
    reason: Option<&str>,
) -> Outcome<()> {
    request.status = status;
    request.decided_at = Some(context.now);
    request.decided_by = Some(context.actor.account.clone());
    request.decision_reason = reason.map(str::to_owned);
    request.version += 1;
    requests::update(connection, &request)
}

/// Decides about a request of any kind by its id.
///
/// # Errors
/// 404, 403 for the requester's own approval, 409 when it is decided already, 412, 422 without a reason.
pub fn decide_request(
    connection: &Connection,
    context: &Context,
    request_id: i64,
    event: Event,
    decision: &Decision,
) -> Outcome<Decided> {
    let request = request(connection, request_id)?;
    check_request_version(connection, decision.if_match, &request)?;
    check_pending(&request)?;
    let before = topic(connection, request.topic_id)?;
    decide_open(connection, context, &before, request, event, decision)
}

/// Decides about a request that is known to be pending.
pub(super) fn decide_open(
    connection: &Connection,
    context: &Context,
    before: &Topic,
    request: Request,
    event: Event,
    decision: &Decision,
) -> Outcome<Decided> {
    if request.kind == Kind::Create {
        let after = decide_topic(connection, context, before, Some(request), event, decision)?;
        return Ok(decided(event, before, &after));
    }
    if event == Event::Withdraw {
        check_owner(context, &request.requested_by)?;
    }
    check_reason(event, decision)?;
    check_decider(context, before, event, Some(&request))?;
    petition::decide(connection, context, before, request, event, decision)
}
