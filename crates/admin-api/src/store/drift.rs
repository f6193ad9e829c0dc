//! Disagreements that somebody said may stay.

use super::Millis;
use crate::error::Outcome;
use rusqlite::{Connection, params};
use sluice_model::drift::{DriftKey, DriftKind, Ignored};
use std::collections::BTreeMap;

/// Lets a disagreement stay.
///
/// # Errors
/// When SQLite fails.
pub fn ignore(connection: &Connection, of: &DriftKey, ignored: &Ignored) -> Outcome<()> {
    connection.execute(
        "INSERT INTO drift_ignored (topic_name, kind, key, by, at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET by = excluded.by, at = excluded.at, reason = excluded.reason",
        params![
            of.topic_name,
            of.kind.as_str(),
            of.key.as_deref().unwrap_or_default(),
            ignored.by,
            ignored.at.as_millis(),
            ignored.reason,
        ],
    )?;
    Ok(())
}

/// Heeds a disagreement again.
///
/// # Errors
/// When SQLite fails.
pub fn heed(connection: &Connection, of: &DriftKey) -> Outcome<()> {
    connection.execute(
        "DELETE FROM drift_ignored WHERE topic_name = ?1 AND kind = ?2 AND key = ?3",
        params![
            of.topic_name,
            of.kind.as_str(),
            of.key.as_deref().unwrap_or_default(),
        ],
    )?;
    Ok(())
}

/// All that may stay.
///
/// # Errors
/// When SQLite fails.
pub fn ignored(connection: &Connection) -> Outcome<BTreeMap<DriftKey, Ignored>> {
    let mut statement = connection
        .prepare_cached("SELECT topic_name, kind, key, by, at, reason FROM drift_ignored")?;
    let rows = statement.query_map([], |row| {
        let kind: String = row.get(1)?;
        let key: String = row.get(2)?;
        let ignored = Ignored {
            by: row.get(3)?,
            at: row.get::<_, Millis>(4)?.0,
            reason: row.get(5)?,
        };
        Ok((row.get(0)?, kind, key, ignored))
    })?;
    let mut found = BTreeMap::new();
    for row in rows {
        let (topic_name, kind, key, ignored) = row?;
        if let Some(kind) = DriftKind::parse(&kind) {
            let key = Some(key).filter(|key| !key.is_empty());
            let of = DriftKey {
                topic_name,
                kind,
                key,
            };
            found.insert(of, ignored);
        }
    }
    Ok(found)
}
