//! Where Kafka and governance disagree, and what is done about it.

use super::query;
use crate::app::drift as app;
use crate::auth::Caller;
use crate::error::Outcome;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::{Actor, Role};
use sluice_model::body::Body;
use sluice_model::drift::{DRIFT_KINDS, Drift, DriftKey, DriftKind, Remedy};
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::REASON_CHARS_MAX;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Where Kafka and governance disagree; what may stay is left out unless `ignored=true`.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/drift", tag = "drift", params(("ignored" = Option<bool>, Query)),
    responses((status = 200, body = Vec<Drift>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let all = query(&request, "ignored").as_deref() == Some("true");
    Ok(HttpResponse::Ok().json(known(&state, all).await?))
}

/// What is known, with what may stay marked; or only what may not.
pub(crate) async fn known(state: &State, all: bool) -> Result<Vec<Drift>, Failure> {
    let mut ignored = state.database.read(store::drift::ignored).await?;
    let mut found = state.drift.all();
    for entry in &mut found {
        entry.ignored = ignored.remove(&entry.of);
    }
    found.retain(|entry| all || entry.ignored.is_none());
    Ok(found)
}

/// Does something about a disagreement: `adopt` (what Kafka has becomes what is approved), `restore` (Kafka
/// gets back what is approved), `ignore` (it may stay), `heed` (not any more),
/// `delete` (an orphan is fenced, and its deletion is asked for).
///
/// # Errors
/// 400, 401, 403, 404 when there is no such disagreement now, 409 when the remedy does not fit, 422.
#[utoipa::path(post, path = "/api/drift/{verb}", tag = "drift",
    params(("verb" = String, Path, description = "adopt, restore, ignore, heed or delete")),
    request_body(content = crate::openapi::bodies::RemedyBody, example = json!({"topic_name": "orders", "kind": "config", "key": "retention.ms", "reason": "agreed"})),
    responses((status = 200, body = crate::openapi::bodies::Remedied), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remedy(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Approver)?;
    let remedy = verb(&request)?;
    let mut body = Body::parse(&body.0)?;
    let topic_name = body.required_text("topic_name");
    let word = body.required_text("kind");
    let kind = DriftKind::parse(&word);
    if kind.is_none() && !word.is_empty() {
        let known = DRIFT_KINDS.map(DriftKind::as_str).join(", ");
        body.invalid("kind", format!("is one of {known}"));
    }
    let key = body.text("key");
    let reason = body.short_text("reason", REASON_CHARS_MAX);
    body.finish()?;
    let of = DriftKey {
        topic_name,
        kind: kind.unwrap_or(DriftKind::Orphan),
        key,
    };
    let message = act(&state, actor, remedy, of.clone(), reason).await?;
    let mut answer = json!(of);
    answer["message"] = json!(message);
    Ok(HttpResponse::Ok().json(answer))
}

/// The remedy that a path names.
pub(crate) fn verb(request: &HttpRequest) -> Result<Remedy, Problem> {
    let word = request.match_info().get("verb").unwrap_or_default();
    Remedy::parse(word).ok_or_else(|| {
        let detail =
            format!("{word:?} is nothing to do about drift: adopt, restore, ignore, heed, delete");
        Problem::new(Code::NotFound, detail)
    })
}

/// Applies a remedy, and lets the next pass look again.
pub(crate) async fn act(
    state: &State,
    actor: Actor,
    remedy: Remedy,
    of: DriftKey,
    reason: Option<String>,
) -> Result<&'static str, Failure> {
    let missing = || {
        let detail = format!("there is no such disagreement about {} now", of.topic_name);
        Problem::new(Code::NotFound, detail)
    };
    let (found, there) = state.drift.find(&of).ok_or_else(missing)?;
    let context = state.context(actor);
    let work = move |connection: &Connection| -> Outcome<()> {
        let (there, reason) = (there.as_ref(), reason.as_deref());
        app::remedy(connection, &context, remedy, &found, there, reason)
    };
    state.database.write(work).await?;
    state.nudge.notify_one();
    Ok(match remedy {
        Remedy::Adopt => "Adopted: what Kafka has is approved now",
        Remedy::Restore => "Kafka gets back what is approved",
        Remedy::Ignore => "It may stay",
        Remedy::Heed => "It is shown again",
        Remedy::Delete => "Deletion request submitted; somebody else approves it",
    })
}
