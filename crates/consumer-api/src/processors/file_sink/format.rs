//! What a record looks like in a file.

use super::super::SinkError;
use crate::batch::Entry;
use crate::batch::json::Encoder;
use crate::batch::text::{HeaderList, encoding_name, text};
use sluice_model::time::Timestamp;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The whole record as a line of JSON.
    Envelope,
    /// Its value alone, a line each.
    Value,
    /// A line of RFC 4180 under a header line.
    Csv,
}

/// The columns of CSV. An encoding is `utf8`, `base64`, or `null` for what is not there.
const COLUMNS: [&str; 9] = [
    "topic",
    "partition",
    "offset",
    "timestamp",
    "key",
    "value",
    "headers",
    "key_encoding",
    "value_encoding",
];
/// What one CSV writer gathers before it appends.
const CSV_BUFFER_BYTES: usize = 64 * 1024;

impl Format {
    /// Every name of a format.
    pub(super) const NAMES: [&'static str; 3] = ["envelope", "value", "csv"];

    /// The format of a name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let formats = [Self::Envelope, Self::Value, Self::Csv];
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        formats.get(place).copied()
    }

    /// How names of its files end.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Envelope => "jsonl",
            Self::Value => "txt",
            Self::Csv => "csv",
        }
    }
}

/// Lines that are about to be written. It is kept, and what it has allocated with it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The lines.
    pub(super) bytes: Vec<u8>,
    encoder: Encoder,
}

impl Lines {
    /// What a file begins with.
    pub(super) fn header(&mut self, format: Format) {
        if format == Format::Csv {
            self.bytes.extend_from_slice(COLUMNS.join(",").as_bytes());
            self.bytes.push(b'\n');
        }
    }

    /// Appends records as lines.
    pub(super) fn encode(&mut self, format: Format, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        match format {
            Format::Envelope => {
                for entry in batch {
                    self.encoder.record(&mut self.bytes, entry);
                    self.bytes.push(b'\n');
                }
                Ok(())
            }
            Format::Value => batch
                .iter()
                .try_for_each(|entry| value(&mut self.bytes, entry)),
            Format::Csv => csv_lines(&mut self.bytes, batch),
        }
    }
}

fn json_fault(error: serde_json::Error) -> SinkError {
    SinkError::poison(format!("a record as JSON: {error}"))
}

fn value(lines: &mut Vec<u8>, entry: &Entry<'_>) -> Result<(), SinkError> {
    match entry.value {
        Some(bytes) if plain(bytes) => lines.extend_from_slice(bytes),
        // A line cannot hold it as it is: JSON keeps null, line breaks and base64 readable.
        other => {
            let text = other.map(|bytes| text(bytes).0);
            serde_json::to_writer(&mut *lines, &text).map_err(json_fault)?;
        }
    }
    lines.push(b'\n');
    Ok(())
}

/// Whether a value can stand as one line.
fn plain(value: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', value).is_none() && std::str::from_utf8(value).is_ok()
}

fn csv_lines(lines: &mut Vec<u8>, batch: &[Entry<'_>]) -> Result<(), SinkError> {
    let fault = |error: csv::Error| SinkError::poison(format!("a record as CSV: {error}"));
    let mut writer = csv::WriterBuilder::new()
        .buffer_capacity(CSV_BUFFER_BYTES)
        .from_writer(lines);
    for entry in batch {
        let part = |bytes: Option<&'_ [u8]>| match bytes {
            None => (String::new(), "null"),
            Some(bytes) => {
                let (text, encoding) = text(bytes);
                (text.into_owned(), encoding_name(encoding))
            }
        };
        let ((key, key_encoding), (value, value_encoding)) = (part(entry.key), part(entry.value));
        let at = entry.timestamp.map(Timestamp::from_millis);
        let headers = serde_json::to_string(&HeaderList(entry)).map_err(json_fault)?;
        writer
            .write_record([
                entry.topic,
                &entry.partition.to_string(),
                &entry.offset.to_string(),
                &at.map_or_else(String::new, |at| at.to_string()),
                &key,
                &value,
                &headers,
                key_encoding,
                value_encoding,
            ])
            .map_err(fault)?;
    }
    Ok(writer.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn entry<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Entry<'a> {
        Entry {
            topic: "t",
            partition: 3,
            offset: 9,
            timestamp: Some(1_700_000_000_123),
            key,
            value,
            headers: vec![("h", None), ("h", Some(b"x")), ("b", Some(&[0xff]))],
        }
    }

    proptest! {
        #[test]
        fn csv_gives_back_what_was_put_in(
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
        ) {
            let entry = entry(Some(b"a,\"b\"\r\n"), value.as_deref());
            let mut lines = Lines::default();
            lines.header(Format::Csv);
            lines.encode(Format::Csv, &[entry.clone(), entry]).unwrap();
            let mut reader = csv::Reader::from_reader(lines.bytes.as_slice());
            prop_assert_eq!(reader.headers().unwrap(), &csv::StringRecord::from(COLUMNS.to_vec()));
            let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
            prop_assert_eq!(rows.len(), 2);
            prop_assert_eq!(&rows[1][4], "a,\"b\"\r\n");
            prop_assert_eq!(&rows[1][6], r#"[["h",null],["h","x"],["b","/w==","base64"]]"#);
            let back = match &rows[1][8] {
                "null" => None,
                "base64" => Some(STANDARD.decode(&rows[1][5]).unwrap()),
                _ => Some(rows[1][5].as_bytes().to_vec()),
            };
            prop_assert_eq!(back, value);
        }
    }
}
