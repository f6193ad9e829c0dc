//! The console's pages: [`frame`] (who looks, and errors as pages), [`catalogue`] (topics,
//! subscriptions, the live tail) and [`managed`] (consumers), by the use cases of the JSON routes.

mod catalogue;
mod frame;
pub mod lag;
mod managed;

use crate::context::Context;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::page::asset;
use sluice_service::http::problem::Failure;

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig, _context: &Context) {
    let page = |path: &str| web::resource([path.to_owned(), format!("{path}/")]);
    config
        .service(web::redirect("/ui", "/ui/").see_other())
        .service(
            web::scope("/ui")
                .wrap(from_fn(frame::pages))
                .service(web::resource("/assets/{path:.*}").route(web::get().to(file)))
                .service(
                    page("/login")
                        .route(web::get().to(frame::login_page))
                        .route(web::post().to(frame::login)),
                )
                .service(page("/logout").route(web::post().to(frame::logout)))
                .service(web::resource("/").route(web::get().to(catalogue::catalogue)))
                .service(page("/subscribe").route(web::post().to(catalogue::subscribe)))
                .service(page("/unsubscribe").route(web::post().to(catalogue::unsubscribe)))
                .service(page("/live").route(web::get().to(catalogue::live)))
                .service(page("/consumers").route(web::get().to(managed::list)))
                .service(
                    page("/consumers/new")
                        .route(web::get().to(managed::new))
                        .route(web::post().to(managed::create)),
                )
                .service(page("/consumers/{id}").route(web::get().to(managed::one)))
                .service(page("/consumers/{id}/{verb}").route(web::post().to(managed::tell)))
                .default_service(web::to(nothing_here)),
        );
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

/// One value of a query; an empty one counts as absent.
fn value(request: &HttpRequest, name: &str) -> Option<String> {
    values(request, name).next()
}

/// Every value of a query under one name, without the empty ones.
fn values(request: &HttpRequest, name: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(request.query_string().as_bytes())
        .filter(move |(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}
