//! What is left to do after trouble: dead letters, sending them again, and replays of a time range.

use super::{checked_id, flag, link, query, writer};
use crate::access::Caller;
use crate::app::dead_letters::{self, DeadLetter, redrive};
use crate::app::replays::{self, Replay};
use crate::context::Context;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::page::{Page, encode};
use sluice_model::problem::Problem;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    let both = |path: &str| {
        let path = format!("/consumers/{{id}}/{path}");
        [path.clone(), format!("{path}/")]
    };
    config
        .service(web::resource(both("dead-letters")).route(web::get().to(list)))
        .service(web::resource(both("redrive")).route(web::post().to(send_again)))
        .service(
            web::resource(both("replays"))
                .route(web::get().to(replays))
                .route(web::post().to(replay)),
        )
        .service(
            web::resource(both("replays/{replay_id}"))
                .route(web::get().to(one_replay))
                .route(web::delete().to(cancel_replay)),
        )
        .service(
            web::resource(both("replays/{replay_id}/cancel")).route(web::post().to(cancel_replay)),
        );
}

/// The dead letters of a consumer that are looked through, the newest of each record.
#[utoipa::path(get, path = "/consumers/{id}/dead-letters/", tag = "control",
    params(("id" = String, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = [DeadLetter]), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn list(
    context: web::Data<Context>,
    _caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let [limit, cursor] = query(&request, ["limit", "cursor"])?;
    let page = Page::parse(limit.as_deref(), cursor.as_deref())?;
    let row = context.store.consumer(checked_id(&id)?).await?;
    let letters = dead_letters::list(&context, &row).await?;
    let skip = usize::try_from(page.before.unwrap_or(0)).unwrap_or_default();
    let limit = page.limit as usize;
    let mut builder = HttpResponse::Ok();
    if letters.len() > skip + limit {
        link(&mut builder, &request, &encode((skip + limit) as i64));
    }
    let shown: Vec<DeadLetter> = letters.into_iter().skip(skip).take(limit).collect();
    Ok(builder.json(shown))
}

/// Sends dead letters to the processors that refused them; with `dry_run` it only says which.
#[utoipa::path(post, path = "/consumers/{id}/redrive/", tag = "control",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query)),
    request_body(content = serde_json::Value, description = "{\"records\": [{topic, partition, offset}]}: where they came from"),
    responses((status = 200, body = [redrive::Outcome]), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn send_again(
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
    let ids = redrive::read(&body.0)?;
    let outcomes = redrive::redrive(&context, &caller, &row, &ids, dry_run).await?;
    Ok(HttpResponse::Ok().json(outcomes))
}

/// Delivers a time range again, beside the live consumer; with `dry_run` it only says what.
#[utoipa::path(post, path = "/consumers/{id}/replays/", tag = "control",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query)),
    request_body(content = serde_json::Value, description = "{topic?, from, to, processors?}: files of the consumer's own file sinks get the ending .replay-<id>"),
    responses((status = 202, body = Replay), (status = 200, description = "Dry run", body = Replay),
              (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn replay(
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
    let asked = replays::read(&body.0, &super::consumers::outside(&context))?;
    let replay = replays::start(&context, &caller, &row, asked, dry_run).await?;
    if dry_run {
        return Ok(HttpResponse::Ok().json(replay));
    }
    let place = format!("/consumers/{}/replays/{}/", row.id, replay.replay_id);
    Ok(HttpResponse::Accepted()
        .insert_header((header::LOCATION, place))
        .json(replay))
}

/// The replays of a consumer, newest first.
#[utoipa::path(get, path = "/consumers/{id}/replays/", tag = "control", params(("id" = String, Path)),
    responses((status = 200, body = [Replay]), (status = 404, body = Problem)))]
pub(crate) async fn replays(
    context: web::Data<Context>,
    _caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let row = context.store.consumer(checked_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(replays::list(&context, &row).await?))
}

/// One replay.
#[utoipa::path(get, path = "/consumers/{id}/replays/{replay_id}/", tag = "control",
    params(("id" = String, Path), ("replay_id" = String, Path)),
    responses((status = 200, body = Replay), (status = 404, body = Problem)))]
pub(crate) async fn one_replay(
    context: web::Data<Context>,
    _caller: Caller,
    ids: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let row = context.store.consumer(checked_id(&ids.0)?).await?;
    let replay = replays::one(&context, &row, checked_id(&ids.1)?).await?;
    Ok(HttpResponse::Ok().json(replay))
}

/// Ends a replay.
#[utoipa::path(post, path = "/consumers/{id}/replays/{replay_id}/cancel/", tag = "control",
    params(("id" = String, Path), ("replay_id" = String, Path)),
    responses((status = 202, body = Replay), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn cancel_replay(
    context: web::Data<Context>,
    caller: Caller,
    ids: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    writer(&caller)?;
    let row = context.store.consumer(checked_id(&ids.0)?).await?;
    caller.need_owner(&row.owner)?;
    let replay = replays::cancel(&context, &caller, &row, checked_id(&ids.1)?).await?;
    Ok(HttpResponse::Accepted().json(replay))
}
