//! `/topics/active` and `/topics/{t}/records`.

use super::consumers::limit_of;
use super::query;
use super::records::{Asked, Listing, list};
use crate::access::Caller;
use crate::app::blocking;
use crate::app::spec::check_active;
use crate::context::Context;
use crate::stream::cursor::Cursor;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::problem::Problem;
use sluice_model::topic::ActiveTopic;
use sluice_service::http::problem::Failure;
use std::sync::Arc;

/// Records on a page when the caller names no limit.
const RECORDS_DEFAULT: u32 = 100;

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
           ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query, description = "next_cursor of the page before, or the id of a stream's event")),
    responses((status = 200, body = Listing), (status = 400, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn records(
    context: web::Data<Context>,
    _caller: Caller,
    topic: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let [partition, offset, limit, cursor] =
        query(&request, ["partition", "offset", "limit", "cursor"])?;
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
    check_active(&context, std::slice::from_ref(&topic)).await?;
    let topic_id = context.catalogue.now().topic_id(&topic);
    let asked = Asked {
        topic,
        topic_id,
        partition,
        from,
        place,
        limit,
    };
    let cluster = Arc::clone(context.clusters.governed());
    let permit = context.hub.admit()?;
    let listing = blocking(move || {
        let listing = list(&cluster, &asked);
        drop(permit);
        listing
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(listing.await?))
}
