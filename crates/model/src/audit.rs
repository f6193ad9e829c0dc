//! The audit: append-only rows in a hash chain.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

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
}

/// The hash that the first row follows.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hash of a row that follows the row with hash `previous`: SHA-256 over `previous` and the row's
/// canonical JSON (members in the order of the struct, keys of nested objects sorted), in hex.
///
/// # Errors
/// When the row cannot be written as JSON, which no row of ours can cause.
pub fn chain(previous: &str, row: &AuditRow) -> Result<String, serde_json::Error> {
    let mut hasher = Sha256::new();
    hasher.update(previous.as_bytes());
    hasher.update(serde_json::to_vec(row)?);
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _infallible = write!(hex, "{byte:02x}");
    }
    Ok(hex)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_the_hash() {
        let row = AuditRow {
            seq: 1,
            at: Timestamp::from_millis(5),
            action: "approve".into(),
            kind: Some("create".into()),
            topic_id: Some(1),
            topic_name: Some("orders".into()),
            requested_by: Some("ana".into()),
            actor: "ben".into(),
            reason: None,
            before: None,
            after: Some(serde_json::json!({"b": 1, "a": 2})),
            request_id: Some(1),
        };
        let hash = chain(GENESIS, &row).unwrap();
        let edited = AuditRow {
            actor: "eve".into(),
            ..row.clone()
        };
        assert_eq!(hash.len(), 64);
        assert_eq!(chain(GENESIS, &row).unwrap(), hash);
        assert_ne!(chain(GENESIS, &edited).unwrap(), hash);
        assert_ne!(chain(&hash, &row).unwrap(), hash);
    }
}
