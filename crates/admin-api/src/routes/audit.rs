//! The audit.

use super::{listing, page, query};
use crate::auth::Caller;
use crate::state::{State, noted_head};
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::Role;
use sluice_model::audit::{AuditRow, Verification};
use sluice_service::http::problem::Failure;

/// Audit rows, newest first, about one topic if asked.
///
/// # Errors
/// 401, 403, 422, 400 for a bad cursor.
#[utoipa::path(get, path = "/api/audit", tag = "audit",
    params(("topic_name" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<AuditRow>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let topic = query(&request, "topic_name");
    let rows = state
        .database
        .read(move |c| store::audit::list(c, topic.as_deref(), page))
        .await?;
    Ok(listing(&request, page, &rows, |row| row.seq))
}

/// Recomputes the hash chain.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/audit/verify", tag = "audit",
    responses((status = 200, body = Verification)))]
pub async fn verify(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let heads = state.settings.database.audit_heads();
    let verification = state
        .database
        .read(move |c| {
            let noted = noted_head(&heads);
            store::audit::verify(c, noted)
        })
        .await?;
    Ok(HttpResponse::Ok().json(verification))
}
