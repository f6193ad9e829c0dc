//! Sending dead letters again: to the processors of the consumer that refused them, and to nobody else.
//! A record that goes round too often is held back, for it will not become better.

use super::super::side::{Side, build};
use super::super::{KAFKA_LIMIT, noted};
use super::{DeadLetter, HEADER_REDRIVES, Owned, list};
use crate::access::Caller;
use crate::context::Context;
use crate::dead_letter::{Cause, DeadLetters};
use crate::processors::{Processor, SinkError};
use crate::store::consumers::Row;
use serde::Serialize;
use serde_json::Value;
use sluice_model::body::Body;
use sluice_model::consumer::ProcessorSpec;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::{Failure, internal};
use std::time::{Duration, Instant};

/// Records of one call.
const RECORDS_MAX: usize = 1000;
/// How often a record may be sent again.
const REDRIVES_MAX: u32 = 5;
/// Time that writing them may take; those that are left say so.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Where a record came from: what names a dead letter.
type Id = (String, i32, i64);

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Outcome {
    /// The topic that it came from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The processor that refused it.
    pub processor: String,
    /// `would_send` (dry run), `sent`, `failed`, `held_back` (sent too often) or `not_tried`.
    pub result: &'static str,
    /// Why not, in words.
    pub error: Option<String>,
}

/// Reads `{"records": [{topic, partition, offset}]}`.
///
/// # Errors
/// 400 or 422 with every fault.
pub fn read(bytes: &[u8]) -> Result<Vec<Id>, Problem> {
    let mut body = Body::parse(bytes)?;
    let items = body.array("records");
    let mut ids = Vec::new();
    match &items {
        None => body.invalid("records", "is missing: [{topic, partition, offset}]"),
        Some(items) if items.is_empty() || items.len() > RECORDS_MAX => {
            body.invalid("records", format!("has 1 to {RECORDS_MAX} entries"));
        }
        Some(_) => {}
    }
    let list = body.pointer("records");
    for (index, item) in items.unwrap_or_default().into_iter().enumerate() {
        let place = format!("{list}/{index}");
        let Value::Object(members) = item else {
            let mut part = Body::of(serde_json::Map::new(), &list);
            part.mistyped(&index.to_string(), "an object", &item);
            body.absorb(part);
            continue;
        };
        let mut part = Body::of(members, &place);
        let topic = part.required_text("topic");
        let partition: Option<i32> = part.integer("partition");
        let offset: Option<i64> = part.integer("offset");
        for (name, missing) in [
            ("partition", partition.is_none()),
            ("offset", offset.is_none()),
        ] {
            if missing {
                part.invalid(name, "is a whole number from 0");
            }
        }
        body.absorb(part);
        ids.push((
            topic,
            partition.unwrap_or_default(),
            offset.unwrap_or_default(),
        ));
    }
    body.finish()?;
    Ok(ids)
}

/// Sends dead letters again, or says what would be sent.
///
/// # Errors
/// 404 for a record that is no dead letter of this consumer; 503 when Kafka does not answer.
pub async fn redrive(
    context: &Context,
    caller: &Caller,
    row: &Row,
    ids: &[Id],
    dry_run: bool,
) -> Result<Vec<Outcome>, Failure> {
    let known = list(context, row).await?;
    let mut letters: Vec<DeadLetter> = Vec::new();
    for (topic, partition, offset) in ids {
        let before = letters.len();
        let same =
            |l: &&DeadLetter| (&l.topic, l.partition, l.offset) == (topic, *partition, *offset);
        letters.extend(known.iter().filter(same).cloned());
        if letters.len() == before {
            let detail = format!(
                "{topic}/{partition} offset {offset} is no dead letter of {}",
                row.id
            );
            return Err(Problem::new(Code::NotFound, detail).into());
        }
    }
    if dry_run {
        let would = |letter: &DeadLetter| match held_back(letter) {
            Some(error) => outcome(letter, "held_back", Some(error)),
            None => outcome(letter, "would_send", None),
        };
        return Ok(letters.iter().map(would).collect());
    }
    let change = noted("redrive", &caller.actor.account);
    context.store.change(&row.id, change, |_| Ok(())).await?;
    let specs: Vec<ProcessorSpec> = row
        .processors
        .iter()
        .map(|p| ProcessorSpec {
            processor_type: p.processor_type.clone(),
            config: p.config.clone(),
        })
        .collect();
    let snapshot = context.catalogue.now();
    let topics: Vec<_> = row
        .topics
        .iter()
        .map(|topic| (topic.clone(), snapshot.topic_id(topic)))
        .collect();
    let identity = format!("redrive-{}", uuid::Uuid::new_v4());
    let side = Side {
        suffix: "redrive",
        identity: &identity,
        replay: None,
    };
    let processors = build(context, row, &specs, &topics, &side)?;
    let kept = context.manager.parts().dead_letters.clone();
    let id = row.id.clone();
    let work = tokio::task::spawn_blocking(move || send(&id, &letters, processors, &kept));
    let Ok(done) = tokio::time::timeout(TIME_MAX + KAFKA_LIMIT, work).await else {
        let detail =
            "the processors do not answer in time; look at what they have before you try again";
        return Err(Problem::new(Code::Unavailable, detail).into());
    };
    done.map_err(|error| internal(&error))
}

fn outcome(letter: &DeadLetter, result: &'static str, error: Option<String>) -> Outcome {
    Outcome {
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        processor: letter.processor.clone(),
        result,
        error,
    }
}

fn held_back(letter: &DeadLetter) -> Option<String> {
    (letter.redrives >= REDRIVES_MAX)
        .then(|| format!("it was sent again {} times already", letter.redrives))
}

/// Writes each record to the processors of the type that refused it. Blocks.
fn send(
    consumer_id: &str,
    letters: &[DeadLetter],
    mut processors: Vec<(String, Box<dyn Processor>)>,
    kept: &DeadLetters,
) -> Vec<Outcome> {
    let until = Instant::now() + TIME_MAX;
    let mut open = vec![false; processors.len()];
    let mut outcomes = Vec::with_capacity(letters.len());
    for letter in letters {
        if let Some(error) = held_back(letter) {
            outcomes.push(outcome(letter, "held_back", Some(error)));
            continue;
        }
        if Instant::now() > until {
            outcomes.push(outcome(
                letter,
                "not_tried",
                Some("no time was left".to_owned()),
            ));
            continue;
        }
        let owned = Owned::of(&letter.record);
        let mut result = Err(SinkError::environment(format!(
            "the consumer has no processor {} any more",
            letter.processor
        )));
        for (place, (name, processor)) in processors.iter_mut().enumerate() {
            if *name == letter.processor {
                result = deliver(processor.as_mut(), &mut open[place], &owned);
                if result.is_err() {
                    break;
                }
            }
        }
        metrics::counter!("consumer_redrives_total", "result" => if result.is_ok() { "sent" } else { "failed" })
            .increment(1);
        outcomes.push(match result {
            Ok(()) => outcome(letter, "sent", None),
            Err(error) => {
                let error = keep_again(consumer_id, letter, &owned, &error, kept);
                outcome(letter, "failed", Some(error))
            }
        });
    }
    outcomes
}

fn deliver(processor: &mut dyn Processor, open: &mut bool, owned: &Owned) -> Result<(), SinkError> {
    if !*open {
        processor.open()?;
        *open = true;
    }
    let done = processor
        .write(&[owned.entry()])
        .and_then(|()| processor.flush());
    *open = done.is_ok();
    done
}

/// Keeps the record once more, with the new reason and one more round on its counter.
fn keep_again(
    consumer_id: &str,
    letter: &DeadLetter,
    owned: &Owned,
    error: &SinkError,
    kept: &DeadLetters,
) -> String {
    let rounds = (letter.redrives + 1).to_string();
    let mut entry = owned.entry();
    entry
        .headers
        .push((HEADER_REDRIVES, Some(rounds.as_bytes())));
    let cause = Cause {
        processor: &letter.processor,
        error: &error.message,
        attempts: letter.attempts + 1,
    };
    match kept.write(consumer_id, &entry, &cause) {
        Ok(_place) => error.message.clone(),
        // The first one is still there; only its counter does not grow.
        Err(second) => format!("{}; and the counter is not kept: {second}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_refused() {
        let one = br#"{"records": [{"topic": "t", "partition": 0, "offset": 7}]}"#;
        assert_eq!(read(one), Ok(vec![("t".to_owned(), 0, 7)]));
        for (text, status) in [
            ("{}", 422),
            (r#"{"records": []}"#, 422),
            (r#"{"records": [1]}"#, 400),
            (r#"{"records": [{"topic": "t", "partition": 0}]}"#, 422),
            (
                r#"{"records": [{"topic": "t", "partition": "0", "offset": 1}]}"#,
                400,
            ),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().status, status, "{text}");
        }
    }
}
