//! The audit: append-only rows in a hash chain.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// One decision or change: who asked, who did it, why, and the topic before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditRow {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The verb: request, approve, reject, withdraw, cancel, deactivate, reactivate, delete, ...
    pub action: String,
    /// The kind of request that it is about, if any.
    pub kind: Option<String>,
    /// Which topic.
    pub topic_id: Option<i64>,
    /// Which topic, by name.
    pub topic_name: Option<String>,
    /// Who had asked.
    pub requested_by: Option<String>,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// The topic before.
    pub before: Option<Value>,
    /// The topic after.
    pub after: Option<Value>,
    /// Which request.
    pub request_id: Option<i64>,
    /// For whom, when that is not who asked or did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Where a decision came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Source {
    /// `api`, `console`, `cli`, `policy` or `reconciler`.
    pub interface: String,
    /// The address of the client, or of the nearest proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The `X-Request-Id` of the HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_request_id: Option<String>,
}

/// The hash that the first row follows.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A row as a store keeps it: its documents as the JSON text that was hashed.
#[derive(Clone, Copy, Debug)]
pub struct RawRow<'a> {
    /// Its place in the chain.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The verb.
    pub action: &'a str,
    /// The kind of request.
    pub kind: Option<&'a str>,
    /// Which topic.
    pub topic_id: Option<i64>,
    /// Which topic, by name.
    pub topic_name: Option<&'a str>,
    /// Who had asked.
    pub requested_by: Option<&'a str>,
    /// Who did it.
    pub actor: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
    /// The topic before, as JSON.
    pub before: Option<&'a str>,
    /// The topic after, as JSON.
    pub after: Option<&'a str>,
    /// Which request.
    pub request_id: Option<i64>,
    /// For whom.
    pub on_behalf_of: Option<&'a str>,
    /// From where, as JSON.
    pub source: Option<&'a str>,
}

impl RawRow<'_> {
    /// Writes the row's canonical JSON: members in the order of [`AuditRow`], documents as they are
    /// (keys sorted), what newer versions added only where it is there.
    fn write(&self, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        member(to, b"{\"seq\":", &self.seq)?;
        member(to, b",\"at\":", &self.at)?;
        member(to, b",\"action\":", &self.action)?;
        member(to, b",\"kind\":", &self.kind)?;
        member(to, b",\"topic_id\":", &self.topic_id)?;
        member(to, b",\"topic_name\":", &self.topic_name)?;
        member(to, b",\"requested_by\":", &self.requested_by)?;
        member(to, b",\"actor\":", &self.actor)?;
        member(to, b",\"reason\":", &self.reason)?;
        for (name, document) in [("before", self.before), ("after", self.after)] {
            to.extend_from_slice(b",\"");
            to.extend_from_slice(name.as_bytes());
            to.extend_from_slice(b"\":");
            to.extend_from_slice(document.unwrap_or("null").as_bytes());
        }
        member(to, b",\"request_id\":", &self.request_id)?;
        if let Some(who) = self.on_behalf_of {
            member(to, b",\"on_behalf_of\":", &who)?;
        }
        if let Some(source) = self.source {
            to.extend_from_slice(b",\"source\":");
            to.extend_from_slice(source.as_bytes());
        }
        to.push(b'}');
        Ok(())
    }
}

fn member(to: &mut Vec<u8>, name: &[u8], value: &impl Serialize) -> Result<(), serde_json::Error> {
    to.extend_from_slice(name);
    serde_json::to_writer(to, value)
}

/// The hash of a row that follows the row with hash `previous`: SHA-256 over `previous` and the row's
/// canonical JSON, in hex. `buffer` is room to work in, kept by callers that hash many rows.
///
/// # Errors
/// When the row cannot be written as JSON, which no row of ours can cause.
pub fn chain(
    previous: &str,
    row: &RawRow<'_>,
    buffer: &mut Vec<u8>,
) -> Result<String, serde_json::Error> {
    buffer.clear();
    buffer.extend_from_slice(previous.as_bytes());
    row.write(buffer)?;
    let digest: [u8; 32] = Sha256::digest(buffer.as_slice()).into();
    let mut hex = String::with_capacity(64);
    for byte in digest {
        for half in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
    }
    Ok(hex)
}

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Endings of member names whose values are secrets.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "private_key",
    "authorization",
    "jaas.config",
];
/// What every token of ours begins with, and the least length of its rest.
const TOKEN_MARK: (&str, usize) = ("sluice_", 16);

/// Takes secrets out of a document: values of members that are named like one, and tokens of ours anywhere.
pub fn scrub(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase().replace('-', "_");
                let secret = SECRET_NAMES.iter().any(|ending| name.ends_with(ending));
                if secret && !value.is_null() {
                    *value = Value::from(REDACTED);
                } else {
                    scrub(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::String(text) => scrub_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Hexadecimal digits that are taken for a key.
const HEX_KEY_DIGITS: usize = 64;

/// Takes tokens of ours, and keys of hexadecimal digits, out of a text.
pub fn scrub_text(text: &mut String) {
    scrub_hex(text);
    let (mark, rest_min) = TOKEN_MARK;
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(mark)) {
        let start = from + found;
        let rest = text.get(start + mark.len()..).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if length >= rest_min {
            text.replace_range(start..start + mark.len() + length, REDACTED);
            from = start + REDACTED.len();
        } else {
            from = start + mark.len();
        }
    }
}

/// The answer of `GET /api/audit/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Verification {
    /// Whether the whole chain holds.
    pub ok: bool,
    /// Rows that were checked.
    pub rows: i64,
    /// What does not hold.
    pub problems: Vec<ChainProblem>,
}

/// One fault of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChainProblem {
    /// At which row.
    pub seq: i64,
    /// `edited`, `missing`, or `tail` (the file beside the database knows a later head).
    pub kind: String,
}

fn scrub_hex(text: &mut String) {
    let mut from = 0;
    while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
        let start = rest
            .find(|c: char| c.is_ascii_hexdigit())
            .map_or(text.len(), |at| from + at);
        let run = text.get(start..).unwrap_or_default();
        let length = run
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(run.len());
        if length >= HEX_KEY_DIGITS {
            text.replace_range(start..start + length, REDACTED);
            from = start + REDACTED.len();
        } else {
            from = start + length.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> RawRow<'static> {
        RawRow {
            seq: 1,
            at: Timestamp::from_millis(5),
            action: "approve",
            kind: Some("create"),
            topic_id: Some(1),
            topic_name: Some("orders"),
            requested_by: Some("ana"),
            actor: "ben \"b\"",
            reason: None,
            before: None,
            after: Some(r#"{"a":2,"b":1}"#),
            request_id: Some(1),
            on_behalf_of: None,
            source: None,
        }
    }

    fn hash(previous: &str, row: &RawRow<'_>) -> String {
        chain(previous, row, &mut Vec::new()).unwrap()
    }

    #[test]
    fn an_edit_changes_the_hash() {
        let first = hash(GENESIS, &row());
        assert_eq!(first.len(), 64);
        assert_eq!(hash(GENESIS, &row()), first);
        for edited in [
            RawRow {
                actor: "eve",
                ..row()
            },
            RawRow {
                after: Some("{}"),
                ..row()
            },
            RawRow {
                on_behalf_of: Some("eve"),
                ..row()
            },
            RawRow {
                source: Some("{}"),
                ..row()
            },
        ] {
            assert_ne!(hash(GENESIS, &edited), first);
        }
        assert_ne!(hash(&first, &row()), first);
    }

    #[test]
    fn what_is_hashed_is_the_row_as_the_api_shows_it() {
        let raw = RawRow {
            source: Some(r#"{"interface":"api"}"#),
            ..row()
        };
        let mut written = Vec::new();
        raw.write(&mut written).unwrap();
        let shown: AuditRow = serde_json::from_slice(&written).unwrap();
        assert_eq!(serde_json::to_vec(&shown).unwrap(), written);
        assert_eq!(shown.source.unwrap().interface, "api");
    }

    #[test]
    fn secrets_are_taken_out_of_documents_and_texts() {
        let mut document = json!({
            "label": "for sluice_abcdefghij0123456789 only", "sasl_password": "hunter2", "Client-Secret": ["x"],
            "inner": [{"api_key": 7}], "token": null, "token_id": 4, "token_file": "/run/x", "prefix": "sluice_abc"
        });
        scrub(&mut document);
        let expected = json!({
            "label": "for [redacted] only", "sasl_password": "[redacted]", "Client-Secret": "[redacted]",
            "inner": [{"api_key": "[redacted]"}], "token": null, "token_id": 4, "token_file": "/run/x",
            "prefix": "sluice_abc"
        });
        assert_eq!(document, expected);
        let mut text = format!("é {}, and deadbeef stays", "0a".repeat(32));
        scrub_text(&mut text);
        assert_eq!(text, "é [redacted], and deadbeef stays");
    }
}
