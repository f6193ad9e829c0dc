//! One step of a topic: the new intent, the audit row and the change, together.

use super::{Context, delete};
use crate::error::Outcome;
use crate::store::{audit, changes, changes::Feed, topics};
use rusqlite::Connection;
use sluice_model::audit::AuditRow;
use sluice_model::lifecycle::{Event, Facts, step};
use sluice_model::request::Request;
use sluice_model::topic::Topic;

/// What is written about a step beside the step itself.
pub(super) struct Note<'a> {
    pub(super) action: &'a str,
    pub(super) reason: Option<&'a str>,
    pub(super) request: Option<&'a Request>,
}

/// What a step depends on.
pub(super) const fn facts(topic: &Topic) -> Facts {
    Facts {
        state: topic.status,
        purge_started: topic.purge_started_at.is_some(),
    }
}

/// Lets an event happen to a topic, or refuses it with the events that it takes.
pub(super) fn transition(
    connection: &Connection,
    context: &Context,
    before: &Topic,
    event: Event,
    reason: Option<&str>,
    request: Option<&Request>,
) -> Outcome<Topic> {
    let transition = step(facts(before), event, context.now)?;
    let mut after = before.clone();
    after.status = transition.to;
    after.approved_at = transition.approved_at.or(before.approved_at);
    after.activated_at = transition.activated_at.or(before.activated_at);
    after.deactivated_at = transition.deactivated_at.or(before.deactivated_at);
    after.ended_at = transition.ended_at;
    if transition.clears_purge {
        after.purge_after = None;
    }
    if event == Event::Deactivate && context.lifecycle.purge_on_deactivate {
        after.purge_after = delete::due(context);
    }
    if reason.is_some() || matches!(event, Event::Reactivate) {
        after.reason = reason.map(str::to_owned);
    }
    after.attempts = 0;
    after.next_attempt_at = None;
    after.last_problem = None;
    let note = Note {
        action: event.as_str(),
        reason,
        request,
    };
    write(connection, context, before, after, &note)
}

/// Writes a changed intent with its audit row and its change.
pub(super) fn write(
    connection: &Connection,
    context: &Context,
    before: &Topic,
    mut after: Topic,
    note: &Note<'_>,
) -> Outcome<Topic> {
    after.version = before.version + 1;
    topics::update_intent(connection, &after)?;
    record(connection, context, Some(before), &after, note)?;
    changes::append(
        connection,
        context.now,
        Feed::Topic,
        &after.topic_name,
        after.status.as_str(),
        None,
    )?;
    Ok(after)
}

/// Appends an audit row about a topic. Nothing happens to a topic without one, so this is where a
/// credential that is narrowed to other topics is refused.
pub(super) fn record(
    connection: &Connection,
    context: &Context,
    before: Option<&Topic>,
    after: &Topic,
    note: &Note<'_>,
) -> Outcome<()> {
    super::check_reach(context, &after.topic_name)?;
    let requested_by = note
        .request
        .map_or(&after.requested_by, |request| &request.requested_by);
    let row = AuditRow {
        seq: 0,
        at: context.now,
        action: note.action.to_owned(),
        kind: note.request.map(|request| request.kind.to_string()),
        topic_id: Some(after.topic_id),
        topic_name: Some(after.topic_name.clone()),
        requested_by: Some(requested_by.clone()),
        actor: context.actor.account.clone(),
        reason: note.reason.map(str::to_owned),
        before: before.map(serde_json::to_value).transpose()?,
        after: Some(serde_json::to_value(after)?),
        request_id: note.request.map(|request| request.request_id),
        on_behalf_of: on_behalf_of(context, requested_by, after),
        source: Some(context.source.clone()),
    };
    audit::append(connection, row)
}

/// For whom somebody acts: who asked, when another one takes it back; whom the requester named.
fn on_behalf_of(context: &Context, requested_by: &str, topic: &Topic) -> Option<String> {
    let named = &topic.created_by;
    let account = &context.actor.account;
    (named != requested_by && named != account).then(|| named.clone())
}

/// Appends an audit row about a request itself: what it was and what it is.
pub(super) fn record_request(
    connection: &Connection,
    context: &Context,
    action: &str,
    before: Option<&Request>,
    request: &Request,
) -> Outcome<()> {
    super::check_reach(context, &request.topic_name)?;
    let row = AuditRow {
        seq: 0,
        at: context.now,
        action: action.to_owned(),
        kind: Some(request.kind.to_string()),
        topic_id: Some(request.topic_id),
        topic_name: Some(request.topic_name.clone()),
        requested_by: Some(request.requested_by.clone()),
        actor: context.actor.account.clone(),
        reason: request.reason.clone(),
        before: before.map(serde_json::to_value).transpose()?,
        after: Some(serde_json::to_value(request)?),
        request_id: Some(request.request_id),
        on_behalf_of: None,
        source: Some(context.source.clone()),
    };
    audit::append(connection, row)
}
