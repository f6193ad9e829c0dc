//! A request about a consumer that another instance runs is asked there, with the caller's own token: one
//! consumer has one place where its turns are taken.
//!
//! When that instance cannot be reached, what a user wants is written to the registry all the same, and the
//! owner acts on it as soon as it sees it; what needs the worker itself answers 503.

use crate::access::Caller;
use crate::context::Context;
use crate::store::instances::Place;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::body::{self, BodyLimits};
use sluice_service::http::problem::{Failure, respond};
use std::time::Duration;

/// Time to connect to another instance.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that another instance may take: a deletion may take 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Most bytes of an answer that is passed on.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Says which instance answered.
const INSTANCE: &str = "sluice-instance";
/// Marks what was passed on already.
const RELAYED: &str = "sluice-relayed";
/// What goes along with a request, and what comes back with its answer.
const ALONG: [&str; 4] = ["content-type", "if-match", "idempotency-key", "accept"];
const BACK: [&str; 5] = ["content-type", "etag", "location", "link", "retry-after"];
/// What can only be done where the worker is.
const AT_WORKER: [&str; 5] = ["offsets", "redrive", "replays", "dead-letters", "restart"];

/// The client for other instances.
///
/// # Errors
/// When it cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .build()
}

/// The consumer that a path is about, and what about it.
fn subject(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/consumers/")?;
    let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let what = rest.split('/').next().unwrap_or_default();
    uuid::Uuid::try_parse(id).is_ok().then_some((id, what))
}

/// The middleware: passes a request on, or lets it through.
///
/// # Errors
/// Passes on what the inner service fails with.
pub async fn relay<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let context = request.app_data::<web::Data<Context>>().cloned();
    let shared = context.filter(|context| context.manager.sharing().is_some());
    let (Some(context), Some((id, what))) = (shared, subject(request.path())) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let (id, at_worker) = (id.to_owned(), AT_WORKER.contains(&what));
    let place = if request.headers().contains_key(RELAYED) {
        None
    } else {
        match context.manager.elsewhere(&id).await {
            Ok(place) => place,
            Err(error) => return Ok(refuse(request, &Failure::from(error).0)),
        }
    };
    let Some(place) = place else {
        let mut response = next.call(request).await?.map_into_left_body();
        name(
            &mut response,
            context.manager.sharing().and_then(|sharing| sharing.id()),
        );
        return Ok(response);
    };
    let (parts, payload) = request.into_parts();
    let limits = parts
        .app_data::<web::Data<BodyLimits>>()
        .map(|limits| ***limits);
    let body = match body::collect(payload, limits.unwrap_or_default()).await {
        Ok(body) => body,
        Err(failure) => {
            let request = ServiceRequest::from_parts(parts, Payload::None);
            return Ok(refuse(request, &failure.0));
        }
    };
    match ask(&context, &parts, &place, body.clone()).await {
        Ok(answer) => {
            let request = ServiceRequest::from_parts(parts, Payload::None);
            Ok(request.into_response(answer).map_into_right_body())
        }
        Err(Unasked { connected, .. }) if !connected && !at_worker => {
            let request = ServiceRequest::from_parts(parts, Payload::from(body));
            Ok(next.call(request).await?.map_into_left_body())
        }
        Err(Unasked { reason, .. }) => {
            let detail = format!(
                "instance {} runs it and does not answer: {reason}",
                place.instance
            );
            let problem = Problem::new(Code::Unavailable, detail).retry_after(1);
            Ok(refuse(
                ServiceRequest::from_parts(parts, Payload::None),
                &problem,
            ))
        }
    }
}

fn refuse<B>(
    request: ServiceRequest,
    problem: &Problem,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    request
        .into_response(respond(problem))
        .map_into_right_body()
}

fn name<B>(response: &mut ServiceResponse<B>, instance: Option<String>) {
    let value = instance.and_then(|id| HeaderValue::from_str(&id).ok());
    if let Some(value) = value {
        let name = HeaderName::from_static(INSTANCE);
        response.headers_mut().insert(name, value);
    }
}

/// Why another instance gave no answer.
struct Unasked {
    /// Whether it may have heard the question.
    connected: bool,
    reason: &'static str,
}

async fn ask(
    context: &Context,
    request: &HttpRequest,
    place: &Place,
    body: Bytes,
) -> Result<HttpResponse, Unasked> {
    let failed = |error: &reqwest::Error| Unasked {
        connected: !error.is_connect() && !error.is_builder(),
        reason: if error.is_timeout() {
            "it takes too long"
        } else {
            "the connection failed"
        },
    };
    let token = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.token.clone());
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let url = format!("{}{path}", place.url.trim_end_matches('/'));
    let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes());
    let mut asked = context.peers.request(method.unwrap_or_default(), url);
    for header in ALONG {
        if let Some(value) = request.headers().get(header) {
            asked = asked.header(header, value.as_bytes());
        }
    }
    if let Some(token) = token {
        asked = asked.bearer_auth(token.expose());
    }
    let mut answer = asked
        .header(RELAYED, "1")
        .body(body)
        .send()
        .await
        .map_err(|error| failed(&error))?;
    let status = StatusCode::from_u16(answer.status().as_u16());
    let mut builder = HttpResponse::build(status.unwrap_or(StatusCode::BAD_GATEWAY));
    for header in BACK {
        if let Some(value) = answer.headers().get(header) {
            builder.insert_header((header, value.as_bytes()));
        }
    }
    builder.insert_header((INSTANCE, place.instance.as_str()));
    let mut whole = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        if whole.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Unasked {
                connected: true,
                reason: "its answer is too long",
            });
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(builder.body(whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_one_consumer_are_passed_on() {
        let id = "6a9f1c1e-5c2f-4a47-9d4e-0f6d8a0c1b2d";
        for (path, want) in [
            (format!("/consumers/{id}"), Some("")),
            (format!("/consumers/{id}/"), Some("")),
            (format!("/consumers/{id}/offsets/"), Some("offsets")),
            (format!("/consumers/{id}/replays/5/cancel"), Some("replays")),
            ("/consumers/".to_owned(), None),
            ("/consumers/new/".to_owned(), None),
            (format!("/ui/consumers/{id}"), None),
        ] {
            assert_eq!(subject(&path).map(|(_, what)| what), want, "{path}");
        }
    }
}
