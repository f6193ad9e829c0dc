//! The block frame of the spool, version 1. All integers are little-endian on every machine.
//!
//! ```text
//! frame   magic u32 | payload length u32 | record count u32 | crc32 u32 | born i64 ms | payload
//! payload record, record, ...
//! record  timestamp i64 | partition i32 | key length i32 | value length i32 | headers length i32 | bytes
//! ```
//!
//! A length of -1 is null. The checksum covers the length, the count, the instant and the payload.

use crate::batch::{Rec, Records, Span};
use bytes::Bytes;

/// First bytes of a frame.
pub const MAGIC: [u8; 4] = *b"SLF1";
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 24;
/// Bytes of a record beside its key, value and headers.
pub const RECORD_BYTES: usize = 24;
/// Largest payload: a frame is read whole, and is cut at this size when it is written.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: usize,
    /// Records in it.
    pub count: u32,
    /// Checksum.
    pub crc: u32,
    /// When it was written, milliseconds since the epoch.
    pub born_ms: i64,
}

/// A frame being written.
#[derive(Debug)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for FrameWriter {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            count: 0,
        }
    }
}

impl FrameWriter {
    /// Adds a record.
    pub fn push(&mut self, records: &Records, rec: &Rec) {
        let parts = [rec.key, rec.value, rec.headers].map(|span| records.part(span));
        self.bytes.extend_from_slice(&rec.timestamp.to_le_bytes());
        self.bytes.extend_from_slice(&rec.partition.to_le_bytes());
        for part in parts {
            let length = part.map_or(-1, |part| part.len() as i32);
            self.bytes.extend_from_slice(&length.to_le_bytes());
        }
        for part in parts.into_iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the payload so far.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    /// The finished frame.
    pub fn finish(mut self, born_ms: i64) -> Vec<u8> {
        let length = (self.payload_bytes() as u32).to_le_bytes();
        let count = self.count.to_le_bytes();
        let born = born_ms.to_le_bytes();
        let crc = checksum(
            length,
            count,
            born,
            self.bytes.get(HEADER_BYTES..).unwrap_or_default(),
        );
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&length);
        header.extend_from_slice(&count);
        header.extend_from_slice(&crc.to_le_bytes());
        header.extend_from_slice(&born);
        self.bytes.splice(..HEADER_BYTES, header);
        self.bytes
    }
}

fn checksum(length: [u8; 4], count: [u8; 4], born: [u8; 8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&count);
    hasher.update(&born);
    hasher.update(payload);
    hasher.finalize()
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame with a right checksum.
    Frame(Header),
    /// The beginning of a frame that may go on behind these bytes; it needs this many.
    Short(usize),
    /// No frame.
    Damaged,
}

/// Looks at the beginning of `bytes`.
pub fn look(bytes: &[u8]) -> Found {
    let Some(header) = header(bytes) else {
        let begins = bytes.len() < HEADER_BYTES && MAGIC.starts_with(&bytes[..bytes.len().min(4)]);
        return if begins {
            Found::Short(HEADER_BYTES)
        } else {
            Found::Damaged
        };
    };
    if header.length > PAYLOAD_BYTES_MAX || header.length / RECORD_BYTES < header.count as usize {
        return Found::Damaged;
    }
    let whole = HEADER_BYTES + header.length;
    let Some(payload) = bytes.get(HEADER_BYTES..whole) else {
        return Found::Short(whole);
    };
    if walk(payload, 0, |_| ()) != Some(header.count) {
        return Found::Damaged;
    }
    let crc = checksum(
        (header.length as u32).to_le_bytes(),
        header.count.to_le_bytes(),
        header.born_ms.to_le_bytes(),
        payload,
    );
    if crc == header.crc {
        Found::Frame(header)
    } else {
        Found::Damaged
    }
}

/// Reads a header without checking the payload.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (born, _) = rest.split_first_chunk::<8>()?;
    (*magic == MAGIC).then(|| Header {
        length: u32::from_le_bytes(*length) as usize,
        count: u32::from_le_bytes(*count),
        crc: u32::from_le_bytes(*crc),
        born_ms: i64::from_le_bytes(*born),
    })
}

/// Where the next frame may begin, looking from the second byte on.
pub fn resync(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.get(1..)?;
    memchr::memmem::find(rest, &MAGIC).map(|at| at + 1)
}

/// The records of a payload that stands at `start` of `block`.
pub fn records(block: &Bytes, start: usize, length: usize) -> Vec<Rec> {
    let mut recs = Vec::new();
    let payload = block.get(start..start + length).unwrap_or_default();
    walk(payload, start, |rec| recs.push(rec));
    recs
}

/// The records that still parse in a damaged block: those behind each header whose beginning is whole. What
/// they say may be damaged, too.
pub fn salvage(block: &Bytes) -> Vec<Rec> {
    let mut recs = Vec::new();
    let mut at = 0;
    while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
        let mut used = 0;
        if let Some(header) = header(rest) {
            let start = at + HEADER_BYTES;
            let end = start.saturating_add(header.length).min(block.len());
            let before = recs.len();
            let payload = block.get(start..end).unwrap_or_default();
            walk(payload, start, |rec| recs.push(rec));
            // A record that goes beyond the block is none.
            let whole = |rec: &Rec| {
                let parts = [rec.key, rec.value, rec.headers];
                parts
                    .into_iter()
                    .flatten()
                    .all(|part| part.ends_before(end))
            };
            let good = recs.get(before..).unwrap_or_default();
            let good = good.iter().take_while(|rec| whole(rec)).count();
            let good = good.min(header.count as usize);
            recs.truncate(before + good);
            used = if good == header.count as usize {
                end - at
            } else {
                0
            };
        }
        at += if used > 0 {
            used
        } else {
            resync(rest).unwrap_or(rest.len())
        };
    }
    recs
}

/// Walks over the records of a payload; `None` when it does not come out even.
fn walk(payload: &[u8], base: usize, mut each: impl FnMut(Rec)) -> Option<u32> {
    let mut at = 0;
    let mut count = 0;
    while at < payload.len() {
        let (timestamp, rest) = payload.get(at..)?.split_first_chunk::<8>()?;
        let (partition, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (headers, _) = rest.split_first_chunk::<4>()?;
        at += RECORD_BYTES;
        let mut span = |length: [u8; 4]| {
            let length = usize::try_from(i32::from_le_bytes(length)).ok()?;
            at += length;
            Some(Span::block(base + at - length, base + at))
        };
        each(Rec {
            topic: 0,
            partition: i32::from_le_bytes(*partition),
            timestamp: i64::from_le_bytes(*timestamp),
            key: span(*key),
            value: span(*value),
            headers: span(*headers),
        });
        count += 1;
    }
    (at == payload.len()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Sample = (i64, i32, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

    fn batch(samples: &[Sample]) -> Records {
        let mut block = Vec::new();
        let mut recs = Vec::new();
        for (timestamp, partition, key, value, headers) in samples {
            let mut span = |part: &Option<Vec<u8>>| {
                let part = part.as_ref()?;
                block.extend_from_slice(part);
                Some(Span::block(block.len() - part.len(), block.len()))
            };
            recs.push(Rec {
                topic: 0,
                partition: *partition,
                timestamp: *timestamp,
                key: span(key),
                value: span(value),
                headers: span(headers),
            });
        }
        Records {
            block: block.into(),
            recs,
            ..Records::default()
        }
    }

    fn frame(samples: &[Sample]) -> Vec<u8> {
        let records = batch(samples);
        let mut writer = FrameWriter::default();
        for rec in &records.recs {
            writer.push(&records, rec);
        }
        writer.finish(7)
    }

    fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
    }

    proptest! {
        /// Any bytes: salvage ends, and gives only what stands in the block.
        #[test]
        fn salvage_of_any_bytes_ends(
            bytes in proptest::collection::vec(prop_oneof![Just(b'S'), Just(b'L'), Just(b'F'), Just(b'1'), Just(0), Just(1), any::<u8>()], 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let mut bytes = bytes;
            let place = at.index(bytes.len() + 1);
            bytes.splice(place..place, MAGIC);
            let records = Records { block: bytes.into(), ..Records::default() };
            for rec in salvage(&records.block) {
                for part in [rec.key, rec.value, rec.headers].into_iter().flatten() {
                    prop_assert!(part.ends_before(records.block.len()));
                }
            }
        }

        #[test]
        fn what_is_written_is_read_and_no_flipped_bit_is_missed(
            samples in proptest::collection::vec((any::<i64>(), any::<i32>(), part(), part(), part()), 1..20),
            bit in any::<proptest::sample::Index>(),
        ) {
            let written = frame(&samples);
            let Found::Frame(header) = look(&written) else { panic!("not a frame") };
            prop_assert_eq!((header.count as usize, header.born_ms), (samples.len(), 7));
            let block = Bytes::from(written.clone());
            let recs = records(&block, HEADER_BYTES, header.length);
            let read = Records { block, ..Records::default() };
            for (rec, sample) in recs.iter().zip(&samples) {
                let part = |span| read.part(span).map(<[u8]>::to_vec);
                let got = (rec.timestamp, rec.partition, part(rec.key), part(rec.value), part(rec.headers));
                prop_assert_eq!(&got, sample);
            }
            let mut broken = written;
            let bit = bit.index(broken.len() * 8);
            broken[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(look(&broken), Found::Frame(_)));
        }

        #[test]
        fn a_cut_frame_is_short(cut in 1_usize..60) {
            let written = frame(&[(0, -1, None, Some(vec![1; 20]), None)]);
            let cut = cut.min(written.len() - 1);
            prop_assert!(matches!(look(&written[..cut]), Found::Short(_)));
        }
    }
}
