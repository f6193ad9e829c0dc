//! Producer daemons.

use crate::auth::Caller;
use crate::producers::TOPICS_MAX;
use crate::state::State;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::Problem;
use sluice_model::producer::{Heartbeat, HeldTopic, ProducerSeen};
use sluice_model::topic::LABEL_CHARS_MAX;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use sluice_service::now;

/// The last heartbeat of each daemon.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/producers", tag = "producers",
    responses((status = 200, body = Vec<ProducerSeen>)))]
pub async fn list(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    Ok(HttpResponse::Ok().json(state.producers.all()))
}

/// Takes a heartbeat.
///
/// # Errors
/// 400, 401, 403, 422.
#[utoipa::path(post, path = "/api/producers/heartbeat", tag = "producers", request_body = Heartbeat,
    responses((status = 200), (status = 422, body = Problem)))]
pub async fn heartbeat(
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let heartbeat = read(&body.0)?;
    state.producers.hear(heartbeat, &actor.account, now());
    state.nudge.notify_one();
    Ok(HttpResponse::Ok().json(json!({"message": "heard"})))
}

fn read(bytes: &[u8]) -> Result<Heartbeat, Problem> {
    let mut body = Body::parse(bytes)?;
    let instance = body.required_text("instance");
    if instance.is_empty() || instance.len() > LABEL_CHARS_MAX {
        body.invalid("instance", format!("has 1 to {LABEL_CHARS_MAX} bytes"));
    }
    let revision = body.text("revision").unwrap_or_default();
    let items = body.array("topics").unwrap_or_default();
    if items.len() > TOPICS_MAX {
        body.invalid("topics", format!("has at most {TOPICS_MAX} entries"));
    }
    let mut topics = Vec::with_capacity(items.len().min(TOPICS_MAX));
    for (index, item) in items.into_iter().take(TOPICS_MAX).enumerate() {
        topics.push(held(&mut body, index, item));
    }
    body.finish()?;
    Ok(Heartbeat {
        instance,
        revision,
        topics,
    })
}

fn held(parent: &mut Body, index: usize, item: Value) -> HeldTopic {
    let Value::Object(members) = item else {
        parent.invalid(&format!("topics/{index}"), "must be an object");
        return HeldTopic::default();
    };
    let mut body = Body::of(members, &format!("/topics/{index}"));
    let mut count = |name| {
        body.integer::<i64>(name)
            .map_or(0, |n| u64::try_from(n).unwrap_or(0))
    };
    let mut topic = HeldTopic {
        topic_name: String::new(),
        held_records: count("held_records"),
        held_bytes: count("held_bytes"),
        oldest_held_ms: count("oldest_held_ms"),
        in_flight: count("in_flight"),
        records_per_s: count("records_per_s"),
    };
    topic.topic_name = body.required_text("topic_name");
    parent.absorb(body);
    topic
}
