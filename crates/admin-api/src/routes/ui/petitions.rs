//! Forms about requests beside a plain decision: edits, approvals with changes, comments, many at once.

use super::forms::decision;
use super::frame::Visitor;
use crate::app::{Context, bulk, decide, edit};
use crate::auth::require;
use crate::routes::command::{self, Reply};
use crate::routes::id;
use crate::state::State;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::lifecycle::Event;
use sluice_model::problem::Problem;
use sluice_model::request::{Asked, BULK_MAX, COMMENT_CHARS_MAX, RequestEdit};
use sluice_model::topic::TopicChange;
use sluice_service::http::body::FormFields;
use sluice_service::http::page::redirect;
use sluice_service::http::problem::Failure;
use sluice_ui::form::topic_change;

type Answer = Result<HttpResponse, Failure>;

fn wish(form: &FormFields) -> Result<(Asked, Option<String>), Problem> {
    let change: TopicChange = topic_change(form.iter()).map_err(|problem| *problem)?;
    Ok((Asked::from(&change), change.reason))
}

/// `POST /ui/requests/{id}/edit`
pub(super) async fn change(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Producer)?;
    let request_id = id(&request)?;
    let if_match = decision(&form)?.if_match;
    let (asked, reason) = wish(&form)?;
    let wanted = RequestEdit {
        asked,
        reason,
        ..RequestEdit::default()
    };
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(
            200,
            &edit::edit(connection, context, request_id, if_match, &wanted)?,
        )
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect("/ui/requests?did=edit"))
}

/// `POST /ui/requests/{id}/amend`: approves with changes.
pub(super) async fn amend(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Approver)?;
    let request_id = id(&request)?;
    let mut decision = decision(&form)?;
    decision.changes = Some(wish(&form)?.0).filter(|changes| !changes.is_empty());
    let work = move |connection: &Connection, context: &Context| {
        let event = Event::Approve;
        let decided = decide::decide_request(connection, context, request_id, event, &decision)?;
        Reply::new(200, &decided)
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect("/ui/requests?did=approve"))
}

/// `POST /ui/requests/{id}/comment`
pub(super) async fn comment(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    let request_id = id(&request)?;
    let text = form.get("text").unwrap_or_default().to_owned();
    if text.is_empty() || text.chars().count() > COMMENT_CHARS_MAX {
        let message = format!("has 1 to {COMMENT_CHARS_MAX} characters");
        return Err(Problem::invalid("/text", message).into());
    }
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(201, &edit::comment(connection, context, request_id, &text)?)
    };
    command::run(&state, &request, visitor.0, b"", work).await?;
    Ok(redirect(&format!("/ui/requests?did=comment#r{request_id}")))
}

/// `POST /ui/requests/decide`: the ticked ones, each with the version that the page showed.
pub(super) async fn decide_many(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Approver)?;
    let reason = form.get("reason").map(str::to_owned);
    let event = match form.get("decision") {
        Some("approve") => Event::Approve,
        Some("reject") if reason.is_some() => Event::Reject,
        Some("reject") => {
            return Err(Problem::invalid("/reason", "is required: who asked learns why").into());
        }
        _ => return Err(Problem::invalid("/decision", "is approve or reject").into()),
    };
    let picked = form.iter().filter(|(name, _)| *name == "pick");
    let picked: Option<Vec<(i64, Option<i64>)>> = picked
        .map(|(_, value)| {
            let (id, version) = value.split_once(':')?;
            Some((id.parse().ok()?, Some(version.parse().ok()?)))
        })
        .collect();
    let picked = picked.unwrap_or_default();
    if picked.is_empty() || picked.len() > BULK_MAX {
        let message = format!("tick 1 to {BULK_MAX} requests");
        return Err(Problem::invalid("/pick", message).into());
    }
    let work = move |connection: &Connection, context: &Context| {
        let done = bulk::decide_many(connection, context, &picked, event, reason.as_deref())?;
        Reply::new(200, &done)
    };
    let reply = command::run(&state, &request, visitor.0, b"", work).await?;
    let some = reply.body["refused"]
        .as_u64()
        .is_some_and(|count| count > 0);
    let word = if some { "some" } else { "many" };
    Ok(redirect(&format!("/ui/requests?did={word}")))
}
