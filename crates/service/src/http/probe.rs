//! The probes of every service: `/livez`, `/readyz`, `/metrics`, `/version`.

use crate::health::Health;
use crate::{Identity, now, telemetry};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde_json::json;

/// Adds `/livez`, `/readyz` and `/version`; `/metrics` needs a credential and is added by the service.
pub fn configure(config: &mut web::ServiceConfig, health: &Health, identity: Identity) {
    let ready = health.clone();
    config
        .service(
            web::resource("/livez").route(
                web::get().to(|| async { HttpResponse::Ok().json(json!({"status": "ok"})) }),
            ),
        )
        .service(web::resource("/readyz").route(web::get().to(move || {
            let readiness = ready.readiness();
            async move { readiness_answer(&readiness) }
        })))
        .service(
            web::resource("/version").route(web::get().to(move || async move {
                HttpResponse::Ok().json(json!({"name": identity.name, "version": identity.version}))
            })),
        );
}

fn readiness_answer(readiness: &crate::health::Readiness) -> HttpResponse {
    let status = StatusCode::from_u16(readiness.http_status()).unwrap_or(StatusCode::OK);
    HttpResponseBuilder::new(status).json(readiness)
}

/// The answer of `/api/health`: alive, with everything that is in trouble.
pub fn health_answer(health: &Health) -> HttpResponse {
    let readiness = health.readiness();
    let status = if readiness.status == "ready" {
        "healthy"
    } else {
        readiness.status
    };
    HttpResponse::Ok().json(json!({
        "status": status,
        "timestamp": now(),
        "degraded": readiness.degraded,
        "reasons": readiness.reasons,
    }))
}

/// The answer of `/metrics`: Prometheus text.
pub fn metrics_answer() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(telemetry::metrics().render())
}
