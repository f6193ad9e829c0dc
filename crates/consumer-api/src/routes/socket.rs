//! `/stream/ws`: the live tail over a WebSocket. Each event is one text message
//! `{"event", "id", "data"}`; the client may send `{"pause": true}` and `{"pause": false}`.

use super::tail::Tail;
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, ProtocolError, Session};
use serde::Deserialize;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::cookie::same_origin;
use sluice_service::http::credential;
use sluice_service::http::problem::Failure;
use sluice_service::shutdown::Shutdown;
use std::time::Duration;
use tokio::time::{Instant, interval};

/// Bytes of one message of a client.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Time that one message to the client may take before the connection counts as dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two pings, and after which a client that says nothing counts as gone.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What a client may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    pause: bool,
}

/// Refuses a page of another site that uses our cookie: browsers do not keep WebSockets to one origin.
///
/// # Errors
/// 403.
pub(super) fn check_origin(request: &HttpRequest) -> Result<(), Failure> {
    if credential::token(request).is_some() || same_origin(request) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "this page comes from another site").into())
}

/// Answers the upgrade and serves the stream on the connection.
///
/// # Errors
/// 400 when the request is no upgrade.
pub(super) fn serve(
    request: &HttpRequest,
    body: web::Payload,
    tail: Tail,
    shutdown: Shutdown,
) -> Result<HttpResponse, Failure> {
    let (answer, session, messages) = actix_ws::handle(request, body)
        .map_err(|error| Problem::new(Code::MalformedRequest, format!("no WebSocket: {error}")))?;
    actix_web::rt::spawn(run(
        session,
        messages.max_frame_size(MESSAGE_BYTES_MAX),
        tail,
        shutdown,
    ));
    Ok(answer)
}

/// Why a connection ends.
fn reason(code: CloseCode, words: &str) -> CloseReason {
    CloseReason {
        code,
        description: Some(words.to_owned()),
    }
}

async fn run(
    mut session: Session,
    mut messages: MessageStream,
    mut tail: Tail,
    shutdown: Shutdown,
) {
    let (mut paused, mut heard) = (false, Instant::now());
    let mut ping = interval(PING_INTERVAL);
    let close = loop {
        tokio::select! {
            message = messages.recv() => {
                heard = Instant::now();
                match hear(message, &mut session).await {
                    Heard::Pause(pause) => paused = pause,
                    Heard::Nothing => {}
                    Heard::End(close) => break close,
                }
            }
            piece = tail.next(), if !paused => {
                let Some(text) = piece.and_then(|piece| String::from_utf8(piece.to_vec()).ok()) else {
                    break Some(reason(CloseCode::Away, "the stream ended; come back with the last id"));
                };
                match tokio::time::timeout(SEND_TIMEOUT, session.text(text)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_closed)) => return,
                    Err(_late) => break Some(reason(CloseCode::Policy, "too slow")),
                }
            }
            () = shutdown.wait(), if paused => break Some(reason(CloseCode::Away, "the service stops")),
            _ = ping.tick() => {
                if heard.elapsed() >= SILENCE_MAX || session.ping(b"").await.is_err() {
                    break Some(reason(CloseCode::Away, "no answer to pings"));
                }
            }
        }
    };
    if session.close(close).await.is_err() {
        tracing::debug!("a socket was closed by its client");
    }
}

enum Heard {
    Pause(bool),
    Nothing,
    End(Option<CloseReason>),
}

async fn hear(message: Option<Result<Message, ProtocolError>>, session: &mut Session) -> Heard {
    match message {
        Some(Ok(Message::Text(text))) => match serde_json::from_str::<Said>(&text) {
            Ok(said) => Heard::Pause(said.pause),
            Err(_) => Heard::End(Some(reason(
                CloseCode::Policy,
                "send {\"pause\": true} or {\"pause\": false}",
            ))),
        },
        Some(Ok(Message::Ping(bytes))) => match session.pong(&bytes).await {
            Ok(()) => Heard::Nothing,
            Err(_closed) => Heard::End(None),
        },
        Some(Ok(Message::Pong(_) | Message::Nop)) => Heard::Nothing,
        Some(Ok(Message::Close(close))) => Heard::End(close),
        Some(Ok(_)) => Heard::End(Some(reason(
            CloseCode::Unsupported,
            "only text is understood",
        ))),
        Some(Err(_)) => Heard::End(Some(reason(CloseCode::Protocol, "not understood"))),
        None => Heard::End(None),
    }
}
