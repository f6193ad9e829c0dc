//! One record of the v3 API.

use super::super::forms::{Collector, Parsed, base64_part};
use super::cutter::Cut;
use crate::assemble::plain;
use crate::batch::{Rec, Refusal, Span};
use crate::headers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sluice_model::problem::Code;
use sluice_model::time::Timestamp;

/// The body of `records:batch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch<'a> {
    /// The records, each with its id.
    #[serde(borrow)]
    pub entries: Vec<&'a RawValue>,
}

/// What a report repeats of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The id in a batch.
    pub id: Option<String>,
    /// The time that the sender set.
    pub timestamp: Option<Timestamp>,
    /// Type and size of the key.
    pub key: Option<(&'static str, usize)>,
    /// Type and size of the value.
    pub value: Option<(&'static str, usize)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    id: Option<String>,
    partition_id: Option<i32>,
    headers: Option<Vec<Header>>,
    #[serde(borrow)]
    key: Option<Part<'a>>,
    #[serde(borrow)]
    value: Option<Part<'a>>,
    timestamp: Option<String>,
    #[serde(rename = "original_size")]
    _original_size: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads the records of a block. What is broken is one more entry, refused.
pub(super) fn read(
    topic: &str,
    block: &Bytes,
    cut: &Cut,
    record_max: usize,
) -> (Parsed, Vec<Shape>) {
    let mut all = Collector::new(block, record_max);
    let mut shapes = Vec::new();
    for (start, end) in &cut.objects {
        let object = block.get(*start..*end).unwrap_or_default();
        shapes.push(add(&mut all, topic, object));
    }
    if let Some(broken) = cut.broken {
        all.add(Err(Refusal::new(Code::MalformedJson, broken)));
        shapes.push(Shape::default());
    }
    (all.finish(), shapes)
}

/// Adds one record, taken or refused; `object` is a part of the collector's block.
pub(super) fn add(all: &mut Collector, topic: &str, object: &[u8]) -> Shape {
    let mut shape = Shape::default();
    let rec = rec(all, topic, object, &mut shape);
    all.add(rec);
    shape
}

fn rec(all: &mut Collector, topic: &str, object: &[u8], shape: &mut Shape) -> Result<Rec, Refusal> {
    let record: Record<'_> = serde_json::from_slice(object).map_err(|error| {
        let code = if error.is_data() {
            Code::Invalid
        } else {
            Code::MalformedJson
        };
        Refusal::new(code, format!("the record cannot be read: {error}"))
    })?;
    shape.id = record.id;
    let topic = all.assembler.topic(topic)?;
    if record.partition_id.is_some_and(|partition| partition < 0) {
        let detail = "partition_id must not be negative";
        return Err(Refusal::new(Code::Invalid, detail));
    }
    if let Some(text) = record.timestamp {
        let parsed = Timestamp::parse(&text)
            .ok()
            .filter(|time| time.as_millis() >= 0);
        shape.timestamp = Some(parsed.ok_or_else(|| {
            let detail = format!("timestamp {text:?} is no RFC 3339 text after 1970");
            Refusal::new(Code::Invalid, detail)
        })?);
    }
    let (key, key_shape) = part(all, "key", record.key)?;
    let (value, value_shape) = part(all, "value", record.value)?;
    (shape.key, shape.value) = (key_shape, value_shape);
    Ok(Rec {
        partition: record.partition_id.unwrap_or(-1),
        timestamp: shape.timestamp.map_or(0, Timestamp::as_millis),
        key,
        headers: read_headers(all, &record.headers.unwrap_or_default())?,
        ..plain(topic, value)
    })
}

type ReadPart = (Option<Span>, Option<(&'static str, usize)>);

fn part(all: &mut Collector, name: &str, part: Option<Part<'_>>) -> Result<ReadPart, Refusal> {
    let Some(part) = part else {
        return Ok((None, None));
    };
    let kind = part.kind.as_deref().map(str::to_ascii_uppercase);
    let kind = match kind.as_deref() {
        Some("BINARY") => "BINARY",
        Some("JSON") => "JSON",
        Some("STRING") => "STRING",
        other => {
            let other = other.unwrap_or("none");
            let detail =
                format!("{name}.type is BINARY, JSON or STRING, without a schema; not {other}");
            return Err(Refusal::new(Code::Invalid, detail));
        }
    };
    let Some(data) = part.data else {
        return Ok((None, None));
    };
    let span = match kind {
        "BINARY" => base64_part(all, data)?,
        "JSON" => all.assembler.place().json_text(data),
        _ if data.get().starts_with('"') => all.assembler.place().json_part(data)?,
        _ => {
            let detail = format!("{name}.data must be a string");
            return Err(Refusal::new(Code::WrongType, detail));
        }
    };
    Ok((span, span.map(|span| (kind, span.len()))))
}

fn read_headers(all: &mut Collector, list: &[Header]) -> Result<Option<Span>, Refusal> {
    if list.is_empty() {
        return Ok(None);
    }
    if list.len() > headers::HEADERS_MAX {
        let detail = format!("a record has at most {} headers", headers::HEADERS_MAX);
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    let mut bytes = Vec::new();
    for header in list {
        if header.name.len() > usize::from(u16::MAX) {
            return Err(Refusal::new(Code::TooLarge, "a header's name is too long"));
        }
        let value = header
            .value
            .as_ref()
            .map(|text| STANDARD.decode(text))
            .transpose();
        let value = value.map_err(|error| {
            let detail = format!("header {:?} is not standard base64: {error}", header.name);
            Refusal::new(Code::Invalid, detail)
        })?;
        headers::push(&mut bytes, &header.name, value.as_deref());
    }
    Ok(Some(all.assembler.place().decoded(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::cutter::Cutter;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> (Parsed, Vec<Shape>) {
        let block = Bytes::copy_from_slice(text);
        let cut = Cutter::default().cut(&block, true);
        read("t", &block, &cut, 1000)
    }

    const WHOLE: &str = r#"{"partition_id": 1, "timestamp": "2023-11-14T22:13:20.120Z",
        "headers": [{"name": "h", "value": "eA=="}, {"name": "n", "value": null}],
        "key": {"type": "BINARY", "data": "aw=="}, "value": {"type": "JSON", "data": {"a": 1.0}}}"#;

    #[test]
    fn every_part_of_a_record_is_read() {
        let text = format!(
            "{WHOLE}{{\"value\":{{\"type\":\"STRING\",\"data\":\"a\\nb\"}}}} {{}} {{\"value\":{{\"type\":\"JSON\",\"data\":null}}}}"
        );
        let (parsed, shapes) = parse(text.as_bytes());
        let records = &parsed.records;
        let rec = &records.recs[0];
        assert_eq!((rec.partition, rec.timestamp), (1, 1_700_000_000_120));
        assert_eq!(records.part(rec.key), Some(&b"k"[..]));
        assert_eq!(records.part(rec.value), Some(&b"{\"a\": 1.0}"[..]));
        let read: Vec<_> = headers::read(records.part(rec.headers).unwrap()).collect();
        let want: [(&str, Option<&[u8]>); 2] = [("h", Some(b"x")), ("n", None)];
        assert_eq!(read, want);
        assert_eq!(
            (shapes[0].key, shapes[0].value),
            (Some(("BINARY", 1)), Some(("JSON", 10)))
        );
        assert_eq!(records.part(records.recs[1].value), Some(&b"a\nb"[..]));
        assert_eq!(records.recs[2].value, None);
        assert_eq!(records.recs.len(), 4);
    }

    #[test]
    fn records_that_cannot_be_read_are_refused_one_by_one() {
        for (text, code) in [
            (r#"{"vlaue": {}}"#, Code::Invalid),
            (r#"{"value": {"type": "AVRO", "data": 1}}"#, Code::Invalid),
            (r#"{"value": {"data": 1}}"#, Code::Invalid),
            (
                r#"{"value": {"type": "STRING", "data": 1}}"#,
                Code::WrongType,
            ),
            (
                r#"{"value": {"type": "BINARY", "data": "!"}}"#,
                Code::Invalid,
            ),
            (r#"{"partition_id": -2}"#, Code::Invalid),
            (r#"{"timestamp": "noon"}"#, Code::Invalid),
            (
                r#"{"headers": [{"name": "h", "value": "!"}]}"#,
                Code::Invalid,
            ),
            (r#"{"value" 1}"#, Code::MalformedJson),
            (r#"{"value": "#, Code::MalformedJson),
            ("[1]", Code::MalformedJson),
        ] {
            let (parsed, shapes) = parse(format!("{{}}{text}").as_bytes());
            assert_eq!(shapes.len(), 2, "{text}");
            assert_eq!(parsed.entries[1].as_ref().unwrap_err().code, code, "{text}");
        }
    }

    proptest! {
        /// Any bytes, and any record that was tampered with: as many entries as reports, never a panic.
        #[test]
        fn any_body_is_read_or_refused(
            at in any::<prop::sample::Index>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut text = WHOLE.repeat(2).into_bytes();
            let at = at.index(text.len());
            let end = (at + bytes.len()).min(text.len());
            text.splice(at..end, bytes);
            let (parsed, shapes) = parse(&text);
            prop_assert_eq!(parsed.entries.len(), shapes.len());
            let refused = parsed.entries.iter().filter(|entry| entry.is_err()).count();
            prop_assert_eq!(parsed.records.recs.len() + refused, shapes.len());
        }
    }
}
