//! The HTTP input: one hyper connection a task, bounded bodies, problems for every error.

mod answer;
mod auth;
mod body;
mod forms;
mod send;

use super::inlet::Inlet;
use crate::IDENTITY;
use answer::Answer;
pub(super) use auth::Auth;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_service::config::HttpSettings;
use sluice_service::health::Health;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// Time within which the head of a request must arrive; also ends idle connections.
const HEAD_MAX: Duration = Duration::from_secs(60);

/// What every request needs.
#[derive(Debug)]
pub(super) struct Http {
    inlet: Rc<Inlet>,
    auth: Rc<Auth>,
    health: Health,
    metrics_public: bool,
    body_max: usize,
    body_timeout: Duration,
}

impl Http {
    /// The HTTP input over an inlet.
    pub(super) fn new(
        inlet: Rc<Inlet>,
        verifier: sluice_admin_client::verify::Verifier,
        health: Health,
        settings: &HttpSettings,
        metrics_public: bool,
    ) -> Self {
        Self {
            inlet,
            auth: Rc::new(Auth::new(verifier)),
            health,
            metrics_public,
            body_max: settings.body_max_bytes,
            body_timeout: Duration::from_secs(settings.body_timeout_s),
        }
    }

    /// The check of credentials, for inputs that take them elsewhere.
    pub(super) fn auth(&self) -> Rc<Auth> {
        Rc::clone(&self.auth)
    }
}

/// Serves one connection to its end; a stop lets the request that runs finish.
pub(super) async fn serve<I: AsyncRead + AsyncWrite + Unpin + 'static>(http: Rc<Http>, io: I) {
    let shutdown = http.inlet.shutdown.clone();
    let service = service_fn(move |request| {
        let http = Rc::clone(&http);
        async move { Ok::<_, Infallible>(handle(&http, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ends");
    }
}

async fn handle(http: &Http, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (route, outcome) = route(http, request).await;
    let response = match outcome {
        Ok(answer) => answer.respond(&id),
        Err(failure) => answer::problem(failure, &id),
    };
    let status = response.status().as_u16();
    let labels = [
        ("route", route.to_owned()),
        ("method", known_method(&method)),
        ("status", status.to_string()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    let duration_ms = started.elapsed().as_millis() as u64;
    tracing::debug!(request.id = id, %method, path, status, duration_ms, "request served");
    response
}

/// Clients choose methods: only known ones become labels.
fn known_method(method: &Method) -> String {
    match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "PATCH" | "OPTIONS") => {
            known.to_owned()
        }
        _ => "other".to_owned(),
    }
}

fn request_id(request: &Request<Incoming>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sent = request
        .headers()
        .get("x-request-id")
        .and_then(|value| value.to_str().ok());
    match sent.filter(|text| !text.is_empty() && text.len() <= 64 && text.chars().all(plain)) {
        Some(text) => text.to_owned(),
        None => uuid::Uuid::now_v7().simple().to_string(),
    }
}

/// Why a request is not served, with the fates of its records where there were any.
#[derive(Debug)]
pub(super) struct Failure {
    problem: Box<Problem>,
    records: Option<serde_json::Value>,
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        Self {
            problem,
            records: None,
        }
    }
}

type Outcome = Result<Answer, Failure>;

async fn route(http: &Http, request: Request<Incoming>) -> (&'static str, Outcome) {
    let path = request.uri().path().to_owned();
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let post = request.method() == Method::POST;
    if let Some(topic) = path
        .strip_prefix("/topics/")
        .filter(|topic| !topic.contains('/'))
    {
        let route = "/topics/{topic}";
        return if post {
            (route, send::to_topic(http, topic, request).await)
        } else {
            (route, Err(not_allowed(&request, "POST")))
        };
    }
    let route = match path.as_str() {
        "/records" => "/records",
        "/status" => "/status",
        "/metrics" => "/metrics",
        "/livez" => "/livez",
        "/readyz" => "/readyz",
        "/version" => "/version",
        "/" => "/",
        _ => {
            let detail =
                format!("there is nothing at {path}; records go to POST /topics/{{topic}}");
            return (
                "unmatched",
                Err(Box::new(Problem::new(Code::NotFound, detail)).into()),
            );
        }
    };
    if route == "/records" {
        return if post {
            (route, send::records(http, request).await)
        } else {
            (route, Err(not_allowed(&request, "POST")))
        };
    }
    if !get {
        return (route, Err(not_allowed(&request, "GET")));
    }
    (route, read(http, route, &request).await)
}

async fn read(http: &Http, route: &str, request: &Request<Incoming>) -> Outcome {
    match route {
        "/livez" => Ok(Answer::json(200, &json!({"status": "ok"}))),
        "/readyz" => {
            let readiness = http.health.readiness();
            Ok(Answer::json(readiness.http_status(), &readiness))
        }
        "/version" => Ok(Answer::json(
            200,
            &json!({"name": IDENTITY.name, "version": IDENTITY.version}),
        )),
        "/status" | "/metrics" => {
            if !http.metrics_public {
                http.auth.check(request.headers(), Role::Viewer).await?;
            }
            let status = http.inlet.status().await.map_err(|_busy| gone())?;
            if route == "/status" {
                return Ok(Answer::json(200, &status));
            }
            super::figures::export(&status, &http.inlet.budget);
            Ok(Answer::text(
                200,
                sluice_service::telemetry::metrics().render(),
            ))
        }
        _ => Ok(Answer::json(
            200,
            &json!({
                "name": IDENTITY.name,
                "version": IDENTITY.version,
                "send": ["POST /topics/{topic}", "POST /records"],
                "read": ["GET /status", "GET /metrics", "GET /livez", "GET /readyz", "GET /version"],
            }),
        )),
    }
}

fn not_allowed(request: &Request<Incoming>, allowed: &str) -> Failure {
    let detail = format!("{} takes {allowed} only", request.uri().path());
    Box::new(Problem::new(Code::MethodNotAllowed, detail)).into()
}

fn gone() -> Box<Problem> {
    Box::new(Problem::new(Code::Unavailable, "the daemon is stopping").retry_after(1))
}
