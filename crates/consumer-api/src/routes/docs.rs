//! The API's description, `/openapi.json`, and its two viewers, `/docs` and `/redoc`.

use crate::openapi;
use actix_web::{HttpResponse, web};
use sluice_service::http::page::{DOCS_CSP, html};

const TITLE: &str = "Sluice consumer API";

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/openapi.json").route(web::get().to(description)))
        .service(web::resource(["/docs", "/docs/"]).route(web::get().to(swagger)))
        .service(web::resource(["/redoc", "/redoc/"]).route(web::get().to(redoc)));
}

async fn description() -> HttpResponse {
    HttpResponse::Ok().json(openapi::document())
}

async fn swagger() -> HttpResponse {
    html(200, DOCS_CSP, sluice_ui::docs::swagger(TITLE))
}

async fn redoc() -> HttpResponse {
    html(200, DOCS_CSP, sluice_ui::docs::redoc(TITLE))
}
