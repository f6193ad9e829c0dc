//! Decisions about a topic, and the producers' way to ask for its activation.

use super::command::{self, Reply};
use super::{id, poll, query};
use crate::app::{Context, decide, delete};
use crate::auth::Caller;
use crate::error::AppError;
use crate::hub::Follow;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::lifecycle::{Event, State as TopicState};
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::{Decided, Topic};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use std::time::{Duration, Instant};

/// How long `activate_by_name` waits for a topic that is approved.
const ACTIVATE_WAIT: Duration = Duration::from_secs(5);

/// The event of a verb in the path, and the role that it needs.
pub(crate) fn verb(text: &str) -> Option<(Event, Role)> {
    match text {
        "approve" => Some((Event::Approve, Role::Approver)),
        "reject" => Some((Event::Reject, Role::Approver)),
        "cancel" => Some((Event::Cancel, Role::Approver)),
        "deactivate" => Some((Event::Deactivate, Role::Approver)),
        "reactivate" => Some((Event::Reactivate, Role::Approver)),
        "withdraw" => Some((Event::Withdraw, Role::Producer)),
        _ => None,
    }
}

/// Decides about a topic: approve, reject, withdraw, cancel, deactivate, reactivate. The body is `{reason?}`, that
/// of an approval also `{changes: {partitions?, replication_factor?, configs?}}`. Where the policy wants a request
/// to lift a fence, reactivate files one and answers 202.
///
/// # Errors
/// 401, 403, 404, 409 with the allowed events, 412, 422.
#[utoipa::path(post, path = "/api/topics/{id}/{verb}", tag = "decisions", request_body = Option<crate::openapi::bodies::DecisionBody>,
    params(("id" = i64, Path), ("verb" = String, Path, description = "approve, reject, withdraw, cancel, deactivate or reactivate"),
        ("wait" = Option<String>, Query, description = "wait for the outcome in Kafka, such as 5s"),
        ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Decided), (status = 202, body = Decided), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub async fn decide_topic(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let name = request.match_info().get("verb").unwrap_or_default();
    let Some((event, role)) = verb(name) else {
        let detail = format!("{name:?} is no decision about a topic; see /docs");
        return Err(Problem::new(Code::NotFound, detail).into());
    };
    // Where the policy wants a request to lift a fence, who may ask for topics may ask for that.
    let asks = event == Event::Reactivate && caller.0.may(Role::Producer);
    let actor = caller.may(if asks { Role::Producer } else { role })?;
    let topic_id = id(&request)?;
    let wait = poll::wait(&request)?;
    let decision = match event {
        Event::Approve => command::approval(&request, &body.0)?,
        _ => command::decision(&request, &body.0)?,
    };
    let work = move |connection: &Connection, context: &Context| {
        let decided = decide::decide(connection, context, topic_id, event, &decision)?;
        Reply::new(
            if decided.request_id.is_some() {
                202
            } else {
                200
            },
            &decided,
        )
    };
    let mut reply = command::run(&state, &request, actor, &body.0, work).await?;
    if event == Event::Approve
        && let Some(wait) = wait
    {
        settle(&state, topic_id, wait, &mut reply).await?;
    }
    Ok(reply.respond())
}

/// Lets the answer of an approval wait until Kafka serves the topic, or something else became of it.
async fn settle(
    state: &State,
    topic_id: i64,
    wait: Duration,
    reply: &mut Reply,
) -> Result<(), Failure> {
    if let Some(topic) = settled(state, topic_id, wait).await? {
        reply.body["status"] = json!(topic.status);
        reply.body["version"] = json!(topic.version);
    }
    Ok(())
}

/// The topic once it is no longer approved-and-waiting, or as it is when the time is over.
async fn settled(state: &State, topic_id: i64, wait: Duration) -> Result<Option<Topic>, AppError> {
    let deadline = Instant::now() + wait;
    loop {
        let since = state.hub.current(Follow::Topics);
        let topic = state
            .database
            .read(move |c| store::topics::by_id(c, topic_id))
            .await?;
        let waiting = topic
            .as_ref()
            .is_some_and(|t| t.status == TopicState::Approved);
        let left = deadline.saturating_duration_since(Instant::now());
        if !waiting || left.is_zero() || !state.hub.wait(Follow::Topics, &since, left).await {
            return Ok(topic);
        }
    }
}

/// Files a request to delete an inactive topic.
///
/// # Errors
/// 401, 403, 404, 409, 412, 422.
#[utoipa::path(post, path = "/api/topics/{id}/delete", tag = "decisions",
    params(("id" = i64, Path), ("If-Match" = Option<String>, Header)), request_body = Option<crate::openapi::bodies::Reasoned>,
    responses((status = 202, body = crate::openapi::bodies::Filed), (status = 409, body = Problem)))]
pub async fn request_delete(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let topic_id = id(&request)?;
    let decision = command::decision(&request, &body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        let filed = delete::request_delete(connection, context, topic_id, &decision)?;
        let mut reply = Reply::new(202, &filed)?;
        reply.body["message"] = json!("Deletion request submitted");
        Ok(reply)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

/// Asks for the activation of a topic by its name, as the producers of the reference documents do. It
/// hurries what is approved and reports; it never approves.
///
/// # Errors
/// 400, 401, 403, 404 for an unknown name, 409 when it is not approved, 422.
#[utoipa::path(post, path = "/api/topics/activate_by_name", tag = "decisions",
    request_body(content = crate::openapi::bodies::Named, example = json!({"topic_name": "orders"})),
    responses((status = 200, body = Decided), (status = 202, body = Decided),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn activate_by_name(
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let mut body = Body::parse(&body.0)?;
    let name = body.required_text("topic_name");
    body.finish()?;
    actor.need_topic(&name)?;
    let wanted = name.clone();
    let found = state
        .database
        .read(move |c| store::topics::by_name(c, &wanted))
        .await?;
    let unknown = || {
        let detail = format!("nobody has asked for {name}; ask for it with POST /api/topics");
        Problem::new(Code::UnknownTopic, detail)
    };
    let mut topic = found.ok_or_else(unknown)?;
    if topic.status == TopicState::Approved {
        state.nudge.notify_one();
        let waited = settled(&state, topic.topic_id, ACTIVATE_WAIT).await?;
        topic = waited.unwrap_or(topic);
    }
    activation(&topic)
}

fn activation(topic: &Topic) -> Result<HttpResponse, Failure> {
    let answer = |message: &str| Decided {
        message: message.to_owned(),
        topic_id: topic.topic_id,
        status: topic.status,
        version: topic.version,
        request_id: None,
    };
    let code = match topic.status {
        TopicState::Active => return Ok(HttpResponse::Ok().json(answer("Topic activated"))),
        TopicState::Approved => {
            let why = topic
                .last_problem
                .as_deref()
                .unwrap_or("Kafka has not confirmed it yet");
            let message = format!("Topic is being created: {why}");
            return Ok(HttpResponse::Accepted().json(answer(&message)));
        }
        TopicState::Pending => Code::TopicPending,
        TopicState::Inactive => Code::TopicNotActive,
        TopicState::Rejected => Code::TopicRejected,
        TopicState::Withdrawn => Code::TopicWithdrawn,
        TopicState::Expired => Code::TopicExpired,
        TopicState::Deleted => Code::TopicDeleted,
    };
    let detail = format!(
        "{} is {}; only an approver changes that",
        topic.topic_name, topic.status
    );
    Err(Problem::new(code, detail).into())
}

/// The wait that a query asks for.
pub(crate) fn wait_text(request: &HttpRequest) -> Option<String> {
    query(request, "wait")
}
