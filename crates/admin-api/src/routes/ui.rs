//! The console's pages: [`frame`] (who looks, and errors as pages), [`pages`] (what is shown) and
//! [`forms`] (what forms do, by the use cases of the JSON routes).

mod access;
mod deletion;
mod forms;
mod frame;
mod pages;
mod petitions;
mod policy;
mod sign_in;

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::page::{asset, redirect};
use sluice_service::http::problem::Failure;

/// Adds the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(|| async { redirect("/ui/") }))
        .service(
            web::scope("/ui")
                .wrap(from_fn(frame::pages))
                .wrap(from_fn(crate::auth::oidc::keys))
                .route("/assets/{path:.*}", web::get().to(file))
                .service(
                    page("/login")
                        .route(web::get().to(sign_in::login_page))
                        .route(web::post().to(sign_in::login)),
                )
                .route("/logout", web::post().to(sign_in::logout))
                .service(
                    page("/setup")
                        .route(web::get().to(sign_in::setup_page))
                        .route(web::post().to(sign_in::set_up)),
                )
                .route("/oidc/start", web::get().to(sign_in::provider_start))
                .route("/oidc/callback", web::get().to(sign_in::provider_callback))
                .configure(access::configure)
                .route("", web::get().to(pages::overview))
                .route("/topics", web::get().to(pages::topics))
                .route("/topics/{id}", web::get().to(pages::topic))
                .route("/topics/{id}/delete", web::post().to(forms::request_delete))
                .route("/topics/{id}/change", web::post().to(forms::request_change))
                .route("/topics/{id}/protect", web::post().to(deletion::protect))
                .route(
                    "/topics/{id}/unprotect",
                    web::post().to(deletion::unprotect),
                )
                .route("/deletions", web::post().to(deletion::turn))
                .route("/topics/{id}/{verb}", web::post().to(forms::decide_topic))
                .service(
                    page("/request")
                        .route(web::get().to(pages::request))
                        .route(web::post().to(forms::request_topic)),
                )
                .route("/requests", web::get().to(pages::requests))
                .route("/requests/decide", web::post().to(petitions::decide_many))
                .route("/requests/{id}/edit", web::post().to(petitions::change))
                .route("/requests/{id}/amend", web::post().to(petitions::amend))
                .route("/requests/{id}/comment", web::post().to(petitions::comment))
                .route(
                    "/requests/{id}/{verb}",
                    web::post().to(forms::decide_request),
                )
                .service(
                    page("/policy")
                        .route(web::get().to(policy::page))
                        .route(web::post().to(policy::write)),
                )
                .route("/policy/try", web::post().to(policy::try_out))
                .service(
                    page("/subscriptions")
                        .route(web::get().to(pages::subscriptions))
                        .route(web::post().to(forms::subscribe)),
                )
                .route("/subscriptions/remove", web::post().to(forms::unsubscribe))
                .route("/producers", web::get().to(pages::producers))
                .route("/drift", web::get().to(pages::drift))
                .route("/drift/{verb}", web::post().to(forms::drift))
                .route("/notices", web::get().to(pages::notices))
                .route("/audit", web::get().to(pages::audit))
                .route("/audit/export", web::get().to(pages::audit_export))
                .default_service(web::to(nothing_here)),
        );
}

fn page(path: &str) -> actix_web::Resource {
    web::resource(path)
}

async fn nothing_here(request: HttpRequest) -> Result<HttpResponse, Failure> {
    let detail = format!("there is no page at {}", request.path());
    Err(Problem::new(Code::NotFound, detail).into())
}

async fn file(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, Failure> {
    let Some(found) = sluice_ui::asset(&path) else {
        return Err(Problem::new(Code::NotFound, format!("there is no file {path}")).into());
    };
    Ok(asset(
        &request,
        found.bytes,
        &found.content_type,
        &found.etag,
    ))
}
