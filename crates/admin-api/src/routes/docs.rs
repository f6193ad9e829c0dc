//! `/openapi.json` and its two viewers.

use crate::openapi;
use actix_web::{HttpResponse, web};
use sluice_service::http::page::{DOCS_CSP, html};

const TITLE: &str = "Sluice admin API";

/// Adds the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/openapi.json")
                .route(web::get().to(|| async { HttpResponse::Ok().json(openapi::document()) })),
        )
        .service(web::resource("/docs").route(
            web::get().to(|| async { html(200, DOCS_CSP, sluice_ui::docs::swagger(TITLE)) }),
        ))
        .service(
            web::resource("/redoc").route(
                web::get().to(|| async { html(200, DOCS_CSP, sluice_ui::docs::redoc(TITLE)) }),
            ),
        );
}
