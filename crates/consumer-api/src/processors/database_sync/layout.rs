//! How a record becomes a row: a column a member, or the columns that the configuration maps.

use super::super::SinkError;
use crate::batch::Entry;
use crate::batch::text::{HeaderList, Instants, encoding_name, text};
use serde_json::{Map, Value};
use sluice_model::record::Encoding;
use std::borrow::Cow;

/// The most columns that a configuration maps.
pub(super) const COLUMNS_MAX: usize = 200;
/// The longest name of a table, schema or column: what every database takes.
pub(super) const NAME_BYTES_MAX: usize = 63;
/// What databases take as an instant: the years 1000 to 9999. Others are what a broken clock wrote.
const INSTANT_MIN: i64 = -30_610_224_000_000;
const INSTANT_MAX: i64 = 253_402_300_799_999;

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic,
    TopicId,
    Partition,
    Offset,
    Timestamp,
    TimestampMs,
    Key,
    Value,
    Headers,
    KeyEncoding,
    ValueEncoding,
    /// The last header of a name.
    Header(String),
    /// A JSON pointer into the value.
    Pointer(String),
}

impl Source {
    /// Reads a source as it is written in a configuration.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.starts_with('/') {
            return Ok(Self::Pointer(text.to_owned()));
        }
        Ok(match text {
            "$topic" => Self::Topic,
            "$partition" => Self::Partition,
            "$offset" => Self::Offset,
            "$timestamp" => Self::Timestamp,
            "$timestamp_ms" => Self::TimestampMs,
            "$key" => Self::Key,
            "$value" => Self::Value,
            "$headers" => Self::Headers,
            _ => match text.strip_prefix("$header.") {
                Some(name) if !name.is_empty() => Self::Header(name.to_owned()),
                _ => {
                    return Err(format!(
                        "is a JSON pointer into the value, $topic, $partition, $offset, $timestamp, \
                         $timestamp_ms, $key, $value, $headers or $header.NAME, not {text:?}"
                    ));
                }
            },
        })
    }
}

/// A table and its columns.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Its name, with a schema before it if one was given.
    pub(super) table: Vec<String>,
    /// Columns and what they hold.
    pub(super) columns: Vec<(String, Source)>,
    /// Whether it is our own table with a column a member.
    pub(super) raw: bool,
    needs_json: bool,
}

/// Our own table: the members of a record, and which topic the name stood for.
const RAW: [(&str, Source); 10] = [
    ("topic", Source::Topic),
    ("partition", Source::Partition),
    ("offset", Source::Offset),
    ("timestamp", Source::Timestamp),
    ("key", Source::Key),
    ("value", Source::Value),
    ("headers", Source::Headers),
    ("key_encoding", Source::KeyEncoding),
    ("value_encoding", Source::ValueEncoding),
    ("topic_id", Source::TopicId),
];

/// What a column gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'e> {
    Null,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(Cow<'e, str>),
    /// Milliseconds since the epoch.
    Instant(i64),
}

impl Cell<'_> {
    /// About the bytes that it takes on its way.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 1,
            _ => 24,
        }
    }
}

impl Layout {
    /// Of a configuration that was checked.
    pub(super) fn of(table: &str, columns: Option<&Map<String, Value>>) -> Result<Self, String> {
        let table = table.split('.').map(str::to_owned).collect();
        let Some(columns) = columns else {
            let columns = RAW.map(|(name, source)| (name.to_owned(), source));
            return Ok(Self {
                table,
                columns: columns.into(),
                raw: true,
                needs_json: false,
            });
        };
        let read = |(name, source): (&String, &Value)| {
            let source = source.as_str().ok_or("is no string")?;
            Ok((name.clone(), Source::parse(source)?))
        };
        let columns: Vec<_> = columns.iter().map(read).collect::<Result<_, String>>()?;
        let pointer = |(_, source): &(_, Source)| matches!(source, Source::Pointer(_));
        Ok(Self {
            table,
            needs_json: columns.iter().any(pointer),
            columns,
            raw: false,
        })
    }

    /// The table as it stands in SQL.
    pub(super) fn quoted_table(&self, quote: char) -> String {
        let parts: Vec<_> = self
            .table
            .iter()
            .map(|part| format!("{quote}{part}{quote}"))
            .collect();
        parts.join(".")
    }

    /// The columns as they stand in SQL.
    pub(super) fn quoted_columns(&self, quote: char) -> String {
        let name = |(name, _): &(String, Source)| format!("{quote}{name}{quote}");
        self.columns.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// Appends the row of a record. Text with NUL is written in base64 where the database has no NUL.
    pub(super) fn row<'e>(
        &self,
        entry: &Entry<'e>,
        topic_id: i64,
        nul: bool,
        cells: &mut Vec<Cell<'e>>,
    ) -> Result<(), SinkError> {
        let value = if self.needs_json {
            let parsed = entry.value.map(serde_json::from_slice::<Value>).transpose();
            parsed.map_err(|error| {
                SinkError::poison(format!("the value is no JSON: {error}")).of(entry)
            })?
        } else {
            None
        };
        // Our own table asks for a value and then for how it is written: it is looked at once.
        let (mut key_encoding, mut value_encoding) = (None, None);
        for (_, source) in &self.columns {
            cells.push(match source {
                Source::Topic => Cell::Text(Cow::Borrowed(entry.topic)),
                Source::TopicId => Cell::Integer(topic_id),
                Source::Partition => Cell::Integer(entry.partition.into()),
                Source::Offset => Cell::Integer(entry.offset),
                Source::Timestamp => entry.timestamp.map_or(Cell::Null, Cell::Instant),
                Source::TimestampMs => entry.timestamp.map_or(Cell::Null, Cell::Integer),
                Source::Key => keep(bytes(entry.key, nul), &mut key_encoding),
                Source::Value => keep(bytes(entry.value, nul), &mut value_encoding),
                Source::KeyEncoding => encoding(key_encoding, entry.key, nul),
                Source::ValueEncoding => encoding(value_encoding, entry.value, nul),
                Source::Headers => Cell::Text(headers(entry)?),
                Source::Header(name) => header(entry, name, nul),
                Source::Pointer(pointer) => value
                    .as_ref()
                    .and_then(|value| value.pointer(pointer))
                    .map_or(Cell::Null, member),
            });
        }
        Ok(())
    }
}

fn headers(entry: &Entry<'_>) -> Result<Cow<'static, str>, SinkError> {
    if entry.headers.is_empty() {
        return Ok(Cow::Borrowed("[]"));
    }
    serde_json::to_string(&HeaderList(entry))
        .map(Cow::Owned)
        .map_err(|error| SinkError::poison(format!("headers as JSON: {error}")).of(entry))
}

fn header<'e>(entry: &Entry<'e>, wanted: &str, nul: bool) -> Cell<'e> {
    let mut found = entry
        .headers
        .iter()
        .rev()
        .filter(|(name, _)| *name == wanted);
    found
        .next()
        .map_or(Cell::Null, |(_, value)| bytes(*value, nul).0)
}

/// A cell, after how it is written was noted.
fn keep<'e>((cell, how): (Cell<'e>, Encoding), kept: &mut Option<Encoding>) -> Cell<'e> {
    *kept = Some(how);
    cell
}

/// The name of an encoding that was noted, or is found now.
fn encoding(kept: Option<Encoding>, part: Option<&[u8]>, nul: bool) -> Cell<'static> {
    let encoding = kept.unwrap_or_else(|| bytes(part, nul).1);
    Cell::Text(Cow::Borrowed(encoding_name(encoding)))
}

fn bytes(bytes: Option<&[u8]>, nul: bool) -> (Cell<'_>, Encoding) {
    match bytes {
        None => (Cell::Null, Encoding::Utf8),
        Some(bytes) if !nul && bytes.contains(&0) => {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            (Cell::Text(text.into()), Encoding::Base64)
        }
        Some(bytes) => {
            let (text, encoding) = text(bytes);
            (Cell::Text(text), encoding)
        }
    }
}

/// A member of a JSON value, as the database may cast it to its column's type.
fn member(value: &Value) -> Cell<'static> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(flag) => Cell::Flag(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Cell::Integer(integer),
            (None, Some(large)) => Cell::Text(large.to_string().into()),
            (None, None) => number.as_f64().map_or(Cell::Null, Cell::Number),
        },
        Value::String(text) => Cell::Text(text.clone().into()),
        other => Cell::Text(other.to_string().into()),
    }
}

/// An instant that every database takes, as RFC 3339.
pub(super) fn instant(instants: &mut Instants, ms: i64) -> &str {
    instants.text(ms.clamp(INSTANT_MIN, INSTANT_MAX))
}

/// Whether a name can be quoted everywhere. Reserved words can; quotes and control characters cannot.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ' ');
    let own = ["sluice_offsets", "sluice_owners"].contains(&name.to_ascii_lowercase().as_str());
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(plain) && !own
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cells(columns: &Value, value: &'static [u8]) -> Result<Vec<Cell<'static>>, SinkError> {
        let layout = Layout::of("t", columns.as_object()).unwrap();
        let entry = Entry {
            topic: "t",
            partition: 0,
            offset: 5,
            timestamp: Some(1),
            key: Some(b"a\0b"),
            value: Some(value),
            headers: vec![("h", Some(b"1")), ("h", Some(b"2")), ("n", None)],
        };
        let mut cells = Vec::new();
        layout.row(&entry, 7, false, &mut cells)?;
        Ok(cells)
    }

    #[test]
    fn members_keep_what_they_are() {
        let pointers =
            json!({"a": "/a", "b": "/b/0", "c": "/c", "d": "/none", "e": "/b", "f": "/f"});
        let found = cells(
            &pointers,
            br#"{"a":1,"b":[true],"c":1.5,"f":18446744073709551615}"#,
        )
        .unwrap();
        let text = |text: &str| Cell::Text(text.to_owned().into());
        assert_eq!(
            found,
            [
                Cell::Integer(1),
                Cell::Flag(true),
                Cell::Number(1.5),
                Cell::Null,
                text("[true]"),
                text("18446744073709551615")
            ]
        );
        let others = json!({"h": "$header.h", "k": "$key", "n": "$header.n", "o": "$offset"});
        let found = cells(&others, b"no json").unwrap();
        assert_eq!(
            found,
            [text("2"), text("YQBi"), Cell::Null, Cell::Integer(5)]
        );
        let error = cells(&pointers, b"no json").unwrap_err();
        assert_eq!(error.culprit, Some(("t".to_owned(), 0, 5)));
    }

    #[test]
    fn names_and_sources_that_cannot_be_are_refused() {
        for name in ["order", "Größe", "a b", "select"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "a\"b",
            "a`b",
            "a;b",
            "a\0",
            "sluice_offsets",
            &"x".repeat(64),
        ] {
            assert!(!is_name(name), "{name}");
        }
        for source in ["a", "$", "$header.", "$no"] {
            assert!(Source::parse(source).is_err(), "{source}");
        }
    }
}
