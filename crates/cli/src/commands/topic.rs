//! `sluice topic`.

use super::{Outcome, each};
use crate::args::govern::Label;
use crate::args::{Decision, Topic as Command, TopicChange, TopicRequest};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Column;
use sluice_admin_client::call;
use sluice_model::lifecycle::State;
use sluice_model::topic::{NewTopic, Topic};
use std::time::{Duration, Instant};

/// The columns of a listing of topics.
pub(crate) const COLUMNS: [Column; 8] = [
    ("ID", "topic_id"),
    ("NAME", "topic_name"),
    ("STATUS", "status"),
    ("PARTITIONS", "partitions"),
    ("REPLICATION", "replication_factor"),
    ("REQUESTED BY", "requested_by"),
    ("CREATED", "created_at"),
    ("DESCRIPTION", "description"),
];
/// Longest single wait for a change; what is not a change, such as a new problem, is seen after it.
const POLL: Duration = Duration::from_secs(5);
/// Shortest wait that the API knows; below it we look again after a pause.
const POLL_MIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Request(request) => ask(context, &request),
        Command::Approve(decision) => decide(context, "approve", &decision, State::Active),
        Command::Withdraw(decision) => decide(context, "withdraw", &decision, State::Withdrawn),
        Command::Cancel(decision) => decide(context, "cancel", &decision, State::Withdrawn),
        Command::Deactivate(decision) => decide(context, "deactivate", &decision, State::Inactive),
        Command::Reactivate(decision) => decide(context, "reactivate", &decision, State::Active),
        Command::Reject(decision) => {
            let (topics, reason) = (decision.topics, Some(decision.reason));
            let decision = Decision {
                topics,
                reason,
                wait: None,
            };
            decide(context, "reject", &decision, State::Rejected)
        }
        Command::Fence { topic } => {
            let found = find(context, &topic)?;
            let fence = context.admin(call::fence(found.topic_id))?;
            context.output.object(&fence, "topic_name")
        }
        Command::Protect(which) => label(context, "protect", &which, "it is never deleted"),
        Command::Unprotect(which) => label(context, "unprotect", &which, "it can be deleted again"),
        Command::Change(change) => ask_change(context, &change),
        Command::Delete(decision) => delete(context, &decision),
        Command::List { status, q, limit } => {
            let mut topics = call::topics(status.as_deref());
            if let Some(q) = q {
                topics = topics.with("q", q);
            }
            if let Some(limit) = limit {
                topics = topics.with("limit", limit.to_string());
            }
            context
                .output
                .listing(&context.admin(topics.raw())?, &COLUMNS, "topic_name")
        }
        Command::Get { topic } => {
            let found = match topic.parse() {
                Ok(id) => call::topic(id),
                Err(_) => call::topic_by_name(&topic),
            };
            context
                .output
                .object(&context.admin(found.raw())?, "topic_name")
        }
    }
}

/// A topic by its name, or by its id when it is a number.
fn find(context: &Context, topic: &str) -> Result<Topic, Failure> {
    context.admin(
        topic
            .parse()
            .map_or_else(|_| call::topic_by_name(topic), call::topic),
    )
}

fn ask(context: &Context, request: &TopicRequest) -> Result<(), Failure> {
    let topic = NewTopic {
        name: request.name.clone(),
        created_by: request.created_by.clone(),
        partitions: request.partitions,
        replication_factor: request.replication,
        description: request.description.clone(),
        configs: request.configs.iter().cloned().collect(),
        owner: request.owner.clone(),
        on_stop: None,
        subscribe: request.subscribe.clone(),
    };
    let answer = context.admin(call::request_topic(&topic).raw())?;
    let word = |member: &str| crate::output::cell(&answer, member);
    let (id, request_id, status) = (word("topic_id"), word("request_id"), word("status"));
    let name = &request.name;
    let Some(wait) = request.wait else {
        let sentence = format!("{name}: topic {id}, request {request_id}, {status}");
        return context.output.done(&answer, name, &sentence);
    };
    let id = answer["topic_id"].as_i64().unwrap_or_default();
    let reached = wait_for(context, id, State::Active, wait)?;
    let sentence = format!("{name}: topic {id}, {}", reached.status);
    context
        .output
        .done(&serde_json::json!(reached), name, &sentence)
}

fn decide(
    context: &Context,
    verb: &str,
    decision: &Decision,
    target: State,
) -> Result<(), Failure> {
    each(context, &decision.topics, |topic| {
        let found = find(context, topic)?;
        let reason = decision.reason.as_deref();
        let decide = call::decide(found.topic_id, verb, reason, Duration::ZERO);
        let mut answer = context.admin(decide.raw())?;
        if let Some(wait) = decision.wait {
            let reached = wait_for(context, found.topic_id, target, wait)?;
            answer["status"] = serde_json::json!(reached.status);
            answer["version"] = serde_json::json!(reached.version);
        }
        let sentence = format!(
            "{}: {}",
            found.topic_name,
            crate::output::cell(&answer, "status")
        );
        Ok(Outcome {
            answer,
            name: found.topic_name,
            sentence,
        })
    })
}

/// Puts the label on topics that they are never deleted, or takes it away.
fn label(context: &Context, verb: &str, which: &Label, outcome: &str) -> Result<(), Failure> {
    each(context, &which.topics, |topic| {
        let found = find(context, topic)?;
        let decide = call::decide(
            found.topic_id,
            verb,
            which.reason.as_deref(),
            Duration::ZERO,
        );
        let answer = context.admin(decide.raw())?;
        Ok(Outcome {
            answer,
            sentence: format!("{}: {outcome}", found.topic_name),
            name: found.topic_name,
        })
    })
}

fn ask_change(context: &Context, asked: &TopicChange) -> Result<(), Failure> {
    let found = find(context, &asked.topic)?;
    let set = asked
        .configs
        .iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    let unset = asked.unset.iter().map(|key| (key.clone(), None));
    let change = sluice_model::topic::TopicChange {
        partitions: asked.partitions,
        configs: set.chain(unset).collect(),
        reason: asked.reason.clone(),
    };
    let answer = context.admin(call::request_change(found.topic_id, &change))?;
    let name = &found.topic_name;
    let request_id = crate::output::cell(&answer, "request_id");
    let sentence = format!("{name}: request {request_id} to change it");
    context.output.done(&answer, name, &sentence)
}

fn delete(context: &Context, decision: &Decision) -> Result<(), Failure> {
    each(context, &decision.topics, |topic| {
        let found = find(context, topic)?;
        let filed = call::request_delete(found.topic_id, decision.reason.as_deref());
        let answer = context.admin(filed)?;
        let request_id = crate::output::cell(&answer, "request_id");
        let mut sentence = format!("{}: request {request_id} to delete it", found.topic_name);
        if let Some(wait) = decision.wait {
            wait_for(context, found.topic_id, State::Deleted, wait)?;
            sentence = format!("{}: deleted", found.topic_name);
        }
        Ok(Outcome {
            answer,
            name: found.topic_name,
            sentence,
        })
    })
}

/// Waits until a topic gets to a status.
pub(crate) fn wait_for(
    context: &Context,
    topic_id: i64,
    target: State,
    wait: Duration,
) -> Result<Topic, Failure> {
    let deadline = Instant::now() + wait;
    let mut revision: Option<String> = None;
    loop {
        let topic = context.admin(call::topic(topic_id))?;
        if topic.status == target {
            return Ok(topic);
        }
        let name = &topic.topic_name;
        if topic.status.is_ended() {
            let reason = topic
                .reason
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            let text = format!(
                "{name} is {} and will not become {target}{reason}",
                topic.status
            );
            return Err(Failure::new(Exit::Rejected, text));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!(
                "{name} is still {} after {wait:?}, not {target}",
                topic.status
            );
            let failure = Failure::new(Exit::Timeout, text);
            return Err(match topic.last_problem {
                Some(problem) => failure.hint(problem),
                None => failure,
            });
        }
        if left < POLL_MIN {
            std::thread::sleep(left.min(PAUSE));
            continue;
        }
        let routes = context.admin(call::routes(revision.as_deref(), left.min(POLL)))?;
        revision = routes.map(|routes| routes.revision).or(revision);
    }
}
