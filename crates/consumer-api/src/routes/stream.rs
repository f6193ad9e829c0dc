//! `/stream`: the live tail as server-sent events.

use super::tail::{Asked, From, Policy, Style, Tail, Who};
use super::{query, socket};
use crate::access::Caller;
use crate::app::spec::check_active;
use crate::context::Context;
use crate::stream::cursor::Cursor;
use crate::stream::filter::Filter;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::access::Role;
use sluice_model::name::TopicName;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;

/// Topics of one stream.
const TOPICS_MAX: usize = 100;

/// Registers the route.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource(["/stream", "/stream/"]).route(web::get().to(stream)))
        .service(web::resource(["/stream/ws", "/stream/ws/"]).route(web::get().to(stream_socket)));
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

fn from(text: Option<&str>) -> Result<From, Problem> {
    match text {
        None | Some("latest") => Ok(From::Latest),
        Some("earliest") => Ok(From::Earliest),
        Some(text) => instant(text).map(From::Time).ok_or_else(|| {
            let message = "is latest, earliest or an instant (RFC 3339, or milliseconds)";
            Problem::invalid("from", message)
        }),
    }
}

/// An instant in milliseconds.
fn instant(text: &str) -> Option<i64> {
    let ms = text.parse().ok().filter(|ms: &i64| *ms >= 0);
    ms.or_else(|| Timestamp::parse(text).ok().map(Timestamp::as_millis))
}

fn policy(text: Option<&str>, default: Policy) -> Result<Policy, Problem> {
    match text {
        None => Ok(default),
        Some("pause") => Ok(Policy::Pause),
        Some("gap") => Ok(Policy::Gap),
        Some("disconnect") => Ok(Policy::Disconnect),
        Some(_) => Err(Problem::invalid("policy", "is pause, gap or disconnect")),
    }
}

/// The filters of a request, which may be given several times.
pub(super) fn filters(request: &HttpRequest) -> Result<Filter, Problem> {
    let all = url::form_urlencoded::parse(request.query_string().as_bytes());
    let texts = all.filter(|(name, _)| name == "filter");
    Filter::parse(&texts.map(|(_, text)| text.into_owned()).collect::<Vec<_>>())
}

fn asked(
    context: &Context,
    caller: &Caller,
    request: &HttpRequest,
    style: Style,
) -> Result<Asked, Failure> {
    let known = ["topics", "user_id", "from", "cursor", "policy", "filter"];
    let [topics, user_id, start, cursor, choice, _] = query(request, known)?;
    let last_event = request.headers().get("last-event-id");
    let cursor = match (last_event, &cursor) {
        // A browser reconnects with the address of its first request: the header is newer.
        (Some(id), _) => Some(Cursor::read(id.to_str().unwrap_or_default())?),
        (None, Some(text)) => Some(Cursor::read(text)?),
        (None, None) => None,
    };
    Ok(Asked {
        who: who(caller, topics.as_deref(), user_id)?,
        from: from(start.as_deref())?,
        cursor,
        policy: policy(choice.as_deref(), context.settings.stream.policy)?,
        filter: filters(request)?,
        style,
    })
}

async fn open(
    context: &web::Data<Context>,
    caller: Caller,
    request: &HttpRequest,
    style: Style,
) -> Result<Tail, Failure> {
    let asked = asked(context, &caller, request, style)?;
    if let Who::Topics(topics) = &asked.who {
        caller.need_topics(topics)?;
        check_active(context, topics).await?;
    }
    let permit = context.hub.admit()?;
    Tail::open(context.get_ref().clone(), caller, asked, permit).await
}

/// The records of topics as they come. `user_id` follows that user's subscriptions while it is open.
/// Events: record, subscribed, unsubscribed, gap, progress, heartbeat, end; the id of each is a cursor.
#[utoipa::path(get, path = "/stream", tag = "topics",
    params(("topics" = Option<String>, Query, description = "Names, separated by commas"),
           ("user_id" = Option<String>, Query, description = "Instead of topics: whose subscriptions"),
           ("from" = Option<String>, Query, description = "latest (default), earliest, or an instant (RFC 3339 or milliseconds)"),
           ("filter" = Option<Vec<String>>, Query, description = "key=TEXT, header.NAME=TEXT, value~TEXT (contains) or /json/pointer=VALUE; several must all hold"),
           ("policy" = Option<String>, Query, description = "For a viewer who reads too slowly: pause (default; misses nothing), gap or disconnect"),
           ("cursor" = Option<String>, Query, description = "The id of the last event that was seen"),
           ("Last-Event-ID" = Option<String>, Header, description = "The same, as browsers send it")),
    responses((status = 200, description = "text/event-stream", content_type = "text/event-stream", body = String),
              (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
              (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn stream(
    context: web::Data<Context>,
    caller: Caller,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Failure> {
    let upgrade = request.headers().get(header::UPGRADE);
    if upgrade.is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return stream_socket(context, caller, request, body).await;
    }
    let tail = open(&context, caller, &request, Style::Events).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(tail.frames()))
}

/// The same over a WebSocket: each event is one text message `{event, id, data}`. The client may send
/// `{"pause": true}` and `{"pause": false}`.
#[utoipa::path(get, path = "/stream/ws", tag = "topics",
    params(("topics" = Option<String>, Query), ("user_id" = Option<String>, Query), ("from" = Option<String>, Query),
           ("filter" = Option<Vec<String>>, Query), ("policy" = Option<String>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 101, description = "The connection is a WebSocket now"), (status = 400, body = Problem),
              (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
              (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn stream_socket(
    context: web::Data<Context>,
    caller: Caller,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Failure> {
    socket::check_origin(&request)?;
    let tail = open(&context, caller, &request, Style::Socket).await?;
    socket::serve(&request, body, tail, context.shutdown.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_words_or_instants() {
        for (text, wanted) in [
            (None, Some(From::Latest)),
            (Some("earliest"), Some(From::Earliest)),
            (Some("1700000000120"), Some(From::Time(1_700_000_000_120))),
            (
                Some("2023-11-14T22:13:20.120Z"),
                Some(From::Time(1_700_000_000_120)),
            ),
            (Some("-1"), None),
            (Some("yesterday"), None),
        ] {
            assert_eq!(from(text).ok(), wanted, "{text:?}");
        }
        assert_eq!(policy(None, Policy::Gap).unwrap(), Policy::Gap);
        assert_eq!(policy(Some("drop"), Policy::Gap).unwrap_err().status, 422);
    }
}
