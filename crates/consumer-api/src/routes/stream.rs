//! `/stream`: the live tail as server-sent events.

use super::query;
use super::tail::{From, Tail, Who};
use crate::access::Caller;
use crate::app::spec::check_active;
use crate::context::Context;
use crate::stream::cursor::Cursor;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::Role;
use sluice_model::name::TopicName;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;

/// Topics of one stream.
const TOPICS_MAX: usize = 100;

/// Registers the route.
pub fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource(["/stream", "/stream/"]).route(web::get().to(stream)));
}

fn topics_of(text: &str) -> Result<Vec<String>, Problem> {
    let mut topics = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if let Err(faults) = TopicName::parse(name) {
            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>();
            return Err(Problem::invalid(
                "topics",
                format!("{name:?}: {}", faults.join("; ")),
            ));
        }
        if !topics.iter().any(|known| known == name) {
            topics.push(name.to_owned());
        }
    }
    if topics.is_empty() || topics.len() > TOPICS_MAX {
        return Err(Problem::invalid(
            "topics",
            format!("names 1 to {TOPICS_MAX} topics, separated by commas"),
        ));
    }
    Ok(topics)
}

fn who(caller: &Caller, topics: Option<&str>, user_id: Option<String>) -> Result<Who, Failure> {
    match (topics, user_id) {
        (Some(topics), None) => Ok(Who::Topics(topics_of(topics)?)),
        (None, Some(user)) if user == caller.actor.account || caller.actor.may(Role::Admin) => {
            Ok(Who::User(user))
        }
        (None, Some(user)) => {
            let detail = format!("the subscriptions of {user} are for {user} and admins to read");
            Err(Problem::new(Code::Forbidden, detail).into())
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid("user_id", "and topics exclude each other").into())
        }
        (None, None) => {
            let message =
                "is missing: give topics=a,b, or user_id to follow a user's subscriptions";
            Err(Problem::invalid("topics", message).into())
        }
    }
}

/// The records of topics as they come. `user_id` follows that user's subscriptions while it is open.
/// Events: record, subscribed, unsubscribed, gap, heartbeat; the id of each is a cursor.
#[utoipa::path(get, path = "/stream", tag = "topics",
    params(("topics" = Option<String>, Query, description = "Names, separated by commas"),
           ("user_id" = Option<String>, Query, description = "Instead of topics: whose subscriptions"),
           ("from" = Option<String>, Query, description = "latest (default) or earliest"),
           ("cursor" = Option<String>, Query, description = "The id of the last event that was seen"),
           ("Last-Event-ID" = Option<String>, Header, description = "The same, as browsers send it")),
    responses((status = 200, description = "text/event-stream", content_type = "text/event-stream", body = String),
              (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
              (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn stream(
    context: web::Data<Context>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let [topics, user_id, from, cursor] = query(&request, ["topics", "user_id", "from", "cursor"])?;
    let who = who(&caller, topics.as_deref(), user_id)?;
    let from = match from.as_deref() {
        None | Some("latest") => From::Latest,
        Some("earliest") => From::Earliest,
        Some(_) => return Err(Problem::invalid("from", "is latest or earliest").into()),
    };
    let last_event = request.headers().get("last-event-id");
    let cursor = match (last_event, &cursor) {
        // A browser reconnects with the address of its first request: the header is newer.
        (Some(id), _) => Some(Cursor::read(id.to_str().unwrap_or_default())?),
        (None, Some(text)) => Some(Cursor::read(text)?),
        (None, None) => None,
    };
    if let Who::Topics(topics) = &who {
        check_active(&context, topics).await?;
    }
    let permit = context.hub.admit()?;
    let tail = Tail::open(context.get_ref().clone(), caller, who, from, cursor, permit).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(tail.frames()))
}
