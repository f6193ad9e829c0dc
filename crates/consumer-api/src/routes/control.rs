//! What a consumer is told, and what it tells: start, stop, status, lag, offsets.

use super::{checked_id, empty, flag, if_match, query, writer};
use crate::access::Caller;
use crate::app::change::{self, Verb};
use crate::app::{lag, offsets};
use crate::context::Context;
use crate::status::{Report, View, bottleneck, fresh};
use crate::store::consumers::Row;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use sluice_model::consumer::{Consumer, ConsumerStatus, Lag};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use sluice_service::now;

/// Registers the routes. The verbs come last: their pattern takes any word.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(["/consumers/{id}/status", "/consumers/{id}/status/"])
                .route(web::get().to(status)),
        )
        .service(
            web::resource(["/consumers/{id}/lag", "/consumers/{id}/lag/"])
                .route(web::get().to(lag)),
        )
        .service(
            web::resource(["/consumers/{id}/offsets", "/consumers/{id}/offsets/"])
                .route(web::patch().to(move_offsets)),
        );
    for verb in [
        Verb::Start,
        Verb::Stop,
        Verb::Pause,
        Verb::Resume,
        Verb::Restart,
    ] {
        let word = verb.as_str();
        let paths = [
            format!("/consumers/{{id}}/{word}"),
            format!("/consumers/{{id}}/{word}/"),
        ];
        let handler = move |context, caller, id, request, body| {
            told(verb, context, caller, id, request, body)
        };
        config.service(web::resource(paths).route(web::post().to(handler)));
    }
}

/// The answer of every verb.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Told {
    /// What happened, in words.
    message: String,
    #[serde(flatten)]
    consumer: Consumer,
}

async fn told(
    verb: Verb,
    context: web::Data<Context>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    writer(&caller)?;
    let row = context.store.consumer(checked_id(&id)?).await?;
    caller.need_owner(&row.owner)?;
    empty(&body.0)?;
    let expected = if_match(&request)?;
    let (message, consumer) = change::control(&context, &caller, &row.id, verb, expected).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, format!("\"{}\"", consumer.generation)))
        .json(Told { message, consumer }))
}

/// Tells a consumer to start, stop, pause, resume or restart.
#[utoipa::path(post, path = "/consumers/{id}/{verb}/", tag = "control",
    params(("id" = String, Path), ("verb" = String, Path, description = "start, stop, pause, resume or restart")),
    responses((status = 200, body = Told), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[expect(
    dead_code,
    reason = "the description of all verbs; `configure` makes one route of each"
)]
pub(crate) fn verbs() {}

pub(crate) fn write_status(row: &Row, view: View, report: Report) -> ConsumerStatus {
    let processors = if report.processors.len() == row.processors.len() {
        report.processors.clone()
    } else {
        row.processors
            .iter()
            .map(|p| fresh(&p.processor_type))
            .collect()
    };
    let rates = report.rates(now());
    let bottleneck = bottleneck(Some(&view.detail), &report, now());
    ConsumerStatus {
        id: row.id.clone(),
        status: view.status,
        desired: row.desired,
        observed: view.observed,
        reason: view.reason.to_owned(),
        detail: view.detail,
        generation: row.generation,
        observed_generation: if report.generation == 0 {
            row.generation
        } else {
            report.generation
        },
        since: report.since.max(row.created_at),
        next_retry_at: report.next_retry_at,
        attempts: report.attempts,
        records: report.records,
        bytes: report.bytes,
        records_per_second: rates.records,
        bytes_per_second: rates.bytes,
        lag: report.lag(),
        bottleneck,
        partitions: report.partitions as u64,
        dead_letters: report.dead_letters(),
        processors,
        errors: report.errors.into(),
    }
}

/// How a consumer is doing.
#[utoipa::path(get, path = "/consumers/{id}/status/", tag = "control", params(("id" = String, Path)),
    responses((status = 200, body = ConsumerStatus), (status = 404, body = Problem)))]
pub(crate) async fn status(
    context: web::Data<Context>,
    _caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let row = context.store.consumer(checked_id(&id)?).await?;
    let (view, report) = context.manager.look(&row);
    Ok(HttpResponse::Ok().json(write_status(&row, view, report)))
}

/// How far a consumer is behind, as Kafka says.
#[utoipa::path(get, path = "/consumers/{id}/lag/", tag = "control", params(("id" = String, Path)),
    responses((status = 200, body = Lag), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn lag(
    context: web::Data<Context>,
    _caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let row = context.store.consumer(checked_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(lag::lag(&context, &row).await?))
}

/// Moves a stopped consumer to other offsets; with `dry_run` it only says what would move.
#[utoipa::path(patch, path = "/consumers/{id}/offsets/", tag = "control",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query)),
    request_body(content = serde_json::Value, description = "{\"to\": \"earliest\" | \"latest\" | {\"timestamp\"} | {\"offsets\": [{topic, partition, offset}]}}"),
    responses((status = 200, body = [offsets::Move]), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn move_offsets(
    context: web::Data<Context>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    writer(&caller)?;
    let [dry_run] = query(&request, ["dry_run"])?;
    let dry_run = flag("dry_run", dry_run.as_deref())?;
    let row = context.store.consumer(checked_id(&id)?).await?;
    caller.need_owner(&row.owner)?;
    let target = offsets::read(&body.0)?;
    if row.desired != sluice_model::consumer::Desired::Stopped {
        let detail = "offsets move only while it is stopped; stop it first";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    let moves = offsets::change(&context, &caller, &row.id, target, dry_run).await?;
    Ok(HttpResponse::Ok().json(moves))
}
