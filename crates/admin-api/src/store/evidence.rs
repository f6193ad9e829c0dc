//! What deletions are decided by: the evidence on their requests, and which producer sent to what.

use super::{Json, Millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, params};
use sluice_model::time::Timestamp;
use sluice_model::usage::Evidence;
use std::collections::BTreeMap;

/// A pending deletion whose evidence is missing or wanted anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which request.
    pub request_id: i64,
    /// About which topic.
    pub topic_id: i64,
    /// What was found last.
    pub last: Option<Evidence>,
}

/// Asks for fresh evidence of a request.
///
/// # Errors
/// When SQLite fails.
pub fn want(connection: &Connection, request_id: i64, now: Timestamp) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO evidence (request_id, wanted_at) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET wanted_at = excluded.wanted_at",
        )?
        .execute(params![request_id, now.as_millis()])?;
    Ok(())
}

/// Pending deletions without evidence, with evidence that is wanted anew, or that was gathered before
/// `stale`; the longest waiting first.
///
/// # Errors
/// When SQLite fails.
pub fn wanted(connection: &Connection, stale: Timestamp, limit: u32) -> Outcome<Vec<Wanted>> {
    let mut statement = connection.prepare_cached(
        "SELECT r.request_id, r.topic_id, e.body FROM requests r LEFT JOIN evidence e USING (request_id)
         WHERE r.status = 'pending' AND r.kind = 'delete'
           AND (e.body IS NULL OR e.wanted_at > e.gathered_at OR e.gathered_at < ?1)
         ORDER BY e.gathered_at LIMIT ?2",
    )?;
    let rows = statement.query_map(params![stale.as_millis(), limit], |row| {
        Ok(Wanted {
            request_id: row.get(0)?,
            topic_id: row.get(1)?,
            last: row.get::<_, Option<Json<_>>>(2)?.map(|json| json.0),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts evidence on a request.
///
/// # Errors
/// When SQLite fails.
pub fn put(connection: &Connection, request_id: i64, evidence: &Evidence) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO evidence (request_id, wanted_at, gathered_at, body) VALUES (?1, ?2, ?2, ?3)
             ON CONFLICT DO UPDATE SET gathered_at = excluded.gathered_at, body = excluded.body",
        )?
        .execute(params![
            request_id,
            evidence.gathered_at.as_millis(),
            serde_json::to_string(evidence)?,
        ])?;
    Ok(())
}

/// The evidence on a request.
///
/// # Errors
/// When SQLite fails.
pub fn of_request(connection: &Connection, request_id: i64) -> Outcome<Option<Evidence>> {
    let mut statement = connection
        .prepare_cached("SELECT body FROM evidence WHERE request_id = ?1 AND body IS NOT NULL")?;
    let found = statement.query_row([request_id], |row| row.get::<_, Json<Evidence>>(0));
    Ok(found.optional()?.map(|json| json.0))
}

/// Notes that producers told of records of topics: `(topic, instance, when)`.
///
/// # Errors
/// When SQLite fails.
pub fn note_uses(connection: &Connection, uses: &[(String, String, Timestamp)]) -> Outcome<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO producer_use (topic_name, instance, last_at) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET last_at = max(last_at, excluded.last_at)",
    )?;
    for (topic, instance, at) in uses {
        statement.execute(params![topic, instance, at.as_millis()])?;
    }
    Ok(())
}

/// Forgets what producers told before an instant.
///
/// # Errors
/// When SQLite fails.
pub fn forget_uses(connection: &Connection, before: Timestamp) -> Outcome<()> {
    connection
        .prepare_cached("DELETE FROM producer_use WHERE last_at < ?1")?
        .execute([before.as_millis()])?;
    Ok(())
}

/// The producers that told of records of a topic since an instant, and when last.
///
/// # Errors
/// When SQLite fails.
pub fn producers_of(
    connection: &Connection,
    topic_name: &str,
    since: Timestamp,
) -> Outcome<BTreeMap<String, Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT instance, last_at FROM producer_use WHERE topic_name = ?1 AND last_at >= ?2",
    )?;
    let rows = statement.query_map(params![topic_name, since.as_millis()], |row| {
        Ok((row.get(0)?, row.get::<_, Millis>(1)?.0))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
