//! Where a viewer is: the next offset of every partition of every topic that it looks at, as one opaque
//! word that streams and record listings both take.
//!
//! The word is base64 of a version, the topics with numbers of variable length, and a checksum: it is
//! written once per record, so it is short and cheap to make.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sluice_model::problem::{Code, Problem, field};
use std::collections::BTreeMap;

/// The longest cursor that is read.
const CURSOR_BYTES_MAX: usize = 64 * 1024;
/// The form of a cursor; others are refused.
const VERSION: u8 = 2;
/// Bytes of the checksum.
const CHECK_BYTES: usize = 3;
/// Bits of a number that one byte carries.
const GROUP_BITS: u32 = 7;
/// A partition about which nothing is known.
const UNKNOWN: i64 = -1;

/// A place in some topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    topics: BTreeMap<String, Place>,
}

/// A place in one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which topic of that name.
    pub topic_id: i64,
    /// The next offset, by partition; negative when it is not known.
    pub next: Vec<i64>,
}

impl Cursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// 400 `bad_cursor` when it is none of ours.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let topics = (text.len() <= CURSOR_BYTES_MAX)
            .then(|| URL_SAFE_NO_PAD.decode(text).ok())
            .flatten()
            .and_then(|bytes| decode(&bytes));
        let Some(topics) = topics else {
            let message = "take it from the id of an event, or from next_cursor";
            return Err(Problem::from_errors(
                Code::BadCursor,
                vec![field("cursor", message)],
            ));
        };
        Ok(Self { topics })
    }

    /// The cursor as one word.
    pub fn write(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut Vec::new(), &mut text);
        text
    }

    /// Appends the cursor as one word; `scratch` is only room to work in.
    pub fn write_to(&self, scratch: &mut Vec<u8>, text: &mut String) {
        scratch.clear();
        self.encode(scratch);
        URL_SAFE_NO_PAD.encode_string(scratch, text);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put(out, self.topics.len() as u64);
        for (topic, place) in &self.topics {
            put(out, topic.len() as u64);
            out.extend_from_slice(topic.as_bytes());
            put(out, zigzag(place.topic_id));
            put(out, place.next.len() as u64);
            for next in &place.next {
                put(out, zigzag(*next));
            }
        }
        let check = checksum(out);
        out.extend_from_slice(&check);
    }

    /// The place in a topic.
    pub fn place(&self, topic: &str) -> Option<&Place> {
        self.topics.get(topic)
    }

    /// The topics that it has a place in.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether it has no place at all.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Sets the place in a topic.
    pub fn put(&mut self, topic: &str, place: Place) {
        self.topics.insert(topic.to_owned(), place);
    }

    /// Forgets a topic.
    pub fn remove(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Moves past a record. False when the record lies before the place: it was seen already.
    pub fn pass(&mut self, topic: &str, partition: i32, offset: i64) -> bool {
        let Some(place) = self.topics.get_mut(topic) else {
            return false;
        };
        let Ok(index) = usize::try_from(partition) else {
            return false;
        };
        if place.next.len() <= index {
            place.next.resize(index + 1, UNKNOWN);
        }
        let fresh = place.next[index] <= offset;
        if fresh {
            place.next[index] = offset + 1;
        }
        fresh
    }

    /// Moves forward in a topic to where somebody else is, never back.
    pub fn reach(&mut self, topic: &str, next: &[i64]) {
        let Some(place) = self.topics.get_mut(topic) else {
            return;
        };
        if place.next.len() < next.len() {
            place.next.resize(next.len(), UNKNOWN);
        }
        for (mine, other) in place.next.iter_mut().zip(next) {
            *mine = (*mine).max(*other);
        }
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= GROUP_BITS;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// FNV-1a, folded: a word that was mistyped or made up is told from one of ours.
fn checksum(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let [a, b, c, d] = bytes.iter().fold(0x811c_9dc5, fold).to_le_bytes();
    [a ^ d, b, c]
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        let mut shift = 0;
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let part = u64::from(byte & 0x7f);
            number |= part
                .checked_shl(shift)
                .filter(|shifted| *shifted >> shift == part)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += GROUP_BITS;
        }
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn text(&mut self) -> Option<&'a str> {
        let (text, rest) = self.count().map(|count| self.0.split_at(count))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<String, Place>> {
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    if checksum(body) != check || body.first() != Some(&VERSION) {
        return None;
    }
    let mut reader = Reader(body.get(1..)?);
    let mut topics = BTreeMap::new();
    for _ in 0..reader.count()? {
        let topic = reader.text()?.to_owned();
        let topic_id = unzigzag(reader.number()?);
        let next = (0..reader.count()?)
            .map(|_| reader.number().map(unzigzag))
            .collect::<Option<_>>()?;
        topics.insert(topic, Place { topic_id, next });
    }
    reader.0.is_empty().then_some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_cursor_is_refused() {
        let mut other = vec![1, 0];
        other.extend_from_slice(&checksum(&[1, 0]));
        let other = URL_SAFE_NO_PAD.encode(&other);
        for text in [
            "",
            "x",
            "%%",
            "bm9uc2Vuc2U",
            &other,
            &"A".repeat(CURSOR_BYTES_MAX + 1),
        ] {
            assert_eq!(Cursor::read(text).unwrap_err().code, "bad_cursor");
        }
        let mut cursor = Cursor::default();
        cursor.put(
            "orders",
            Place {
                topic_id: 7,
                next: vec![1, 2, 300],
            },
        );
        let good = cursor.write();
        for index in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            // A change of the last letter's unused bits may be no change at all.
            assert!(
                Cursor::read(&text).map_or(true, |read| read == cursor),
                "{text}"
            );
        }
        assert!(good.len() <= 24, "short: {good}");
    }

    #[test]
    fn records_before_the_place_were_seen() {
        let mut cursor = Cursor::default();
        cursor.put(
            "t",
            Place {
                topic_id: 1,
                next: vec![5],
            },
        );
        assert!(!cursor.pass("t", 0, 4));
        assert!(cursor.pass("t", 0, 7));
        assert!(cursor.pass("t", 2, 0), "a new partition");
        assert!(!cursor.pass("u", 0, 0), "a topic that is not looked at");
        assert_eq!(cursor.place("t").unwrap().next, [8, -1, 1]);
        cursor.reach("t", &[3, 4, 2, 9]);
        assert_eq!(cursor.place("t").unwrap().next, [8, 4, 2, 9]);
    }

    proptest! {
        #[test]
        fn every_cursor_reads_back(topics in prop::collection::btree_map("[a-z._-]{1,20}", (any::<i64>(), prop::collection::vec(-1_i64..i64::MAX, 0..9)), 0..9)) {
            let mut cursor = Cursor::default();
            for (topic, (topic_id, next)) in topics {
                cursor.put(&topic, Place { topic_id, next });
            }
            let mut text = String::new();
            cursor.write_to(&mut vec![1, 2], &mut text);
            prop_assert_eq!(&text, &cursor.write());
            prop_assert_eq!(Cursor::read(&text).unwrap(), cursor);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _any = Cursor::read(&text);
            let mut body = vec![VERSION];
            body.extend_from_slice(&bytes);
            body.extend_from_slice(&checksum(&body));
            let _any = Cursor::read(&URL_SAFE_NO_PAD.encode(&body));
        }
    }
}
