//! A record as JSON, straight from the client's memory into a buffer. It writes what serde would write
//! for the model's `Record`, without a copy of every part first.

use super::Entry;
use super::text::Instants;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes records. It keeps the parts that neighbours share.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    topic: String,
    /// The record up to its partition.
    head: Vec<u8>,
    instants: Instants,
}

impl Encoder {
    /// Appends a record.
    pub fn record(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        if self.head.is_empty() || self.topic != entry.topic {
            self.head.clear();
            self.head.extend_from_slice(b"{\"topic\":");
            string(&mut self.head, entry.topic);
            self.head.extend_from_slice(b",\"partition\":");
            entry.topic.clone_into(&mut self.topic);
        }
        out.extend_from_slice(&self.head);
        number(out, i64::from(entry.partition));
        out.extend_from_slice(b",\"offset\":");
        number(out, entry.offset);
        out.extend_from_slice(b",\"timestamp\":");
        match entry.timestamp {
            Some(ms) => {
                out.push(b'"');
                out.extend_from_slice(self.instants.text(ms).as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"key\":");
        let key = bytes(out, entry.key);
        out.extend_from_slice(b",\"value\":");
        let value = bytes(out, entry.value);
        out.extend_from_slice(b",\"headers\":[");
        for (index, (name, value)) in entry.headers.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
            string(out, name);
            out.push(b',');
            let end: &[u8] = match bytes(out, *value) {
                Written::Text => b"]",
                Written::Base64 => b",\"base64\"]",
            };
            out.extend_from_slice(end);
        }
        out.extend_from_slice(b"],\"key_encoding\":");
        out.extend_from_slice(key.name());
        out.extend_from_slice(b",\"value_encoding\":");
        out.extend_from_slice(value.name());
        out.push(b'}');
    }
}

/// How bytes were written.
#[derive(Clone, Copy)]
enum Written {
    Text,
    Base64,
}

impl Written {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Text => b"\"utf8\"",
            Self::Base64 => b"\"base64\"",
        }
    }
}

fn number(out: &mut Vec<u8>, number: i64) {
    // Writing to memory does not fail.
    let _infallible = serde_json::to_writer(out, &number);
}

fn string(out: &mut Vec<u8>, text: &str) {
    let _infallible = serde_json::to_writer(out, text);
}

fn bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Written {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => string(out, text),
        Some((bytes, Err(_))) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
            return Written::Base64;
        }
    }
    Written::Text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first instant whose year has no four digits.
    const YEAR_10000_MS: i64 = 253_402_300_800_000;

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = any::<String>().prop_map(String::into_bytes);
        let any = prop::collection::vec(any::<u8>(), 0..20);
        prop::option::of(prop_oneof![text, any])
    }

    proptest! {
        #[test]
        fn it_writes_what_serde_writes(
            records in prop::collection::vec((any::<i64>(), bytes(), bytes()), 1..4),
            times in prop::collection::vec(prop_oneof![0..YEAR_10000_MS, any::<i64>().prop_map(|ms| ms / 1000)], 4),
            headers in prop::collection::vec((any::<String>(), bytes()), 0..3),
            topics in prop::collection::vec("[a-z._-]{1,9}", 4),
        ) {
            let mut encoder = Encoder::default();
            for (((offset, key, value), ms), topic) in records.iter().zip(&times).zip(&topics) {
                let entry = Entry {
                    topic,
                    partition: 3,
                    offset: *offset,
                    timestamp: (*ms % 7 != 0).then_some(*ms),
                    key: key.as_deref(),
                    value: value.as_deref(),
                    headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect(),
                };
                let mut out = b"before".to_vec();
                encoder.record(&mut out, &entry);
                let wanted = format!("before{}", serde_json::to_string(&entry.record()).unwrap());
                prop_assert_eq!(String::from_utf8(out).unwrap(), wanted);
            }
        }
    }
}
