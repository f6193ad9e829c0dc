//! What a consumer was, and back to it; the instances that share the work.

use super::{checked_id, flag, if_match, query, writer};
use crate::access::Caller;
use crate::app::change;
use crate::context::Context;
use crate::redact;
use crate::store::instances::Instance;
use crate::store::revisions::Revision;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use sluice_model::body::Body;
use sluice_model::consumer::Consumer;
use sluice_model::problem::Problem;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(["/consumers/{id}/revisions", "/consumers/{id}/revisions/"])
                .route(web::get().to(revisions)),
        )
        .service(
            web::resource(["/consumers/{id}/rollback", "/consumers/{id}/rollback/"])
                .route(web::post().to(rollback)),
        )
        .service(web::resource(["/instances", "/instances/"]).route(web::get().to(instances)));
}

/// What a consumer is and was, newest first; the last 20 are kept.
#[utoipa::path(get, path = "/consumers/{id}/revisions/", tag = "consumers", params(("id" = String, Path)),
    responses((status = 200, body = [Revision]), (status = 404, body = Problem)))]
pub(crate) async fn revisions(
    context: web::Data<Context>,
    _caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let row = context.store.consumer(checked_id(&id)?).await?;
    let mut revisions = context.store.revisions(&row).await?;
    for revision in &mut revisions {
        if let Value::Object(spec) = &revision.spec {
            revision.spec = Value::Object(redact::config(spec));
        }
    }
    Ok(HttpResponse::Ok().json(revisions))
}

/// Makes a consumer what it was at a revision; that is a new revision then.
#[utoipa::path(post, path = "/consumers/{id}/rollback/", tag = "consumers",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query),
           ("If-Match" = Option<String>, Header, description = "The generation that was seen")),
    request_body(content = Object, description = "{\"revision\": 3}"),
    responses((status = 200, body = Consumer), (status = 404, body = Problem), (status = 409, body = Problem),
              (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn rollback(
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
    let expected = if_match(&request)?;
    let mut body = Body::parse(&body.0)?;
    let revision: Option<i64> = body.integer("revision");
    if revision.is_none() {
        body.invalid(
            "revision",
            "is missing: a number of GET /consumers/{id}/revisions/",
        );
    }
    body.finish()?;
    let revision = revision.unwrap_or_default();
    let consumer =
        change::rollback(&context, &caller, &row.id, revision, expected, dry_run).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, format!("\"{}\"", consumer.generation)))
        .json(consumer))
}

/// The instances that share the consumers; empty where one process has all of them.
#[utoipa::path(get, path = "/instances/", tag = "consumers", responses((status = 200, body = [Instance])))]
pub(crate) async fn instances(
    context: web::Data<Context>,
    _caller: Caller,
) -> Result<HttpResponse, Failure> {
    Ok(HttpResponse::Ok().json(context.store.instances().await?))
}
