//! The policy: read, tried out, and written as a new version.

use super::{command, topics, versioned};
use crate::app::policy as app;
use crate::auth::Caller;
use crate::state::{Rules, State};
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::policy::{Policy, Verdict, check, judge};
use sluice_model::problem::{Code, FieldError, Problem};
use sluice_model::topic::{NewTopic, Topic};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use std::sync::Arc;

/// Existing topics that one trial names at most.
const BROKEN_MAX: usize = 1000;

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

/// Writes a new version of the policy; it counts from the answer on.
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
    if let Some(members) = document.as_object_mut() {
        // What GET answered may be sent back with changes.
        members.remove("version");
    }
    let policy = Arc::new(policy_of(document, "")?);
    let (if_match, context) = (command::if_match(&request)?, state.context(actor));
    let new = Arc::clone(&policy);
    let work = move |connection: &Connection| app::write(connection, &context, if_match, &new);
    let version = state.database.write(work).await?;
    let rules = Rules { version, policy };
    state.set_rules(rules.clone());
    Ok(versioned(&Versioned::from(rules), version))
}

fn malformed(error: serde_json::Error) -> Problem {
    let detail = format!("the body is not valid JSON: {error}");
    Problem::new(Code::MalformedJson, detail)
}

fn policy_of(document: Value, pointer: &str) -> Result<Policy, Problem> {
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

/// What a policy would say.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Trial {
    /// `refuse`, `auto`, `one` or `two`: what becomes of the topic that was asked about.
    verdict: Option<String>,
    /// Why it is refused.
    findings: Vec<FieldError>,
    /// Topics that exist and could not be asked for any more.
    broken: Vec<Broken>,
}

/// A topic that exists and breaks a policy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Broken {
    /// Which topic.
    topic_name: String,
    /// The rules that it breaks.
    findings: Vec<FieldError>,
}

/// Judges without writing: `{topic}` is judged by the policy that counts, or by `{policy}` if that is there
/// too; `{policy}` is judged against every topic that exists.
///
/// # Errors
/// 400, 401, 403, 413, 415, 422.
#[utoipa::path(post, path = "/api/policy/try", tag = "policy",
    request_body(content = String, example = json!({"topic": {"name": "orders", "partitions": 6}})),
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
    let mut trial = Trial::default();
    let policy = match document {
        Some(document) => {
            let policy = policy_of(Value::Object(document), "/policy")?;
            let there = state.database.read(store::topics::provisioned).await?;
            trial.broken = broken(&policy, &there);
            Arc::new(policy)
        }
        None => state.rules().policy,
    };
    if let Some(asked) = asked {
        let asked = topics::new_topic(Body::of(asked, "/topic"), &policy)?;
        let (verdict, findings) = match judge(&policy, &asked) {
            Verdict::Refuse(faults) => ("refuse", faults),
            Verdict::Accept { approvals, .. } => (approvals.as_str(), Vec::new()),
        };
        trial.verdict = Some(verdict.to_owned());
        trial.findings = findings;
    }
    Ok(HttpResponse::Ok().json(trial))
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
