//! Where a viewer is: the next offset of every partition of every topic that it looks at, as one opaque
//! word that streams and record listings both take.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sluice_model::problem::{Code, Problem, field};
use std::collections::BTreeMap;

/// The longest cursor that is read.
const CURSOR_BYTES_MAX: usize = 64 * 1024;
/// The form of a cursor; others are refused.
const VERSION: u8 = 1;
/// A partition about which nothing is known.
const UNKNOWN: i64 = -1;

/// A place in some topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    topics: BTreeMap<String, Place>,
}

/// A place in one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which topic of that name.
    pub topic_id: i64,
    /// The next offset, by partition; negative when it is not known.
    pub next: Vec<i64>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u8,
    t: Vec<(String, i64, Vec<i64>)>,
}

impl Cursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// 400 `bad_cursor` when it is none of ours.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let wire = (text.len() <= CURSOR_BYTES_MAX)
            .then(|| URL_SAFE_NO_PAD.decode(text).ok())
            .flatten()
            .and_then(|json| serde_json::from_slice::<Wire>(&json).ok())
            .filter(|wire| wire.v == VERSION);
        let Some(wire) = wire else {
            let message = "take it from the id of an event, or from next_cursor";
            return Err(Problem::from_errors(
                Code::BadCursor,
                vec![field("cursor", message)],
            ));
        };
        let topics = wire
            .t
            .into_iter()
            .map(|(topic, topic_id, next)| (topic, Place { topic_id, next }));
        Ok(Self {
            topics: topics.collect(),
        })
    }

    /// The cursor as one word.
    pub fn write(&self) -> String {
        let t = self
            .topics
            .iter()
            .map(|(topic, place)| (topic.clone(), place.topic_id, place.next.clone()));
        let wire = Wire {
            v: VERSION,
            t: t.collect(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// The place in a topic.
    pub fn place(&self, topic: &str) -> Option<&Place> {
        self.topics.get(topic)
    }

    /// Sets the place in a topic.
    pub fn put(&mut self, topic: &str, place: Place) {
        self.topics.insert(topic.to_owned(), place);
    }

    /// Forgets a topic.
    pub fn remove(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Takes over all places of another cursor.
    pub fn merge(&mut self, other: Self) {
        self.topics.extend(other.topics);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_cursor_is_refused() {
        let other = URL_SAFE_NO_PAD.encode(r#"{"v":2,"t":[]}"#);
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
    }

    proptest! {
        #[test]
        fn every_cursor_reads_back(topics in prop::collection::btree_map("[a-z._-]{1,20}", (0_i64..9, prop::collection::vec(-1_i64..i64::MAX, 0..9)), 0..9)) {
            let mut cursor = Cursor::default();
            for (topic, (topic_id, next)) in topics {
                cursor.put(&topic, Place { topic_id, next });
            }
            prop_assert_eq!(Cursor::read(&cursor.write()).unwrap(), cursor);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _any = Cursor::read(&text);
        }
    }
}
