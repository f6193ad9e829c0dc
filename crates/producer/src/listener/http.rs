//! The HTTP input: one hyper connection a task, bounded bodies, problems for every error.

mod answer;
mod auth;
mod body;
mod forms;
mod gzip;
mod otlp;
mod send;
mod v3;

use super::inlet::Inlet;
use crate::IDENTITY;
use crate::settings::{OtlpSettings, ProducerSettings};
use answer::{Answer, AnswerBody};
pub(super) use auth::Auth;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use sluice_model::problem::{Code, Problem};
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
    otlp: OtlpSettings,
    body_max: usize,
    body_timeout: Duration,
}

impl Http {
    /// The HTTP input over an inlet.
    pub(super) fn new(
        inlet: Rc<Inlet>,
        verifier: sluice_admin_client::verify::Verifier,
        health: Health,
        settings: &ProducerSettings,
    ) -> Self {
        Self {
            inlet,
            auth: Rc::new(Auth::new(verifier)),
            health,
            metrics_public: settings.metrics_public,
            otlp: settings.inputs.otlp.clone(),
            body_max: settings.http.body_max_bytes,
            body_timeout: Duration::from_secs(settings.http.body_timeout_s),
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

async fn handle(http: &Rc<Http>, request: Request<Incoming>) -> Response<AnswerBody> {
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
    /// The code of Confluent's API, for its clients.
    error_code: Option<u32>,
    /// The methods that the address takes.
    allow: Option<&'static str>,
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        Self {
            problem,
            records: None,
            error_code: None,
            allow: None,
        }
    }
}

type Outcome = Result<Answer, Failure>;

/// The address of a request: its name in metrics, and what it takes.
async fn route(http: &Rc<Http>, request: Request<Incoming>) -> (&'static str, Outcome) {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let post = request.method() == Method::POST;
    match *segments.as_slice() {
        ["topics", topic] if post => (
            "/topics/{topic}",
            send::to_topic(http, (topic, None), request).await,
        ),
        ["topics", topic, "partitions", partition] if post => (
            "/topics/{topic}/partitions/{partition}",
            send::to_topic(http, (topic, Some(partition)), request).await,
        ),
        ["records"] if post => ("/records", send::records(http, request).await),
        ["v1", "logs"] if post => ("/v1/logs", logs(http, request).await),
        ["v3", "clusters", cluster, "topics", topic, "records"] if post => (
            "/v3/clusters/{cluster}/topics/{topic}/records",
            v3_codes(v3::records(http, (cluster, topic), request).await),
        ),
        ["v3", "clusters", cluster, "topics", topic, "records:batch"] if post => (
            "/v3/clusters/{cluster}/topics/{topic}/records:batch",
            v3_codes(v3::batch(http, (cluster, topic), request).await),
        ),
        ["topics"] if get => ("/topics", send::list(http, None, &request).await),
        ["topics", topic] if get => (
            "/topics/{topic}",
            send::list(http, Some(topic), &request).await,
        ),
        ["records"]
        | ["v1", "logs"]
        | ["topics", _, "partitions", _]
        | [
            "v3",
            "clusters",
            _,
            "topics",
            _,
            "records" | "records:batch",
        ] => ("post", Err(not_allowed(&request, "POST"))),
        ["v3", "clusters", ref rest @ ..] if get => (
            "/v3/clusters",
            v3_codes(v3::clusters(http, rest, &request).await),
        ),
        ["topics", _] => (
            "/topics/{topic}",
            Err(not_allowed(&request, "GET, HEAD, POST")),
        ),
        ["topics"] | ["v3", "clusters", ..] => ("get", Err(not_allowed(&request, "GET, HEAD"))),
        _ => own_route(http, &path, &request).await,
    }
}

async fn logs(http: &Http, request: Request<Incoming>) -> Outcome {
    if http.otlp.enabled {
        return Ok(otlp::logs(http, &http.otlp, request).await);
    }
    let detail = "OpenTelemetry logs are not taken here: inputs.otlp.enabled is false";
    Err(Box::new(Problem::new(Code::NotFound, detail)).into())
}

fn v3_codes(outcome: Outcome) -> Outcome {
    outcome.map_err(|failure| Failure {
        error_code: Some(u32::from(failure.problem.status)),
        ..failure
    })
}

async fn own_route(
    http: &Http,
    path: &str,
    request: &Request<Incoming>,
) -> (&'static str, Outcome) {
    let route = match path {
        "/status" => "/status",
        "/metrics" => "/metrics",
        "/livez" => "/livez",
        "/readyz" => "/readyz",
        "/version" => "/version",
        "/" => "/",
        _ => {
            let detail =
                format!("there is nothing at {path}; records go to POST /topics/{{topic}}");
            let problem = Box::new(Problem::new(Code::NotFound, detail));
            return ("unmatched", Err(problem.into()));
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (route, Err(not_allowed(request, "GET, HEAD")));
    }
    (route, read(http, route, request).await)
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
                let scope = if route == "/status" {
                    "topics:read"
                } else {
                    "metrics:read"
                };
                http.auth.reader(request.headers(), (scope, None)).await?;
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
                "send": [
                    "POST /topics/{topic}",
                    "POST /records",
                    "POST /v3/clusters/{cluster_id}/topics/{topic}/records",
                    "POST /v1/logs",
                ],
                "read": ["GET /status", "GET /metrics", "GET /livez", "GET /readyz", "GET /version"],
            }),
        )),
    }
}

fn not_allowed(request: &Request<Incoming>, allowed: &'static str) -> Failure {
    let detail = format!("{} takes {allowed} only", request.uri().path());
    Failure {
        allow: Some(allowed),
        ..Box::new(Problem::new(Code::MethodNotAllowed, detail)).into()
    }
}

fn gone() -> Box<Problem> {
    Box::new(Problem::new(Code::Unavailable, "the daemon is stopping").retry_after(1))
}
