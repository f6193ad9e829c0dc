//! Switches that admins turn at run time.

use super::Millis;
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sluice_model::time::Timestamp;

/// The switch of all deletions.
const DELETIONS: &str = "deletions";

/// How a switch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Switch {
    /// Whether it is on.
    pub enabled: bool,
    /// Who turned it.
    pub by: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// The switch of all deletions; on until somebody turns it.
///
/// # Errors
/// When SQLite fails.
pub fn deletions(connection: &Connection) -> Outcome<Switch> {
    let mut statement = connection
        .prepare_cached("SELECT enabled, by, at, reason FROM switches WHERE name = ?1")?;
    let found = statement.query_row([DELETIONS], |row| {
        Ok(Switch {
            enabled: row.get(0)?,
            by: row.get(1)?,
            at: Some(row.get::<_, Millis>(2)?.0),
            reason: row.get(3)?,
        })
    });
    let untouched = Switch {
        enabled: true,
        by: None,
        at: None,
        reason: None,
    };
    Ok(found.optional()?.unwrap_or(untouched))
}

/// Turns the switch of all deletions.
///
/// # Errors
/// When SQLite fails.
pub fn turn_deletions(connection: &Connection, switch: &Switch) -> Outcome<()> {
    connection.execute(
        "INSERT INTO switches (name, enabled, by, at, reason) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET enabled = excluded.enabled, by = excluded.by, at = excluded.at,
             reason = excluded.reason",
        params![
            DELETIONS,
            switch.enabled,
            switch.by,
            switch.at.map(Timestamp::as_millis),
            switch.reason,
        ],
    )?;
    Ok(())
}
