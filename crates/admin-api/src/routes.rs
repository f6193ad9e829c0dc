//! The whole route table. Handlers turn HTTP into use cases and back; none decides.

pub mod apply;
pub mod audit;
pub mod command;
pub mod decisions;
pub mod deletion;
pub mod docs;
pub mod drift;
pub mod events;
pub mod notices;
pub mod petitions;
pub mod policy;
pub mod poll;
pub mod producers;
pub mod requests;
pub mod service;
pub mod sessions;
pub mod subscriptions;
pub mod teams;
pub mod tokens;
pub mod topics;
pub mod ui;
pub mod users;

use crate::state::State;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::page::{Page, encode};
use sluice_model::problem::{Code, Problem};
use sluice_service::Identity;
use sluice_service::http::probe;
use sluice_service::http::problem::{Failure, respond};

/// Adds every route. Each path is a resource of its own, so that a wrong method is a 405.
pub fn configure(config: &mut web::ServiceConfig, state: &State, identity: Identity) {
    probe::configure(config, &state.health, identity);
    let api = web::scope("/api")
        .wrap(from_fn(crate::auth::oidc::keys))
        .configure(about_the_service)
        .configure(about_access)
        .configure(about_topics)
        .configure(about_requests)
        .configure(following);
    config
        .service(api)
        .service(web::resource("/metrics").route(web::get().to(service::metrics)))
        .configure(docs::configure)
        .configure(ui::configure)
        .default_service(web::to(nothing_here));
}

fn about_the_service(api: &mut web::ServiceConfig) {
    api.service(web::resource("/health").route(web::get().to(service::health)))
        .service(web::resource("/whoami").route(web::get().to(service::whoami)))
        .service(web::resource("/stats").route(web::get().to(service::stats)))
        .service(web::resource("/drift").route(web::get().to(drift::list)))
        .service(web::resource("/drift/{verb}").route(web::post().to(drift::remedy)))
        .service(
            web::resource("/deletions")
                .route(web::get().to(deletion::deletions))
                .route(web::put().to(deletion::turn_deletions)),
        )
        .service(
            web::resource("/policy")
                .route(web::get().to(policy::get))
                .route(web::put().to(policy::put)),
        )
        .service(web::resource("/policy/try").route(web::post().to(policy::try_out)))
        .service(web::resource("/audit").route(web::get().to(audit::list)))
        .service(web::resource("/audit/export").route(web::get().to(audit::export)))
        .service(web::resource("/audit/verify").route(web::get().to(audit::verify)));
}

fn about_access(api: &mut web::ServiceConfig) {
    api.service(
        web::resource("/users")
            .route(web::get().to(users::list))
            .route(web::post().to(users::create)),
    )
    .service(
        web::resource("/users/{account}")
            .route(web::get().to(users::get))
            .route(web::patch().to(users::change)),
    )
    .service(web::resource("/whoami/password").route(web::put().to(users::change_password)))
    .service(
        web::resource("/sessions")
            .route(web::post().to(sessions::start))
            .route(web::delete().to(sessions::end)),
    )
    .service(web::resource("/setup").route(web::post().to(sessions::set_up)))
    .service(
        web::resource("/tokens")
            .route(web::get().to(tokens::list))
            .route(web::post().to(tokens::create)),
    )
    .service(web::resource("/tokens/{id}").route(web::delete().to(tokens::revoke)))
    .service(
        web::resource("/teams")
            .route(web::get().to(teams::list))
            .route(web::post().to(teams::create)),
    )
    .service(
        web::resource("/teams/{name}")
            .route(web::get().to(teams::get))
            .route(web::patch().to(teams::change))
            .route(web::delete().to(teams::remove)),
    )
    .service(
        web::resource("/teams/{name}/members/{account}")
            .route(web::put().to(teams::add_member))
            .route(web::delete().to(teams::remove_member)),
    );
}

fn about_topics(api: &mut web::ServiceConfig) {
    api.service(
        web::resource("/topics")
            .route(web::get().to(topics::list))
            .route(web::post().to(topics::create)),
    )
    .service(web::resource("/apply").route(web::post().to(apply::apply)))
    .service(web::resource("/topics/active").route(web::get().to(poll::active)))
    .service(
        web::resource("/topics/activate_by_name")
            .route(web::post().to(decisions::activate_by_name)),
    )
    .service(web::resource("/topics/by-name/{name}").route(web::get().to(topics::by_name)))
    .service(
        web::resource("/topics/{id}")
            .route(web::get().to(topics::get))
            .route(web::patch().to(topics::change)),
    )
    .service(web::resource("/topics/{id}/fence").route(web::get().to(deletion::fence)))
    .service(web::resource("/topics/{id}/protect").route(web::post().to(deletion::protect)))
    .service(web::resource("/topics/{id}/unprotect").route(web::post().to(deletion::unprotect)))
    .service(web::resource("/topics/{id}/delete").route(web::post().to(decisions::request_delete)))
    .service(web::resource("/topics/{id}/{verb}").route(web::post().to(decisions::decide_topic)));
}

fn about_requests(api: &mut web::ServiceConfig) {
    api.service(web::resource("/requests").route(web::get().to(requests::list)))
        .service(web::resource("/requests/decide").route(web::post().to(petitions::decide_many)))
        .service(
            web::resource("/requests/{id}")
                .route(web::get().to(requests::get))
                .route(web::patch().to(petitions::change)),
        )
        .service(
            web::resource("/requests/{id}/comments")
                .route(web::get().to(petitions::comments))
                .route(web::post().to(petitions::comment)),
        )
        .service(web::resource("/requests/{id}/{verb}").route(web::post().to(requests::decide)))
        .service(
            web::resource("/subscriptions")
                .route(web::get().to(subscriptions::list))
                .route(web::post().to(subscriptions::add))
                .route(web::delete().to(subscriptions::remove)),
        );
}

fn following(api: &mut web::ServiceConfig) {
    api.service(web::resource("/routes").route(web::get().to(poll::routes)))
        .service(web::resource("/changes").route(web::get().to(poll::changes)))
        .service(web::resource("/events").route(web::get().to(events::events)))
        .service(web::resource("/webhooks").route(web::get().to(notices::webhooks)))
        .service(web::resource("/notices").route(web::get().to(notices::list)))
        .service(web::resource("/producers").route(web::get().to(producers::list)))
        .service(web::resource("/producers/heartbeat").route(web::post().to(producers::heartbeat)));
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

/// A bare array of things whose ids are not shown; when the page is full, a link to the next one.
pub(crate) fn listing_of<T: serde::Serialize>(
    request: &HttpRequest,
    page: Page,
    found: Vec<(i64, T)>,
) -> HttpResponse {
    let (ids, items): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let last = ids.last().copied().unwrap_or_default();
    listing(request, page, &items, |_| last)
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
