//! What a processor is given: records of one poll loop, as borrowed views.

pub mod json;
pub mod text;

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp as KafkaTimestamp};
use sluice_model::record::{Header, Record, text};
use sluice_model::time::Timestamp;
use sluice_service::kafka::consume::Taken;

/// The parts of a batch that stand in one partition, in turn. Kafka gives many records of a partition
/// one after the other, so that what is asked once per run costs nothing per record.
pub fn runs<'b, 'a>(batch: &'b [Entry<'a>]) -> impl Iterator<Item = &'b [Entry<'a>]> {
    batch.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic)
}

/// The topic, the partition and the offset after the last record of a run.
pub fn end<'a>(run: &[Entry<'a>]) -> Option<(&'a str, i32, i64)> {
    let last = run.iter().max_by_key(|entry| entry.offset)?;
    Some((last.topic, last.partition, last.offset + 1))
}

/// Room for so many times the last batch is kept.
const ROOM_KEPT: usize = 4;

/// Room for the views of a batch; kept, so that batches allocate nothing.
#[derive(Debug, Default)]
pub struct Views(Vec<Entry<'static>>);

impl Views {
    /// Lets `work` see records, and tells it how many bytes they stand for.
    pub fn of<T>(
        &mut self,
        records: &[Taken<'_>],
        work: impl FnOnce(&[Entry<'_>], usize) -> T,
    ) -> T {
        let mut views: Vec<Entry<'_>> = std::mem::take(&mut self.0);
        views.reserve(records.len());
        let (mut topic, mut bytes, mut last) = ("", 0, None);
        for record in records {
            // Many of a topic follow one another, and its name is looked up once for all of them.
            if !last
                .replace(record)
                .is_some_and(|last| record.is_of_topic_of(last))
            {
                topic = record.topic();
            }
            let view = Entry::taken(record, topic);
            bytes += view.bytes();
            views.push(view);
        }
        let done = work(&views, bytes);
        // A batch much larger than the last one was a burst; many consumers do not keep room for theirs.
        if views.capacity() / ROOM_KEPT > views.len() {
            views = Vec::new();
        }
        views.clear();
        // Nothing is left in it but room, whatever the lifetime of what was there.
        self.0 = views.into_iter().map(|_| Entry::nothing()).collect();
        done
    }
}

/// A record as it lies in the client's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch, if Kafka says.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> Entry<'a> {
    const fn nothing() -> Entry<'static> {
        Entry {
            topic: "",
            partition: 0,
            offset: 0,
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// The view of a message.
    pub fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key, header.value))
                .collect()
        });
        Self {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: match message.timestamp() {
                KafkaTimestamp::NotAvailable => None,
                KafkaTimestamp::CreateTime(ms) | KafkaTimestamp::LogAppendTime(ms) => Some(ms),
            },
            key: message.key(),
            value: message.payload(),
            headers,
        }
    }

    /// The view of a record that was taken; its topic's name is known.
    fn taken(record: &'a Taken<'_>, topic: &'a str) -> Self {
        Self {
            topic,
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key(),
            value: record.payload(),
            headers: record.headers(),
        }
    }

    /// The record as everybody sees it.
    pub fn record(&self) -> Record {
        let (key, key_encoding) = text(self.key);
        let (value, value_encoding) = text(self.value);
        Record {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp.map(Timestamp::from_millis),
            key,
            value,
            headers: self
                .headers
                .iter()
                .map(|(name, value)| Header::new(name, *value))
                .collect(),
            key_encoding,
            value_encoding,
        }
    }

    /// Bytes that it stands for, for limits and counts.
    pub fn bytes(&self) -> usize {
        let part = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, v)| name.len() + part(*v))
            .sum();
        part(self.key) + part(self.value) + headers
    }
}
