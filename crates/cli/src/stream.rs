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
