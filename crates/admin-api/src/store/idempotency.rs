//! Answers kept for repeated requests.

use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, params};
use sluice_model::time::Timestamp;

/// How long an answer is kept, in milliseconds.
const KEEP_MS: i64 = 24 * 3_600_000;

/// A kept answer.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Hash of the request that it answered.
    pub request_hash: Vec<u8>,
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: String,
}

/// The answer kept under an account's key.
///
/// # Errors
/// When SQLite fails.
pub fn find(connection: &Connection, account: &str, key: &str) -> Outcome<Option<Kept>> {
    let mut statement = connection.prepare_cached(
        "SELECT request_hash, status, body FROM idempotency WHERE account = ?1 AND key = ?2",
    )?;
    let found = statement.query_row(params![account, key], |row| {
        Ok(Kept {
            request_hash: row.get(0)?,
            status: row.get(1)?,
            body: row.get(2)?,
        })
    });
    Ok(found.optional()?)
}

/// Keeps an answer, and forgets those that are too old.
///
/// # Errors
/// When SQLite fails.
pub fn keep(
    connection: &Connection,
    account: &str,
    key: &str,
    kept: &Kept,
    now: Timestamp,
) -> Outcome<()> {
    connection.execute(
        "DELETE FROM idempotency WHERE created_at < ?1",
        [now.plus_millis(-KEEP_MS).as_millis()],
    )?;
    connection.execute(
        "INSERT INTO idempotency (account, key, request_hash, status, body, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            account,
            key,
            kept.request_hash,
            kept.status,
            kept.body,
            now.as_millis()
        ],
    )?;
    Ok(())
}
