//! The console's pages.

use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::page::{asset, redirect};
use sluice_service::http::problem::respond;

/// Adds the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(|| async { redirect("/ui/") }))
        .route("/ui/assets/{path:.*}", web::get().to(file));
}

async fn file(request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    match sluice_ui::asset(&path) {
        Some(found) => asset(&request, found.bytes, &found.content_type, &found.etag),
        None => respond(&Problem::new(
            Code::NotFound,
            format!("there is no file {path}"),
        )),
    }
}
