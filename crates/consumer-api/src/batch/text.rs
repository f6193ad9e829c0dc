//! The parts of a record as text, without a copy where they are text already.

use super::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeSeq as _, Serializer};
use sluice_model::record::Encoding;
use sluice_model::time::Timestamp;
use std::borrow::Cow;

/// Milliseconds of a minute; what is longer than it is kept as text between two records.
const MINUTE_MS: i64 = 60_000;
/// The first instant whose year has no four digits.
const YEAR_10000_MS: i64 = 253_402_300_800_000;
/// Where the seconds begin in the text of an instant.
const SECONDS_AT: usize = 17;

/// Instants as text in RFC 3339, to the millisecond. The part that neighbours share is kept.
#[derive(Clone, Debug, Default)]
pub struct Instants {
    minute: Option<i64>,
    text: String,
}

impl Instants {
    /// The text of an instant.
    pub fn text(&mut self, ms: i64) -> &str {
        if !(0..YEAR_10000_MS).contains(&ms) {
            self.minute = None;
            self.text = Timestamp::from_millis(ms).to_string();
            return &self.text;
        }
        let minute = ms.div_euclid(MINUTE_MS);
        if self.minute != Some(minute) {
            self.minute = Some(minute);
            self.text = Timestamp::from_millis(minute * MINUTE_MS).to_string();
        }
        let rest = ms.rem_euclid(MINUTE_MS);
        let (s, ms) = (rest / 1000, rest % 1000);
        let digit = |number: i64| char::from(b'0' + (number % 10) as u8);
        self.text.truncate(SECONDS_AT);
        self.text.extend([
            digit(s / 10),
            digit(s),
            '.',
            digit(ms / 100),
            digit(ms / 10),
            digit(ms),
            'Z',
        ]);
        &self.text
    }
}

/// Bytes as text: UTF-8 as it is, anything else in base64.
pub fn text(bytes: &[u8]) -> (Cow<'_, str>, Encoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), Encoding::Utf8),
        Err(_) => (Cow::Owned(STANDARD.encode(bytes)), Encoding::Base64),
    }
}

/// How an encoding is named.
pub const fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Utf8 => "utf8",
        Encoding::Base64 => "base64",
    }
}

/// The headers of a record as the model's `Header`s.
#[derive(Debug)]
pub struct HeaderList<'e>(pub &'e Entry<'e>);

impl Serialize for HeaderList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.headers.len()))?;
        for (name, value) in &self.0.headers {
            match value.map(text) {
                None => list.serialize_element(&(name, None::<&str>))?,
                Some((text, Encoding::Utf8)) => list.serialize_element(&(name, text))?,
                Some((text, encoding)) => list.serialize_element(&(name, text, encoding))?,
            }
        }
        list.end()
    }
}
