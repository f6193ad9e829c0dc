//! Webhooks and the log of their notices.

use super::{listing, page, query};
use crate::auth::Caller;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use sluice_model::access::Role;
use sluice_model::notice::{Format, Notice, NoticeStatus};
use sluice_model::problem::Problem;
use sluice_service::http::problem::Failure;

/// A webhook of the configuration, without its URL and its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WebhookView {
    /// Its name.
    name: String,
    /// The actions that it is told of; empty means all about topics.
    kinds: Vec<String>,
    /// The form of its bodies.
    format: Format,
    /// Told only of this account's requests.
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    /// Whether bodies are signed.
    signed: bool,
}

/// The webhooks of the configuration.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/webhooks", tag = "following", responses((status = 200, body = Vec<WebhookView>)))]
pub async fn webhooks(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let view = |webhook: &crate::settings::Webhook| WebhookView {
        name: webhook.name.clone(),
        kinds: webhook.kinds.clone(),
        format: webhook.format,
        account: webhook.account.clone(),
        signed: !webhook.secret_file.as_os_str().is_empty(),
    };
    let all: Vec<_> = state.settings.notices.webhooks.iter().map(view).collect();
    Ok(HttpResponse::Ok().json(all))
}

/// The delivery log, newest first.
///
/// # Errors
/// 401, 403, 422, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/notices", tag = "following",
    params(("webhook" = Option<String>, Query), ("status" = Option<NoticeStatus>, Query),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Notice>), (status = 422, body = Problem)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let webhook = query(&request, "webhook");
    let status = status(&request)?;
    let read =
        move |c: &rusqlite::Connection| store::notices::list(c, webhook.as_deref(), status, page);
    let found = state.database.read(read).await?;
    Ok(listing(&request, page, &found, |notice| notice.notice_id))
}

/// The status that a query asks for.
pub(crate) fn status(request: &HttpRequest) -> Result<Option<NoticeStatus>, Problem> {
    let Some(word) = query(request, "status") else {
        return Ok(None);
    };
    let unknown = || Problem::invalid("status", "is one of waiting, delivered, failed");
    NoticeStatus::parse(&word).ok_or_else(unknown).map(Some)
}
