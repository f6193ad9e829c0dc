//! HTTP ↔ use cases. Every path works with and without a trailing slash.

pub mod consumers;
pub mod control;
pub mod docs;
pub mod groups;
pub mod records;
pub mod recovery;
pub mod revisions;
pub mod socket;
pub mod stream;
pub mod tail;
pub mod topics;
pub mod ui;

use crate::access::{self, Caller, authenticate};
use crate::context::Context;
use crate::relay::relay;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use sluice_service::http::{page, probe};

/// The longest id that a path may carry.
const ID_BYTES_MAX: usize = 64;

/// Registers everything.
pub fn configure(config: &mut web::ServiceConfig, context: &Context) {
    config
        .configure(|config| probe::configure(config, &context.health, crate::IDENTITY))
        .configure(docs::configure)
        .configure(|config| ui::configure(config, context))
        .service(web::resource("/").route(web::get().to(|| async { page::redirect("/ui/") })))
        .service(web::resource("/metrics").route(web::get().to(metrics)))
        .service(web::resource(["/api/health", "/api/health/"]).route(web::get().to(health)))
        .service(
            web::scope("")
                .wrap(from_fn(relay))
                .wrap(from_fn(authenticate))
                .configure(consumers::configure)
                .configure(recovery::configure)
                .configure(revisions::configure)
                .configure(control::configure)
                .configure(groups::configure)
                .configure(topics::configure)
                .configure(stream::configure),
        );
}

async fn health(context: web::Data<Context>) -> HttpResponse {
    probe::health_answer(&context.health)
}

async fn metrics(
    context: web::Data<Context>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    if !context.settings.metrics_public {
        let token = access::token(&context, &request)?;
        let caller = access::verify(&context, token).await?;
        caller.need(Role::Viewer)?;
        access::scopes::admit(Ok(caller), None, &request).await?;
    }
    Ok(probe::metrics_answer())
}

/// The id of a path; what cannot be one is not found.
fn checked_id(id: &str) -> Result<&str, Failure> {
    if id.len() <= ID_BYTES_MAX && uuid::Uuid::try_parse(id).is_ok() {
        Ok(id)
    } else {
        let shown: String = id.chars().take(ID_BYTES_MAX).collect();
        Err(crate::store::consumers::not_found(&shown))
    }
}

/// The generation that the caller has seen, if it says so.
fn if_match(request: &HttpRequest) -> Result<Option<i64>, Failure> {
    let Some(value) = request.headers().get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let bare = text.trim_start_matches("W/").trim_matches('"');
    let stale = || {
        Problem::new(
            Code::StaleVersion,
            format!("If-Match {text:?} is no generation"),
        )
    };
    bare.parse().map(Some).map_err(|_| stale().into())
}

/// A body that has nothing to say.
fn empty(bytes: &[u8]) -> Result<(), Failure> {
    Ok(Body::parse(bytes)?.finish()?)
}

/// A flag of a query.
fn flag(name: &str, value: Option<&str>) -> Result<bool, Failure> {
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(Problem::invalid(name, "is true or false").into()),
    }
}

/// The parameters of a query; unknown ones are refused with the nearest known name.
fn query<const N: usize>(
    request: &HttpRequest,
    known: [&'static str; N],
) -> Result<[Option<String>; N], Failure> {
    let mut values = [const { None }; N];
    for (name, value) in url::form_urlencoded::parse(request.query_string().as_bytes()) {
        let Some(place) = known.iter().position(|known| *known == name) else {
            let near = sluice_model::body::nearest(&name, &known);
            let message = match near {
                Some(near) => format!("is not known here; did you mean {near:?}?"),
                None => format!("is not known here; known are {}", known.join(", ")),
            };
            return Err(Problem::invalid(name.into_owned(), message).into());
        };
        values[place] = Some(value.into_owned());
    }
    Ok(values)
}

/// Adds the `Link` to the next page.
fn link(builder: &mut actix_web::HttpResponseBuilder, request: &HttpRequest, cursor: &str) {
    let known = url::form_urlencoded::parse(request.query_string().as_bytes());
    let next = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(known.filter(|(name, _)| name != "cursor"))
        .append_pair("cursor", cursor)
        .finish();
    let next = format!("<{}?{next}>; rel=\"next\"", request.path());
    builder.insert_header((header::LINK, next));
}

/// Refuses a caller that may only read.
fn writer(caller: &Caller) -> Result<(), Failure> {
    caller.need(Role::Consumer)
}
