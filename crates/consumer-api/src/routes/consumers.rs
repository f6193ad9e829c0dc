//! `/consumers/`, `/processors/` and `/audit`.

use super::{checked_id, flag, if_match, link, query, writer};
use crate::access::Caller;
use crate::app::spec;
use crate::app::{change, offsets};
use crate::context::Context;
use crate::processors::{KINDS, Outside};
use crate::store::audit::Filter;
use crate::store::consumers::IdempotencyKey;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use sluice_model::consumer::{Consumer, ConsumerSpec, Status};
use sluice_model::page::{LIMIT_MAX, Page, encode};
use sluice_model::problem::{Problem, field};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// The longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(["/consumers", "/consumers/"])
                .route(web::get().to(list))
                .route(web::post().to(create)),
        )
        .service(
            web::resource(["/consumers/{id}", "/consumers/{id}/"])
                .route(web::get().to(get))
                .route(web::put().to(put))
                .route(web::delete().to(delete)),
        )
        .service(web::resource(["/processors", "/processors/"]).route(web::get().to(processors)))
        .service(web::resource(["/audit", "/audit/"]).route(web::get().to(audit)));
}

fn etag(consumer: &Consumer) -> (header::HeaderName, String) {
    (header::ETAG, format!("\"{}\"", consumer.generation))
}

pub(crate) fn outside(context: &Context) -> Outside<'_> {
    let parts = context.manager.parts();
    Outside {
        roots: &parts.roots,
        destinations: &parts.destinations,
        secrets: &parts.secrets,
        clusters: &parts.clusters,
    }
}

/// The key of a repeated create.
fn idempotency_key(request: &HttpRequest, body: &[u8]) -> Result<Option<IdempotencyKey>, Failure> {
    let Some(key) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = key
        .to_str()
        .ok()
        .filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
    let Some(key) = key else {
        let message = format!("is 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Err(Problem::invalid("Idempotency-Key", message).into());
    };
    let body_hash = sluice_service::secret::hash(&String::from_utf8_lossy(body));
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        body_hash,
    }))
}

/// Creates a consumer; with `dry_run` it is only checked.
#[utoipa::path(post, path = "/consumers/", tag = "consumers", request_body = ConsumerSpec,
    params(("dry_run" = Option<bool>, Query, description = "Check only; nothing is stored"),
           ("Idempotency-Key" = Option<String>, Header, description = "A repeated create answers like the first")),
    responses((status = 201, body = Consumer), (status = 200, description = "Valid (dry run)", body = Consumer),
              (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn create(
    context: web::Data<Context>,
    caller: Caller,
    request: HttpRequest,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    writer(&caller)?;
    let [dry_run] = query(&request, ["dry_run"])?;
    let dry_run = flag("dry_run", dry_run.as_deref())?;
    let key = idempotency_key(&request, &body.0)?;
    let mut draft = spec::read(&body.0, None, &outside(&context))?;
    let start = draft.start_from.take();
    let row = change::prepare(&context, &caller, draft).await?;
    if let Some(target) = start {
        offsets::place_new(&context, &row, target, dry_run).await?;
    }
    if dry_run {
        return Ok(HttpResponse::Ok().json(context.manager.present(&row)));
    }
    let consumer = change::create(&context, &caller, row, key).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/consumers/{}/", consumer.id)))
        .insert_header(etag(&consumer))
        .json(consumer))
}

/// Lists consumers, newest first.
#[utoipa::path(get, path = "/consumers/", tag = "consumers",
    params(("status" = Option<String>, Query, description = "ACTIVE, INACTIVE or ERROR"),
           ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = [Consumer])))]
pub(crate) async fn list(
    context: web::Data<Context>,
    _caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let [status, limit, cursor] = query(&request, ["status", "limit", "cursor"])?;
    let status = match status {
        None => None,
        Some(word) => Some(
            serde_json::from_value::<Status>(Value::from(word.to_ascii_uppercase()))
                .map_err(|_| Problem::invalid("status", "is ACTIVE, INACTIVE or ERROR"))?,
        ),
    };
    let page = Page::parse(limit.as_deref(), cursor.as_deref())?;
    let rows = context.store.consumers(page).await?;
    let mut builder = HttpResponse::Ok();
    if rows.len() as u64 == u64::from(page.limit)
        && let Some(last) = rows.last()
    {
        link(&mut builder, &request, &encode(last.seq));
    }
    let shown = context.manager.present_all(&rows).await?;
    let consumers = shown.into_iter().map(|(consumer, _)| consumer);
    let consumers = consumers.filter(|c| status.is_none_or(|status| c.status == status));
    Ok(builder.json(consumers.collect::<Vec<_>>()))
}

/// One consumer.
#[utoipa::path(get, path = "/consumers/{id}/", tag = "consumers", params(("id" = String, Path)),
    responses((status = 200, body = Consumer), (status = 404, body = Problem)))]
pub(crate) async fn get(
    context: web::Data<Context>,
    _caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let row = context.store.consumer(checked_id(&id)?).await?;
    let consumer = context.manager.present(&row);
    Ok(HttpResponse::Ok()
        .insert_header(etag(&consumer))
        .json(consumer))
}

/// Changes a consumer; members that are left out keep their value.
#[utoipa::path(put, path = "/consumers/{id}/", tag = "consumers", params(("id" = String, Path),
        ("dry_run" = Option<bool>, Query), ("If-Match" = Option<String>, Header, description = "The generation that was seen")),
    request_body = ConsumerSpec,
    responses((status = 200, body = Consumer), (status = 404, body = Problem), (status = 409, body = Problem),
              (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn put(
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
    let consumer = change::update(&context, &caller, &row.id, &body.0, expected, dry_run).await?;
    Ok(HttpResponse::Ok()
        .insert_header(etag(&consumer))
        .json(consumer))
}

/// Stops and removes a consumer; what its sinks wrote stays.
#[utoipa::path(delete, path = "/consumers/{id}/", tag = "consumers", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn delete(
    context: web::Data<Context>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    writer(&caller)?;
    let row = context.store.consumer(checked_id(&id)?).await?;
    caller.need_owner(&row.owner)?;
    change::delete(&context, &caller, &row.id, if_match(&request)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// One kind of processor, as it is advertised.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ProcessorKind {
    processor_type: &'static str,
    /// The JSON Schema of its configuration.
    #[schema(value_type = Object)]
    schema: Value,
}

/// The processors that there are, with the JSON Schema of their configuration.
#[utoipa::path(get, path = "/processors/", tag = "consumers", responses((status = 200, body = [ProcessorKind])))]
pub(crate) async fn processors(_caller: Caller) -> HttpResponse {
    let kinds = KINDS.iter().map(|kind| ProcessorKind {
        processor_type: kind.name,
        schema: (kind.schema)(),
    });
    HttpResponse::Ok().json(kinds.collect::<Vec<_>>())
}

/// Who changed which consumer, newest first.
#[utoipa::path(get, path = "/audit", tag = "consumers",
    params(("consumer_id" = Option<String>, Query), ("actor" = Option<String>, Query),
           ("action" = Option<String>, Query), ("request_id" = Option<String>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = [crate::store::audit::Change])))]
pub(crate) async fn audit(
    context: web::Data<Context>,
    _caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let names = [
        "consumer_id",
        "actor",
        "action",
        "request_id",
        "limit",
        "cursor",
    ];
    let [consumer_id, actor, action, request_id, limit, cursor] = query(&request, names)?;
    let page = Page::parse(limit.as_deref(), cursor.as_deref())?;
    let filter = Filter {
        consumer_id,
        actor,
        action,
        request_id,
    };
    let changes = context.store.audit(page, filter).await?;
    let mut builder = HttpResponse::Ok();
    if changes.len() as u64 == u64::from(page.limit)
        && let Some(last) = changes.last()
    {
        link(&mut builder, &request, &encode(last.seq));
    }
    Ok(builder.json(changes))
}

/// A limit of a listing that is no page of ours.
pub(super) fn limit_of(text: Option<&str>, default: u32) -> Result<usize, Failure> {
    let Some(text) = text else {
        return Ok(default as usize);
    };
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
    let fault = || field("limit", format!("is a whole number from 1 to {LIMIT_MAX}"));
    let problem = || Problem::from_errors(sluice_model::problem::Code::Invalid, vec![fault()]);
    limit
        .map(|limit| limit as usize)
        .ok_or_else(|| problem().into())
}
