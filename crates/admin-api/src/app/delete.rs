//! Asking for a deletion, and calling it off.

use super::evidence::check_label;
use super::petition::{Petition, file, not_now};
use super::{Context, Decision, check_topic_version, decide, topic};
use crate::error::Outcome;
use crate::store::requests;
use rusqlite::Connection;
use sluice_model::lifecycle::State;
use sluice_model::request::{Asked, Kind, Request, RequestStatus};
use sluice_model::time::Timestamp;

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
    check_topic_version(connection, decision.if_match, &topic)?;
    check_label(&topic)?;
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
        return Err(not_now(&topic, detail).into());
    }
    let petition = Petition {
        kind: Kind::Delete,
        spec: topic.spec(),
        base: None,
        asked: Asked::default(),
        reason: decision.reason.clone(),
    };
    file(connection, context, &topic, petition)
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
