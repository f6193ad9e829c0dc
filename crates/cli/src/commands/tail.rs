//! `sluice tail`: records as they arrive.

use crate::args::{From, Tail};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, cell, write};
use crate::sse::Event;
use crate::stream::{Item, open};
use crate::text::printable;
use serde_json::Value;
use sluice_admin_client::call;
use std::io::Write as _;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Longest wait for one item when there is no limit of time.
const IDLE: Duration = Duration::from_secs(3600);

pub(crate) fn run(context: &Context, command: &Tail) -> Result<(), Failure> {
    let items = open(&context.consumer, query(context, command)?)?;
    let deadline = command.timeout.map(|timeout| Instant::now() + timeout);
    let mut seen = 0;
    while command.max.is_none_or(|max| seen < max) {
        let left = deadline.map_or(IDLE, |end| end.saturating_duration_since(Instant::now()));
        match items.recv_timeout(left) {
            Ok(Item::Event(event)) => seen += u64::from(show(context, command, &event)?),
            Ok(Item::Interrupted(reason)) => note(&format!("interrupted ({reason}), going on")),
            Ok(Item::Ended(failure)) => return Err(failure),
            Err(RecvTimeoutError::Timeout) if deadline.is_none() => {}
            Err(RecvTimeoutError::Timeout) => return too_few(command, seen),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(Exit::Failed, "the stream ended"));
            }
        }
    }
    Ok(())
}

fn too_few(command: &Tail, seen: u64) -> Result<(), Failure> {
    match command.max {
        Some(max) => {
            let text = format!("{seen} of {max} records arrived in time");
            Err(Failure::new(Exit::Timeout, text))
        }
        None => Ok(()),
    }
}

fn query(context: &Context, command: &Tail) -> Result<Vec<(&'static str, String)>, Failure> {
    let from = match command.from {
        From::Latest => "latest",
        From::Earliest => "earliest",
    };
    let which = if command.mine {
        let user = match &command.user {
            Some(user) => user.clone(),
            None => context.admin(call::whoami())?.account,
        };
        ("user_id", user)
    } else {
        ("topics", command.topics.join(","))
    };
    Ok(vec![which, ("from", from.to_owned())])
}

/// Prints an event; whether it was a record.
fn show(context: &Context, command: &Tail, event: &Event) -> Result<bool, Failure> {
    match event.kind.as_str() {
        "record" => {
            let text = match (command.raw, context.output.format) {
                (true, _) => raw(&event.data),
                (_, Format::Json) => format!("{}\n", event.data),
                (_, Format::Name) => format!("{}\n", place(&parse(&event.data))),
                (_, Format::Table) => format!("{}\n", line(&parse(&event.data))),
            };
            write(&text)?;
            Ok(true)
        }
        "heartbeat" => Ok(false),
        kind => {
            note(&format!("{kind} {}", printable(&event.data, false)));
            Ok(false)
        }
    }
}

fn note(text: &str) {
    let _nobody_reads_it = writeln!(std::io::stderr(), "# {text}");
}

/// The data of a record event; a text that is no JSON is shown as it is.
pub(crate) fn parse(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))
}

fn place(record: &Value) -> String {
    format!(
        "{}/{}@{}",
        cell(record, "topic"),
        cell(record, "partition"),
        cell(record, "offset")
    )
}

fn line(record: &Value) -> String {
    let key = match &record["key"] {
        Value::Null => String::new(),
        _ => format!("{}: ", cell(record, "key")),
    };
    let value = match &record["value"] {
        Value::Null => "(tombstone)".to_owned(),
        Value::String(text) => printable(text, false),
        other => other.to_string(),
    };
    format!(
        "{} {}  {key}{value}",
        cell(record, "timestamp"),
        place(record)
    )
}

fn raw(data: &str) -> String {
    match &parse(data)["value"] {
        Value::String(text) => format!("{text}\n"),
        _ => "\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"topic":"t","partition":0,"offset":7,"timestamp":"2026-01-01T00:00:00.000Z",
        "key":"k","value":"a\u001b[2J","headers":[],"key_encoding":"utf8","value_encoding":"utf8"}"#;

    #[test]
    fn a_record_is_one_line_without_escapes() {
        assert_eq!(
            line(&parse(RECORD)),
            "2026-01-01T00:00:00.000Z t/0@7  k: a\\u{1b}[2J"
        );
        assert_eq!(raw(RECORD), "a\x1b[2J\n");
    }

    #[test]
    fn a_tombstone_says_so() {
        assert!(line(&serde_json::json!({"topic": "t", "value": null})).ends_with("(tombstone)"));
    }
}
