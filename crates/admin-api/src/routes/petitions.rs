//! What is done to requests beside deciding about one: edits, comments, many decisions at once.

use super::command::{self, Reply};
use super::{id, page};
use crate::app::{Context, bulk, edit};
use crate::auth::Caller;
use crate::error::Outcome;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::Value;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::lifecycle::Event;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{
    BULK_MAX, BulkDecided, COMMENT_CHARS_MAX, Comment, Request, RequestEdit,
};
use sluice_model::topic::REASON_CHARS_MAX;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Edits a pending request of one's own: what is absent stays. Approvals so far are gone.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412 with the difference, 413, 415, 422.
#[utoipa::path(patch, path = "/api/requests/{id}", tag = "requests", request_body = RequestEdit,
    params(("id" = i64, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Request), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub async fn change(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let request_id = id(&request)?;
    let wanted = request_edit(&body.0)?;
    let if_match = command::if_match(&request)?;
    let work = move |connection: &Connection, context: &Context| {
        let edited = edit::edit(connection, context, request_id, if_match, &wanted)?;
        Reply::new(200, &edited)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

fn request_edit(bytes: &[u8]) -> Result<RequestEdit, Problem> {
    let mut body = Body::parse(bytes)?;
    let edit = RequestEdit {
        asked: command::asked(&mut body),
        description: body.text("description"),
        owner: body.text("owner"),
        subscribe: body.texts("subscribe"),
        reason: body.short_text("reason", REASON_CHARS_MAX),
    };
    if edit == RequestEdit::default() {
        body.invalid("", "names nothing to change");
    }
    body.finish()?;
    Ok(edit)
}

/// The comments on a request, oldest first.
///
/// # Errors
/// 401, 403, 404, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/requests/{id}/comments", tag = "requests",
    params(("id" = i64, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Comment>), (status = 404, body = Problem)))]
pub async fn comments(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let request_id = id(&request)?;
    let page = page(&request)?;
    let read = move |c: &Connection| -> Outcome<_> {
        let known = store::requests::by_id(c, request_id)?;
        known
            .map(|_| store::comments::list(c, request_id, page))
            .transpose()
    };
    let found = state.database.read(read).await?;
    let missing = || {
        let detail = format!("there is no request with id {request_id}");
        Problem::new(Code::NotFound, detail)
    };
    let found = found.ok_or_else(missing)?;
    Ok(super::listing(&request, page, &found, |comment| {
        comment.comment_id
    }))
}

/// Adds a comment to a request: `{text}`.
///
/// # Errors
/// 400, 401, 403, 404, 409 when there are too many, 413, 415, 422.
#[utoipa::path(post, path = "/api/requests/{id}/comments", tag = "requests", params(("id" = i64, Path)),
    request_body(content = crate::openapi::bodies::CommentBody, example = json!({"text": "why 64 partitions?"})),
    responses((status = 201, body = Comment), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn comment(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Viewer)?;
    let request_id = id(&request)?;
    let mut fields = Body::parse(&body.0)?;
    let text = fields.short_text("text", COMMENT_CHARS_MAX);
    let text = text.filter(|text| !text.trim().is_empty());
    if text.is_none() {
        fields.invalid("text", "is missing");
    }
    fields.finish()?;
    let work = move |connection: &Connection, context: &Context| {
        let text = text.as_deref().unwrap_or_default();
        Reply::new(201, &edit::comment(connection, context, request_id, text)?)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

/// Decides about many requests by their ids: `{ids: [7, {request_id, version?}], decision, reason?}`. Each stands
/// for itself; its result has the status that it alone would have been answered with.
///
/// # Errors
/// 400, 401, 403, 413, 415, 422.
#[utoipa::path(post, path = "/api/requests/decide", tag = "requests",
    request_body(content = crate::openapi::bodies::BulkDecision,
        example = json!({"ids": [{"request_id": 7, "version": 1}], "decision": "approve"})),
    responses((status = 200, body = BulkDecided), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn decide_many(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let mut fields = Body::parse(&body.0)?;
    let word = fields.required_text("decision");
    let decision = match word.as_str() {
        "approve" => Some((Event::Approve, Role::Approver)),
        "reject" => Some((Event::Reject, Role::Approver)),
        "withdraw" => Some((Event::Withdraw, Role::Producer)),
        _ => None,
    };
    if decision.is_none() && !word.is_empty() {
        fields.invalid("decision", "is one of approve, reject, withdraw");
    }
    let reason = fields.short_text("reason", REASON_CHARS_MAX);
    if word == "reject"
        && reason
            .as_deref()
            .is_none_or(|reason| reason.trim().is_empty())
    {
        fields.invalid("reason", "is required: who asked learns why");
    }
    let ids = ids(&mut fields);
    fields.finish()?;
    let (event, role) = decision.unwrap_or((Event::Approve, Role::Approver));
    let actor = caller.may(role)?;
    let work = move |connection: &Connection, context: &Context| {
        let done = bulk::decide_many(connection, context, &ids, event, reason.as_deref())?;
        Reply::new(200, &done)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

/// The requests that are named, each once.
fn ids(fields: &mut Body) -> Vec<(i64, Option<i64>)> {
    let items = fields.array("ids").unwrap_or_default();
    if items.is_empty() || items.len() > BULK_MAX {
        let message = format!("has 1 to {BULK_MAX} requests, this one has {}", items.len());
        fields.invalid("ids", message);
        return Vec::new();
    }
    let mut ids: Vec<(i64, Option<i64>)> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let one = match item {
            Value::Number(number) => number.as_i64().map(|id| (id, None)),
            Value::Object(members) => {
                let mut part = Body::of(members, &format!("/ids/{index}"));
                let id: Option<i64> = part.integer("request_id");
                let version = part.integer("version");
                if id.is_none() {
                    part.invalid("request_id", "is missing");
                }
                fields.absorb(part);
                id.map(|id| (id, version))
            }
            other => {
                let want = "a request's id, or {request_id, version}";
                fields.mistyped(&format!("ids/{index}"), want, &other);
                None
            }
        };
        let Some(one) = one else { continue };
        if ids.iter().any(|(id, _)| *id == one.0) {
            fields.invalid(&format!("ids/{index}"), "is named twice");
        }
        ids.push(one);
    }
    ids
}
