//! The dead letters of a consumer, from the topic and the file that they are kept in.

pub mod redrive;

use super::lag::{ASK_TIMEOUT, bounds};
use super::range::{Reader, Span};
use super::{blocking, kafka_problem};
use crate::batch::Entry;
use crate::clusters::Cluster;
use crate::context::Context;
use crate::dead_letter::{
    HEADER_ATTEMPTS, HEADER_CONSUMER, HEADER_ERROR, HEADER_OFFSET, HEADER_PARTITION,
    HEADER_PROCESSOR, HEADER_TOPIC, topic_of,
};
use crate::store::consumers::Row;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sluice_model::problem::Problem;
use sluice_model::record::{Encoding, Header, Record};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// Counts how often a record was sent again.
pub const HEADER_REDRIVES: &str = "sluice.redrives";
/// The last records of a dead-letter topic's partition that are looked through.
const SCAN_RECORDS: i64 = 10_000;
/// The last bytes of a dead-letter file that are looked through.
const SCAN_BYTES: u64 = 16 * 1024 * 1024;
/// Time that looking through one topic may take.
const SCAN_TIMEOUT: Duration = Duration::from_secs(4);
/// Records of one step.
const STEP_RECORDS: usize = 1000;

/// Where a dead letter is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Kept {
    /// In a topic.
    Topic {
        /// The dead-letter topic.
        topic: String,
        /// Its partition there.
        partition: i32,
        /// Its offset there.
        offset: i64,
    },
    /// In the consumer's file.
    File {
        /// The name of the file.
        file: String,
    },
}

/// A record that a processor did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeadLetter {
    /// The topic that it came from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The processor that did not take it.
    pub processor: String,
    /// What was wrong.
    pub error: String,
    /// Writes that it was part of.
    pub attempts: u32,
    /// How often it was sent again.
    pub redrives: u32,
    /// Where it is kept.
    pub kept_in: Kept,
    /// The record as it came.
    pub record: Record,
}

impl DeadLetter {
    /// What it is listed by: where it came from, and who refused it.
    fn id(&self) -> (String, i32, i64, String) {
        let topic = self.topic.clone();
        (topic, self.partition, self.offset, self.processor.clone())
    }

    /// Reads what was kept. None: it is no dead letter of this consumer.
    fn of(mut record: Record, consumer_id: &str, kept_in: Option<Kept>) -> Option<Self> {
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        record.headers.retain(|header| match header {
            Header::Text(name, value) if name.starts_with("sluice.") => {
                // A later one is of the later failure.
                said.insert(name.clone(), value.clone().unwrap_or_default());
                false
            }
            _ => true,
        });
        if said.get(HEADER_CONSUMER).is_none_or(|id| id != consumer_id) {
            return None;
        }
        let number = |name: &str| said.get(name).and_then(|text| text.parse::<i64>().ok());
        let count = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        let topic = said.get(HEADER_TOPIC)?.clone();
        let partition = i32::try_from(number(HEADER_PARTITION)?).ok()?;
        let offset = number(HEADER_OFFSET)?;
        let place = Kept::Topic {
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
        };
        record.topic.clone_from(&topic);
        (record.partition, record.offset) = (partition, offset);
        Some(Self {
            processor: said.get(HEADER_PROCESSOR).cloned().unwrap_or_default(),
            error: said.get(HEADER_ERROR).cloned().unwrap_or_default(),
            attempts: count(HEADER_ATTEMPTS).unwrap_or_default(),
            redrives: count(HEADER_REDRIVES).unwrap_or_default(),
            kept_in: kept_in.unwrap_or(place),
            topic,
            partition,
            offset,
            record,
        })
    }
}

/// The dead letters of a consumer, the newest of each record; sorted by where they came from.
///
/// # Errors
/// When Kafka does not answer, or the file cannot be read.
pub async fn list(context: &Context, row: &Row) -> Result<Vec<DeadLetter>, Failure> {
    let cluster = std::sync::Arc::clone(context.clusters.governed());
    let file = context.manager.parts().dead_letters.file(&row.id);
    let (topics, id) = (row.topics.clone(), row.id.clone());
    blocking(move || {
        let mut found = BTreeMap::new();
        for topic in topics.iter().filter_map(|topic| topic_of(topic)) {
            for letter in in_topic(&cluster, &topic, &id)? {
                found.insert(letter.id(), letter);
            }
        }
        for letter in in_file(&file, &id)? {
            let newer = |old: &DeadLetter| old.redrives <= letter.redrives;
            if found.get(&letter.id()).is_none_or(newer) {
                found.insert(letter.id(), letter);
            }
        }
        Ok(found.into_values().collect())
    })
    .await
}

fn in_topic(cluster: &Cluster, topic: &str, consumer_id: &str) -> Result<Vec<DeadLetter>, Problem> {
    // A topic that is not there (any more) holds nothing; that Kafka is down shows in the bounds.
    let count = cluster.partitions(topic, ASK_TIMEOUT).unwrap_or(0);
    let mut spans = Vec::new();
    for partition in 0..count {
        let (low, high) = bounds(cluster, topic, partition)?;
        spans.push(Span {
            partition,
            from: low.max(high - SCAN_RECORDS),
            to: high,
        });
    }
    let mut reader = Reader::open(cluster, "sluice-dead-letters", topic, &spans)?;
    let until = Instant::now() + SCAN_TIMEOUT;
    let mut found = Vec::new();
    while let Some(messages) = reader.next(STEP_RECORDS, SCAN_TIMEOUT / 4)? {
        let records = messages.iter().map(|message| Entry::of(message).record());
        found.extend(records.filter_map(|record| DeadLetter::of(record, consumer_id, None)));
        if Instant::now() > until {
            return Err(kafka_problem(format!("{topic} is not read in time")));
        }
    }
    Ok(found)
}

fn in_file(path: &Path, consumer_id: &str) -> Result<Vec<DeadLetter>, Problem> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(kafka_problem(format!("the dead-letter file: {error}"))),
    };
    let unreadable =
        |error: std::io::Error| kafka_problem(format!("the dead-letter file: {error}"));
    let length = file.metadata().map_err(unreadable)?.len();
    let from = length.saturating_sub(SCAN_BYTES);
    file.seek(SeekFrom::Start(from)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(SCAN_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let kept = Kept::File {
        file: name.unwrap_or_default(),
    };
    // A torn or cut line is no record and is passed over.
    let lines = bytes.split(|byte| *byte == b'\n');
    let records = lines.filter_map(|line| serde_json::from_slice::<Record>(line).ok());
    Ok(records
        .filter_map(|record| DeadLetter::of(record, consumer_id, Some(kept.clone())))
        .collect())
}

/// A record with its bytes.
#[derive(Debug)]
pub(crate) struct Owned {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: Option<Timestamp>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owned {
    fn of(record: &Record) -> Self {
        let bytes = |text: &Option<String>, encoding: Encoding| match encoding {
            Encoding::Utf8 => text.clone().map(String::into_bytes),
            Encoding::Base64 => text.as_ref().and_then(|text| STANDARD.decode(text).ok()),
        };
        let header = |header: &Header| match header {
            Header::Text(name, value) => (name.clone(), bytes(value, Encoding::Utf8)),
            Header::Bytes(name, value, encoding) => {
                (name.clone(), bytes(&Some(value.clone()), *encoding))
            }
        };
        Self {
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: bytes(&record.key, record.key_encoding),
            value: bytes(&record.value, record.value_encoding),
            headers: record.headers.iter().map(header).collect(),
        }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp.map(Timestamp::as_millis),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::record::text;

    fn kept(headers: &[(&str, &[u8])]) -> Record {
        let (value, value_encoding) = text(Some(&[0xff, 0]));
        Record {
            topic: "t.dlq".into(),
            partition: 3,
            offset: 9,
            timestamp: Some(Timestamp::from_millis(5)),
            key: None,
            value,
            headers: headers
                .iter()
                .map(|(name, value)| Header::new(name, Some(value)))
                .collect(),
            key_encoding: Encoding::Utf8,
            value_encoding,
        }
    }

    #[test]
    fn a_dead_letter_is_the_record_as_it_came_and_what_was_said_about_it() {
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("own", b"1"),
            ("own", &[0xfe]),
            (HEADER_TOPIC, b"t"),
            (HEADER_PARTITION, b"0"),
            (HEADER_OFFSET, b"42"),
            (HEADER_CONSUMER, b"c1"),
            (HEADER_ERROR, b"no such column"),
            (HEADER_ATTEMPTS, b"3"),
            (HEADER_PROCESSOR, b"database_sync"),
        ];
        let letter = DeadLetter::of(kept(&headers), "c1", None).unwrap();
        assert_eq!(letter.id(), ("t".into(), 0, 42, "database_sync".into()));
        assert_eq!((letter.attempts, letter.redrives), (3, 0));
        let place = Kept::Topic {
            topic: "t.dlq".into(),
            partition: 3,
            offset: 9,
        };
        assert_eq!(letter.kept_in, place);
        let owned = Owned::of(&letter.record);
        let entry = owned.entry();
        assert_eq!((entry.topic, entry.partition, entry.offset), ("t", 0, 42));
        assert_eq!((entry.key, entry.value), (None, Some([0xff, 0].as_slice())));
        let own: Vec<_> = vec![("own", Some(b"1".as_slice())), ("own", Some(&[0xfe]))];
        assert_eq!(entry.headers, own);
        assert_eq!(DeadLetter::of(kept(&headers), "c2", None), None);
        headers.truncate(5);
        assert_eq!(DeadLetter::of(kept(&headers), "c1", None), None);
    }
}
