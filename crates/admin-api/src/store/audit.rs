//! Audit rows.

use super::{Json, Millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use sluice_model::audit::{AuditRow, ChainProblem, GENESIS, Verification, chain};
use sluice_model::page::Page;

const COLUMNS: &str = "seq, at, action, kind, topic_id, topic_name, requested_by, actor, reason, before, after, \
    request_id, hash";

fn row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let document = |name: &str| -> rusqlite::Result<_> {
        Ok(row
            .get::<_, Option<Json<_>>>(name)?
            .map(|Json(value)| value))
    };
    Ok(AuditRow {
        seq: row.get("seq")?,
        at: row.get::<_, Millis>("at")?.0,
        action: row.get("action")?,
        kind: row.get("kind")?,
        topic_id: row.get("topic_id")?,
        topic_name: row.get("topic_name")?,
        requested_by: row.get("requested_by")?,
        actor: row.get("actor")?,
        reason: row.get("reason")?,
        before: document("before")?,
        after: document("after")?,
        request_id: row.get("request_id")?,
    })
}

/// The place and hash of the newest row.
///
/// # Errors
/// When SQLite fails.
pub fn head(connection: &Connection) -> Outcome<(i64, String)> {
    let mut statement =
        connection.prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?;
    let head = statement
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(head.unwrap_or_else(|| (0, GENESIS.to_owned())))
}

/// Appends a row to the chain; its `seq` is set here.
///
/// # Errors
/// When SQLite fails.
pub fn append(connection: &Connection, mut entry: AuditRow) -> Outcome<()> {
    let (seq, previous) = head(connection)?;
    entry.seq = seq + 1;
    let hash = chain(&previous, &entry)?;
    let text = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    connection
        .prepare_cached(&format!(
            "INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        ))?
        .execute(params![
            entry.seq,
            entry.at.as_millis(),
            entry.action,
            entry.kind,
            entry.topic_id,
            entry.topic_name,
            entry.requested_by,
            entry.actor,
            entry.reason,
            text(&entry.before),
            text(&entry.after),
            entry.request_id,
            hash,
        ])?;
    Ok(())
}

/// A page of rows, newest first, about one topic if given.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, topic: Option<&str>, page: Page) -> Outcome<Vec<AuditRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit WHERE (:topic IS NULL OR topic_name = :topic)
           AND (:before IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values = named_params! {":topic": topic, ":before": page.before, ":limit": page.limit};
    Ok(statement
        .query_map(values, row)?
        .collect::<Result<_, _>>()?)
}

/// Recomputes the whole chain and compares it with the last head that was noted outside.
///
/// # Errors
/// When SQLite fails.
pub fn verify(connection: &Connection, noted: Option<(i64, String)>) -> Outcome<Verification> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    let mut problems = Vec::new();
    let mut previous = GENESIS.to_owned();
    let (mut checked, mut expected) = (0, 1);
    let mut noted_seen = false;
    while let Some(found) = rows.next()? {
        let entry = row(found)?;
        let stored: String = found.get("hash")?;
        let mut report = |kind: &str| {
            problems.push(ChainProblem {
                seq: entry.seq,
                kind: kind.to_owned(),
            });
        };
        if entry.seq != expected {
            report("missing");
        }
        if chain(&previous, &entry)? != stored && entry.seq == expected {
            report("edited");
        }
        if let Some((seq, hash)) = noted.as_ref().filter(|(seq, _)| *seq == entry.seq) {
            noted_seen = true;
            if *hash != stored {
                problems.push(ChainProblem {
                    seq: *seq,
                    kind: "edited".to_owned(),
                });
            }
        }
        checked += 1;
        expected = entry.seq + 1;
        previous = stored;
    }
    if let Some((seq, _)) = noted.filter(|_| !noted_seen) {
        problems.push(ChainProblem {
            seq,
            kind: "tail".to_owned(),
        });
    }
    problems.dedup();
    Ok(Verification {
        ok: problems.is_empty(),
        rows: checked,
        problems,
    })
}
