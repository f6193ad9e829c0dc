//! What a human does about a disagreement between Kafka and governance.

use super::request_topic::check_free;
use super::transition::{Note, record, write};
use super::{About, Context, Decision, decide, delete, record_about};
use crate::error::Outcome;
use crate::store::{changes, changes::Feed, drift, requests, topics};
use rusqlite::Connection;
use sluice_model::drift::{Drift, DriftKind, Ignored, Remedy};
use sluice_model::lifecycle::State;
use sluice_model::name::TopicName;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Asked, Kind, Request, RequestStatus};
use sluice_model::topic::{OnStop, Topic, TopicSpec};

/// Does something about a disagreement. `there` is what Kafka has under the topic's name.
///
/// # Errors
/// 409 when the remedy does not fit, or something else is under way.
pub fn remedy(
    connection: &Connection,
    context: &Context,
    remedy: Remedy,
    found: &Drift,
    there: Option<&TopicSpec>,
    reason: Option<&str>,
) -> Outcome<()> {
    if let Some(why) = remedy.refusal(found.of.kind) {
        return Err(Problem::new(Code::Conflict, why).into());
    }
    match remedy {
        Remedy::Ignore => {
            let ignored = Ignored {
                by: context.actor.account.clone(),
                at: context.now,
                reason: reason.map(str::to_owned),
            };
            drift::ignore(connection, &found.of, &ignored)?;
            told(connection, context, remedy, None, Some(found), reason)
        }
        Remedy::Heed => {
            drift::heed(connection, &found.of)?;
            told(connection, context, remedy, Some(found), None, reason)
        }
        Remedy::Adopt if found.of.kind == DriftKind::Orphan => {
            let name = &found.of.topic_name;
            adopt_orphan(connection, context, name, there, reason, State::Active).map(drop)
        }
        Remedy::Delete => {
            let name = &found.of.topic_name;
            let topic = adopt_orphan(connection, context, name, there, reason, State::Inactive)?;
            let decision = Decision {
                reason: reason.map(str::to_owned),
                ..Decision::default()
            };
            delete::request_delete(connection, context, topic.topic_id, &decision).map(drop)
        }
        Remedy::Adopt => adopt(connection, context, found, reason),
        Remedy::Restore => restore(connection, context, found, there, reason),
    }
}

/// Writes a word about a disagreement into the audit.
fn told(
    connection: &Connection,
    context: &Context,
    remedy: Remedy,
    before: Option<&Drift>,
    after: Option<&Drift>,
    reason: Option<&str>,
) -> Outcome<()> {
    let of = after.or(before).map(|drift| drift.of.topic_name.as_str());
    let about = About {
        topic_name: of,
        reason,
    };
    record_about(connection, context, remedy.as_str(), before, after, about)
}

fn governed(connection: &Connection, name: &str) -> Outcome<Topic> {
    let found = topics::by_name(connection, name)?;
    let there = found.filter(|topic| matches!(topic.status, State::Active | State::Inactive));
    let missing = || {
        let detail = format!("{name} is not governed any more; look at the drift again");
        Problem::new(Code::Conflict, detail)
    };
    let topic = there.ok_or_else(missing)?;
    if topic.change_request_id.is_some() || topic.purge_started_at.is_some() {
        let detail = format!("a change or deletion of {name} is under way; wait for it");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    Ok(topic)
}

fn adopt_orphan(
    connection: &Connection,
    context: &Context,
    name: &str,
    there: Option<&TopicSpec>,
    reason: Option<&str>,
    status: State,
) -> Outcome<Topic> {
    let gone = || Problem::new(Code::Conflict, format!("{name} is not in Kafka any more"));
    let spec = there.ok_or_else(gone)?.clone();
    let name = TopicName::parse(name)
        .map_err(|_| Problem::new(Code::Conflict, format!("{name} is no name to govern")))?;
    check_free(connection, &name)?;
    let account = &context.actor.account;
    let mut topic = Topic {
        topic_id: 0,
        topic_name: name.to_string(),
        status,
        partitions: spec.partitions,
        replication_factor: spec.replication_factor,
        configs: spec.configs,
        created_by: account.clone(),
        requested_by: account.clone(),
        owner: None,
        description: reason.unwrap_or_default().to_owned(),
        on_stop: OnStop::default(),
        created_at: context.now,
        approved_at: Some(context.now),
        activated_at: Some(context.now),
        deactivated_at: (status == State::Inactive).then_some(context.now),
        ended_at: None,
        reason: reason.map(str::to_owned),
        purge_after: None,
        purge_started_at: None,
        change_request_id: None,
        kafka_id: None,
        never_delete: false,
        version: 1,
        attempts: 0,
        next_attempt_at: None,
        last_problem: None,
    };
    topic.topic_id = topics::insert(connection, &name, &topic)?;
    topics::update_intent(connection, &topic)?;
    let note = Note {
        action: Remedy::Adopt.as_str(),
        reason,
        request: None,
    };
    record(connection, context, None, &topic, &note)?;
    let (name, status) = (name.as_str(), topic.status.as_str());
    changes::append(connection, context.now, Feed::Topic, name, status, None)?;
    Ok(topic)
}

/// Takes what Kafka has into the row.
fn adopt(
    connection: &Connection,
    context: &Context,
    found: &Drift,
    reason: Option<&str>,
) -> Outcome<()> {
    let before = governed(connection, &found.of.topic_name)?;
    let mut after = before.clone();
    let have = found.have.as_deref();
    let number = || have.and_then(|have| have.parse::<i32>().ok());
    match (found.of.kind, &found.of.key) {
        (DriftKind::Partitions, _) => {
            after.partitions = number().unwrap_or(before.partitions);
        }
        (DriftKind::Replication, _) => {
            let copies = number().and_then(|copies| i16::try_from(copies).ok());
            after.replication_factor = copies.unwrap_or(before.replication_factor);
        }
        (DriftKind::Config, Some(key)) => match have {
            Some(value) => {
                after.configs.insert(key.clone(), value.to_owned());
            }
            None => {
                after.configs.remove(key);
            }
        },
        (DriftKind::Recreated, _) => {
            if let Some(id) = have {
                topics::note_kafka_ids(connection, &[(before.topic_id, id.to_owned())])?;
                after.kafka_id = Some(id.to_owned());
            }
        }
        _ => {}
    }
    let note = Note {
        action: Remedy::Adopt.as_str(),
        reason,
        request: None,
    };
    write(connection, context, &before, after, &note).map(drop)
}

/// Lets the reconciler bring back what was approved: an approved change to what the row says already.
fn restore(
    connection: &Connection,
    context: &Context,
    found: &Drift,
    there: Option<&TopicSpec>,
    reason: Option<&str>,
) -> Outcome<()> {
    let before = governed(connection, &found.of.topic_name)?;
    let have = there.map_or(0, |there| there.partitions);
    if found.of.kind == DriftKind::Partitions && have > before.partitions {
        let detail = "Kafka never takes partitions away: adopt what is there";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    let mut base = before.spec();
    if let (DriftKind::Config, Some(key), Some(value)) = (found.of.kind, &found.of.key, &found.have)
    {
        base.configs.insert(key.clone(), value.clone());
    }
    let mut request = Request {
        request_id: 0,
        kind: Kind::Change,
        status: RequestStatus::Pending,
        topic_id: before.topic_id,
        topic_name: before.topic_name.clone(),
        requested_by: context.actor.account.clone(),
        spec: before.spec(),
        base: Some(base),
        approvals_needed: 0,
        approved_by: Vec::new(),
        different_teams: false,
        approver_teams: Vec::new(),
        asked: Asked::default(),
        amended: None,
        subscribe: Vec::new(),
        reminded_at: None,
        reason: reason.map(str::to_owned),
        created_at: context.now,
        decided_at: None,
        decided_by: None,
        decision_reason: None,
        version: 1,
    };
    if let Some(open) = requests::open_of_topic(connection, before.topic_id)? {
        let detail = format!(
            "request {} about this topic is open; decide it first",
            open.request_id
        );
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    request.request_id = requests::insert(connection, &request)?;
    let status = RequestStatus::Approved;
    decide::close(connection, context, request.clone(), status, reason)?;
    let mut after = before.clone();
    after.change_request_id = Some(request.request_id);
    after.attempts = 0;
    after.next_attempt_at = None;
    let note = Note {
        action: Remedy::Restore.as_str(),
        reason,
        request: Some(&request),
    };
    write(connection, context, &before, after, &note).map(drop)
}
