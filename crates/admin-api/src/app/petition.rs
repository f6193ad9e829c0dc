//! Requests about a topic that exists, of kind change or delete: filing them and deciding about them.

use super::approval::{self, amend, approve};
use super::evidence::check;
use super::transition::{Note, facts, record, transition, write};
use super::{COUNTED, Context, Decision, check_open_requests, decide, delete};
use crate::error::Outcome;
use crate::store::{changes, changes::Feed, evidence, requests};
use rusqlite::Connection;
use sluice_model::lifecycle::{Event, decisions, step};
use sluice_model::policy::Approvals;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Asked, Kind, Request, RequestStatus};
use sluice_model::topic::{Decided, Topic, TopicSpec};

/// What is asked about a topic.
pub(super) struct Petition {
    pub(super) kind: Kind,
    pub(super) spec: TopicSpec,
    pub(super) base: Option<TopicSpec>,
    pub(super) asked: Asked,
    pub(super) reason: Option<String>,
}

/// 409 for a topic that cannot be asked this now, with what it takes instead.
pub(super) fn not_now(topic: &Topic, detail: String) -> Problem {
    let mut problem = Problem::new(Code::IllegalTransition, detail);
    problem.allowed = Some(decisions(facts(topic)));
    problem
}

/// Files a request about a topic; there is at most one open at a time.
pub(super) fn file(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    petition: Petition,
) -> Outcome<Request> {
    if let Some(open) = requests::open_of_topic(connection, topic.topic_id)? {
        let detail = format!(
            "request {} ({}) about this topic is open",
            open.request_id, open.kind
        );
        return Err(Problem::new(Code::Duplicate, detail).into());
    }
    check_open_requests(connection, context)?;
    let mut request = Request {
        request_id: 0,
        kind: petition.kind,
        approvals_needed: 1,
        different_teams: false,
        approved_by: Vec::new(),
        approver_teams: Vec::new(),
        asked: petition.asked,
        amended: None,
        subscribe: Vec::new(),
        reminded_at: None,
        status: RequestStatus::Pending,
        topic_id: topic.topic_id,
        topic_name: topic.topic_name.clone(),
        requested_by: context.actor.account.clone(),
        spec: petition.spec,
        base: petition.base,
        reason: petition.reason,
        created_at: context.now,
        decided_at: None,
        decided_by: None,
        decision_reason: None,
        version: 1,
    };
    let approvals = approval::needed(connection, context, &request)?;
    request.approvals_needed = approvals.needed();
    request.different_teams = approvals.different_teams();
    request.request_id = requests::insert(connection, &request)?;
    let note = Note {
        action: "request",
        reason: request.reason.as_deref(),
        request: Some(&request),
    };
    record(connection, context, Some(topic), topic, &note)?;
    feed(connection, context, &request)?;
    if request.kind == Kind::Delete {
        // Nobody decides about it, the policy included, before the reconciler has looked who uses it.
        evidence::want(connection, request.request_id, context.now)?;
    } else if approvals == Approvals::Auto {
        let (by_policy, decision) = (context.by_policy(), Decision::default());
        let (id, event) = (request.request_id, Event::Approve);
        decide(connection, &by_policy, topic, request, event, &decision)?;
        return super::request(connection, id);
    }
    Ok(request)
}

fn feed(connection: &Connection, context: &Context, request: &Request) -> Outcome<()> {
    let (name, status) = (&request.topic_name, request.status.as_str());
    changes::append(connection, context.now, Feed::Request, name, status, None)
}

/// Decides about a request of kind change or delete.
pub(super) fn decide(
    connection: &Connection,
    context: &Context,
    before: &Topic,
    mut request: Request,
    event: Event,
    decision: &Decision,
) -> Outcome<Decided> {
    let reason = decision.reason.as_deref();
    let mut after = before.clone();
    request.status = match event {
        Event::Approve => {
            if let Some(changes) = &decision.changes {
                amend(connection, context, before, &mut request, changes)?;
            }
            if request.kind == Kind::Delete {
                check(connection, context, before, &mut request, decision)?;
            }
            if !approve(context, &mut request)? {
                decide::count_approval(connection, context, before, &mut request, reason)?;
                return Ok(Decided {
                    message: COUNTED.to_owned(),
                    topic_id: before.topic_id,
                    status: before.status,
                    version: before.version,
                    request_id: None,
                });
            }
            take_effect(context, &mut after, &request)?;
            RequestStatus::Approved
        }
        Event::Reject => RequestStatus::Rejected,
        Event::Expire => RequestStatus::Expired,
        _ => RequestStatus::Withdrawn,
    };
    decide::close(connection, context, request.clone(), request.status, reason)?;
    feed(connection, context, &request)?;
    let note = Note {
        action: event.as_str(),
        reason,
        request: Some(&request),
    };
    if event == Event::Approve && request.kind == Kind::Reactivate {
        let (lift, about) = (Event::Reactivate, Some(&request));
        after = transition(connection, context, before, lift, reason, about)?;
        delete::call_off(connection, context, after.topic_id)?;
    } else if event == Event::Approve {
        after = write(connection, context, before, after, &note)?;
    } else {
        record(connection, context, Some(before), before, &note)?;
    }
    let what = match request.kind {
        Kind::Delete => "Deletion",
        Kind::Reactivate => "Reactivation",
        Kind::Change | Kind::Create => "Change",
    };
    Ok(Decided {
        message: format!("{what} {}", request.status),
        topic_id: after.topic_id,
        status: after.status,
        version: after.version,
        request_id: None,
    })
}

/// Files a request to lift a fence, where the policy wants one.
pub(super) fn ask_to_reactivate(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    decision: &Decision,
) -> Outcome<Decided> {
    step(facts(topic), Event::Reactivate, context.now)?;
    let petition = Petition {
        kind: Kind::Reactivate,
        spec: topic.spec(),
        base: None,
        asked: Asked::default(),
        reason: decision.reason.clone(),
    };
    let filed = file(connection, context, topic, petition)?;
    Ok(Decided {
        message: "Reactivation request submitted".to_owned(),
        topic_id: topic.topic_id,
        status: topic.status,
        version: topic.version,
        request_id: Some(filed.request_id),
    })
}

/// What an approval does to the topic; the reconciler brings it to Kafka.
fn take_effect(context: &Context, topic: &mut Topic, request: &Request) -> Outcome<()> {
    if request.kind == Kind::Reactivate {
        // The step of the lifecycle does it.
        return Ok(());
    }
    if request.kind == Kind::Delete {
        topic.purge_after = delete::due(context);
        return Ok(());
    }
    if topic.purge_started_at.is_some() || topic.status.is_ended() {
        let detail = "the topic is being deleted; nothing can be changed any more".to_owned();
        return Err(not_now(topic, detail).into());
    }
    topic.partitions = request.spec.partitions;
    topic.configs.clone_from(&request.spec.configs);
    topic.change_request_id = Some(request.request_id);
    topic.attempts = 0;
    topic.next_attempt_at = None;
    topic.last_problem = None;
    Ok(())
}
