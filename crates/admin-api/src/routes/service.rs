//! The service itself: health, figures, the caller.

use crate::auth::Caller;
use crate::auth::scopes::Needed;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::{Actor, Role};
use sluice_model::topic::Stats;
use sluice_service::http::credential;
use sluice_service::http::probe;
use sluice_service::http::problem::Failure;
use sluice_service::now;

/// Alive, with everything that is in trouble. Needs no credential.
#[utoipa::path(get, path = "/api/health", tag = "service", security(()),
    responses((status = 200, body = crate::openapi::bodies::HealthView)))]
pub async fn health(state: web::Data<State>) -> HttpResponse {
    probe::health_answer(&state.health)
}

/// Whose credential this is.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/api/whoami", tag = "service", responses((status = 200, body = Actor)))]
pub async fn whoami(caller: Caller) -> HttpResponse {
    HttpResponse::Ok().json(caller.0)
}

/// The figures of the overview.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/api/stats", tag = "service", responses((status = 200, body = Stats)))]
pub async fn stats(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let stats = state
        .database
        .read(|c| store::topics::stats(c, now()))
        .await?;
    Ok(HttpResponse::Ok().json(stats))
}

/// Prometheus text.
///
/// # Errors
/// 401 and 403, unless the configuration makes it public.
pub async fn metrics(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, Failure> {
    if !state.settings.metrics_public {
        let token = credential::token(&request);
        let actor = state.tokens.identify(token, true, now())?;
        crate::auth::require(&actor, Role::Viewer)?;
        actor.need_scope(Needed::Action("metrics:read"))?;
    }
    Ok(probe::metrics_answer())
}
