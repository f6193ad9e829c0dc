//! A webhook of the tests.

use serde_json::Value;
use sluice_e2e::Outcome;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

/// A webhook that refuses values with `poison` in them while it is told to.
pub(super) struct Hook {
    pub(super) url: String,
    state: Arc<Mutex<HookState>>,
}

#[derive(Default)]
pub(super) struct HookState {
    /// What it answers to everything.
    pub(super) down: Option<u16>,
    /// Whether it takes poison.
    pub(super) tolerant: bool,
    pub(super) values: Vec<String>,
}

impl Hook {
    pub(super) fn open() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let state = Arc::new(Mutex::new(HookState::default()));
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("hook".to_owned())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    // A connection that breaks is the sender's to mend.
                    drop(answer(stream, &shared));
                }
            })?;
        Ok(Self { url, state })
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, HookState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(mut stream: std::net::TcpStream, state: &Mutex<HookState>) -> Outcome {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    let records = body.as_array().cloned().unwrap_or_else(|| vec![body]);
    let values: Vec<String> = records
        .iter()
        .map(|record| record["value"].as_str().unwrap_or_default().to_owned())
        .collect();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let poisoned = values.iter().any(|value| value.contains("poison"));
    let status = match state.down {
        Some(status) => status,
        None if poisoned && !state.tolerant => 422,
        None => {
            state.values.extend(values);
            200
        }
    };
    drop(state);
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    Ok(())
}
