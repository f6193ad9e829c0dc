//! Some records of a topic in the order in which they were read, written once for all viewers: as whole
//! server-sent events, with the parts that other forms and filters need.

use super::cursor::{Cursor, Place};
use super::filter::{Filter, HeaderTest, View};
use crate::batch::Entry;
use crate::batch::json::Encoder;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that an event costs beside its text.
const OVERHEAD: usize = 96;

/// Where a record stands in its chunk.
#[derive(Debug)]
struct Event {
    partition: i32,
    offset: i64,
    /// The record as JSON, in `text`.
    json: Range<usize>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

/// Some records.
#[derive(Debug)]
pub struct Chunk {
    topic: Arc<str>,
    before: Vec<i64>,
    after: Vec<i64>,
    text: Bytes,
    raw: Vec<u8>,
    events: Vec<Event>,
}

impl Chunk {
    /// The next offset of every partition before its first record.
    pub fn before(&self) -> &[i64] {
        &self.before
    }

    /// The next offset of every partition after its last record.
    pub fn after(&self) -> &[i64] {
        &self.after
    }

    /// All of it as server-sent events, good for whoever looks at this topic alone and stands at
    /// [`before`](Self::before).
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Bytes that it takes.
    pub fn cost(&self) -> usize {
        self.text.len() + self.raw.len() + self.events.len() * OVERHEAD
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Moves a cursor over the records, and shows each that is new to it and that the filter lets pass.
    /// The answer is how many were new.
    pub fn walk(
        &self,
        cursor: &mut Cursor,
        filter: &Filter,
        mut show: impl FnMut(&Cursor, &str),
    ) -> u64 {
        let mut fresh = 0;
        for event in &self.events {
            if !cursor.pass(&self.topic, event.partition, event.offset) {
                continue;
            }
            fresh += 1;
            let view = RawView {
                raw: &self.raw,
                event,
            };
            if filter.passes(&view)
                && let Some(json) = self.text.get(event.json.clone())
            {
                // The encoder writes UTF-8 alone.
                show(cursor, std::str::from_utf8(json).unwrap_or_default());
            }
        }
        cursor.reach(&self.topic, &self.after);
        fresh
    }
}

struct RawView<'a> {
    raw: &'a [u8],
    event: &'a Event,
}

impl RawView<'_> {
    fn part(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        range.and_then(|range| self.raw.get(range.clone()))
    }
}

impl View for RawView<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.part(self.event.key.as_ref())
    }

    fn value(&self) -> Option<&[u8]> {
        self.part(self.event.value.as_ref())
    }

    fn any_header(&self, test: &mut HeaderTest<'_>) -> bool {
        self.event.headers.iter().any(|(name, value)| {
            test(
                self.part(Some(name)).unwrap_or_default(),
                self.part(value.as_ref()),
            )
        })
    }
}

/// Collects records to chunks.
#[derive(Debug)]
pub struct Builder {
    topic: Arc<str>,
    cursor: Cursor,
    before: Vec<i64>,
    text: Vec<u8>,
    raw: Vec<u8>,
    events: Vec<Event>,
    encoder: Encoder,
    id: String,
    scratch: Vec<u8>,
}

impl Builder {
    /// Starts at a place of a topic.
    pub fn new(topic: Arc<str>, place: Place) -> Self {
        let before = place.next.clone();
        let mut cursor = Cursor::default();
        cursor.put(&topic, place);
        Self {
            topic,
            cursor,
            before,
            text: Vec::new(),
            raw: Vec::new(),
            events: Vec::new(),
            encoder: Encoder::default(),
            id: String::new(),
            scratch: Vec::new(),
        }
    }

    /// The next offset of every partition.
    pub fn next(&self) -> &[i64] {
        self.cursor
            .place(&self.topic)
            .map_or(&[], |place| &place.next)
    }

    /// Adds a record. One that lies before the place is left out.
    pub fn push(&mut self, entry: &Entry<'_>) {
        if !self.cursor.pass(&self.topic, entry.partition, entry.offset) {
            return;
        }
        self.id.clear();
        self.cursor.write_to(&mut self.scratch, &mut self.id);
        self.text.extend_from_slice(b"event: record\nid: ");
        self.text.extend_from_slice(self.id.as_bytes());
        self.text.extend_from_slice(b"\ndata: ");
        let start = self.text.len();
        self.encoder.record(&mut self.text, entry);
        let json = start..self.text.len();
        self.text.extend_from_slice(b"\n\n");
        let raw = &mut self.raw;
        let mut keep = |bytes: &[u8]| {
            let start = raw.len();
            raw.extend_from_slice(bytes);
            start..raw.len()
        };
        let event = Event {
            partition: entry.partition,
            offset: entry.offset,
            json,
            key: entry.key.map(&mut keep),
            value: entry.value.map(&mut keep),
            headers: entry
                .headers
                .iter()
                .map(|(name, value)| (keep(name.as_bytes()), value.map(&mut keep)))
                .collect(),
        };
        self.events.push(event);
    }

    /// Moves past a record without adding it.
    pub fn skip(&mut self, partition: i32, offset: i64) {
        self.cursor.pass(&self.topic, partition, offset);
    }

    /// Adds partitions that start at their first record.
    pub fn widen(&mut self, partitions: usize) {
        let mut next = self.next().to_vec();
        if next.len() < partitions {
            next.resize(partitions, 0);
            self.before.resize(partitions, 0);
            self.cursor.reach(&self.topic, &next);
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether no record waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What was collected; the next chunk starts after it.
    pub fn take(&mut self) -> Chunk {
        let after = self.next().to_vec();
        let before = std::mem::replace(&mut self.before, after.clone());
        Chunk {
            topic: Arc::clone(&self.topic),
            before,
            after,
            text: std::mem::take(&mut self.text).into(),
            raw: std::mem::take(&mut self.raw),
            events: std::mem::take(&mut self.events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(partition: i32, offset: i64, key: &str) -> Entry<'_> {
        Entry {
            topic: "t",
            partition,
            offset,
            timestamp: None,
            key: Some(key.as_bytes()),
            value: None,
            headers: Vec::new(),
        }
    }

    fn place(next: Vec<i64>) -> Place {
        Place { topic_id: 7, next }
    }

    #[test]
    fn the_text_carries_a_cursor_after_each_record() {
        let mut builder = Builder::new("t".into(), place(vec![5, 0]));
        builder.push(&entry(0, 4, "seen"));
        builder.push(&entry(0, 5, "a"));
        builder.push(&entry(1, 2, "b"));
        let chunk = builder.take();
        assert_eq!(
            (chunk.before(), chunk.after(), chunk.len()),
            (&[5, 0][..], &[6, 3][..], 2)
        );
        let text = std::str::from_utf8(chunk.text()).unwrap();
        let ids: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("id: "))
            .collect();
        let next = |id: &str| Cursor::read(id).unwrap().place("t").unwrap().clone();
        assert_eq!(next(ids[0]), place(vec![6, 0]));
        assert_eq!(next(ids[1]), place(vec![6, 3]));
        assert!(builder.is_empty() && builder.next() == [6, 3]);
    }

    #[test]
    fn a_walk_shows_what_is_new_and_passes_the_filter() {
        let mut builder = Builder::new("t".into(), place(vec![0]));
        for (offset, key) in (0..).zip(["a", "b", "a", "a"]) {
            builder.push(&entry(0, offset, key));
        }
        let chunk = builder.take();
        let mut cursor = Cursor::default();
        cursor.put("t", place(vec![1]));
        let filter = Filter::parse(&["key=a".to_owned()]).unwrap();
        let mut shown = Vec::new();
        let fresh = chunk.walk(&mut cursor, &filter, |cursor, json| {
            let record: serde_json::Value = serde_json::from_str(json).unwrap();
            shown.push((
                record["offset"].as_i64().unwrap(),
                cursor.place("t").unwrap().next[0],
            ));
        });
        assert_eq!((fresh, shown), (3, vec![(2, 3), (3, 4)]));
    }
}
