//! The live tail: a stream of events that goes on after interruptions.

use crate::failure::{Exit, Failure};
use crate::http::Service;
use crate::sse::{Event, Parser};
use reqwest::blocking::Response;
use std::io::Read as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Events that may wait for being printed; then the stream is not read on.
const WAITING_MAX: usize = 1000;
/// Tries in a row to open the stream again.
const RETRIES_MAX: u32 = 20;
/// Delay before the first of them, doubled up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What a stream brings.
#[derive(Debug)]
pub(crate) enum Item {
    /// An event.
    Event(Event),
    /// The stream was interrupted and is opened again.
    Interrupted(String),
    /// It cannot be opened again.
    Ended(Failure),
}

/// Opens the stream; what goes wrong at first is an error, what goes wrong later is an item. Dropping the
/// receiver ends it.
pub(crate) fn open(
    service: &Service,
    query: Vec<(&'static str, String)>,
) -> Result<Receiver<Item>, Failure> {
    let answer = service.stream("/stream", &query, None)?;
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let service = service.clone();
    std::thread::Builder::new()
        .name("stream".into())
        .spawn(move || follow(&service, &query, answer, &sender))?;
    Ok(receiver)
}

fn follow(
    service: &Service,
    query: &[(&'static str, String)],
    mut answer: Response,
    sender: &SyncSender<Item>,
) {
    let mut last_id = None;
    loop {
        let Some(reason) = read(answer, &mut last_id, sender) else {
            return;
        };
        if sender.send(Item::Interrupted(reason)).is_err() {
            return;
        }
        match reopen(service, query, last_id.as_deref()) {
            Ok(again) => answer = again,
            Err(failure) => {
                let _nobody_listens = sender.send(Item::Ended(failure));
                return;
            }
        }
    }
}

/// Reads until the stream breaks, and says why; `None` when nobody wants it any more.
fn read(
    mut answer: Response,
    last_id: &mut Option<String>,
    sender: &SyncSender<Item>,
) -> Option<String> {
    let mut parser = Parser::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let size = match answer.read(&mut piece) {
            Ok(0) => return Some("the stream ended".to_owned()),
            Ok(size) => size,
            Err(error) => return Some(error.to_string()),
        };
        let Ok(events) = parser.feed(&piece[..size]) else {
            return Some("an event is too long".to_owned());
        };
        for event in events {
            if event.id.is_some() {
                last_id.clone_from(&event.id);
            }
            sender.send(Item::Event(event)).ok()?;
        }
    }
}

fn reopen(
    service: &Service,
    query: &[(&'static str, String)],
    last_id: Option<&str>,
) -> Result<Response, Failure> {
    let mut delay = RETRY_MIN;
    let mut tries = 0;
    loop {
        std::thread::sleep(delay);
        let failure = match service.stream("/stream", query, last_id) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        tries += 1;
        let passing = matches!(failure.exit, Exit::Unreachable | Exit::Timeout);
        if !passing || tries >= RETRIES_MAX {
            return Err(failure);
        }
        delay = (delay * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

    /// Answers one connection after the other with these bodies, and gives the heads of the requests.
    fn serve(bodies: &'static [&'static str]) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = sync_channel(bodies.len());
        let work = move || {
            for body in bodies {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                sender.send(head.join("\n")).unwrap();
                let answer = if body.starts_with("HTTP") {
                    String::new()
                } else {
                    HEAD.to_owned()
                };
                write!(stream, "{answer}{body}").unwrap();
            }
        };
        std::thread::Builder::new().spawn(work).unwrap();
        (base, requests)
    }

    fn service(base: &str) -> Service {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        Service::new("consumer API", base, "t").unwrap()
    }

    #[test]
    fn an_interrupted_stream_goes_on_after_the_last_event() {
        let (base, requests) = serve(&[
            "event: record\nid: 5\ndata: one\n\n",
            "event: record\nid: 6\ndata: two\n\n",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        ]);
        let items = open(&service(&base), vec![("topics", "a,b".into())]).unwrap();
        let mut told = Vec::new();
        for item in items {
            match item {
                Item::Event(event) => told.push(event.data),
                Item::Interrupted(_) => told.push("interrupted".into()),
                Item::Ended(failure) => told.push(format!("{:?}", failure.exit)),
            }
        }
        assert_eq!(told, ["one", "interrupted", "two", "interrupted", "Failed"]);
        let first = requests.recv().unwrap().to_lowercase();
        assert!(first.starts_with("get /stream?topics=a%2cb "), "{first}");
        assert!(first.contains("authorization: bearer t"), "{first}");
        assert!(!first.contains("last-event-id"), "{first}");
        let second = requests.recv().unwrap().to_lowercase();
        assert!(second.contains("last-event-id: 5"), "{second}");
    }

    #[test]
    fn a_stream_that_is_refused_at_first_is_an_error() {
        let (base, _requests) = serve(&["HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]);
        assert_eq!(
            open(&service(&base), vec![]).unwrap_err().exit,
            Exit::Denied
        );
    }
}
