//! What deletions depend on: fences with their proof, evidence, the label never_delete, and the switch.

use super::command::{self, Reply};
use super::id;
use crate::app::{Context, evidence};
use crate::auth::Caller;
use crate::error::Outcome;
use crate::state::State;
use crate::store;
use crate::store::switches::Switch;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::lifecycle::State as TopicState;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, RequestStatus};
use sluice_model::topic::{Decided, REASON_CHARS_MAX, Topic};
use sluice_model::usage::{Fence, beside, summary};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use sluice_service::now;
use std::time::Duration;

/// How long a decision waits for fresh evidence.
const EVIDENCE_WAIT: Duration = Duration::from_secs(8);
/// Evidence of this age is fresh enough for a decision, in milliseconds.
const EVIDENCE_FRESH_MS: i64 = 2000;

/// The proof of a topic's fence: which producers have let go of it, and who still reads it.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/topics/{id}/fence", tag = "topics", params(("id" = i64, Path)),
    responses((status = 200, body = Fence), (status = 404, body = Problem)))]
pub async fn fence(
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
    let missing = || Problem::new(Code::NotFound, format!("there is no topic with id {id}"));
    let topic = found.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(fence_of(&state, &topic).await?))
}

/// How the fence of a topic stands.
pub(crate) async fn fence_of(state: &State, topic: &Topic) -> Result<Fence, Failure> {
    let name = topic.topic_name.clone();
    let place = state
        .database
        .read(move |c| store::changes::fence_of_topic(c, &name))
        .await?;
    let inactive = topic.status == TopicState::Inactive;
    let place = inactive.then_some(place);
    let fresh = i64::try_from(state.settings.producers.fresh.as_millis()).unwrap_or(i64::MAX);
    let heard_since = now().plus_millis(-fresh);
    let all = state.producers.all();
    let read = |revision: &str| state.hub.place(revision);
    let producers = beside(&all, &topic.topic_name, place, read, heard_since);
    let usage = if inactive {
        state.usages.of(&topic.topic_name)
    } else {
        None
    };
    Ok(Fence {
        topic_id: topic.topic_id,
        topic_name: topic.topic_name.clone(),
        fenced: inactive && producers.iter().all(|p| p.fenced || !p.fresh),
        since: topic.deactivated_at.filter(|_| inactive),
        revision: place.map(|place| state.hub.revision(place)),
        summary: if inactive {
            summary(&producers, usage.as_ref())
        } else {
            format!("not fenced: it is {}", topic.status)
        },
        producers,
        usage,
    })
}

/// Lets the evidence of a pending deletion be gathered anew before somebody approves it.
pub(crate) async fn refresh_evidence(state: &State, request_id: i64) -> Result<(), Failure> {
    let asked = now();
    let look = move |c: &Connection| -> Outcome<bool> {
        let request = store::requests::by_id(c, request_id)?;
        let open =
            request.is_some_and(|r| r.kind == Kind::Delete && r.status == RequestStatus::Pending);
        let found = store::evidence::of_request(c, request_id)?;
        let fresh = asked.plus_millis(-EVIDENCE_FRESH_MS);
        Ok(!open || found.is_some_and(|found| found.gathered_at >= fresh))
    };
    if state.database.read(look).await? {
        return Ok(());
    }
    let want = move |c: &Connection| store::evidence::want(c, request_id, asked);
    state.database.write(want).await?;
    let deadline = tokio::time::Instant::now() + EVIDENCE_WAIT;
    loop {
        let gathered = state.gathered.notified();
        state.nudge.notify_one();
        if state.database.read(look).await? {
            return Ok(());
        }
        tokio::select! {
            outcome = tokio::time::timeout_at(deadline, gathered) => if outcome.is_err() {
                let detail = "no deletion without evidence, and Kafka does not tell who uses the topic";
                return Err(Problem::new(Code::Unavailable, detail).retry_after(5).into());
            },
            () = state.shutdown.wait() => {
                return Err(Problem::new(Code::Unavailable, "the service stops").into());
            }
        }
    }
}

/// Puts the label never_delete on a topic (`protect`), or takes it away (`unprotect`): with it no deletion can be
/// asked for, approved or carried out.
///
/// # Errors
/// 401, 403, 404, 409, 412, 422.
#[utoipa::path(post, path = "/api/topics/{id}/protect", tag = "topics",
    params(("id" = i64, Path), ("If-Match" = Option<String>, Header)), request_body = Option<crate::openapi::bodies::Reasoned>,
    responses((status = 200, body = Decided), (status = 409, body = Problem)))]
pub async fn protect(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    label(&request, &state, caller, &body, true).await
}

/// The other way round.
///
/// # Errors
/// 401, 403, 404, 409, 412, 422.
#[utoipa::path(post, path = "/api/topics/{id}/unprotect", tag = "topics",
    params(("id" = i64, Path), ("If-Match" = Option<String>, Header)), request_body = Option<crate::openapi::bodies::Reasoned>,
    responses((status = 200, body = Decided), (status = 409, body = Problem)))]
pub async fn unprotect(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    label(&request, &state, caller, &body, false).await
}

async fn label(
    request: &HttpRequest,
    state: &State,
    caller: Caller,
    body: &JsonBytes,
    never_delete: bool,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let topic_id = id(request)?;
    let decision = command::decision(request, &body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        let topic = evidence::protect(connection, context, topic_id, never_delete, &decision)?;
        let message = if never_delete {
            "The topic is never deleted"
        } else {
            "The topic can be deleted again"
        };
        let answer = Decided {
            message: message.to_owned(),
            topic_id,
            status: topic.status,
            version: topic.version,
            request_id: None,
        };
        Reply::new(200, &answer)
    };
    let reply = command::run(state, request, actor, &body.0, work).await?;
    Ok(reply.respond())
}

/// Whether anything may be deleted from Kafka now: `enabled` is the switch, `configured` the configuration.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/deletions", tag = "service", responses((status = 200, body = crate::openapi::bodies::SwitchView)))]
pub async fn deletions(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let switch = state.database.read(store::switches::deletions).await?;
    Ok(HttpResponse::Ok().json(shown(&state, &switch)))
}

fn shown(state: &State, switch: &Switch) -> serde_json::Value {
    let mut answer = json!(switch);
    answer["configured"] = json!(state.settings.lifecycle.deletions);
    answer
}

/// Turns the switch of all deletions: `{"enabled": false}` stops them at once, also those that were approved.
///
/// # Errors
/// 400, 401, 403, 422.
#[utoipa::path(put, path = "/api/deletions", tag = "service",
    request_body(content = crate::openapi::bodies::SwitchTurn, example = json!({"enabled": false, "reason": "incident 7"})),
    responses((status = 200, body = crate::openapi::bodies::SwitchView), (status = 422, body = Problem)))]
pub async fn turn_deletions(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let mut fields = Body::parse(&body.0)?;
    let enabled = fields.flag("enabled");
    if enabled.is_none() {
        fields.invalid("enabled", "is required: true or false");
    }
    let reason = fields.short_text("reason", REASON_CHARS_MAX);
    fields.finish()?;
    let enabled = enabled.unwrap_or_default();
    let configured = state.settings.lifecycle.deletions;
    let work = move |connection: &Connection, context: &Context| {
        let switch = evidence::turn(connection, context, enabled, reason)?;
        let mut reply = Reply::new(200, &switch)?;
        reply.body["configured"] = json!(configured);
        Ok(reply)
    };
    let reply = command::run(&state, &request, actor, &body.0, work).await?;
    Ok(reply.respond())
}
