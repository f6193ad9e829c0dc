//! Versions of the policy.

use super::Json;
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, params};
use sluice_model::policy::Policy;
use sluice_model::time::Timestamp;

/// The newest version and its number; `None` while nobody has written one over the API.
///
/// # Errors
/// When SQLite fails.
pub fn newest(connection: &Connection) -> Outcome<Option<(i64, Policy)>> {
    let mut statement = connection
        .prepare_cached("SELECT version, body FROM policies ORDER BY version DESC LIMIT 1")?;
    let found = statement.query_row([], |row| Ok((row.get(0)?, row.get::<_, Json<_>>(1)?.0)));
    Ok(found.optional()?)
}

/// Appends a version; answers its number.
///
/// # Errors
/// When SQLite fails.
pub fn append(
    connection: &Connection,
    policy: &Policy,
    author: &str,
    at: Timestamp,
) -> Outcome<i64> {
    connection.execute(
        "INSERT INTO policies (at, author, body) VALUES (?1, ?2, ?3)",
        params![at.as_millis(), author, serde_json::to_string(policy)?],
    )?;
    Ok(connection.last_insert_rowid())
}
