//! Requests: what a human decides about.

use super::command::{self, Reply};
use super::deletion::refresh_evidence;
use super::{id, listing, page, query, versioned};
use crate::app::{self, Context, decide};
use crate::auth::Caller;
use crate::error::Outcome;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde::Serialize;
use sluice_model::access::Role;
use sluice_model::lifecycle::Event;
use sluice_model::policy::{BudgetUse, Policy};
use sluice_model::problem::{Code, FieldError, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::topic::Decided;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::{Failure, internal};

/// Requests, newest first.
///
/// # Errors
/// 401, 403, 422, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/requests", tag = "requests",
    params(("status" = Option<RequestStatus>, Query), ("kind" = Option<Kind>, Query),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Request>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let status = word(&request, "status", RequestStatus::parse, || {
        RequestStatus::ALL.map(RequestStatus::as_str).join(", ")
    })?;
    let kind = word(&request, "kind", Kind::parse, || {
        Kind::ALL.map(Kind::as_str).join(", ")
    })?;
    let requests = state
        .database
        .read(move |c| store::requests::list(c, status, kind, page))
        .await?;
    Ok(listing(&request, page, &requests, |request| {
        request.request_id
    }))
}

fn word<T>(
    request: &HttpRequest,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    known: impl Fn() -> String,
) -> Result<Option<T>, Problem> {
    let Some(text) = query(request, name) else {
        return Ok(None);
    };
    let parsed = parse(&text);
    parsed
        .map(Some)
        .ok_or_else(|| Problem::invalid(name, format!("is one of {}", known())))
}

/// A request as those see it who decide: with what its budget and the policy that counts say.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RequestView {
    /// The request.
    #[serde(flatten)]
    request: Request,
    /// What it would use of the budget of the topic's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetUse>,
    /// What the policy that counts now says against it.
    findings: Vec<FieldError>,
    /// Remarks about it.
    comments: i64,
}

/// Reads a request with its surroundings.
pub(crate) fn view(
    connection: &Connection,
    policy: &Policy,
    request: Request,
) -> Outcome<RequestView> {
    let open = request.status == RequestStatus::Pending;
    let topic = store::topics::by_id(connection, request.topic_id)?.filter(|_| open);
    let comments = store::comments::count(connection, request.request_id)?;
    let (mut budget, mut findings) = (None, Vec::new());
    if let Some(topic) = topic {
        budget = app::budget::of_request(connection, policy, &request, &topic)?;
        findings = app::policy::findings(policy, &request, &topic);
    }
    Ok(RequestView {
        request,
        budget,
        findings,
        comments,
    })
}

/// One request, with what its budget and the policy that counts now say about it.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/requests/{id}", tag = "requests", params(("id" = i64, Path)),
    responses((status = 200, body = RequestView), (status = 404, body = Problem)))]
pub async fn get(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let id = id(&request)?;
    let policy = state.rules().policy;
    let read = move |c: &Connection| -> Outcome<_> {
        let found = store::requests::by_id(c, id)?;
        found.map(|found| view(c, &policy, found)).transpose()
    };
    let found = state.database.read(read).await?;
    let missing = || Problem::new(Code::NotFound, format!("there is no request with id {id}"));
    let found = found.ok_or_else(missing)?;
    let mut shown = serde_json::to_value(&found).map_err(|error| internal(&error))?;
    let evidence = state
        .database
        .read(move |c| store::evidence::of_request(c, id))
        .await?;
    if let Some(evidence) = evidence {
        shown["evidence"] = serde_json::json!(evidence);
    }
    Ok(versioned(&shown, found.request.version))
}

/// Decides about a request: approve, reject, withdraw. The body is `{reason?}`, that of an approval also
/// `{changes: {partitions?, replication_factor?, configs?}}`.
///
/// # Errors
/// 401, 403, 404, 409, 412, 422.
#[utoipa::path(post, path = "/api/requests/{id}/{verb}", tag = "requests",
    params(("id" = i64, Path), ("verb" = String, Path, description = "approve, reject or withdraw"),
        ("If-Match" = Option<String>, Header)), request_body = Option<crate::openapi::bodies::DecisionBody>,
    responses((status = 200, body = Decided), (status = 409, body = Problem)))]
pub async fn decide(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let verb = request.match_info().get("verb").unwrap_or_default();
    let (event, role) = match verb {
        "approve" => (Event::Approve, Role::Approver),
        "reject" => (Event::Reject, Role::Approver),
        "withdraw" => (Event::Withdraw, Role::Producer),
        _ => {
            let detail = format!("{verb:?} is no decision about a request; see /docs");
            return Err(Problem::new(Code::NotFound, detail).into());
        }
    };
    let actor = caller.may(role)?;
    let request_id = id(&request)?;
    let decision = match event {
        Event::Approve => command::approval(&request, &body.0)?,
        _ => command::decision(&request, &body.0)?,
    };
    if event == Event::Approve {
        refresh_evidence(&state, request_id).await?;
    }
    let work = move |connection: &Connection, context: &Context| {
        let decided = decide::decide_request(connection, context, request_id, event, &decision)?;
        Reply::new(200, &decided)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}
