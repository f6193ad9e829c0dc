//! The policy: read, tried out, and written as a new version.

use super::{command, topics, versioned};
use crate::app::policy as app;
use crate::auth::Caller;
use crate::error::Outcome;
use crate::state::{Rules, State};
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;
use sluice_model::access::{Actor, Role};
use sluice_model::body::Body;
use sluice_model::page::Page;
use sluice_model::policy::{Approvals, Broken, Otherwise, Policy, Trial, Verdict, check, judge};
use sluice_model::problem::{Code, Problem};
use sluice_model::request::Request;
use sluice_model::topic::{NewTopic, REASON_CHARS_MAX, Topic};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use std::sync::Arc;

/// Existing topics that one trial names at most.
const BROKEN_MAX: usize = 1000;
/// Past requests that one trial looks at.
const PAST_REQUESTS_MAX: u32 = 5000;

/// The policy that counts, with its version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Versioned {
    /// Counts the versions that were written over the API; 0 is the configuration's.
    version: i64,
    /// The rules.
    #[serde(flatten)]
    policy: Policy,
}

impl From<Rules> for Versioned {
    fn from(rules: Rules) -> Self {
        Self {
            version: rules.version,
            policy: Policy::clone(&rules.policy),
        }
    }
}

/// The rules for requests.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/policy", tag = "policy", responses((status = 200, body = Versioned)))]
pub async fn get(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let rules = state.rules();
    let version = rules.version;
    Ok(versioned(&Versioned::from(rules), version))
}

/// Writes a new version of the policy; it counts from the answer on. A member `reason` beside the rules goes to
/// the audit.
///
/// # Errors
/// 400, 401, 403, 412, 413, 415, 422 with every fault.
#[utoipa::path(put, path = "/api/policy", tag = "policy", request_body = Policy,
    params(("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Versioned), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub async fn put(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let mut document: Value = serde_json::from_slice(&body.0).map_err(malformed)?;
    let reason = beside(&mut document)?;
    let policy = policy_of(document, "")?;
    let if_match = command::if_match(&request)?;
    let rules = activate(&state, actor, if_match, policy, reason).await?;
    let version = rules.version;
    Ok(versioned(&Versioned::from(rules), version))
}

/// Takes what is no rule out of a document: the version that GET answered, and why it is written.
fn beside(document: &mut Value) -> Result<Option<String>, Problem> {
    let Some(members) = document.as_object_mut() else {
        return Ok(None);
    };
    members.remove("version");
    match members.remove("reason") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(reason)) if reason.chars().count() <= REASON_CHARS_MAX => {
            Ok(Some(reason).filter(|reason| !reason.trim().is_empty()))
        }
        Some(_) => {
            let message = format!("is a text of at most {REASON_CHARS_MAX} characters");
            Err(Problem::invalid("/reason", message))
        }
    }
}

/// Lets a version of the policy count from now on.
pub(super) async fn activate(
    state: &State,
    actor: Actor,
    if_match: Option<i64>,
    policy: Policy,
    reason: Option<String>,
) -> Result<Rules, Failure> {
    let policy = Arc::new(policy);
    let (context, new) = (state.context(actor), Arc::clone(&policy));
    let work = move |connection: &Connection| {
        app::write(connection, &context, if_match, &new, reason.as_deref())
    };
    let version = state.database.write(work).await?;
    let rules = Rules { version, policy };
    state.set_rules(rules.clone());
    Ok(rules)
}

fn malformed(error: serde_json::Error) -> Problem {
    let detail = format!("the body is not valid JSON: {error}");
    Problem::new(Code::MalformedJson, detail)
}

/// The policy that a document is, or every fault of it.
pub(super) fn policy_of(document: Value, pointer: &str) -> Result<Policy, Problem> {
    let policy: Policy = serde_json::from_value(document)
        .map_err(|error| Problem::invalid(pointer, error.to_string()))?;
    let mut faults = check(&policy);
    for fault in &mut faults {
        fault.pointer = format!("{pointer}/{}", fault.pointer);
    }
    if faults.is_empty() {
        return Ok(policy);
    }
    Err(Problem::from_errors(Code::Invalid, faults))
}

/// Judges without writing: `{topic}` is judged by the policy that counts, or by `{policy}` if that is there
/// too; `{policy}` is judged against every topic that exists.
///
/// # Errors
/// 400, 401, 403, 413, 415, 422.
#[utoipa::path(post, path = "/api/policy/try", tag = "policy",
    request_body(content = crate::openapi::bodies::TrialBody, example = json!({"topic": {"name": "orders", "partitions": 6}})),
    responses((status = 200, body = Trial), (status = 422, body = Problem)))]
pub async fn try_out(
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let mut body = Body::parse(&body.0)?;
    let (document, asked) = (body.object("policy"), body.object("topic"));
    if document.is_none() && asked.is_none() {
        body.invalid("topic", "or policy is needed: what shall be judged?");
    }
    body.finish()?;
    let document = document.map(|document| policy_of(Value::Object(document), "/policy"));
    let (counts, document) = (state.rules().policy, document.transpose()?);
    let asked = asked.map(|asked| {
        let policy = document.as_ref().unwrap_or(&counts);
        topics::new_topic(Body::of(asked, "/topic"), policy)
    });
    let trial = judge_all(&state, document, asked.transpose()?).await?;
    Ok(HttpResponse::Ok().json(trial))
}

/// What a new version of the policy would say to everything that there is, and what it, or else the one that
/// counts, would say to a topic.
pub(super) async fn judge_all(
    state: &State,
    new: Option<Policy>,
    asked: Option<NewTopic>,
) -> Result<Trial, Failure> {
    let mut trial = Trial::default();
    let policy = match new {
        Some(new) => {
            let policy = Arc::new(new);
            let tried = Arc::clone(&policy);
            let read = move |c: &Connection| against_all(c, &tried);
            trial = state.database.read(read).await?;
            policy
        }
        None => state.rules().policy,
    };
    let Some(asked) = asked else {
        return Ok(trial);
    };
    let (verdict, mut findings) = match judge(&policy, &asked) {
        Verdict::Refuse(faults) => ("refuse", faults),
        Verdict::Accept { approvals, .. } => (approvals.as_str(), Vec::new()),
    };
    trial.verdict = Some(verdict.to_owned());
    if findings.is_empty() {
        let read = move |c: &Connection| app::budget_of_new(c, &policy, &asked);
        (trial.budget, findings) = state.database.read(read).await?;
        if !findings.is_empty() {
            trial.verdict = Some("refuse".to_owned());
        }
    }
    trial.findings = findings;
    Ok(trial)
}

/// Judges every topic that exists, the newest requests, and what owners have.
fn against_all(connection: &Connection, policy: &Policy) -> Outcome<Trial> {
    let there = store::topics::provisioned(connection)?;
    let page = Page {
        limit: PAST_REQUESTS_MAX,
        before: None,
    };
    let past = store::requests::list(connection, None, None, page)?;
    let mut requests = Vec::new();
    for request in past {
        if let Some(topic) = store::topics::by_id(connection, request.topic_id)? {
            requests.extend(otherwise(policy, &request, &topic));
        }
    }
    Ok(Trial {
        broken: broken(policy, &there),
        requests,
        over_budget: app::over_budget(connection, policy, &there)?,
        ..Trial::default()
    })
}

fn otherwise(policy: &Policy, request: &Request, topic: &Topic) -> Option<Otherwise> {
    let findings = app::findings(policy, request, topic);
    let approvals = policy.approvals(request.kind, &request.topic_name, &request.spec);
    let would_be = if findings.is_empty() {
        approvals.as_str()
    } else {
        "refuse"
    };
    let was = match (request.approvals_needed, request.different_teams) {
        (0, _) => Approvals::Auto,
        (_, true) => Approvals::TwoTeams,
        (2.., false) => Approvals::Two,
        _ => Approvals::One,
    };
    (was.as_str() != would_be).then(|| Otherwise {
        request_id: request.request_id,
        topic_name: request.topic_name.clone(),
        status: request.status,
        was: was.as_str().to_owned(),
        would_be: would_be.to_owned(),
        findings,
    })
}

fn broken(policy: &Policy, topics: &[Topic]) -> Vec<Broken> {
    let judged = topics.iter().filter_map(|topic| {
        let asked = NewTopic {
            name: topic.topic_name.clone(),
            partitions: Some(topic.partitions),
            replication_factor: Some(topic.replication_factor),
            configs: topic.configs.clone(),
            owner: topic.owner.clone(),
            ..NewTopic::default()
        };
        match judge(policy, &asked) {
            Verdict::Refuse(findings) => Some(Broken {
                topic_name: topic.topic_name.clone(),
                findings,
            }),
            Verdict::Accept { .. } => None,
        }
    });
    judged.take(BROKEN_MAX).collect()
}
