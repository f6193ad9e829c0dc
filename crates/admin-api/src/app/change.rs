//! Asking for more partitions or other configs of a topic that Kafka serves.

use super::petition::{Petition, file, not_now};
use super::{Context, budget, check_topic_version, topic};
use crate::error::Outcome;
use rusqlite::Connection;
use sluice_model::lifecycle::State;
use sluice_model::policy::judge_change;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request};
use sluice_model::topic::TopicChange;

/// Files a request to change a topic.
///
/// # Errors
/// 404, 409 unless Kafka has the topic or when a request or an approved change is open, 412, 422 with
/// every broken rule.
pub fn request_change(
    connection: &Connection,
    context: &Context,
    topic_id: i64,
    if_match: Option<i64>,
    asked: &TopicChange,
) -> Outcome<Request> {
    let topic = topic(connection, topic_id)?;
    check_topic_version(connection, if_match, &topic)?;
    let there = matches!(topic.status, State::Active | State::Inactive);
    if !there || topic.purge_started_at.is_some() {
        let detail = format!(
            "only an active or inactive topic can be changed; this one is {}",
            topic.status
        );
        return Err(not_now(&topic, detail).into());
    }
    if let Some(request_id) = topic.change_request_id {
        let detail = format!("the change of request {request_id} is not yet in Kafka; wait for it");
        return Err(Problem::new(Code::Conflict, detail).retry_after(1).into());
    }
    let base = topic.spec();
    let spec = judge_change(&context.policy, &base, asked)
        .map_err(|faults| Problem::from_errors(Code::Invalid, faults))?;
    let faults = budget::change_faults(connection, context, &topic, &spec)?;
    if !faults.is_empty() {
        return Err(Problem::from_errors(Code::Invalid, faults).into());
    }
    let petition = Petition {
        kind: Kind::Change,
        asked: asked.into(),
        spec,
        base: Some(base),
        reason: asked.reason.clone(),
    };
    file(connection, context, &topic, petition)
}
