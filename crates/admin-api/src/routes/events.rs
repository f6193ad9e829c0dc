//! The change feed as server-sent events (WHATWG HTML, 9.2).

use super::query;
use crate::auth::Caller;
use crate::hub::Follow;
use crate::state::State;
use crate::store;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream};
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Streams at one time.
const STREAMS_MAX: usize = 1000;
/// Time between two signs of life on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Changes that are read at one time.
const CHUNK: u32 = 500;

/// The streams that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A place among the open streams, given back when the stream ends.
struct Seat;

impl Seat {
    fn take() -> Result<Self, Problem> {
        let seat = Self;
        if OPEN.fetch_add(1, Ordering::AcqRel) >= STREAMS_MAX {
            drop(seat);
            let detail = format!("{STREAMS_MAX} event streams are open already");
            return Err(Problem::new(Code::Busy, detail).retry_after(30));
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Changes of topics, requests and subscriptions as they happen. An event `change` has the change as its
/// data and the revision as its id; `Last-Event-ID` (or `since`) resumes behind it. An event `reset`, where
/// `/api/changes` answers 410, says that the feed does not go back to the revision asked for (another start of the
/// service, or more than 100,000 changes ago): read everything again; the stream goes on from the revision that is
/// its id and its data. Without a revision the stream begins now.
///
/// # Errors
/// 401, 403, 429 when too many streams are open.
#[utoipa::path(get, path = "/api/events", tag = "following",
    params(("since" = Option<String>, Query), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 429, body = Problem)))]
pub async fn events(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let seat = Seat::take()?;
    let known = since(&request);
    let head = state.hub.head(Follow::All);
    let place = match &known {
        Some(revision) => state.hub.place(revision).filter(|place| *place <= head),
        None => Some(head),
    };
    let follower = Follower {
        state: state.get_ref().clone(),
        place: place.unwrap_or(head),
        opening: Some(opening(&state, place, head)),
        _seat: seat,
    };
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(follow(follower)))
}

fn since(request: &HttpRequest) -> Option<String> {
    let header = || {
        let value = request.headers().get("last-event-id")?.to_str().ok()?;
        Some(value.to_owned())
    };
    header().or_else(|| query(request, "since"))
}

/// The first bytes: at once, so that the reader knows that it is connected.
fn opening(state: &State, place: Option<i64>, head: i64) -> String {
    let id = state.hub.revision(place.unwrap_or(head));
    if place.is_none() {
        return reset(&id);
    }
    format!(": from {id}\n\n")
}

/// Tells the reader to read everything again; the stream goes on from the revision.
fn reset(id: &str) -> String {
    format!("event: reset\nid: {id}\ndata: {{\"revision\":\"{id}\"}}\n\n")
}

struct Follower {
    state: State,
    place: i64,
    opening: Option<String>,
    _seat: Seat,
}

fn follow(follower: Follower) -> impl Stream<Item = Result<web::Bytes, Infallible>> {
    stream::unfold(follower, |mut follower| async move {
        if let Some(opening) = follower.opening.take() {
            return Some((Ok(opening.into()), follower));
        }
        let text = follower.next().await?;
        Some((Ok(web::Bytes::from(text)), follower))
    })
}

impl Follower {
    /// The next events, or a sign of life; nothing when the service stops or its store fails.
    async fn next(&mut self) -> Option<String> {
        let place = self.place;
        let since = self.state.hub.revision(place);
        if !self.state.hub.wait(Follow::All, &since, HEARTBEAT).await {
            return (!self.state.shutdown.requested()).then(|| ": still here\n\n".to_owned());
        }
        let read = move |connection: &rusqlite::Connection| {
            store::changes::whole_after(connection, place, CHUNK)
        };
        let found = match self.state.database.read(read).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(error = %error, "read the change feed");
                return None;
            }
        };
        let Some(found) = found else {
            self.place = self.state.hub.head(Follow::All);
            return Some(reset(&self.state.hub.revision(self.place)));
        };
        let mut text = String::new();
        for change in &found {
            self.place = change.seq;
            let id = self.state.hub.revision(change.seq);
            let data = serde_json::to_string(change).ok()?;
            let _infallible = write!(text, "event: change\nid: {id}\ndata: {data}\n\n");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let seats: Vec<_> = (0..STREAMS_MAX).map_while(|_| Seat::take().ok()).collect();
        assert_eq!(seats.len(), STREAMS_MAX);
        assert!(Seat::take().is_err());
        drop(seats);
        assert!(Seat::take().is_ok());
    }
}
