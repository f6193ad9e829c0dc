//! User-topic mappings.

use super::command::{self, Reply};
use super::{listing, page, query};
use crate::app::{Context, subscribe};
use crate::auth::Caller;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::Problem;
use sluice_model::subscription::{Subscription, SubscriptionKey};
use sluice_model::topic::LABEL_CHARS_MAX;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Mappings, newest first, of one user if asked.
///
/// # Errors
/// 401, 403, 422, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/subscriptions", tag = "subscriptions",
    params(("user_id" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Subscription>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let user = query(&request, "user_id");
    let found = state
        .database
        .read(move |c| store::subscriptions::list(c, user.as_deref(), page))
        .await?;
    Ok(listing(&request, page, &found, |subscription| {
        subscription.subscription_id
    }))
}

fn key(bytes: &[u8]) -> Result<SubscriptionKey, Problem> {
    let mut body = Body::parse(bytes)?;
    let topic_name = body.required_text("topic_name");
    let user_id = body.short_text("user_id", LABEL_CHARS_MAX);
    if user_id.as_deref() == Some("") {
        body.invalid(
            "user_id",
            "must not be empty; leave it out for your own account",
        );
    }
    body.finish()?;
    Ok(SubscriptionKey {
        user_id,
        topic_name,
    })
}

/// Subscribes a user to an active topic.
///
/// # Errors
/// 400, 401, 403, 404, 409, 422.
#[utoipa::path(post, path = "/api/subscriptions", tag = "subscriptions", request_body = SubscriptionKey,
    responses((status = 201, body = Subscription), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn add(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Consumer)?;
    let key = key(&body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        let subscription = subscribe::subscribe(connection, context, &key)?;
        let mut reply = Reply::new(201, &subscription)?;
        reply.body["message"] = json!("Subscription added successfully");
        Ok(reply)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

/// Takes a subscription back.
///
/// # Errors
/// 400, 401, 403, 404, 422.
#[utoipa::path(delete, path = "/api/subscriptions", tag = "subscriptions", request_body = SubscriptionKey,
    responses((status = 200), (status = 404, body = Problem)))]
pub async fn remove(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Consumer)?;
    let key = key(&body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        subscribe::unsubscribe(connection, context, &key)?;
        Reply::new(
            200,
            &json!({"message": "Subscription removed successfully"}),
        )
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}
