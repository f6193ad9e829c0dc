//! The whole route table. Handlers turn HTTP into use cases and back; none decides.

pub mod audit;
pub mod command;
pub mod decisions;
pub mod docs;
pub mod poll;
pub mod producers;
pub mod requests;
pub mod service;
pub mod subscriptions;
pub mod topics;
pub mod ui;

use crate::state::State;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::page::{Page, encode};
use sluice_model::problem::{Code, Problem};
use sluice_service::Identity;
use sluice_service::http::probe;
use sluice_service::http::problem::{Failure, respond};

/// Adds every route.
pub fn configure(config: &mut web::ServiceConfig, state: &State, identity: Identity) {
    probe::configure(config, &state.health, identity);
    config
        .service(
            web::scope("/api")
                .route("/health", web::get().to(service::health))
                .route("/whoami", web::get().to(service::whoami))
                .route("/stats", web::get().to(service::stats))
                .route("/drift", web::get().to(service::drift))
                .route("/policy", web::get().to(service::policy))
                .service(
                    web::resource("/topics")
                        .route(web::get().to(topics::list))
                        .route(web::post().to(topics::create)),
                )
                .route("/topics/active", web::get().to(poll::active))
                .route(
                    "/topics/activate_by_name",
                    web::post().to(decisions::activate_by_name),
                )
                .route("/topics/by-name/{name}", web::get().to(topics::by_name))
                .route("/topics/{id}", web::get().to(topics::get))
                .route(
                    "/topics/{id}/delete",
                    web::post().to(decisions::request_delete),
                )
                .route(
                    "/topics/{id}/{verb}",
                    web::post().to(decisions::decide_topic),
                )
                .route("/routes", web::get().to(poll::routes))
                .route("/changes", web::get().to(poll::changes))
                .route("/requests", web::get().to(requests::list))
                .route("/requests/{id}", web::get().to(requests::get))
                .route("/requests/{id}/{verb}", web::post().to(requests::decide))
                .service(
                    web::resource("/subscriptions")
                        .route(web::get().to(subscriptions::list))
                        .route(web::post().to(subscriptions::add))
                        .route(web::delete().to(subscriptions::remove)),
                )
                .route("/producers", web::get().to(producers::list))
                .route("/producers/heartbeat", web::post().to(producers::heartbeat))
                .route("/audit", web::get().to(audit::list))
                .route("/audit/verify", web::get().to(audit::verify)),
        )
        .route("/metrics", web::get().to(service::metrics))
        .configure(docs::configure)
        .configure(ui::configure)
        .default_service(web::to(nothing_here));
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    let detail = format!(
        "there is nothing at {}; /docs lists what there is",
        request.path()
    );
    respond(&Problem::new(Code::NotFound, detail))
}

/// One value of the query, decoded; an empty one counts as absent.
pub(crate) fn query(request: &HttpRequest, name: &str) -> Option<String> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok()?;
    let found = pairs.into_inner().into_iter().find(|(key, _)| key == name);
    found
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

/// The page that a request asks for.
pub(crate) fn page(request: &HttpRequest) -> Result<Page, Problem> {
    Page::parse(
        query(request, "limit").as_deref(),
        query(request, "cursor").as_deref(),
    )
}

/// A bare array; when the page is full, a link to the next one.
pub(crate) fn listing<T: serde::Serialize>(
    request: &HttpRequest,
    page: Page,
    items: &[T],
    id: impl Fn(&T) -> i64,
) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    let full = u32::try_from(items.len()).is_ok_and(|count| count == page.limit);
    if let Some(last) = items.last().filter(|_| full) {
        let next = next_url(request, &encode(id(last)));
        answer.insert_header((header::LINK, format!("<{next}>; rel=\"next\"")));
    }
    answer.json(items)
}

fn next_url(request: &HttpRequest, cursor: &str) -> String {
    let pairs = request.query_string().split('&');
    let kept = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={cursor}");
    let query: Vec<&str> = kept.chain([cursor.as_str()]).collect();
    format!("{}?{}", request.path(), query.join("&"))
}

/// The integer id in a path.
pub(crate) fn id(request: &HttpRequest) -> Result<i64, Failure> {
    let text = request.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|_| {
        let detail = format!("there is nothing with the id {text:?}; ids are whole numbers");
        Problem::new(Code::NotFound, detail).into()
    })
}

/// A value as the JSON body of a 200, with its version as the ETag.
pub(crate) fn versioned<T: serde::Serialize>(value: &T, version: i64) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, format!("\"{version}\"")))
        .json(value)
}
