//! The API's description: `/openapi.json`, and its two viewers.

use crate::openapi;
use actix_web::{HttpResponse, web};

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource("/openapi.json").route(web::get().to(description)));
}

async fn description() -> HttpResponse {
    HttpResponse::Ok().json(openapi::document())
}
