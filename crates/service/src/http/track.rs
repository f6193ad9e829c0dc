//! One id, one log line and one count for every request; problems for what actix answers by itself.

use super::problem::respond;
use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use sluice_model::problem::{Code, Problem};
use std::time::Instant;

/// The header that carries the request's id, in and out.
pub const REQUEST_ID: &str = "x-request-id";
/// The longest id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The longest user agent that is kept.
const USER_AGENT_CHARS_MAX: usize = 120;

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its id.
    pub request_id: String,
    /// Its path.
    pub path: String,
    /// The address of the other end of the connection: the client, or the nearest proxy.
    pub address: Option<String>,
    /// What the client calls itself, cut to a bound.
    pub user_agent: Option<String>,
}

tokio::task_local! {
    static CURRENT: Origin;
}

/// The id of the request that this task serves.
pub fn request_id() -> Option<String> {
    CURRENT.try_with(|origin| origin.request_id.clone()).ok()
}

/// Where the request that this task serves came from.
pub fn origin() -> Option<Origin> {
    CURRENT.try_with(Clone::clone).ok()
}

fn origin_of(request: &ServiceRequest, request_id: String) -> Origin {
    let agent = request.headers().get(header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    Origin {
        request_id,
        path: request.path().to_owned(),
        address: request.peer_addr().map(|peer| peer.ip().to_string()),
        user_agent: agent.map(|agent| agent.chars().take(USER_AGENT_CHARS_MAX).collect()),
    }
}

/// The middleware: `App::wrap(from_fn(track))`, outermost.
///
/// # Errors
/// Passes on what the inner service fails with.
pub async fn track<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let id = incoming_id(&request).unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
    let method = request.method().to_string();
    let started = Instant::now();
    let origin = origin_of(&request, id.clone());
    CURRENT
        .scope(origin, async move {
            let response = match next.call(request).await {
                Ok(response) => named(response),
                Err(error) => return Err(error),
            };
            Ok(finish(response, &id, &method, started))
        })
        .await
}

fn finish<B>(
    mut response: ServiceResponse<B>,
    id: &str,
    method: &str,
    started: Instant,
) -> ServiceResponse<B> {
    if let Ok(value) = HeaderValue::from_str(id) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(REQUEST_ID), value);
    }
    let status = response.status().as_u16();
    let route = response
        .request()
        .match_pattern()
        .unwrap_or_else(|| "unmatched".to_owned());
    let took = started.elapsed();
    let labels = [
        ("route", route),
        ("method", method.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", &labels[..2]).record(took.as_secs_f64());
    let path = response.request().path();
    let duration_ms = took.as_millis() as u64;
    tracing::debug!(
        request.id = id,
        method,
        path,
        status,
        duration_ms,
        "request served"
    );
    response
}

fn incoming_id(request: &ServiceRequest) -> Option<String> {
    let text = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.chars().all(plain))
        .then(|| text.to_owned())
}

/// Gives a body to the errors that actix answers without one, such as 405.
fn named<B: MessageBody>(response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let status = response.status().as_u16();
    let empty = matches!(
        response.response().body().size(),
        BodySize::None | BodySize::Sized(0)
    );
    let ours = response.request().extensions().contains::<Bodiless>();
    if status < 400 || !empty || ours {
        return response.map_into_left_body();
    }
    let path = response.request().path().to_owned();
    let method = response.request().method().to_string();
    let problem = match status {
        404 => Problem::new(
            Code::NotFound,
            format!("there is nothing at {path}; see /docs"),
        ),
        405 => Problem::new(
            Code::MethodNotAllowed,
            format!("{path} does not take {method}"),
        ),
        408 => Problem::new(Code::RequestTimeout, "the request did not arrive in time"),
        413 => Problem::new(Code::TooLarge, "the request is larger than the limit"),
        415 => Problem::new(Code::UnsupportedMediaType, "send application/json"),
        500.. => Problem::new(
            Code::Internal,
            "the log has the cause under this request_id",
        ),
        _ => Problem::new(Code::MalformedRequest, "the request cannot be read"),
    };
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, respond(&problem)).map_into_right_body()
}

/// Marks a request whose answer has no body on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Bodiless;
