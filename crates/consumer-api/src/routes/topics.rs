//! `/topics/active` and `/topics/{t}/records`.

use super::consumers::limit_of;
use super::query;
use super::records::{Asked, Listing, list};
use super::stream::filters;
use crate::access::Caller;
use crate::app::kafka_problem;
use crate::app::spec::check_active;
use crate::context::Context;
use crate::stream::cursor::Cursor;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::problem::Problem;
use sluice_model::topic::ActiveTopic;
use sluice_service::http::problem::Failure;
use std::sync::Arc;
use std::time::Duration;

/// Records on a page when the caller names no limit.
const RECORDS_DEFAULT: u32 = 100;

/// Time that a page may take, with the wait for its turn.
const PAGE_LIMIT: Duration = Duration::from_secs(20);

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource(["/topics/active", "/topics/active/"]).route(web::get().to(active)))
        .service(
            web::resource(["/topics/{topic}/records", "/topics/{topic}/records/"])
                .route(web::get().to(records)),
        );
}

/// The topics that can be read now.
#[utoipa::path(get, path = "/topics/active", tag = "topics", responses((status = 200, body = [ActiveTopic])))]
pub(crate) async fn active(
    context: web::Data<Context>,
    _caller: Caller,
) -> Result<HttpResponse, Failure> {
    let now = context.catalogue.now();
    let mut builder = HttpResponse::Ok();
    if let Some(revision) = &now.revision {
        builder.insert_header(("x-revision", revision.clone()));
        builder.insert_header((header::ETAG, format!("\"{revision}\"")));
    }
    Ok(builder.json(&now.active))
}

/// A page of records of a topic, oldest first.
#[utoipa::path(get, path = "/topics/{topic}/records", tag = "topics",
    params(("topic" = String, Path), ("partition" = Option<i32>, Query, description = "One partition; all when absent"),
           ("offset" = Option<String>, Query, description = "An offset, earliest (default) or latest"),
           ("limit" = Option<u32>, Query), ("filter" = Option<Vec<String>>, Query, description = "As of /stream; a page with fewer records than its limit has looked at 8 MiB, or for 8 s"),
           ("cursor" = Option<String>, Query, description = "next_cursor of the page before, or the id of a stream's event")),
    responses((status = 200, body = Listing), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn records(
    context: web::Data<Context>,
    caller: Caller,
    topic: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let known = ["partition", "offset", "limit", "cursor", "filter"];
    let [partition, offset, limit, cursor, _] = query(&request, known)?;
    let limit = limit_of(limit.as_deref(), RECORDS_DEFAULT)?;
    let partition = match partition {
        None => None,
        Some(text) => Some(
            text.parse::<i32>()
                .ok()
                .filter(|p| *p >= 0)
                .ok_or_else(|| Problem::invalid("partition", "is a whole number from 0"))?,
        ),
    };
    let from = match offset.as_deref() {
        None | Some("earliest") => Some(0),
        Some("latest") => None,
        Some(text) => Some(
            text.parse::<i64>()
                .ok()
                .filter(|offset| *offset >= 0)
                .ok_or_else(|| {
                    Problem::invalid("offset", "is a whole number from 0, earliest or latest")
                })?,
        ),
    };
    let place = match &cursor {
        None => None,
        Some(text) => Cursor::read(text)?.place(&topic).cloned(),
    };
    let topic = topic.into_inner();
    caller.need_topics(std::slice::from_ref(&topic))?;
    check_active(&context, std::slice::from_ref(&topic)).await?;
    let topic_id = context.catalogue.now().topic_id(&topic);
    let asked = Asked {
        topic,
        topic_id,
        partition,
        from,
        place,
        limit,
        filter: filters(&request)?,
    };
    let cluster = Arc::clone(context.clusters.governed());
    let name: Arc<str> = asked.topic.as_str().into();
    let page = context.hub.pool().with(name, Vec::new(), move |client| {
        list(&cluster, client, &asked)
    });
    let page = tokio::time::timeout(PAGE_LIMIT, page).await;
    let listing =
        page.map_err(|_late| kafka_problem("too many read further back at this time"))??;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(listing))
}
