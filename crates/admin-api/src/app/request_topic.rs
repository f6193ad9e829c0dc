//! Asking for a topic.

use super::decide::decide_topic;
use super::transition::{Note, facts, record};
use super::{Context, Decision, approval, budget, check_open_requests};
use crate::error::{AppError, Outcome};
use crate::store::{changes, changes::Feed, requests, topics};
use rusqlite::Connection;
use sluice_model::lifecycle::{Event, State, decisions};
use sluice_model::name::TopicName;
use sluice_model::policy::{Approvals, Verdict, judge};
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::topic::{NewTopic, Requested, Topic, TopicSpec};

/// Files a request for a new topic; the topic's row is pending from now on.
///
/// # Errors
/// 422 with every broken rule, 409 when the name is taken or collides, 429 when too much is open.
pub fn request_topic(
    connection: &Connection,
    context: &Context,
    asked: &NewTopic,
) -> Outcome<Requested> {
    let asked = &with_owner(context, asked)?;
    let (name, spec) = match judge(&context.policy, asked) {
        Verdict::Accept { name, spec, .. } => (name, spec),
        Verdict::Refuse(faults) => return Err(Problem::from_errors(Code::Invalid, faults).into()),
    };
    check_free(connection, &name)?;
    check_open_requests(connection, context)?;
    let mut topic = new_row(context, asked, &name, &spec);
    let faults = budget::new_faults(connection, context, &topic)?;
    if !faults.is_empty() {
        return Err(Problem::from_errors(Code::Invalid, faults).into());
    }
    topic.topic_id = topics::insert(connection, &name, &topic)?;
    let mut request = new_request(context, &topic, spec, asked);
    let approvals = approval::needed(connection, context, &request)?;
    request.approvals_needed = approvals.needed();
    request.different_teams = approvals.different_teams();
    request.request_id = requests::insert(connection, &request)?;
    let note = Note {
        action: "request",
        reason: None,
        request: Some(&request),
    };
    record(connection, context, None, &topic, &note)?;
    let status = topic.status.as_str();
    changes::append(
        connection,
        context.now,
        Feed::Topic,
        name.as_str(),
        status,
        None,
    )?;
    let mut message = "Topic creation request submitted";
    if approvals == Approvals::Auto {
        let (by_policy, decision) = (context.by_policy(), Decision::default());
        let (event, create) = (Event::Approve, Some(request.clone()));
        topic = decide_topic(connection, &by_policy, &topic, create, event, &decision)?;
        message = "Topic approved by policy";
    }
    Ok(Requested {
        message: message.to_owned(),
        topic_id: topic.topic_id,
        topic_name: topic.topic_name,
        status: topic.status,
        request_id: request.request_id,
        version: topic.version,
    })
}

/// A name is free while no open topic has it or collides with it.
pub(super) fn check_free(connection: &Connection, name: &TopicName) -> Outcome<()> {
    match topics::open_by_collision(connection, &name.collision_key())? {
        Some(taken) => Err(taken_problem(name, &taken)),
        None => Ok(()),
    }
}

/// The request with its owner as the policy wants it: a team of the requester, the only one if none is named.
pub(super) fn with_owner(context: &Context, asked: &NewTopic) -> Outcome<NewTopic> {
    let mut asked = asked.clone();
    asked.owner = asked.owner.filter(|owner| !owner.is_empty());
    if !context.policy.owner_is_own_team {
        return Ok(asked);
    }
    let teams = &context.actor.teams;
    match (&asked.owner, teams.as_slice()) {
        (None, [only]) => asked.owner = Some(only.clone()),
        (Some(owner), _) if teams.contains(owner) => {}
        (owner, _) => {
            let what = owner
                .as_ref()
                .map_or_else(|| "none".to_owned(), |owner| format!("{owner:?}"));
            let mine = if teams.is_empty() {
                "none".to_owned()
            } else {
                teams.join(", ")
            };
            let message = format!(
                "is a team of the requester by policy, not {what}; {} is in: {mine}",
                context.actor.account
            );
            return Err(Problem::invalid("/owner", message).into());
        }
    }
    Ok(asked)
}

fn taken_problem(name: &TopicName, taken: &Topic) -> AppError {
    let id = taken.topic_id;
    let state = taken.status;
    let mut problem = if taken.topic_name == name.as_str() {
        let detail = format!("{name} exists already: topic {id} is {state}");
        Problem::new(Code::Duplicate, detail)
    } else {
        let detail = format!(
            "{name} collides with {} (topic {id}, {state}): Kafka takes '.' and '_' for the same in metric names",
            taken.topic_name
        );
        Problem::new(Code::NameCollision, detail)
    };
    problem.allowed = Some(decisions(facts(taken)));
    problem.into()
}

fn new_row(context: &Context, asked: &NewTopic, name: &TopicName, spec: &TopicSpec) -> Topic {
    let account = &context.actor.account;
    Topic {
        topic_id: 0,
        topic_name: name.to_string(),
        status: State::Pending,
        partitions: spec.partitions,
        replication_factor: spec.replication_factor,
        configs: spec.configs.clone(),
        created_by: asked.created_by.clone().unwrap_or_else(|| account.clone()),
        requested_by: account.clone(),
        owner: asked.owner.clone(),
        description: asked.description.clone().unwrap_or_default(),
        on_stop: asked.on_stop.unwrap_or_default(),
        created_at: context.now,
        approved_at: None,
        activated_at: None,
        deactivated_at: None,
        ended_at: None,
        reason: None,
        purge_after: None,
        purge_started_at: None,
        change_request_id: None,
        kafka_id: None,
        never_delete: false,
        version: 1,
        attempts: 0,
        next_attempt_at: None,
        last_problem: None,
    }
}

fn new_request(context: &Context, topic: &Topic, spec: TopicSpec, asked: &NewTopic) -> Request {
    Request {
        request_id: 0,
        kind: Kind::Create,
        status: RequestStatus::Pending,
        topic_id: topic.topic_id,
        topic_name: topic.topic_name.clone(),
        requested_by: context.actor.account.clone(),
        spec,
        base: None,
        approvals_needed: 1,
        different_teams: false,
        approved_by: Vec::new(),
        approver_teams: Vec::new(),
        asked: asked.into(),
        amended: None,
        subscribe: asked.subscribe.clone(),
        reminded_at: None,
        reason: asked.description.clone(),
        created_at: context.now,
        decided_at: None,
        decided_by: None,
        decision_reason: None,
        version: 1,
    }
}
