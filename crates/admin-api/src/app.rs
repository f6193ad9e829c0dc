//! Use cases: one a file. Each takes a connection inside the writer's transaction, who acts and when,
//! and its input; it writes the new state, the audit row and the change in that one transaction. None
//! speaks HTTP or Kafka.

pub mod apply;
mod approval;
pub mod budget;
pub mod bulk;
pub mod change;
pub mod decide;
pub mod delete;
pub mod drift;
pub mod edit;
pub mod evidence;
pub mod observe;
mod petition;
pub mod policy;
pub mod request_topic;
pub mod sessions;
pub mod setup;
pub mod subscribe;
pub mod teams;
pub mod tokens;
mod transition;
pub mod users;

use crate::error::{AppError, Outcome};
use rusqlite::Connection;
use sluice_model::access::Actor;
use sluice_model::audit::{AuditRow, Source};
use sluice_model::lifecycle::Event;
use sluice_model::policy::Policy;
use sluice_model::problem::{Code, Problem, differences};
use sluice_model::request::{Asked, Request, RequestStatus};
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;
use std::sync::Arc;

/// The name under which the audit shows what the policy approved by itself.
const POLICY: &str = "policy";
/// What an approver is told whose approval is not enough.
const COUNTED: &str = "Approval counted; another approver is needed";

/// Who acts, when, and under which rules.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who acts.
    pub actor: Actor,
    /// When.
    pub now: Timestamp,
    /// From where, for the audit.
    pub source: Source,
    /// The rules for requests.
    pub policy: Arc<Policy>,
    /// The times of the lifecycle.
    pub lifecycle: crate::settings::LifecycleSettings,
}

/// What a decision says.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Why.
    pub reason: Option<String>,
    /// The version that the decision is about; none means the current one.
    pub if_match: Option<i64>,
    /// What an approver wants otherwise than it is asked for.
    pub changes: Option<Asked>,
    /// The topic's name, given to confirm the deletion of one that is in use.
    pub confirm: Option<String>,
}

fn topic(connection: &Connection, topic_id: i64) -> Outcome<Topic> {
    let found = crate::store::topics::by_id(connection, topic_id)?;
    let missing = || {
        Problem::new(
            Code::NotFound,
            format!("there is no topic with id {topic_id}"),
        )
    };
    Ok(found.ok_or_else(missing)?)
}

fn request(connection: &Connection, request_id: i64) -> Outcome<Request> {
    let found = crate::store::requests::by_id(connection, request_id)?;
    let missing = || {
        Problem::new(
            Code::NotFound,
            format!("there is no request with id {request_id}"),
        )
    };
    Ok(found.ok_or_else(missing)?)
}

/// Refuses a credential that is narrowed to other topics.
fn check_reach(context: &Context, topic_name: &str) -> Outcome<()> {
    Ok(context.actor.need_topic(topic_name)?)
}

/// The bound on what one account may leave open.
fn check_open_requests(connection: &Connection, context: &Context) -> Outcome<()> {
    let open = crate::store::requests::open_of_account(connection, &context.actor.account)?;
    let limit = context.policy.open_requests_per_account;
    if open >= limit {
        let detail = format!(
            "{} has {open} open requests and may have {limit}; withdraw some, or wait for decisions",
            context.actor.account
        );
        return Err(Problem::new(Code::Busy, detail).retry_after(60).into());
    }
    Ok(())
}

/// A rejection says why.
fn check_reason(event: Event, decision: &Decision) -> Outcome<()> {
    let reason = decision.reason.as_deref().map_or("", str::trim);
    if event == Event::Reject && reason.is_empty() {
        return Err(Problem::invalid("/reason", "is required: who asked learns why").into());
    }
    Ok(())
}

fn check_version(if_match: Option<i64>, version: i64) -> Outcome<()> {
    match if_match {
        Some(wanted) if wanted != version => {
            let detail =
                format!("version {wanted} was meant, the current one is {version}; read it again");
            Err(Problem::new(Code::StaleVersion, detail).into())
        }
        _ => Ok(()),
    }
}

/// The same for a topic, telling what changed since.
fn check_topic_version(
    connection: &Connection,
    if_match: Option<i64>,
    topic: &Topic,
) -> Outcome<()> {
    let Some(wanted) = if_match.filter(|wanted| *wanted != topic.version) else {
        return Ok(());
    };
    let seen = crate::store::audit::topic_at(connection, topic, wanted)?;
    with_difference(wanted, topic.version, seen.as_ref(), topic)
}

/// The same for a request, telling what changed since.
fn check_request_version(
    connection: &Connection,
    if_match: Option<i64>,
    request: &Request,
) -> Outcome<()> {
    let Some(wanted) = if_match.filter(|wanted| *wanted != request.version) else {
        return Ok(());
    };
    let seen = crate::store::requests::revision(connection, request.request_id, wanted)?;
    with_difference(wanted, request.version, seen.as_ref(), request)
}

fn with_difference(
    wanted: i64,
    version: i64,
    seen: Option<&serde_json::Value>,
    now: &impl serde::Serialize,
) -> Outcome<()> {
    let Err(AppError::Problem(mut problem)) = check_version(Some(wanted), version) else {
        return Ok(());
    };
    if let Some(seen) = seen {
        problem.diff = differences(seen, &serde_json::to_value(now)?);
        problem.diff.retain(|part| part.pointer != "/version");
    }
    Err(AppError::Problem(problem))
}

/// Only what nobody has decided takes part in decisions and edits.
fn check_pending(request: &Request) -> Outcome<()> {
    if request.status == RequestStatus::Pending {
        return Ok(());
    }
    let detail = format!(
        "request {} is {} already",
        request.request_id, request.status
    );
    let mut problem = Problem::new(Code::IllegalTransition, detail);
    problem.allowed = Some(Vec::new());
    Err(problem.into())
}

/// What an audit row says beside its two documents.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    topic_name: Option<&'a str>,
    reason: Option<&'a str>,
}

/// Appends an audit row about something that is no topic: a token, the policy.
fn record(
    connection: &Connection,
    context: &Context,
    action: &str,
    before: Option<&impl serde::Serialize>,
    after: Option<&impl serde::Serialize>,
) -> Outcome<()> {
    let about = About::default();
    record_about(connection, context, action, before, after, about)
}

fn record_about(
    connection: &Connection,
    context: &Context,
    action: &str,
    before: Option<&impl serde::Serialize>,
    after: Option<&impl serde::Serialize>,
    about: About<'_>,
) -> Outcome<()> {
    if let Some(name) = about.topic_name {
        check_reach(context, name)?;
    }
    let row = AuditRow {
        seq: 0,
        at: context.now,
        action: action.to_owned(),
        kind: None,
        topic_id: None,
        topic_name: about.topic_name.map(str::to_owned),
        requested_by: None,
        actor: context.actor.account.clone(),
        reason: about.reason.map(str::to_owned),
        before: before.map(serde_json::to_value).transpose()?,
        after: after.map(serde_json::to_value).transpose()?,
        request_id: None,
        on_behalf_of: None,
        source: Some(context.source.clone()),
    };
    crate::store::audit::append(connection, row)
}

impl Context {
    /// The same moment, with the policy itself as who acts.
    fn by_policy(&self) -> Self {
        let actor = Actor {
            account: POLICY.to_owned(),
            roles: Vec::new(),
            scopes: Vec::new(),
            teams: Vec::new(),
            expires_at: None,
        };
        Self {
            actor,
            source: Source {
                interface: POLICY.to_owned(),
                ..self.source.clone()
            },
            ..self.clone()
        }
    }
}
