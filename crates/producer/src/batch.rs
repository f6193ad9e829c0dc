//! What travels between the threads: batches of records, and what became of them.
//!
//! A batch is one frozen block of bytes as it was received, a side block for the few bytes that had to
//! be decoded (escaped strings, headers), and a table of where the parts of each record stand. No
//! record is copied or allocated by itself.

use crate::budget::Charge;
use bytes::Bytes;
use sluice_model::problem::Code;
use std::sync::Arc;

/// Names a batch in the answers of the publisher.
pub type Ticket = u64;

/// A stretch of a batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// Marks a span of the side block.
const SIDE: u32 = 1 << 31;
/// Largest block; what is longer does not fit a span.
pub const BLOCK_BYTES_MAX: usize = (SIDE - 1) as usize;

impl Span {
    /// A stretch of the block itself.
    pub fn block(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            len: end.saturating_sub(start) as u32,
        }
    }

    /// A stretch of the side block.
    pub fn side(start: usize, end: usize) -> Self {
        Self {
            start: start as u32 | SIDE,
            len: end.saturating_sub(start) as u32,
        }
    }

    /// Whether it is a stretch of the block that ends there or before.
    pub fn ends_before(self, end: usize) -> bool {
        self.start & SIDE == 0 && self.start as usize + self.len as usize <= end
    }

    /// Its length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Where the parts of one record stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Index into [`Batch::topics`].
    pub topic: u32,
    /// The partition that the sender asked for, or -1.
    pub partition: i32,
    /// Milliseconds since the epoch, or 0 for the time of sending.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Span>,
    /// The value; none is a tombstone.
    pub value: Option<Span>,
    /// Encoded headers (see [`crate::headers`]).
    pub headers: Option<Span>,
}

impl Rec {
    /// Bytes of key, value and headers.
    pub fn size(&self) -> usize {
        [self.key, self.value, self.headers]
            .iter()
            .flatten()
            .map(|span| span.len())
            .sum()
    }
}

/// The bytes and the table of a batch.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Bytes as received.
    pub block: Bytes,
    /// Decoded bytes.
    pub side: Bytes,
    /// The distinct topic names.
    pub topics: Vec<Arc<str>>,
    /// The records in order.
    pub recs: Vec<Rec>,
}

impl Records {
    /// The bytes of a span; empty when the span is not of this batch.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let (from, start) = match span.start & SIDE {
            0 => (&self.block, span.start as usize),
            _ => (&self.side, (span.start & !SIDE) as usize),
        };
        from.get(start..start + span.len()).unwrap_or_default()
    }

    /// The same bytes with some of the records only, by index.
    #[must_use]
    pub fn only(&self, indices: &[u32]) -> Self {
        let kept = indices
            .iter()
            .filter_map(|index| self.recs.get(*index as usize));
        Self {
            recs: kept.copied().collect(),
            ..self.clone()
        }
    }

    /// The bytes of an optional span.
    pub fn part(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| self.bytes(span))
    }
}

/// Records on their way from the listener to the publisher.
#[derive(Debug)]
pub struct Batch {
    /// Names the batch in the answer.
    pub ticket: Ticket,
    /// Whether the answer shall say what became of every single record.
    pub detailed: bool,
    /// Whether the records are written and synced to the spool before Kafka gets them: for inputs whose
    /// senders are told nothing and will not send again.
    pub journal: bool,
    /// The records.
    pub records: Records,
    /// Their part of the memory budget.
    pub charge: Charge,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Kafka acknowledged it.
    Delivered {
        /// Where.
        partition: i32,
        /// At which offset.
        offset: i64,
    },
    /// It is synced to the spool.
    Held {
        /// The status of its topic in governance, or `unknown`.
        topic_state: &'static str,
    },
    /// It was not taken.
    Refused(Refusal),
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable word.
    pub code: Code,
    /// What happened, in words.
    pub detail: String,
}

impl Refusal {
    /// From its parts.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// The publisher's answer to a batch: all of it is safe or refused.
#[derive(Debug)]
pub struct Outcome {
    /// Which batch.
    pub ticket: Ticket,
    /// Every record, when the batch asked for it.
    pub fates: Vec<Fate>,
    /// Refused records by index, when the batch did not ask for all.
    pub refused: Vec<(u32, Refusal)>,
}
