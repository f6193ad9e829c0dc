//! Reads one NDJSON line into the parts of a record, without building a document: members are found
//! lazily and values stay the bytes that were sent.

use crate::batch::{Rec, Refusal, Span};
use crate::headers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sluice_model::body::nearest;
use sluice_model::problem::Code;
use sluice_model::record::{Encoding, Header};
use sluice_model::time::Timestamp;
use std::borrow::Cow;
use std::fmt;

/// The members of a record line.
const MEMBERS: [&str; 8] = [
    "topic",
    "key",
    "value",
    "headers",
    "timestamp",
    "partition",
    "key_encoding",
    "value_encoding",
];

/// A record line: the topic's name, and the parts still as JSON.
struct Line<'a> {
    topic: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    partition: Option<&'a RawValue>,
    key_encoding: Option<&'a RawValue>,
    value_encoding: Option<&'a RawValue>,
    foreign: Option<Cow<'a, str>>,
    repeated: bool,
}

/// A member's name, borrowed unless it is escaped.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Line<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineVisitor;
        impl<'de> Visitor<'de> for LineVisitor {
            type Value = Line<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
                let mut line = Line {
                    topic: None,
                    key: None,
                    value: None,
                    headers: None,
                    timestamp: None,
                    partition: None,
                    key_encoding: None,
                    value_encoding: None,
                    foreign: None,
                    repeated: false,
                };
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    let value: &'de RawValue = map.next_value()?;
                    let place = match name.as_ref() {
                        "topic" => &mut line.topic,
                        "key" => &mut line.key,
                        "value" => &mut line.value,
                        "headers" => &mut line.headers,
                        "timestamp" => &mut line.timestamp,
                        "partition" => &mut line.partition,
                        "key_encoding" => &mut line.key_encoding,
                        "value_encoding" => &mut line.value_encoding,
                        _ => {
                            line.foreign.get_or_insert(name);
                            continue;
                        }
                    };
                    line.repeated |= place.replace(value).is_some();
                }
                Ok(line)
            }
        }
        deserializer.deserialize_map(LineVisitor)
    }
}

/// Where decoded bytes go, and where a line stands in its block.
#[derive(Debug)]
pub struct Place<'a> {
    /// The whole block.
    pub block: &'a [u8],
    /// Decoded bytes are appended here.
    pub side: &'a mut Vec<u8>,
}

impl Place<'_> {
    /// The span of a part of the block.
    fn span(&self, part: &[u8]) -> Span {
        let start = part
            .as_ptr()
            .addr()
            .saturating_sub(self.block.as_ptr().addr());
        Span::block(start, start + part.len())
    }

    /// A JSON value as a record part: a string is its text, null is none, anything else is what was sent.
    ///
    /// # Errors
    /// When an escape in a string is no good.
    pub fn json_part(&mut self, raw: &RawValue) -> Result<Option<Span>, Refusal> {
        let text = raw.get();
        match text.as_bytes() {
            b"null" => Ok(None),
            [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => {
                Ok(Some(self.span(inner)))
            }
            [b'"', ..] => {
                let decoded: String =
                    serde_json::from_str(text).map_err(|error| malformed(&error))?;
                Ok(Some(self.decoded(decoded.as_bytes())))
            }
            other => Ok(Some(self.span(other))),
        }
    }

    /// The same for a part that says how its bytes are written (see [`Encoding`]).
    fn encoded_part(
        &mut self,
        raw: &RawValue,
        encoding: Option<&RawValue>,
    ) -> Result<Option<Span>, Refusal> {
        let encoding = match encoding.map(|encoding| serde_json::from_str(encoding.get())) {
            None | Some(Ok(Encoding::Utf8)) => return self.json_part(raw),
            Some(encoding) => encoding,
        };
        let wrong = |detail| Refusal::new(Code::WrongType, detail);
        encoding.map_err(|_| wrong("an encoding is \"utf8\" or \"base64\""))?;
        if raw.get() == "null" {
            return Ok(None);
        }
        let not_base64 = "what is said to be base64 is a string of standard base64";
        let text: String = serde_json::from_str(raw.get()).map_err(|_| wrong(not_base64))?;
        let bytes = STANDARD.decode(text).map_err(|_| wrong(not_base64))?;
        Ok(Some(self.decoded(&bytes)))
    }

    /// The JSON text itself as a record part; null is none.
    pub fn json_text(&self, raw: &RawValue) -> Option<Span> {
        let text = raw.get();
        (text != "null").then(|| self.span(text.as_bytes()))
    }

    /// Appends decoded bytes.
    pub fn decoded(&mut self, bytes: &[u8]) -> Span {
        let start = self.side.len();
        self.side.extend_from_slice(bytes);
        Span::side(start, self.side.len())
    }
}

/// A line that is not JSON, or not JSON of the right kind.
pub fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::new(Code::MalformedJson, format!("not a JSON object: {error}"))
}

/// Reads a line that names its topic; `line` is a part of `place.block`. The topic index of the answer
/// is left at 0.
///
/// # Errors
/// When the line is no record.
pub fn record<'a>(line: &'a [u8], place: &mut Place<'_>) -> Result<(Cow<'a, str>, Rec), Refusal> {
    let parsed: Line<'a> = serde_json::from_slice(line).map_err(|error| malformed(&error))?;
    let topic = topic(parsed.topic)?;
    if parsed.repeated {
        return Err(Refusal::new(
            Code::Invalid,
            "a member stands twice in the line",
        ));
    }
    let mut rec = Rec {
        topic: 0,
        partition: -1,
        timestamp: 0,
        key: None,
        value: None,
        headers: None,
    };
    let Some(value) = parsed.value else {
        // The line is the sender's own document: its members are data, except a key that is text.
        rec.value = Some(place.span(line));
        if let Some(key) = parsed.key.filter(|key| key.get().starts_with('"')) {
            rec.key = place.json_part(key)?;
        }
        return Ok((topic, rec));
    };
    if let Some(foreign) = parsed.foreign {
        let hint = match nearest(&foreign, &MEMBERS) {
            Some(known) => format!("did you mean {known:?}?"),
            None => format!("beside value only {} are known", MEMBERS.join(", ")),
        };
        let detail = format!("member {foreign:?} is not known beside value; {hint}");
        return Err(Refusal::new(Code::Invalid, detail));
    }
    rec.value = place.encoded_part(value, parsed.value_encoding)?;
    if let Some(key) = parsed.key {
        rec.key = place.encoded_part(key, parsed.key_encoding)?;
    }
    if let Some(partition) = parsed.partition {
        let wrong = |_| Refusal::new(Code::WrongType, "partition must be a number");
        rec.partition = partition.get().parse().map_err(wrong)?;
    }
    if let Some(headers) = parsed.headers {
        rec.headers = read_headers(headers, place)?;
    }
    if let Some(timestamp) = parsed.timestamp {
        rec.timestamp = read_timestamp(timestamp)?;
    }
    Ok((topic, rec))
}

fn topic(raw: Option<&RawValue>) -> Result<Cow<'_, str>, Refusal> {
    let missing = || Refusal::new(Code::Invalid, "the line has no topic");
    let text = raw.ok_or_else(missing)?.get();
    match text.as_bytes() {
        [b'"', .., b'"'] if memchr::memchr(b'\\', text.as_bytes()).is_none() => Ok(Cow::Borrowed(
            text.get(1..text.len() - 1).unwrap_or_default(),
        )),
        [b'"', ..] => {
            let decoded = serde_json::from_str(text).map_err(|error| malformed(&error))?;
            Ok(Cow::Owned(decoded))
        }
        _ => Err(Refusal::new(Code::WrongType, "topic must be a string")),
    }
}

fn read_headers(raw: &RawValue, place: &mut Place<'_>) -> Result<Option<Span>, Refusal> {
    if raw.get() == "null" {
        return Ok(None);
    }
    let wrong = |_| {
        let detail = "headers must be an object whose members are strings, null or lists of them, \
                      or an array of [name, value]";
        Refusal::new(Code::WrongType, detail)
    };
    let pairs: Pairs = serde_json::from_str(raw.get()).map_err(wrong)?;
    if pairs.0.len() > headers::HEADERS_MAX {
        let detail = format!("a record has at most {} headers", headers::HEADERS_MAX);
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    let mut bytes = Vec::new();
    for (name, value) in &pairs.0 {
        if name.len() > usize::from(u16::MAX) {
            return Err(Refusal::new(Code::TooLarge, "a header's name is too long"));
        }
        headers::push(&mut bytes, name, value.as_deref());
    }
    Ok((!pairs.0.is_empty()).then(|| place.decoded(&bytes)))
}

/// Headers in the order of the object, where a list repeats its name, or of an array of pairs.
struct Pairs(Vec<(String, Option<Vec<u8>>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            One(Option<String>),
            Many(Vec<Option<String>>),
        }
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(header) = seq.next_element()? {
                    pairs.push(match header {
                        Header::Text(name, value) => (name, value.map(String::into_bytes)),
                        Header::Bytes(name, value, Encoding::Utf8) => (name, Some(value.into())),
                        Header::Bytes(name, value, Encoding::Base64) => {
                            let bytes = STANDARD.decode(value).map_err(A::Error::custom)?;
                            (name, Some(bytes))
                        }
                    });
                }
                Ok(Pairs(pairs))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, values)) = map.next_entry::<String, Values>()? {
                    match values {
                        Values::One(value) => pairs.push((name, value.map(String::into_bytes))),
                        Values::Many(many) => {
                            let bytes = many.into_iter().map(|value| value.map(String::into_bytes));
                            pairs.extend(bytes.map(|value| (name.clone(), value)));
                        }
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_any(PairsVisitor)
    }
}

fn read_timestamp(raw: &RawValue) -> Result<i64, Refusal> {
    let text = raw.get();
    if text == "null" {
        return Ok(0);
    }
    let millis = match serde_json::from_str::<String>(text) {
        Ok(text) => Timestamp::parse(&text).ok().map(Timestamp::as_millis),
        Err(_) => text.parse().ok(),
    };
    millis.filter(|millis| *millis >= 0).ok_or_else(|| {
        let detail = "timestamp must be milliseconds since the epoch or an RFC 3339 text";
        Refusal::new(Code::WrongType, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Records;

    type Parts = (String, Option<Vec<u8>>, Option<Vec<u8>>, i64);

    fn read(line: &str) -> Result<Parts, Code> {
        let block = bytes::Bytes::copy_from_slice(line.as_bytes());
        let mut side = Vec::new();
        let (topic, rec) = record(
            &block,
            &mut Place {
                block: &block,
                side: &mut side,
            },
        )
        .map_err(|r| r.code)?;
        let topic = topic.into_owned();
        let records = Records {
            block: block.clone(),
            side: side.into(),
            ..Records::default()
        };
        let part = |span| records.part(span).map(<[u8]>::to_vec);
        Ok((topic, part(rec.key), part(rec.value), rec.timestamp))
    }

    fn value(line: &str) -> Option<String> {
        read(line)
            .unwrap()
            .2
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn values_are_the_bytes_that_were_sent() {
        for (sent, want) in [
            (r#""text""#, Some("text")),
            (r#""a\n\u00e4\"""#, Some("a\nä\"")),
            ("null", None),
            (r#"{ "b" : 1.0 ,"a":[ ]}"#, Some(r#"{ "b" : 1.0 ,"a":[ ]}"#)),
            ("1e400", Some("1e400")),
            (
                "123456789012345678901234567890",
                Some("123456789012345678901234567890"),
            ),
            ("true", Some("true")),
            (r#""""#, Some("")),
        ] {
            let line = format!(r#"{{"topic": "t", "value": {sent}}}"#);
            assert_eq!(value(&line).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn without_a_value_the_whole_line_is_the_value() {
        let line = r#"{"topic":"t","id":1,"timestamp":"any","headers":7}"#;
        assert_eq!(value(line).as_deref(), Some(line));
        let (_, key, _, timestamp) = read(r#"{"topic":"t","key":"k","id":1}"#).unwrap();
        assert_eq!((key.as_deref(), timestamp), (Some(&b"k"[..]), 0));
    }

    #[test]
    fn key_and_timestamp_are_read() {
        let (topic, key, _, timestamp) =
            read(r#"{"topic":"\u0074","key":"k\t1","value":1,"timestamp":1700000000120}"#).unwrap();
        assert_eq!(
            (topic.as_str(), key.as_deref(), timestamp),
            ("t", Some(&b"k\t1"[..]), 1_700_000_000_120)
        );
        let text = r#"{"topic":"t","value":1,"timestamp":"2023-11-14T22:13:20.120Z"}"#;
        assert_eq!(read(text).unwrap().3, 1_700_000_000_120);
        assert_eq!(
            read(r#"{"topic":"t","value":1,"key":7}"#)
                .unwrap()
                .1
                .unwrap(),
            b"7"
        );
    }

    #[test]
    fn headers_keep_their_order() {
        let block = br#"{"topic":"t","value":1,"headers":{"b":"1","a":null,"c":["x","y"]}}"#;
        let mut side = Vec::new();
        let (_, rec) = record(
            block,
            &mut Place {
                block,
                side: &mut side,
            },
        )
        .unwrap();
        let records = Records {
            side: side.into(),
            ..Records::default()
        };
        let read: Vec<_> = headers::read(records.part(rec.headers).unwrap()).collect();
        let want: [(&str, Option<&[u8]>); 4] = [
            ("b", Some(b"1")),
            ("a", None),
            ("c", Some(b"x")),
            ("c", Some(b"y")),
        ];
        assert_eq!(read, want);
    }

    #[test]
    fn lines_that_are_no_records_are_refused() {
        for (line, code) in [
            ("", Code::MalformedJson),
            ("not json", Code::MalformedJson),
            ("[1]", Code::MalformedJson),
            (r#"{"topic":"t","value":1"#, Code::MalformedJson),
            (r#"{"topic":"t","value":{bad}}"#, Code::MalformedJson),
            (r#"{"topic":"t","value":1} x"#, Code::MalformedJson),
            (r#"{"value":1}"#, Code::Invalid),
            (r#"{"topic":7,"value":1}"#, Code::WrongType),
            (r#"{"topic":"t","value":1,"vlaue":2}"#, Code::Invalid),
            (r#"{"topic":"t","topic":"u","value":1}"#, Code::Invalid),
            (
                r#"{"topic":"t","value":1,"timestamp":"noon"}"#,
                Code::WrongType,
            ),
            (r#"{"topic":"t","value":1,"timestamp":-5}"#, Code::WrongType),
            (r#"{"topic":"t","value":1,"headers":[1]}"#, Code::WrongType),
            (
                r#"{"topic":"t","value":1,"headers":{"a":1}}"#,
                Code::WrongType,
            ),
        ] {
            assert_eq!(read(line).unwrap_err(), code, "{line}");
        }
        let bytes = b"{\"topic\":\"t\",\"value\":\"\xff\"}";
        let mut side = Vec::new();
        assert!(
            record(
                bytes,
                &mut Place {
                    block: bytes,
                    side: &mut side
                }
            )
            .is_err()
        );
    }
}
