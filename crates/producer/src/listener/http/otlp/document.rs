//! One log record as JSON: everything that the protocol carries, in plain JSON where JSON has a word for it.

use super::super::forms::Collector;
use crate::assemble::plain;
use crate::batch::{Rec, Refusal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use std::borrow::Cow;
use std::fmt::Write as _;

/// A log record with what it belongs to.
pub(super) type Logged<'a> = (&'a ResourceLogs, &'a ScopeLogs, &'a LogRecord);

/// An attribute of a resource as text; none when it is missing, empty or no single value.
pub(super) fn attribute(resource_logs: &ResourceLogs, name: &str) -> Option<String> {
    let attributes = &resource_logs.resource.as_ref()?.attributes;
    let found = attributes
        .iter()
        .find(|pair| pair.key == name && !name.is_empty())?;
    let text = match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A log record as a record.
pub(super) fn rec(
    all: &mut Collector,
    topic: &str,
    key: Option<&str>,
    logged: Logged<'_>,
) -> Result<Rec, Refusal> {
    let topic = all.assembler.topic(topic)?;
    let key = key.map(|key| all.assembler.place().decoded(key.as_bytes()));
    let document = Document::of(logged);
    let value = all.assembler.written(|side| {
        // Writing strings and numbers into memory does not fail.
        let _written = document.serialize(&mut serde_json::Serializer::new(side));
    });
    Ok(Rec {
        key,
        ..plain(topic, Some(value))
    })
}

#[derive(Serialize)]
struct Document<'a> {
    /// When it happened, for people; else when it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    /// Numbers of this size lose digits in many readers of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_unix_nano: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_time_unix_nano: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    severity_number: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    severity_text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    event_name: &'a str,
    body: Plain<'a>,
    attributes: Pairs<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    span_id: String,
    resource: ResourceDocument<'a>,
    scope: ScopeDocument<'a>,
}

#[derive(Serialize)]
struct ResourceDocument<'a> {
    attributes: Pairs<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "<[EntityRef]>::is_empty")]
    entity_refs: &'a [EntityRef],
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

#[derive(Serialize)]
struct ScopeDocument<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    attributes: Pairs<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

impl<'a> Document<'a> {
    fn of((resource_logs, scope_logs, record): Logged<'a>) -> Self {
        let nanos = |nanos: u64| (nanos > 0).then(|| nanos.to_string());
        let shown = [record.time_unix_nano, record.observed_time_unix_nano];
        let scope = scope_logs.scope.as_ref();
        let resource = resource_logs.resource.as_ref();
        let of_scope = |part: fn(&InstrumentationScope) -> &str| scope.map_or("", part);
        let of_resource = |part: fn(&Resource) -> &[KeyValue]| resource.map_or(&[][..], part);
        Self {
            timestamp: shown.into_iter().find(|nanos| *nanos > 0).map(rfc_3339),
            time_unix_nano: nanos(record.time_unix_nano),
            observed_time_unix_nano: nanos(record.observed_time_unix_nano),
            severity_number: record.severity_number,
            severity_text: &record.severity_text,
            event_name: &record.event_name,
            body: Plain(record.body.as_ref()),
            attributes: Pairs(&record.attributes),
            dropped_attributes_count: record.dropped_attributes_count,
            flags: record.flags,
            trace_id: hex(&record.trace_id),
            span_id: hex(&record.span_id),
            resource: ResourceDocument {
                attributes: Pairs(of_resource(|resource| &resource.attributes)),
                dropped_attributes_count: resource
                    .map_or(0, |resource| resource.dropped_attributes_count),
                entity_refs: resource.map_or(&[][..], |resource| &resource.entity_refs),
                schema_url: &resource_logs.schema_url,
            },
            scope: ScopeDocument {
                name: of_scope(|scope| &scope.name),
                version: of_scope(|scope| &scope.version),
                attributes: Pairs(scope.map_or(&[][..], |scope| &scope.attributes)),
                dropped_attributes_count: scope.map_or(0, |scope| scope.dropped_attributes_count),
                schema_url: &scope_logs.schema_url,
            },
        }
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn rfc_3339(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let seconds = (nanos / SECOND) as i64;
    let whole =
        sluice_model::time::Timestamp::from_millis(seconds.saturating_mul(1000)).to_string();
    let whole = whole
        .split(['.', 'Z'])
        .next()
        .unwrap_or_default()
        .to_owned();
    format!("{whole}.{:09}Z", nanos % SECOND)
}

/// Attributes as an object, in their order.
struct Pairs<'a>(&'a [KeyValue]);

impl Pairs<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|pair| (&pair.key, Plain(pair.value.as_ref()))),
        )
    }
}

/// A value as plain JSON. Bytes, and numbers that JSON lacks, are written so that they are told from text.
struct Plain<'a>(Option<&'a AnyValue>);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.and_then(|value| value.value.as_ref()) {
            None | Some(Value::StringValueStrindex(_)) => serializer.serialize_none(),
            Some(Value::StringValue(text)) => serializer.serialize_str(text),
            Some(Value::BoolValue(truth)) => serializer.serialize_bool(*truth),
            Some(Value::IntValue(number)) => serializer.serialize_i64(*number),
            Some(Value::DoubleValue(number)) if number.is_finite() => {
                serializer.serialize_f64(*number)
            }
            Some(Value::DoubleValue(number)) => {
                let word = match number {
                    number if number.is_nan() => "NaN",
                    number if *number > 0.0 => "Infinity",
                    _ => "-Infinity",
                };
                tagged(serializer, "double", Cow::Borrowed(word))
            }
            Some(Value::ArrayValue(list)) => {
                serializer.collect_seq(list.values.iter().map(|value| Plain(Some(value))))
            }
            Some(Value::KvlistValue(pairs)) => Pairs(&pairs.values).serialize(serializer),
            Some(Value::BytesValue(bytes)) => tagged(
                serializer,
                "bytes_base64",
                Cow::Owned(STANDARD.encode(bytes)),
            ),
        }
    }
}

fn tagged<S: Serializer>(serializer: S, tag: &str, text: Cow<'_, str>) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, &text)?;
    map.end()
}
