//! What the reconciler writes: observations, and the two events that are its alone.

use super::transition::{Note, record_request, transition, write};
use super::{Context, Decision, decide, evidence, topic};
use crate::error::Outcome;
use crate::store::{changes, changes::Feed, requests, subscriptions, topics};
use rusqlite::Connection;
use sluice_model::lifecycle::{Event, State};
use sluice_model::request::{Kind, RequestStatus};
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;

/// Requests that one pass ends at most.
const EXPIRED_MAX: u32 = 500;
/// Requests that one pass reminds of at most.
const REMINDED_MAX: u32 = 100;

/// Kafka serves the topic as asked.
///
/// # Errors
/// 409 when the topic is not approved any more.
pub fn provisioned(connection: &Connection, context: &Context, topic_id: i64) -> Outcome<Topic> {
    let before = topic(connection, topic_id)?;
    let request = requests::newest_of_topic(connection, topic_id, Kind::Create)?;
    let after = transition(
        connection,
        context,
        &before,
        Event::Provisioned,
        None,
        request.as_ref(),
    )?;
    for user in request.iter().flat_map(|request| &request.subscribe) {
        if subscriptions::insert(connection, user, topic_id, context.now)?.is_some() {
            let name = &after.topic_name;
            let feed = Feed::Subscription;
            changes::append(connection, context.now, feed, name, "active", Some(user))?;
        }
    }
    Ok(after)
}

/// Kafka shows the change that was approved.
///
/// # Errors
/// When the store fails. `None` when something else was decided meanwhile.
pub fn changed(
    connection: &Connection,
    context: &Context,
    topic_id: i64,
    request_id: i64,
) -> Outcome<Option<Topic>> {
    let before = topic(connection, topic_id)?;
    if before.change_request_id != Some(request_id) {
        return Ok(None);
    }
    let request = requests::by_id(connection, request_id)?;
    let mut after = before.clone();
    after.change_request_id = None;
    after.attempts = 0;
    after.next_attempt_at = None;
    after.last_problem = None;
    let note = Note {
        action: "changed",
        reason: None,
        request: request.as_ref(),
    };
    write(connection, context, &before, after, &note).map(Some)
}

/// A try failed; another one follows at `next`.
///
/// # Errors
/// When the store fails.
pub fn failed(
    connection: &Connection,
    topic_id: i64,
    attempts: i64,
    next: Timestamp,
    problem: &str,
) -> Outcome<()> {
    topics::update_observation(connection, topic_id, attempts, Some(next), Some(problem))
}

/// Commits to the deletion from Kafka, if nothing changed since `version` was read.
///
/// # Errors
/// When the store fails. `None` when the topic changed meanwhile.
pub fn start_purge(
    connection: &Connection,
    context: &Context,
    topic_id: i64,
    version: i64,
) -> Outcome<Option<Topic>> {
    let before = topic(connection, topic_id)?;
    let stopped = before.never_delete || !evidence::deletions(connection, context)?;
    if stopped || before.version != version || before.status != State::Inactive {
        return Ok(None);
    }
    let request = requests::newest_of_topic(connection, topic_id, Kind::Delete)?;
    let mut after = before.clone();
    after.purge_started_at = Some(context.now);
    let note = Note {
        action: "purge_started",
        reason: None,
        request: request.as_ref(),
    };
    write(connection, context, &before, after, &note).map(Some)
}

/// Kafka has no such topic any more.
///
/// # Errors
/// 409 when the deletion had not begun.
pub fn purged(connection: &Connection, context: &Context, topic_id: i64) -> Outcome<Topic> {
    let before = topic(connection, topic_id)?;
    let request = requests::newest_of_topic(connection, topic_id, Kind::Delete)?;
    let after = transition(
        connection,
        context,
        &before,
        Event::Purged,
        None,
        request.as_ref(),
    )?;
    if let Some(open) = requests::open_of_topic(connection, topic_id)? {
        let reason = Some("the topic is deleted");
        decide::close(connection, context, open, RequestStatus::Cancelled, reason)?;
    }
    subscriptions::delete_of_topic(connection, topic_id)?;
    let name = &after.topic_name;
    changes::append(
        connection,
        context.now,
        Feed::Subscription,
        name,
        "inactive",
        None,
    )?;
    Ok(after)
}

/// Reminds of requests that wait since before an instant, and were not reminded of since; says how many.
///
/// # Errors
/// When the store fails.
pub fn remind(connection: &Connection, context: &Context, before: Timestamp) -> Outcome<usize> {
    let waiting = requests::unreminded(connection, before, REMINDED_MAX)?;
    for request in &waiting {
        requests::note_reminder(connection, request.request_id, context.now)?;
        record_request(connection, context, "remind", None, request)?;
        let name = &request.topic_name;
        changes::append(
            connection,
            context.now,
            Feed::Request,
            name,
            "reminder",
            None,
        )?;
    }
    Ok(waiting.len())
}

/// Ends the requests that nobody decided in time; says how many.
///
/// # Errors
/// When the store fails.
pub fn expire(connection: &Connection, context: &Context, before: Timestamp) -> Outcome<usize> {
    let overdue = requests::overdue(connection, before, EXPIRED_MAX)?;
    for request_id in &overdue {
        decide::decide_request(
            connection,
            context,
            *request_id,
            Event::Expire,
            &Decision::default(),
        )?;
    }
    Ok(overdue.len())
}
