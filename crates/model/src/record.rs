//! One record, everywhere the same: stream events, record listings and file lines.

use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// How the bytes of a key or value are written as a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// The bytes are UTF-8 and stand as they are.
    Utf8,
    /// The bytes are not UTF-8 and stand in standard base64.
    Base64,
}

/// A record of Kafka, lossless: null and empty stay different, headers keep order and repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Record {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was created or appended, if Kafka says so.
    pub timestamp: Option<Timestamp>,
    /// Its key.
    pub key: Option<String>,
    /// Its value; null is a tombstone.
    pub value: Option<String>,
    /// Its headers in order: `[name, value]`, or `[name, value, "base64"]` for a value that is not UTF-8.
    pub headers: Vec<Header>,
    /// How `key` is written.
    pub key_encoding: Encoding,
    /// How `value` is written.
    pub value_encoding: Encoding,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Header {
    /// Name and UTF-8 value (or null).
    Text(String, Option<String>),
    /// Name, base64 value and the word `base64`.
    Bytes(String, String, Encoding),
}

impl Header {
    /// From the parts that Kafka gives.
    pub fn new(name: &str, value: Option<&[u8]>) -> Self {
        match text(value) {
            (value, Encoding::Utf8) => Self::Text(name.to_owned(), value),
            (value, encoding) => Self::Bytes(name.to_owned(), value.unwrap_or_default(), encoding),
        }
    }
}

/// Bytes as a JSON string: UTF-8 as it is, anything else in base64.
pub fn text(bytes: Option<&[u8]>) -> (Option<String>, Encoding) {
    match bytes.map(std::str::from_utf8) {
        None => (None, Encoding::Utf8),
        Some(Ok(text)) => (Some(text.to_owned()), Encoding::Utf8),
        Some(Err(_)) => (bytes.map(|bytes| STANDARD.encode(bytes)), Encoding::Base64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_empty_text_and_bytes_stay_apart() {
        assert_eq!(text(None), (None, Encoding::Utf8));
        assert_eq!(text(Some(b"")), (Some(String::new()), Encoding::Utf8));
        assert_eq!(
            text(Some("ä".as_bytes())),
            (Some("ä".to_owned()), Encoding::Utf8)
        );
        assert_eq!(
            text(Some(&[0xff])),
            (Some("/w==".to_owned()), Encoding::Base64)
        );
    }

    #[test]
    fn headers_are_arrays() {
        let json = |header: Header| serde_json::to_string(&header).unwrap();
        assert_eq!(json(Header::new("h", Some(b"v"))), r#"["h","v"]"#);
        assert_eq!(json(Header::new("h", None)), r#"["h",null]"#);
        assert_eq!(
            json(Header::new("h", Some(&[0xff]))),
            r#"["h","/w==","base64"]"#
        );
        let back: Header = serde_json::from_str(r#"["h","/w==","base64"]"#).unwrap();
        assert_eq!(back, Header::new("h", Some(&[0xff])));
    }
}
