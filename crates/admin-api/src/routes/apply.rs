//! Declared topics.

use super::command::{self, Reply};
use super::topics::topic_of;
use crate::app::{Context, apply as app};
use crate::auth::Caller;
use crate::state::State;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::Value;
use sluice_model::access::Role;
use sluice_model::apply::{APPLY_MAX, Plan};
use sluice_model::body::Body;
use sluice_model::problem::Problem;
use sluice_model::topic::NewTopic;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Declares topics: `{topics: [as for POST /api/topics], dry_run?}`. Files a request for each that is not as
/// declared, unless it is filed already; `dry_run` only says what would be. What is not named stays as it is.
///
/// # Errors
/// 400, 401, 403, 413, 415, 422.
#[utoipa::path(post, path = "/api/apply", tag = "topics",
    request_body(content = crate::openapi::bodies::Declared,
        example = json!({"topics": [{"name": "orders", "partitions": 6}], "dry_run": true})),
    responses((status = 200, body = Plan), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn apply(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Producer)?;
    let mut fields = Body::parse(&body.0)?;
    let dry_run = fields.flag("dry_run").unwrap_or_default();
    let wanted = declared(&mut fields);
    fields.finish()?;
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(200, &app::apply(connection, context, &wanted, dry_run)?)
    };
    Ok(command::run(&state, &request, actor, &body.0, work)
        .await?
        .respond())
}

fn declared(fields: &mut Body) -> Vec<NewTopic> {
    let Some(items) = fields.array("topics") else {
        fields.invalid("topics", "is missing");
        return Vec::new();
    };
    if items.len() > APPLY_MAX {
        let message = format!(
            "has at most {APPLY_MAX} topics, this one has {}",
            items.len()
        );
        fields.invalid("topics", message);
        return Vec::new();
    }
    let mut wanted: Vec<NewTopic> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("topics/{index}");
        match item {
            Value::Object(members) => {
                let mut part = Body::of(members, &format!("/{place}"));
                let topic = topic_of(&mut part);
                fields.absorb(part);
                if wanted.iter().any(|known| known.name == topic.name) {
                    fields.invalid(&format!("{place}/name"), "is named twice");
                }
                wanted.push(topic);
            }
            other => fields.mistyped(&place, "an object", &other),
        }
    }
    wanted
}
