//! The consumer's menu: the numbers 0 to 7 of one reference system and the words of the other. Messages
//! are printed as they arrive.

use super::producer::unknown;
use super::{Session, names, split_word};
use crate::commands::tail::parse as parse_record;
use crate::failure::{Exit, Failure};
use crate::output::{Column, cell};
use crate::printer::Printer;
use crate::stream::{Item, open};
use crate::text::printable;
use serde_json::{Value, json};
use sluice_admin_client::call;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MENU: &str = "\
1  list          available topics
2  subscribed    my subscriptions
3  subscribe     subscribe to topics: names after it
4  unsubscribe   end subscriptions: names after it
5  start         print messages as they arrive; starts again when it runs
6  stop          print no messages
7  stats         statistics
0  quit          leave
   refresh       read the subscriptions again";

const TOPICS: [Column; 4] = [
    ("NAME", "topic_name"),
    ("SUBSCRIBED", "subscribed"),
    ("ACTIVE SINCE", "activated_at"),
    ("DESCRIPTION", "description"),
];
const MINE: [Column; 3] = [
    ("TOPIC", "topic_name"),
    ("STATUS", "status"),
    ("SUBSCRIBED", "subscribed_at"),
];

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    List,
    Subscribed,
    Subscribe(&'a str),
    Unsubscribe(&'a str),
    Start,
    Stop,
    Stats,
    Refresh,
    Help,
    Quit,
    Nothing,
    Unknown(&'a str),
}

fn parse(line: &str) -> Line<'_> {
    let (word, rest) = split_word(line);
    match word {
        "" => Line::Nothing,
        "1" | "list" => Line::List,
        "2" | "subscribed" => Line::Subscribed,
        "3" | "subscribe" => Line::Subscribe(rest),
        "4" | "unsubscribe" => Line::Unsubscribe(rest),
        "5" | "start" | "restart" => Line::Start,
        "6" | "stop" => Line::Stop,
        "7" | "stats" => Line::Stats,
        "refresh" => Line::Refresh,
        "help" | "?" => Line::Help,
        "0" | "quit" | "exit" => Line::Quit,
        other => Line::Unknown(other),
    }
}

/// The stream that prints messages while the prompt is usable.
#[derive(Debug, Default)]
struct Reading {
    /// Set to false to end the printing thread.
    wanted: Option<Arc<AtomicBool>>,
    messages: Arc<AtomicU64>,
}

impl Reading {
    fn running(&self) -> bool {
        self.wanted
            .as_ref()
            .is_some_and(|wanted| wanted.load(Ordering::Relaxed))
    }

    fn stop(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            wanted.store(false, Ordering::Relaxed);
        }
    }

    fn start(&mut self, session: &Session<'_>, user: &str) -> Result<(), Failure> {
        self.stop();
        let query = vec![("user_id", user.to_owned()), ("from", "latest".to_owned())];
        let items = open(&session.context.consumer, query)?;
        let wanted = Arc::new(AtomicBool::new(true));
        self.wanted = Some(Arc::clone(&wanted));
        let (printer, messages) = (session.printer.clone(), Arc::clone(&self.messages));
        std::thread::Builder::new()
            .name("printer".into())
            .spawn(move || {
                for item in items {
                    // Without a reader there is nothing left to do.
                    if !wanted.load(Ordering::Relaxed) || !show(&printer, &messages, item) {
                        break;
                    }
                }
                wanted.store(false, Ordering::Relaxed);
            })?;
        Ok(())
    }
}

/// Prints an item of the stream; whether to go on.
fn show(printer: &Printer, messages: &AtomicU64, item: Item) -> bool {
    let text = match item {
        Item::Event(event) => match event.kind.as_str() {
            "record" => {
                messages.fetch_add(1, Ordering::Relaxed);
                message(&parse_record(&event.data))
            }
            "heartbeat" => return true,
            kind => format!("# {kind} {}", printable(&event.data, false)),
        },
        Item::Interrupted(reason) => format!("# interrupted ({reason}), going on"),
        Item::Ended(failure) => {
            failure.tell();
            return false;
        }
    };
    printer.print(&text).is_ok()
}

/// A record as a few lines; JSON values are indented.
fn message(record: &Value) -> String {
    let value = match &record["value"] {
        Value::Null => "(tombstone)".to_owned(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => format!("{value:#}"),
            _ => text.clone(),
        },
        other => other.to_string(),
    };
    let head = format!(
        "[{}] partition {} offset {}, {}",
        cell(record, "topic"),
        cell(record, "partition"),
        cell(record, "offset"),
        cell(record, "timestamp"),
    );
    let body = printable(&value, true).replace('\n', "\n   ");
    format!("{head}\n   {body}")
}

pub(super) fn run(session: &mut Session<'_>, user: Option<&str>) -> Result<(), Failure> {
    let user = match user {
        Some(user) => user.to_owned(),
        None => session.context.admin(call::whoami())?.account,
    };
    let mut reading = Reading::default();
    if session.printer.is_terminal() {
        session.printer.print(MENU)?;
    }
    let started = reading.start(session, &user);
    session.told(started);
    while let Some(line) = session.printer.ask("> ")? {
        match parse(&line) {
            Line::Quit => break,
            Line::Nothing => {}
            line => {
                let outcome = act(session, &user, &mut reading, &line);
                session.told(outcome);
            }
        }
    }
    reading.stop();
    Ok(())
}

fn act(
    session: &mut Session<'_>,
    user: &str,
    reading: &mut Reading,
    line: &Line<'_>,
) -> Result<(), Failure> {
    match *line {
        Line::List => list(session, user),
        Line::Subscribed => subscribed(session, user),
        Line::Subscribe(rest) => change(session, user, "subscribe", rest),
        Line::Unsubscribe(rest) => change(session, user, "unsubscribe", rest),
        Line::Start => {
            session.same_as(&["tail", "--mine"])?;
            reading.start(session, user)?;
            session.printer.print("messages are printed as they arrive")
        }
        Line::Stop => {
            reading.stop();
            session.printer.print("no messages are printed")
        }
        Line::Refresh => {
            // The stream follows the subscriptions by itself; a new one also starts after a failure.
            reading.start(session, user)?;
            subscribed(session, user)
        }
        Line::Stats => {
            let state = if reading.running() {
                "running"
            } else {
                "stopped"
            };
            let count = reading.messages.load(Ordering::Relaxed);
            session
                .printer
                .print(&format!("{user}: {state}, {count} messages received"))
        }
        Line::Unknown(word) => Err(unknown(word)),
        Line::Help | Line::Quit | Line::Nothing => session.printer.print(MENU),
    }
}

fn list(session: &Session<'_>, user: &str) -> Result<(), Failure> {
    session.same_as(&["topic", "list", "--status", "active"])?;
    let mine = session.context.admin(call::subscriptions(Some(user)))?;
    let mut topics = session.context.admin(call::active().raw())?;
    for topic in topics.as_array_mut().into_iter().flatten() {
        let subscribed = mine
            .iter()
            .any(|sub| topic["topic_name"] == sub.topic_name.as_str());
        topic["subscribed"] = json!(if subscribed { "yes" } else { "" });
    }
    session.listing(&topics, &TOPICS, "no topic is active")
}

fn subscribed(session: &Session<'_>, user: &str) -> Result<(), Failure> {
    session.same_as(&["subscriptions"])?;
    let mine = session
        .context
        .admin(call::subscriptions(Some(user)).raw())?;
    session.listing(&mine, &MINE, "no subscriptions")
}

fn change(session: &mut Session<'_>, user: &str, verb: &str, rest: &str) -> Result<(), Failure> {
    let text = if rest.trim().is_empty() {
        session.ask("Topics: ")?.unwrap_or_default()
    } else {
        rest.to_owned()
    };
    let names = names(&text);
    if names.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("usage: {verb} <topic> ..."),
        ));
    }
    let mut words = vec![verb];
    words.extend(names.iter().map(String::as_str));
    session.same_as(&words)?;
    for name in &names {
        let call = match verb {
            "subscribe" => call::subscribe(Some(user), name),
            _ => call::unsubscribe(Some(user), name),
        };
        let outcome = match session.context.admin(call) {
            Ok(_) => session.printer.print(&format!("{name}: {verb}d")),
            Err(failure) => Err(failure),
        };
        session.told(outcome);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_one_reference_are_the_words_of_the_other() {
        for (number, word) in [
            ("1", "list"),
            ("2", "subscribed"),
            ("3 a b", "subscribe a b"),
            ("4 a", "unsubscribe a"),
            ("5", "start"),
            ("6", "stop"),
            ("7", "stats"),
            ("0", "quit"),
        ] {
            assert_eq!(parse(number), parse(word));
        }
        assert_eq!(parse("refresh"), Line::Refresh);
        assert_eq!(parse("subscribe a b"), Line::Subscribe("a b"));
        assert_eq!(parse("9"), Line::Unknown("9"));
    }

    #[test]
    fn a_message_shows_where_it_is_from_and_indents_json() {
        let record = json!({"topic": "t", "partition": 0, "offset": 1, "timestamp": "T", "value": "{\"a\":1}"});
        assert_eq!(
            message(&record),
            "[t] partition 0 offset 1, T\n   {\n     \"a\": 1\n   }"
        );
        let record =
            json!({"topic": "t", "partition": 0, "offset": 1, "timestamp": "T", "value": "x\x1b"});
        assert_eq!(message(&record), "[t] partition 0 offset 1, T\n   x\\u{1b}");
    }
}
