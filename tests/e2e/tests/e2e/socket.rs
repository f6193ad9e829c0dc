//! The live tail over WebSockets.

use crate::Test;
use crate::stream::{number, send, topic};
use serde_json::Value;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "a stream over a WebSocket carries the same events and can be paused",
        socket,
    ),
    (
        "a stream over a WebSocket is closed to pages of other sites",
        foreign_page,
    ),
];

type Socket = tungstenite::WebSocket<tungstenite::stream::MaybeTlsStream<std::net::TcpStream>>;

fn connect(
    stack: &Stack,
    path: &str,
    headers: &[(&'static str, String)],
) -> Result<Socket, Box<tungstenite::Error>> {
    let url = stack.fact("/consumer_api/url").replacen("http", "ws", 1);
    let mut request = format!("{url}{path}")
        .into_client_request()
        .map_err(Box::new)?;
    for (name, value) in headers {
        let value = value
            .parse()
            .map_err(|_| Box::new(tungstenite::Error::Utf8(String::new())))?;
        request.headers_mut().insert(*name, value);
    }
    tungstenite::connect(request)
        .map(|(socket, _)| socket)
        .map_err(Box::new)
}

fn said(socket: &mut Socket, wanted: &str) -> Outcome<Value> {
    loop {
        if let Message::Text(text) = socket.read()? {
            let message: Value = serde_json::from_str(&text)?;
            if message["event"] == wanted {
                return Ok(message);
            }
        }
    }
}

fn socket(stack: &Stack) -> Outcome {
    let name = "stream.socket";
    topic(stack, name, 1)?;
    let bearer = [("authorization", format!("Bearer {}", stack.token("viewer")))];
    for path in [
        format!("/stream/ws?topics={name}"),
        format!("/stream?topics={name}"),
    ] {
        let mut socket = connect(stack, &path, &bearer)?;
        said(&mut socket, "heartbeat")?;
        send(stack, name, 1..2)?;
        let record = said(&mut socket, "record")?;
        ensure_eq!(number(&record["data"])?, 1, "over {path}");
        socket.send(Message::text("{\"pause\": true}"))?;
        socket.send(Message::Ping(vec![7].into()))?;
        while !matches!(socket.read()?, Message::Pong(_)) {}
        send(stack, name, 2..4)?;
        socket.send(Message::Ping(vec![8].into()))?;
        let next = socket.read()?;
        ensure!(
            matches!(next, Message::Pong(_) | Message::Ping(_)),
            "paused, but: {next}"
        );
        socket.send(Message::text("{\"pause\": false}"))?;
        ensure_eq!(
            number(&said(&mut socket, "record")?["data"])?,
            2,
            "nothing is missed"
        );
        let last = said(&mut socket, "record")?;
        ensure_eq!(number(&last["data"])?, 3, "in order");
        socket.send(Message::text("nonsense"))?;
        let closed = wait_for("the socket closes", || {
            Ok(match socket.read() {
                Ok(Message::Close(frame)) => Some(frame),
                Ok(_) => None,
                Err(error) => return Err(error.into()),
            })
        })?;
        ensure!(
            closed.is_some_and(|frame| frame.reason.contains("pause")),
            "and says what it understands"
        );
        let id = last["id"].as_str().unwrap_or_default().to_owned();
        send(stack, name, 4..5)?;
        let mut again = connect(
            stack,
            &format!("/stream/ws?topics={name}&cursor={id}"),
            &bearer,
        )?;
        ensure_eq!(
            number(&said(&mut again, "record")?["data"])?,
            4,
            "the id resumes"
        );
    }
    Ok(())
}

fn foreign_page(stack: &Stack) -> Outcome {
    let name = "stream.foreign";
    topic(stack, name, 1)?;
    let url = stack.fact("/consumer_api/url");
    let api = stack.consumer("viewer")?.with_token("");
    let form = format!("token={}", stack.token("viewer"));
    let login = api.request("POST", "/ui/login").header("origin", url);
    let login = login
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let answer = sluice_e2e::http::Api::send(login)?;
    let cookie = answer.header("set-cookie").unwrap_or_default();
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    ensure!(
        !cookie.is_empty(),
        "logged in: {} {}",
        answer.status,
        answer.text
    );
    let path = format!("/stream/ws?topics={name}");
    let status = |origin: &str| {
        let headers = [("cookie", cookie.clone()), ("origin", origin.to_owned())];
        match connect(stack, &path, &headers).map_err(|error| *error) {
            Ok(_) => Ok(101),
            Err(tungstenite::Error::Http(answer)) => Ok(answer.status().as_u16()),
            Err(other) => Err(other),
        }
    };
    ensure_eq!(status(url)?, 101, "our own page");
    ensure_eq!(status("http://evil.example")?, 403, "a foreign page");
    let bare = connect(stack, &path, &[]).map_err(|error| *error);
    ensure!(
        matches!(bare, Err(tungstenite::Error::Http(answer)) if answer.status() == 401),
        "without a credential"
    );
    Ok(())
}
