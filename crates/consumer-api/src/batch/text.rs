//! The parts of a record as text, without a copy where they are text already.

use super::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeSeq as _, Serializer};
use sluice_model::record::Encoding;
use std::borrow::Cow;

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
