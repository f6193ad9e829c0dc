//! The record forms of HTTP bodies, turned into batches. No IO.

use crate::assemble::{Assembler, plain};
use crate::batch::{Rec, Records, Refusal, Span};
use crate::line::malformed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sluice_model::problem::{Code, Problem};

/// How a body carries records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON value, or an array of them.
    Json,
    /// One JSON value a line.
    Lines,
    /// One value, as it is.
    Octets,
    /// The v2 body of Confluent's REST proxy with JSON keys and values.
    ConfluentJson,
    /// The same with base64.
    ConfluentBinary,
}

impl Form {
    /// The form that a content type names.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Some(Self::Lines)
            }
            "application/octet-stream" => Some(Self::Octets),
            "application/vnd.kafka.json.v2+json" => Some(Self::ConfluentJson),
            "application/vnd.kafka.binary.v2+json" => Some(Self::ConfluentBinary),
            _ => None,
        }
    }

    /// Whether answers have Confluent's shape.
    pub(super) fn is_confluent(self) -> bool {
        matches!(self, Self::ConfluentJson | Self::ConfluentBinary)
    }
}

/// One record of a body: taken (its place in the batch), or refused already.
pub(super) type Entry = Result<u32, Refusal>;

/// A body as records.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The records that were taken.
    pub records: Records,
    /// Bytes of memory that they take.
    pub bytes: usize,
    /// Every record of the body, in order.
    pub entries: Vec<Entry>,
}

/// Collects the records of one body.
#[derive(Debug)]
pub(super) struct Collector {
    /// Builds the batch.
    pub assembler: Assembler,
    entries: Vec<Entry>,
}

impl Collector {
    /// Over a body.
    pub(super) fn new(block: &Bytes, record_max: usize) -> Self {
        Self {
            assembler: Assembler::new(block.clone(), record_max),
            entries: Vec::new(),
        }
    }

    /// Adds a record, taken or refused.
    pub(super) fn add(&mut self, rec: Result<Rec, Refusal>) {
        let index = self.assembler.len() as u32;
        let pushed = rec.and_then(|rec| self.assembler.push(rec));
        self.entries.push(pushed.map(|()| index));
    }

    /// All of it.
    pub(super) fn finish(self) -> Parsed {
        let (records, bytes) = self.assembler.finish();
        Parsed {
            records,
            bytes,
            entries: self.entries,
        }
    }
}

/// Reads a body for one topic.
///
/// # Errors
/// When the body as a whole cannot be read, or the topic's name is illegal.
pub(super) fn for_topic(
    form: Form,
    (topic, partition): (&str, Option<i32>),
    key: Option<&str>,
    block: &Bytes,
    record_max: usize,
) -> Result<Parsed, Box<Problem>> {
    let mut all = Collector::new(block, record_max);
    let topic = all
        .assembler
        .topic(topic)
        .map_err(|refusal| Box::new(Problem::invalid("topic", refusal.detail)))?;
    let key = key.map(|key| all.assembler.place().decoded(key.as_bytes()));
    match form {
        Form::Json => json(&mut all, topic, key, block)?,
        Form::Lines => each_line(block, |start, end| {
            let line = block.get(start..end).unwrap_or_default();
            let value: Result<&RawValue, _> = serde_json::from_slice(line);
            let value = value.map_err(|error| not_json(&error));
            let rec = value.and_then(|value| value_rec(&mut all, topic, key, value));
            all.add(rec);
        }),
        Form::Octets => {
            all.add(Ok(Rec {
                key,
                ..plain(topic, Some(Span::block(0, block.len())))
            }));
        }
        Form::ConfluentJson | Form::ConfluentBinary => {
            confluent(&mut all, (topic, partition), form, block)?;
        }
    }
    Ok(all.finish())
}

/// Reads lines that name their topics.
pub(super) fn named_lines(block: &Bytes, record_max: usize) -> Parsed {
    let mut all = Collector::new(block, record_max);
    each_line(block, |start, end| {
        let index = all.assembler.len() as u32;
        let pushed = all.assembler.push_line(start, end);
        all.entries.push(pushed.map(|()| index));
    });
    all.finish()
}

fn each_line(block: &[u8], mut each: impl FnMut(usize, usize)) {
    let mut start = 0;
    while start < block.len() {
        let rest = block.get(start..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).map_or(block.len(), |at| start + at);
        let line = block.get(start..end).unwrap_or_default();
        if !line.iter().all(u8::is_ascii_whitespace) {
            each(start, if line.ends_with(b"\r") { end - 1 } else { end });
        }
        start = end + 1;
    }
}

fn json(
    all: &mut Collector,
    topic: u32,
    key: Option<Span>,
    block: &[u8],
) -> Result<(), Box<Problem>> {
    let first = block.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let values: Vec<&RawValue> = serde_json::from_slice(block).map_err(|e| not_a_body(&e))?;
        for value in values {
            let rec = value_rec(all, topic, key, value);
            all.add(rec);
        }
    } else {
        let value: &RawValue = serde_json::from_slice(block).map_err(|e| not_a_body(&e))?;
        let rec = value_rec(all, topic, key, value);
        all.add(rec);
    }
    Ok(())
}

fn value_rec(
    all: &mut Collector,
    topic: u32,
    key: Option<Span>,
    value: &RawValue,
) -> Result<Rec, Refusal> {
    let value = all.assembler.place().json_part(value)?;
    Ok(Rec {
        key,
        ..plain(topic, value)
    })
}

// A mistyped member would make a tombstone of a record: unknown ones are refused, as Confluent's proxy does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfluentBody<'a> {
    #[serde(borrow)]
    records: Vec<ConfluentRecord<'a>>,
    #[serde(rename = "key_schema")]
    _key_schema: Option<IgnoredAny>,
    #[serde(rename = "key_schema_id")]
    _key_schema_id: Option<IgnoredAny>,
    #[serde(rename = "value_schema")]
    _value_schema: Option<IgnoredAny>,
    #[serde(rename = "value_schema_id")]
    _value_schema_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfluentRecord<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    partition: Option<i32>,
}

fn confluent(
    all: &mut Collector,
    (topic, partition): (u32, Option<i32>),
    form: Form,
    block: &[u8],
) -> Result<(), Box<Problem>> {
    let body: ConfluentBody<'_> = serde_json::from_slice(block).map_err(|e| not_a_body(&e))?;
    for mut record in body.records {
        record.partition = partition.or(record.partition);
        let rec = confluent_rec(all, topic, form, &record);
        all.add(rec);
    }
    Ok(())
}

fn confluent_rec(
    all: &mut Collector,
    topic: u32,
    form: Form,
    record: &ConfluentRecord<'_>,
) -> Result<Rec, Refusal> {
    let partition = record.partition.unwrap_or(-1);
    if record.partition.is_some_and(|partition| partition < 0) {
        return Err(Refusal::new(
            Code::Invalid,
            "partition must not be negative",
        ));
    }
    let mut part = |raw: Option<&RawValue>| match raw {
        None => Ok(None),
        // The text itself: a JSON deserialiser on the other side wants its quotes.
        Some(raw) if form == Form::ConfluentJson => Ok(all.assembler.place().json_text(raw)),
        Some(raw) => base64_part(all, raw),
    };
    let key = part(record.key)?;
    let value = part(record.value)?;
    Ok(Rec {
        partition,
        key,
        ..plain(topic, value)
    })
}

/// A base64 string as a record part; null is none.
pub(super) fn base64_part(all: &mut Collector, raw: &RawValue) -> Result<Option<Span>, Refusal> {
    let text: Option<String> = serde_json::from_str(raw.get()).map_err(|_| {
        Refusal::new(
            Code::WrongType,
            "key and value must be base64 strings or null",
        )
    })?;
    let Some(text) = text else { return Ok(None) };
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| Refusal::new(Code::Invalid, format!("not standard base64: {error}")))?;
    Ok(Some(all.assembler.place().decoded(&bytes)))
}

fn not_json(error: &serde_json::Error) -> Refusal {
    Refusal {
        detail: format!("not a JSON value: {error}"),
        ..malformed(error)
    }
}

/// A body that cannot be read as a whole.
pub(super) fn not_a_body(error: &serde_json::Error) -> Box<Problem> {
    let code = if error.is_data() {
        Code::Invalid
    } else {
        Code::MalformedJson
    };
    Box::new(Problem::new(
        code,
        format!("the body cannot be read: {error}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Part = Option<Vec<u8>>;
    type Read = Vec<Result<(Part, Part), Code>>;

    fn read(form: Form, body: &str, key: Option<&str>) -> Result<Read, u16> {
        let block = Bytes::copy_from_slice(body.as_bytes());
        let parsed =
            for_topic(form, ("t", None), key, &block, 100).map_err(|problem| problem.status)?;
        let part = |span| parsed.records.part(span).map(<[u8]>::to_vec);
        let one = |entry: &Entry| match entry {
            Ok(index) => {
                let rec = parsed.records.recs[*index as usize];
                Ok((part(rec.key), part(rec.value)))
            }
            Err(refusal) => Err(refusal.code),
        };
        Ok(parsed.entries.iter().map(one).collect())
    }

    fn bytes(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn every_form_keeps_values_as_they_are() {
        assert_eq!(
            read(Form::Json, r#"[{"a": 1}, "text", null, 2]"#, Some("k")).unwrap(),
            [
                Ok((Some(bytes("k")), Some(bytes(r#"{"a": 1}"#)))),
                Ok((Some(bytes("k")), Some(bytes("text")))),
                Ok((Some(bytes("k")), None)),
                Ok((Some(bytes("k")), Some(bytes("2")))),
            ]
        );
        assert_eq!(
            read(Form::Json, r#" {"a":[1]} "#, None).unwrap(),
            [Ok((None, Some(bytes(r#"{"a":[1]}"#))))]
        );
        assert_eq!(
            read(Form::Lines, "{\"a\":1}\r\n\nbad\n\"s\"", None).unwrap(),
            [
                Ok((None, Some(bytes("{\"a\":1}")))),
                Err(Code::MalformedJson),
                Ok((None, Some(bytes("s"))))
            ]
        );
        assert_eq!(
            read(Form::Octets, "a\nb", None).unwrap(),
            [Ok((None, Some(bytes("a\nb"))))]
        );
    }

    #[test]
    fn confluent_bodies_are_read() {
        let body = r#"{"records":[{"key":"k","value":{"a":1}},{"value":"s","partition":2},{"value":null}]}"#;
        assert_eq!(
            read(Form::ConfluentJson, body, None).unwrap(),
            [
                Ok((Some(bytes("\"k\"")), Some(bytes("{\"a\":1}")))),
                Ok((None, Some(bytes("\"s\"")))),
                Ok((None, None))
            ]
        );
        let body = r#"{"records":[{"key":"aw==","value":"dg=="},{"value":"!"}]}"#;
        assert_eq!(
            read(Form::ConfluentBinary, body, None).unwrap(),
            [Ok((Some(bytes("k")), Some(bytes("v")))), Err(Code::Invalid)]
        );
    }

    #[test]
    fn bodies_that_cannot_be_read_are_refused_as_a_whole() {
        for (form, body, status) in [
            (Form::Json, "", 400),
            (Form::Json, "{", 400),
            (Form::Json, "[1,", 400),
            (Form::Json, "{} x", 400),
            (Form::ConfluentJson, "{}", 422),
            (Form::ConfluentJson, r#"{"records":[{"vlaue":1}]}"#, 422),
            (
                Form::ConfluentJson,
                r#"{"records":[{"value":1,"partition":"x"}]}"#,
                422,
            ),
            (Form::ConfluentJson, "[", 400),
        ] {
            assert_eq!(read(form, body, None).unwrap_err(), status, "{body}");
        }
    }

    proptest! {
        /// Any body: as many entries as records were read, never a panic.
        #[test]
        fn any_body_is_read_or_refused(
            form in prop_oneof![Just(Form::Json), Just(Form::Lines), Just(Form::ConfluentJson), Just(Form::ConfluentBinary)],
            at in any::<prop::sample::Index>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut body = br#"{"records":[{"key":"aw==","value":{"a":[1,"x"]},"partition":1},{"value":null}]}"#.to_vec();
            let at = at.index(body.len());
            let end = (at + bytes.len()).min(body.len());
            body.splice(at..end, bytes);
            if let Ok(parsed) = for_topic(form, ("t", None), None, &body.into(), 100) {
                let refused = parsed.entries.iter().filter(|entry| entry.is_err()).count();
                prop_assert_eq!(parsed.records.recs.len() + refused, parsed.entries.len());
            }
        }
    }

    #[test]
    fn oversize_records_are_refused_one_by_one() {
        let body = format!("[1, \"{}\", 2]", "x".repeat(101));
        let read = read(Form::Json, &body, None).unwrap();
        assert_eq!(read[1], Err(Code::TooLarge));
        assert!(read[0].is_ok() && read[2].is_ok());
    }
}
