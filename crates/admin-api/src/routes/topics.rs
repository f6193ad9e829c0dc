//! Topics: asking for them and reading them.

use super::command::{self, Reply};
use super::{id, listing, page, query, versioned};
use crate::app::change::request_change;
use crate::app::request_topic::request_topic;
use crate::auth::Caller;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::lifecycle::State as TopicState;
use sluice_model::policy::{Policy, Verdict, judge};
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::{NewTopic, OnStop, REASON_CHARS_MAX, Requested, Topic, TopicChange};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Topics, newest first.
///
/// # Errors
/// 401, 403, 422 for an unknown status or a limit out of range, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/topics", tag = "topics",
    params(("status" = Option<TopicState>, Query), ("q" = Option<String>, Query, description = "text in the name or description"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Topic>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let status = status(&request)?;
    let text = query(&request, "q");
    let topics = state
        .database
        .read(move |c| store::topics::list(c, status, text.as_deref(), page))
        .await?;
    Ok(listing(&request, page, &topics, |topic| topic.topic_id))
}

fn status(request: &HttpRequest) -> Result<Option<TopicState>, Problem> {
    let Some(text) = query(request, "status") else {
        return Ok(None);
    };
    let parsed = text.parse::<TopicState>();
    parsed
        .map(Some)
        .map_err(|error| Problem::invalid("status", error.to_string()))
}

/// One topic by its id.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/topics/{id}", tag = "topics", params(("id" = i64, Path)),
    responses((status = 200, body = Topic), (status = 404, body = Problem)))]
pub async fn get(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let id = id(&request)?;
    let found = state
        .database
        .read(move |c| store::topics::by_id(c, id))
        .await?;
    one(found, || format!("there is no topic with id {id}"))
}

/// One topic by its name: the open row, else the newest.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/topics/by-name/{name}", tag = "topics", params(("name" = String, Path)),
    responses((status = 200, body = Topic), (status = 404, body = Problem)))]
pub async fn by_name(
    state: web::Data<State>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let wanted = name.clone();
    let found = state
        .database
        .read(move |c| store::topics::by_name(c, &wanted))
        .await?;
    one(found, || format!("nobody has asked for {name}"))
}

fn one(found: Option<Topic>, missing: impl Fn() -> String) -> Result<HttpResponse, Failure> {
    let topic = found.ok_or_else(|| Problem::new(Code::NotFound, missing()))?;
    Ok(versioned(&topic, topic.version))
}

/// Asks for a topic.
///
/// # Errors
/// 400, 401, 403, 409, 413, 415, 422, 429.
#[utoipa::path(post, path = "/api/topics", tag = "topics", request_body = NewTopic,
    responses((status = 201, body = Requested), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let asked = new_topic(Body::parse(&body.0)?, &state.rules().policy)?;
    let work = move |connection: &Connection, context: &crate::app::Context| {
        let requested = request_topic(connection, context, &asked)?;
        Reply::new(201, &requested)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

/// Asks for more partitions or other configs of a topic.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412, 413, 415, 422.
#[utoipa::path(patch, path = "/api/topics/{id}", tag = "topics", request_body = TopicChange,
    params(("id" = i64, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 202, body = crate::openapi::bodies::Filed), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub async fn change(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let topic_id = id(&request)?;
    let asked = topic_change(&body.0)?;
    let if_match = command::if_match(&request)?;
    let work = move |connection: &Connection, context: &crate::app::Context| {
        let filed = request_change(connection, context, topic_id, if_match, &asked)?;
        let mut reply = Reply::new(202, &filed)?;
        reply.body["message"] = serde_json::json!("Change request submitted");
        Ok(reply)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

fn topic_change(bytes: &[u8]) -> Result<TopicChange, Problem> {
    let mut body = Body::parse(bytes)?;
    let configs = body.nullable_scalars("configs");
    let change = TopicChange {
        partitions: body.integer("partitions"),
        configs: configs.unwrap_or_default().into_iter().collect(),
        reason: body.short_text("reason", REASON_CHARS_MAX),
    };
    body.finish()?;
    Ok(change)
}

/// Reads what is asked for.
pub(super) fn new_topic(mut body: Body, policy: &Policy) -> Result<NewTopic, Problem> {
    let asked = topic_of(&mut body);
    match body.finish() {
        Ok(()) => Ok(asked),
        Err(problem) => Err(with_broken_rules(problem, policy, &asked)),
    }
}

/// The members of a request for a topic.
pub(super) fn topic_of(body: &mut Body) -> NewTopic {
    let name = body.required_text("name");
    NewTopic {
        name,
        created_by: body.text("created_by"),
        partitions: body.integer("partitions"),
        replication_factor: body.integer("replication_factor"),
        description: body.text("description"),
        configs: body
            .scalars("configs")
            .unwrap_or_default()
            .into_iter()
            .collect(),
        owner: body.text("owner"),
        on_stop: on_stop(body),
        subscribe: body.texts("subscribe").unwrap_or_default(),
    }
}

/// A body whose form is wrong is judged all the same, so that every fault is told at once.
fn with_broken_rules(mut problem: Problem, policy: &Policy, asked: &NewTopic) -> Problem {
    if let Verdict::Refuse(faults) = judge(policy, asked) {
        let known: Vec<String> = problem.errors.iter().map(|e| e.pointer.clone()).collect();
        problem.errors.extend(
            faults
                .into_iter()
                .filter(|fault| !known.contains(&fault.pointer)),
        );
    }
    problem
}

fn on_stop(body: &mut Body) -> Option<OnStop> {
    let text = body.text("on_stop")?;
    let parsed = OnStop::parse(&text);
    if parsed.is_none() {
        body.invalid("on_stop", "is one of hold, dead_letter, discard");
    }
    parsed
}
