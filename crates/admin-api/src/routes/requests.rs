//! Requests: what a human decides about.

use super::command::{self, Reply};
use super::{id, listing, page, query, versioned};
use crate::app::{Context, decide};
use crate::auth::Caller;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::lifecycle::Event;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::topic::Decided;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

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
        "create, change, delete".to_owned()
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

/// One request.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/requests/{id}", tag = "requests", params(("id" = i64, Path)),
    responses((status = 200, body = Request), (status = 404, body = Problem)))]
pub async fn get(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let id = id(&request)?;
    let found = state
        .database
        .read(move |c| store::requests::by_id(c, id))
        .await?;
    let missing = || Problem::new(Code::NotFound, format!("there is no request with id {id}"));
    let found = found.ok_or_else(missing)?;
    Ok(versioned(&found, found.version))
}

/// Decides about a request: approve, reject, withdraw.
///
/// # Errors
/// 401, 403, 404, 409, 412, 422.
#[utoipa::path(post, path = "/api/requests/{id}/{verb}", tag = "requests",
    params(("id" = i64, Path), ("verb" = String, Path, description = "approve, reject or withdraw")),
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
    let decision = command::decision(&request, &body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        let decided = decide::decide_request(connection, context, request_id, event, &decision)?;
        Reply::new(200, &decided)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}
