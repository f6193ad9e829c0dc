//! What admins decide about deletions: the label of a topic, and the switch of all.

use super::forms::decision;
use super::frame::Visitor;
use crate::app::{Context, evidence};
use crate::auth::require;
use crate::routes::command::{self, Reply};
use crate::routes::id;
use crate::state::State;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::Role;
use sluice_model::problem::Problem;
use sluice_model::topic::REASON_CHARS_MAX;
use sluice_service::http::body::FormFields;
use sluice_service::http::page::redirect;
use sluice_service::http::problem::Failure;

type Answer = Result<HttpResponse, Failure>;

/// `POST /ui/topics/{id}/protect`
pub(super) async fn protect(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    label(&request, &state, visitor, &form, true).await
}

/// `POST /ui/topics/{id}/unprotect`
pub(super) async fn unprotect(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    label(&request, &state, visitor, &form, false).await
}

async fn label(
    request: &HttpRequest,
    state: &State,
    visitor: Visitor,
    form: &FormFields,
    never_delete: bool,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let topic_id = id(request)?;
    let decision = decision(form)?;
    let work = move |connection: &Connection, context: &Context| {
        evidence::protect(connection, context, topic_id, never_delete, &decision)?;
        Reply::new(200, &json!({}))
    };
    command::run(state, request, visitor.0, b"", work).await?;
    let did = if never_delete { "protect" } else { "unprotect" };
    Ok(redirect(&format!("/ui/topics/{topic_id}?did={did}")))
}

/// `POST /ui/deletions`
pub(super) async fn turn(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let enabled = match form.get("enabled") {
        Some("true") => true,
        Some("false") => false,
        _ => return Err(Problem::invalid("/enabled", "is true or false").into()),
    };
    let reason = form.get("reason").map(str::to_owned);
    let chars = reason.as_ref().map_or(0, |reason| reason.chars().count());
    if chars > REASON_CHARS_MAX {
        let message = format!("has at most {REASON_CHARS_MAX} characters");
        return Err(Problem::invalid("/reason", message).into());
    }
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(200, &evidence::turn(connection, context, enabled, reason)?)
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    let did = if enabled {
        "deletions_on"
    } else {
        "deletions_off"
    };
    Ok(redirect(&format!("/ui/?did={did}")))
}
