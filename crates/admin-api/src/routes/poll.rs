//! What clients follow: routes, active topics and changes, by long poll.

use super::decisions::wait_text;
use super::query;
use crate::auth::Caller;
use crate::error::Outcome;
use crate::hub::Follow;
use crate::state::State;
use crate::store;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_model::subscription::Changes;
use sluice_model::topic::{ActiveTopic, Routes};
use sluice_service::http::problem::Failure;
use std::time::Duration;

/// The longest wait of a poll.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// Changes in one answer; a client further behind reads everything again.
const CHANGES_MAX: u32 = 1000;

/// The wait that a request asks for: `30s`, `500ms`, or seconds as a bare number.
///
/// # Errors
/// 422 when it is no time or too long.
pub fn wait(request: &HttpRequest) -> Result<Option<Duration>, Problem> {
    let Some(text) = wait_text(request) else {
        return Ok(None);
    };
    let parsed = text
        .parse::<u64>()
        .map(Duration::from_secs)
        .ok()
        .or_else(|| humantime_serde::re::humantime::parse_duration(&text).ok())
        .filter(|wait| *wait <= WAIT_MAX);
    let message = format!("is a time such as 30s, at most {}s", WAIT_MAX.as_secs());
    parsed
        .map(Some)
        .ok_or_else(|| Problem::invalid("wait", message))
}

/// Waits as the request asks; says whether there is something newer than it knows.
async fn news(state: &State, request: &HttpRequest, follow: Follow) -> Result<bool, Failure> {
    let wait = wait(request)?.unwrap_or_default();
    let Some(since) = since(request) else {
        return Ok(true);
    };
    if state.hub.current(follow) != since {
        return Ok(true);
    }
    Ok(!wait.is_zero() && state.hub.wait(follow, &since, wait).await)
}

/// The revision that the client knows: `since`, or `If-None-Match`.
fn since(request: &HttpRequest) -> Option<String> {
    let etag = || {
        let value = request
            .headers()
            .get(header::IF_NONE_MATCH)?
            .to_str()
            .ok()?;
        Some(value.trim_matches('"').to_owned())
    };
    query(request, "since").or_else(etag)
}

fn unchanged(revision: &str) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header((header::ETAG, format!("\"{revision}\"")))
        .insert_header(("X-Revision", revision))
        .finish()
}

fn changed(revision: &str, body: &impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, format!("\"{revision}\"")))
        .insert_header(("X-Revision", revision))
        .json(body)
}

/// Reads the feed's head and something else from one snapshot.
async fn snapshot<T: Send + 'static>(
    state: &State,
    follow: Follow,
    read: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
) -> Result<(String, T), Failure> {
    let work = move |connection: &Connection| -> Outcome<(i64, T)> {
        let transaction = connection.unchecked_transaction()?;
        let (topics, all) = store::changes::heads(&transaction)?;
        let place = if follow == Follow::Topics {
            topics
        } else {
            all
        };
        Ok((place, read(&transaction)?))
    };
    let (place, value) = state.database.read(work).await?;
    Ok((state.hub.revision(place), value))
}

/// The routing table: the newest row per name, every status.
///
/// # Errors
/// 401, 403, 422.
#[utoipa::path(get, path = "/api/routes", tag = "following",
    params(("since" = Option<String>, Query, description = "the revision that is known"), ("wait" = Option<String>, Query)),
    responses((status = 200, body = Routes), (status = 304, description = "nothing newer within the wait")))]
pub async fn routes(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    if !news(&state, &request, Follow::Topics).await? {
        return Ok(unchanged(&state.hub.current(Follow::Topics)));
    }
    let (revision, topics) = snapshot(&state, Follow::Topics, store::topics::routes).await?;
    let table = Routes {
        revision: revision.clone(),
        topics,
    };
    Ok(changed(&revision, &table))
}

/// Active topics by name.
///
/// # Errors
/// 401, 403, 422.
#[utoipa::path(get, path = "/api/topics/active", tag = "following",
    params(("since" = Option<String>, Query), ("wait" = Option<String>, Query)),
    responses((status = 200, body = Vec<ActiveTopic>), (status = 304, description = "nothing newer within the wait")))]
pub async fn active(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    if !news(&state, &request, Follow::Topics).await? {
        return Ok(unchanged(&state.hub.current(Follow::Topics)));
    }
    let (revision, topics) = snapshot(&state, Follow::Topics, store::topics::active).await?;
    Ok(changed(&revision, &topics))
}

/// What changed since a revision: topics, requests, subscriptions. Without one: the revision to begin with.
///
/// # Errors
/// 401, 403, 410 when the feed does not go back to the revision (read everything again), 422.
#[utoipa::path(get, path = "/api/changes", tag = "following",
    params(("since" = Option<String>, Query), ("wait" = Option<String>, Query)),
    responses((status = 200, body = Changes), (status = 304, description = "nothing newer within the wait"),
        (status = 410, body = Problem)))]
pub async fn changes(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    if !news(&state, &request, Follow::All).await? {
        return Ok(unchanged(&state.hub.current(Follow::All)));
    }
    let since = since(&request);
    let known = match &since {
        Some(since) => Some(known_place(&state, since)?),
        None => None,
    };
    let read = move |connection: &Connection| match known {
        Some(place) => store::changes::whole_after(connection, place, CHANGES_MAX + 1),
        None => Ok(Some(Vec::new())),
    };
    let (revision, found) = snapshot(&state, Follow::All, read).await?;
    let found = found.filter(|found| found.len() <= CHANGES_MAX as usize);
    let Some(found) = found else {
        return Err(gone(&since.unwrap_or_default(), &revision).into());
    };
    Ok(changed(
        &revision,
        &Changes {
            revision: revision.clone(),
            changes: found,
            reset: since.is_none(),
        },
    ))
}

/// The place of a revision that the feed goes back to.
fn known_place(state: &State, since: &str) -> Result<i64, Problem> {
    let place = state.hub.place(since);
    let place = place.filter(|place| (0..=state.hub.head(Follow::All)).contains(place));
    place.ok_or_else(|| gone(since, &state.hub.current(Follow::All)))
}

fn gone(since: &str, current: &str) -> Problem {
    let detail = format!(
        "the feed does not go back to {since:?}; read everything again, then follow from {current}"
    );
    Problem::new(Code::RevisionGone, detail)
}
