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
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::page::Page;
use sluice_model::policy::{Approvals, BudgetUse, Policy, Verdict, check, judge};
use sluice_model::problem::{Code, FieldError, Problem};
use sluice_model::request::{Request, RequestStatus};
use sluice_model::topic::{NewTopic, Topic};
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
    /// What the topic that was asked about would use of the budget of its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetUse>,
    /// Topics that exist and could not be asked for any more.
    broken: Vec<Broken>,
    /// Past requests, the newest first, about which the policy would say something else.
    requests: Vec<Otherwise>,
    /// Owners whose topics and waiting requests take more than their budget.
    over_budget: Vec<BudgetUse>,
}

/// A past request about which a policy would say something else.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Otherwise {
    /// Which request.
    request_id: i64,
    /// Which topic.
    topic_name: String,
    /// What became of it.
    status: RequestStatus,
    /// Who had to approve: `auto`, `one`, `two` or `two_teams`.
    was: String,
    /// The same under the policy that is tried, or `refuse`.
    would_be: String,
    /// The rules that it breaks.
    findings: Vec<FieldError>,
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
    let mut trial = Trial::default();
    let policy = match document {
        Some(document) => {
            let policy = Arc::new(policy_of(Value::Object(document), "/policy")?);
            let tried = Arc::clone(&policy);
            let read = move |c: &Connection| against_all(c, &tried);
            trial = state.database.read(read).await?;
            policy
        }
        None => state.rules().policy,
    };
    if let Some(asked) = asked {
        let asked = topics::new_topic(Body::of(asked, "/topic"), &policy)?;
        let (verdict, mut findings) = match judge(&policy, &asked) {
            Verdict::Refuse(faults) => ("refuse", faults),
            Verdict::Accept { approvals, .. } => (approvals.as_str(), Vec::new()),
        };
        trial.verdict = Some(verdict.to_owned());
        if findings.is_empty() {
            let read = move |c: &Connection| app::budget_of_new(c, &policy, &asked);
            let (budget, faults) = state.database.read(read).await?;
            trial.budget = budget;
            findings = faults;
            if !findings.is_empty() {
                trial.verdict = Some("refuse".to_owned());
            }
        }
        trial.findings = findings;
    }
    Ok(HttpResponse::Ok().json(trial))
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
