//! A receiver of webhooks that does what it is told.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use sluice_e2e::Outcome;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// 200
    Yes,
    /// 503
    Fail,
    /// 401
    Unauthorised,
    /// Nothing for longer than anybody waits.
    Hang,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    head: String,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn offsets(&self) -> Vec<i64> {
        let records: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let records = records.as_array().cloned().unwrap_or_default();
        records
            .iter()
            .filter_map(|record| record["offset"].as_i64())
            .collect()
    }
}

struct State {
    say: Say,
    refuse: Option<i64>,
    requests: Vec<Request>,
    taken: BTreeSet<i64>,
}

/// The receiver. Its threads end with the process.
pub(super) struct Hook {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
}

impl Hook {
    pub(super) fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State {
            say: Say::Yes,
            refuse: None,
            requests: Vec::new(),
            taken: BTreeSet::new(),
        }));
        let shared = Arc::clone(&state);
        named(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                named(move || while serve(&stream, &state).is_some() {}).ok();
            }
        })?;
        Ok(Self { url, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it answers from now on.
    pub(super) fn say(&self, say: Say) {
        self.state().say = say;
    }

    /// An offset that it answers with 422.
    pub(super) fn refuse(&self, offset: i64) {
        self.state().refuse = Some(offset);
    }

    pub(super) fn count(&self) -> usize {
        self.state().requests.len()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The offsets of the records that it has said yes to.
    pub(super) fn taken(&self) -> BTreeSet<i64> {
        self.state().taken.clone()
    }
}

fn named(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let builder = std::thread::Builder::new().name("hook".into());
    builder.spawn(work).map(drop)
}

/// Answers one request; none: the connection is over.
fn serve(mut stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let request = read(stream)?;
    let status = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let offsets = request.offsets();
        state.requests.push(request);
        match state.say {
            Say::Yes
                if state
                    .refuse
                    .is_some_and(|refused| offsets.contains(&refused)) =>
            {
                "422 No"
            }
            Say::Yes => {
                state.taken.extend(offsets);
                "200 OK"
            }
            Say::Fail => "503 Busy",
            Say::Unauthorised => "401 Who",
            Say::Hang => "",
        }
    };
    if status.is_empty() {
        std::thread::sleep(Duration::from_secs(2));
        return None;
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
    stream.write_all(answer.as_bytes()).ok()
}

fn read(mut stream: &TcpStream) -> Option<Request> {
    let mut text = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let n = stream.read(&mut part).ok().filter(|n| *n > 0)?;
        text.extend_from_slice(&part[..n]);
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(text[..end].to_vec()).ok()?;
        let body = &text[end + 4..];
        let mut request = Request {
            head,
            body: String::new(),
        };
        let length: usize = request.header("content-length")?.parse().ok()?;
        if body.len() >= length {
            request.body = String::from_utf8(body[..length].to_vec()).ok()?;
            return Some(request);
        }
    }
}

/// Whether a request has the signature of a secret.
pub(super) fn verified(secret: &str, request: &Request) -> bool {
    let signature = request.header("sluice-signature").unwrap_or_default();
    let Some((seconds, hex)) = signature
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(",v1="))
    else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(format!("{seconds}.{}", request.body).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let mut text = String::new();
    for byte in bytes {
        let _in_memory = write!(text, "{byte:02x}");
    }
    text == hex
}
