//! Turning received bytes into batches: line framing and the building of record tables. No IO.

use crate::batch::{Rec, Records, Refusal, Span};
use crate::line::{self, Place};
use bytes::{Bytes, BytesMut};
use sluice_model::name::TopicName;
use sluice_model::problem::Code;
use std::collections::HashMap;
use std::sync::Arc;

/// What a line may have beside the record itself: the names of its members, white space.
pub const LINE_SLACK_BYTES: usize = 64 * 1024;

/// What a framer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// Whole lines, each with its line feed (the very last line of an input may have none).
    Lines(Bytes),
    /// One line that was longer than the bound; its bytes are gone.
    TooLong,
}

/// Cuts a stream of bytes into blocks of whole lines.
#[derive(Debug)]
pub struct Framer {
    line_max: usize,
    /// Bytes that were received; readers append here.
    pub buffer: BytesMut,
    discarding: bool,
}

impl Framer {
    /// A framer for lines of at most `line_max` bytes.
    pub fn new(line_max: usize) -> Self {
        Self {
            line_max,
            buffer: BytesMut::new(),
            discarding: false,
        }
    }

    /// The next block, after bytes were appended to the buffer.
    pub fn next_block(&mut self) -> Option<Framed> {
        if self.discarding {
            let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
                self.buffer.clear();
                return None;
            };
            drop(self.buffer.split_to(end + 1));
            self.discarding = false;
            return Some(Framed::TooLong);
        }
        if let Some(end) = memchr::memrchr(b'\n', &self.buffer) {
            Some(Framed::Lines(self.buffer.split_to(end + 1).freeze()))
        } else {
            if self.buffer.len() > self.line_max {
                self.buffer.clear();
                self.discarding = true;
            }
            None
        }
    }

    /// The last line of an input that does not end with a line feed.
    pub fn rest(&mut self) -> Option<Framed> {
        if std::mem::take(&mut self.discarding) {
            return Some(Framed::TooLong);
        }
        let rest = self.buffer.split();
        (!rest.is_empty()).then(|| Framed::Lines(rest.freeze()))
    }
}

/// Collects records of one block.
#[derive(Debug)]
pub struct Assembler {
    block: Bytes,
    side: Vec<u8>,
    topics: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
    recs: Vec<Rec>,
    record_max: usize,
}

impl Assembler {
    /// An assembler over a block.
    pub fn new(block: Bytes, record_max: usize) -> Self {
        Self {
            block,
            side: Vec::new(),
            topics: Vec::new(),
            by_name: HashMap::new(),
            recs: Vec::new(),
            record_max,
        }
    }

    /// The index of a topic, if its name is legal.
    ///
    /// # Errors
    /// When the name breaks Kafka's rules.
    pub fn topic(&mut self, name: &str) -> Result<u32, Refusal> {
        // Records mostly come in runs of one topic.
        if let Some(last) = self.recs.last()
            && self
                .topics
                .get(last.topic as usize)
                .is_some_and(|topic| &**topic == name)
        {
            return Ok(last.topic);
        }
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        TopicName::parse(name).map_err(|faults| {
            let words: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Refusal::new(Code::Invalid, words.join("; "))
        })?;
        let name: Arc<str> = name.into();
        let index = self.topics.len() as u32;
        self.topics.push(Arc::clone(&name));
        self.by_name.insert(name, index);
        Ok(index)
    }

    /// Where decoded bytes go.
    pub fn place(&mut self) -> Place<'_> {
        Place {
            block: &self.block,
            side: &mut self.side,
        }
    }

    /// Writes bytes of a record where decoded bytes go.
    pub fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.side.len();
        write(&mut self.side);
        Span::side(start, self.side.len())
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it is larger than a record may be.
    pub fn push(&mut self, rec: Rec) -> Result<(), Refusal> {
        let size = rec.size();
        if size > self.record_max {
            let detail = format!(
                "a record has at most {} bytes, this one has {size}",
                self.record_max
            );
            return Err(Refusal::new(Code::TooLarge, detail));
        }
        self.recs.push(rec);
        Ok(())
    }

    /// Adds a line that names its topic.
    ///
    /// # Errors
    /// When it is no record.
    pub fn push_line(&mut self, start: usize, end: usize) -> Result<(), Refusal> {
        let block = self.block.clone();
        let line = block.get(start..end).unwrap_or_default();
        let (topic, mut rec) = line::record(line, &mut self.place())?;
        rec.topic = self.topic(&topic)?;
        self.push(rec)
    }

    /// Adds a line that is a value as it is.
    ///
    /// # Errors
    /// When it is larger than a record may be.
    pub fn push_value(&mut self, topic: u32, start: usize, end: usize) -> Result<(), Refusal> {
        self.push(plain(topic, Some(Span::block(start, end))))
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.recs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.recs.is_empty()
    }

    /// The records, and the bytes of memory that they take.
    pub fn finish(self) -> (Records, usize) {
        let bytes = self.block.len() + self.side.len() + self.recs.len() * size_of::<Rec>();
        let Self {
            block,
            side,
            topics,
            recs,
            ..
        } = self;
        (
            Records {
                block,
                side: side.into(),
                topics,
                recs,
            },
            bytes,
        )
    }
}

/// A record that is a value only.
pub fn plain(topic: u32, value: Option<Span>) -> Rec {
    Rec {
        topic,
        partition: -1,
        timestamp: 0,
        key: None,
        value,
        headers: None,
    }
}

/// A block of lines as records.
#[derive(Debug)]
pub struct Lines {
    /// The records.
    pub records: Records,
    /// Bytes of memory that they take.
    pub bytes: usize,
    /// The line of each record, counted from the first line of the block; none when there are no gaps.
    pub line_of: Option<Vec<u32>>,
    /// Lines that were refused.
    pub refused: Vec<(u32, Refusal)>,
    /// Lines in the block.
    pub count: u32,
}

impl Lines {
    /// The line of a record.
    pub fn line(&self, record: u32) -> u32 {
        match &self.line_of {
            Some(lines) => lines.get(record as usize).copied().unwrap_or_default(),
            None => record,
        }
    }
}

/// Reads a block of lines: values of `topic`, or records that name theirs. Blank lines count and are
/// ignored.
pub fn lines(block: Bytes, topic: Option<&str>, record_max: usize) -> Lines {
    let mut assembler = Assembler::new(block.clone(), record_max);
    let fixed = topic.map(|name| assembler.topic(name));
    let mut refused = Vec::new();
    let mut line_of: Option<Vec<u32>> = None;
    let mut count = 0_u32;
    let mut start = 0;
    while start < block.len() {
        let rest = block.get(start..).unwrap_or_default();
        let feed = memchr::memchr(b'\n', rest).map_or(block.len(), |at| start + at);
        let bare = block.get(start..feed).unwrap_or_default();
        let end = if bare.ends_with(b"\r") {
            feed - 1
        } else {
            feed
        };
        let line = count;
        count += 1;
        let blank = bare.iter().all(u8::is_ascii_whitespace);
        let pushed = match &fixed {
            _ if blank => None,
            Some(Ok(topic)) => Some(assembler.push_value(*topic, start, end)),
            Some(Err(refusal)) => Some(Err(refusal.clone())),
            None => Some(assembler.push_line(start, end)),
        };
        start = feed + 1;
        match pushed {
            Some(Ok(())) => {
                if let Some(lines) = &mut line_of {
                    lines.push(line);
                }
                continue;
            }
            Some(Err(refusal)) => refused.push((line, refusal)),
            None => {}
        }
        // From the first gap on, the lines of records are written down.
        line_of.get_or_insert_with(|| (0..assembler.len() as u32).collect());
    }
    let (records, bytes) = assembler.finish();
    Lines {
        records,
        bytes,
        line_of,
        refused,
        count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_is_a_record_or_refused_or_blank() {
        let text = concat!(
            "{\"topic\":\"a\",\"value\":1}\n",
            "\n",
            "nonsense\n",
            "{\"topic\":\"b\",\"value\":2}\r\n",
            "{\"topic\":\"a b\",\"value\":2}\n",
            "{\"topic\":\"a\",\"value\":\"0123456789\"}\n",
            "{\"topic\":\"a\",\"value\":3}",
        );
        let lines = lines(Bytes::from_static(text.as_bytes()), None, 9);
        let refused: Vec<_> = lines
            .refused
            .iter()
            .map(|(line, r)| (*line, r.code))
            .collect();
        assert_eq!(
            refused,
            [
                (2, Code::MalformedJson),
                (4, Code::Invalid),
                (5, Code::TooLarge)
            ]
        );
        assert_eq!(lines.count, 7);
        let got: Vec<_> = (0..3).map(|index| lines.line(index)).collect();
        assert_eq!(got, [0, 3, 6]);
        assert_eq!(lines.records.topics.len(), 2);
        let values: Vec<_> = lines
            .records
            .recs
            .iter()
            .map(|rec| lines.records.part(rec.value).unwrap())
            .collect();
        assert_eq!(values, [b"1", b"2", b"3"]);
    }

    #[test]
    fn lines_of_a_fixed_topic_are_values_as_they_are() {
        let lines = lines(Bytes::from_static(b"{not json\n 7 \n"), Some("t"), 100);
        let values: Vec<_> = lines
            .records
            .recs
            .iter()
            .map(|rec| lines.records.part(rec.value).unwrap())
            .collect();
        assert_eq!(values, [&b"{not json"[..], b" 7 "]);
        assert!(lines.line_of.is_none());
    }

    proptest! {
        /// Any bytes, and any line that was tampered with: every line is taken, refused or blank.
        #[test]
        fn any_bytes_are_accounted_for(
            fixed in any::<bool>(),
            at in any::<prop::sample::Index>(),
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'"'), Just(b'{'), any::<u8>()], 0..20),
        ) {
            let line = "{\"topic\":\"t\",\"key\":\"k\",\"value\":{\"a\":\"\\u00e4\"},\"headers\":{\"h\":[\"x\",null]},\"timestamp\":1}\n";
            let mut text = line.repeat(3).into_bytes();
            let at = at.index(text.len());
            let end = (at + bytes.len()).min(text.len());
            text.splice(at..end, bytes);
            let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
            let want = text.split(|byte| *byte == b'\n').filter(|line| !blank(line)).count();
            let lines = lines(text.into(), fixed.then_some("t"), 1000);
            prop_assert_eq!(lines.records.recs.len() + lines.refused.len(), want);
            for rec in &lines.records.recs {
                prop_assert_eq!(lines.records.part(rec.value).map_or(0, <[u8]>::len), rec.value.map_or(0, Span::len));
            }
        }

        /// However the bytes arrive, the lines are the same, and no more than a line is kept.
        #[test]
        fn framing_does_not_depend_on_the_cuts(
            lengths in proptest::collection::vec(0_usize..30, 1..20),
            cuts in proptest::collection::vec(1_usize..25, 1..60),
            last_feed in any::<bool>(),
        ) {
            const MAX: usize = 16;
            let mut text = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                text.extend(std::iter::repeat_n(b'a' + (number % 26) as u8, *length));
                text.push(b'\n');
            }
            if !last_feed { text.pop(); }
            let mut framer = Framer::new(MAX);
            let mut got = Vec::new();
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                framer.buffer.extend_from_slice(now);
                rest = later;
                while let Some(framed) = framer.next_block() { got.push(framed); }
                prop_assert!(framer.buffer.len() <= MAX);
            }
            got.extend(framer.rest());
            let mut count = 0;
            let mut kept = Vec::new();
            for framed in got {
                match framed {
                    Framed::TooLong => count += 1,
                    Framed::Lines(block) => {
                        let lines = lines(block.clone(), Some("t"), 1000);
                        count += lines.count as usize;
                        kept.extend_from_slice(&block);
                    }
                }
            }
            let want = if last_feed || *lengths.last().unwrap() > 0 { lengths.len() } else { lengths.len() - 1 };
            prop_assert_eq!(count, want);
            for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty() && l.len() <= MAX) {
                prop_assert!(kept.windows(line.len()).any(|w| w == line));
            }
        }
    }
}
