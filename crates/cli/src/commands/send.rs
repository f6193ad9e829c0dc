//! `sluice send`: records through the producer's HTTP input.

use crate::args::Send;
use crate::context::Context;
use crate::failure::{Exit, Failure, exit_of_code};
use crate::output::{Format, cell, write};
use serde_json::{Map, Value, json};
use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, sync_channel};

/// Most records, and bytes of values, of one request.
const BATCH_RECORDS: usize = 500;
const BATCH_BYTES: usize = 1024 * 1024;

/// How many records went which way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    delivered: usize,
    held: usize,
    refused: usize,
    first_refusal: Option<Exit>,
}

pub(crate) fn run(context: &Context, command: &Send) -> Result<(), Failure> {
    let message = command.message.as_deref();
    let tally = match message.filter(|message| *message != "-") {
        Some(message) => send_one(context, command, message)?,
        None => send_lines(context, command)?,
    };
    tally
        .first_refusal
        .map_or(Ok(()), |exit| Err(Failure::told(exit)))
}

fn send_one(context: &Context, command: &Send, message: &str) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let line = record(
        &command.topic,
        message,
        command.key.as_deref(),
        &command.headers,
    );
    let answer = context.producer.post_records(line)?;
    tally.add(&answer);
    show_each(context, command, &answer)?;
    Ok(tally)
}

fn send_lines(context: &Context, command: &Send) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let lines = read_lines()?;
    while let Some(batch) = next_batch(&lines)? {
        let key = command.key.as_deref();
        let line = |text: &String| record(&command.topic, text, key, &command.headers);
        let answer = context
            .producer
            .post_records(batch.iter().flat_map(line).collect())?;
        tally.add(&answer);
        if context.output.format == Format::Json {
            write(&format!("{answer}\n"))?;
        }
        tell_refusals(command, &answer);
    }
    if context.output.format == Format::Table {
        let Tally {
            delivered,
            held,
            refused,
            ..
        } = tally;
        let topic = &command.topic;
        write(&format!(
            "{topic}: {delivered} delivered, {held} held, {refused} refused\n"
        ))?;
    }
    Ok(tally)
}

/// One line of NDJSON.
pub(crate) fn record(
    topic: &str,
    value: &str,
    key: Option<&str>,
    headers: &[(String, String)],
) -> Vec<u8> {
    let mut record = json!({"topic": topic, "value": value});
    if let Some(key) = key {
        record["key"] = json!(key);
    }
    if !headers.is_empty() {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)));
        record["headers"] = Value::Object(headers.collect::<Map<_, _>>());
    }
    format!("{record}\n").into_bytes()
}

/// What happened to one record, in words.
pub(crate) fn sentence(topic: &str, outcome: &Value) -> String {
    match outcome["state"].as_str() {
        Some("delivered") => {
            let (partition, offset) = (cell(outcome, "partition"), cell(outcome, "offset"));
            format!("{topic}: delivered, partition {partition} offset {offset}")
        }
        Some("held") => format!(
            "{topic}: held, the topic is {}",
            cell(outcome, "topic_state")
        ),
        _ => format!(
            "{topic}: refused, {}: {}",
            cell(outcome, "code"),
            cell(outcome, "detail")
        ),
    }
}

fn outcomes(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["records"].as_array().into_iter().flatten()
}

impl Tally {
    fn add(&mut self, answer: &Value) {
        for outcome in outcomes(answer) {
            match outcome["state"].as_str() {
                Some("delivered") => self.delivered += 1,
                Some("held") => self.held += 1,
                _ => {
                    self.refused += 1;
                    let code = outcome["code"].as_str().unwrap_or_default();
                    self.first_refusal.get_or_insert(exit_of_code(code));
                }
            }
        }
    }
}

fn show_each(context: &Context, command: &Send, answer: &Value) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return write(&format!("{answer:#}\n"));
    }
    for outcome in outcomes(answer).filter(|outcome| outcome["state"] != "refused") {
        context.output.done(
            answer,
            &cell(outcome, "state"),
            &sentence(&command.topic, outcome),
        )?;
    }
    tell_refusals(command, answer);
    Ok(())
}

fn tell_refusals(command: &Send, answer: &Value) {
    for outcome in outcomes(answer).filter(|outcome| outcome["state"] == "refused") {
        Failure::new(Exit::Failed, sentence(&command.topic, outcome)).tell();
    }
}

/// Reads standard input on a thread of its own, so that what is there is sent while more is awaited.
fn read_lines() -> Result<Receiver<std::io::Result<String>>, Failure> {
    let (sender, receiver) = sync_channel(BATCH_RECORDS);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let failed = line.is_err();
                if sender.send(line).is_err() || failed {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Waits for a line and takes what else is there; `None` at the end.
fn next_batch(lines: &Receiver<std::io::Result<String>>) -> Result<Option<Vec<String>>, Failure> {
    let Ok(first) = lines.recv() else {
        return Ok(None);
    };
    let mut batch = vec![first?];
    let mut bytes = batch[0].len();
    while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
        let Ok(line) = lines.try_recv() else { break };
        let line = line?;
        bytes += line.len();
        batch.push(line);
    }
    Ok(Some(batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_sent_with_its_white_space_as_a_string() {
        let line = record("t", "  a  \"b\"\t", Some("k"), &[("h".into(), "v".into())]);
        let line: Value = serde_json::from_slice(&line).unwrap();
        let expected =
            json!({"topic": "t", "value": "  a  \"b\"\t", "key": "k", "headers": {"h": "v"}});
        assert_eq!(line, expected);
    }

    #[test]
    fn refusals_decide_the_exit_code() {
        let mut tally = Tally::default();
        tally.add(&json!({"records": [
            {"state": "delivered", "partition": 0, "offset": 1},
            {"state": "held", "topic_state": "pending"},
            {"state": "refused", "code": "topic_rejected"},
            {"state": "refused", "code": "unknown_topic"},
        ]}));
        let expected = Tally {
            delivered: 1,
            held: 1,
            refused: 2,
            first_refusal: Some(Exit::Conflict),
        };
        assert_eq!(tally, expected);
    }

    #[test]
    fn outcomes_are_told_in_words() {
        let delivered = json!({"state": "delivered", "partition": 2, "offset": 7});
        assert_eq!(
            sentence("t", &delivered),
            "t: delivered, partition 2 offset 7"
        );
        let held = json!({"state": "held", "topic_state": "pending"});
        assert_eq!(sentence("t", &held), "t: held, the topic is pending");
    }
}
