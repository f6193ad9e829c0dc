//! Audit rows.

use super::{Json, Millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter};
use serde_json::Value;
use sluice_model::audit::{AuditRow, GENESIS, RawRow, chain, scrub, scrub_text};
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;
use std::fmt::Write as _;

const COLUMNS: &str = "seq, at, action, kind, topic_id, topic_name, requested_by, actor, reason, before, after, \
    request_id, on_behalf_of, source, hash";

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
        on_behalf_of: row.get("on_behalf_of")?,
        source: row.get::<_, Option<Json<_>>>("source")?.map(|json| json.0),
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

/// The hash of a row.
///
/// # Errors
/// When SQLite fails.
pub fn hash_of(connection: &Connection, seq: i64) -> Outcome<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?;
    Ok(statement.query_row([seq], |row| row.get(0)).optional()?)
}

/// One row.
///
/// # Errors
/// When SQLite fails.
pub fn by_seq(connection: &Connection, seq: i64) -> Outcome<Option<AuditRow>> {
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE seq = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([seq], row).optional()?)
}

/// Appends a row to the chain; its `seq` is set here, and secrets are taken out of it.
///
/// # Errors
/// When SQLite fails.
pub fn append(connection: &Connection, mut entry: AuditRow) -> Outcome<()> {
    let (seq, previous) = head(connection)?;
    entry.seq = seq + 1;
    for document in [&mut entry.before, &mut entry.after].into_iter().flatten() {
        scrub(document);
    }
    if let Some(reason) = &mut entry.reason {
        scrub_text(reason);
    }
    let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
    let (before, after) = (text(&entry.before), text(&entry.after));
    let source = entry
        .source
        .as_ref()
        .map(serde_json::to_string)
        .transpose()?;
    let raw = RawRow {
        seq: entry.seq,
        at: entry.at,
        action: &entry.action,
        kind: entry.kind.as_deref(),
        topic_id: entry.topic_id,
        topic_name: entry.topic_name.as_deref(),
        requested_by: entry.requested_by.as_deref(),
        actor: &entry.actor,
        reason: entry.reason.as_deref(),
        before: before.as_deref(),
        after: after.as_deref(),
        request_id: entry.request_id,
        on_behalf_of: entry.on_behalf_of.as_deref(),
        source: source.as_deref(),
    };
    let hash = chain(&previous, &raw, &mut Vec::new())?;
    connection
        .prepare_cached(&format!(
            "INSERT INTO audit ({COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        ))?
        .execute(params![
            raw.seq,
            raw.at.as_millis(),
            raw.action,
            raw.kind,
            raw.topic_id,
            raw.topic_name,
            raw.requested_by,
            raw.actor,
            raw.reason,
            raw.before,
            raw.after,
            raw.request_id,
            raw.on_behalf_of,
            raw.source,
            hash,
        ])?;
    Ok(())
}

/// Which rows are wanted; what is absent does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Beginnings of words, all of which stand in the row's texts.
    pub text: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// The verb.
    pub action: Option<String>,
    /// The topic's name.
    pub topic: Option<String>,
    /// Not before this instant.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
}

impl Filter {
    /// Rows about one topic.
    pub fn of_topic(name: &str) -> Self {
        Self {
            topic: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// The text as a full-text query: every word by its beginning; empty when it has none.
    fn words(&self) -> Option<String> {
        let text = self.text.as_ref()?;
        let words = text.split(|c: char| !c.is_alphanumeric());
        let words: Vec<String> = words
            .filter(|word| !word.is_empty())
            .map(|word| format!("\"{word}\"*"))
            .collect();
        Some(words.join(" AND "))
    }

    /// The statement for these rows between two places, in an order.
    fn sql(&self, words: bool, order: &str) -> (String, Vec<Box<dyn ToSql>>) {
        let columns = COLUMNS.replace(", ", ", a.");
        let mut sql = format!("SELECT a.{columns} FROM audit a WHERE 1");
        if words {
            sql = format!(
                "SELECT a.{columns} FROM audit_words w CROSS JOIN audit a ON a.seq = w.rowid
                 WHERE w.audit_words MATCH ?"
            );
        }
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        for (column, value) in [
            ("a.actor =", &self.actor),
            ("a.action =", &self.action),
            ("a.topic_name =", &self.topic),
        ] {
            if let Some(value) = value {
                let _infallible = write!(sql, " AND {column} ?");
                values.push(Box::new(value.clone()));
            }
        }
        for (column, at) in [("a.at >=", self.from), ("a.at <", self.to)] {
            if let Some(at) = at {
                let _infallible = write!(sql, " AND {column} ?");
                values.push(Box::new(at.as_millis()));
            }
        }
        let place = if words { "w.rowid" } else { "a.seq" };
        let _infallible = write!(
            sql,
            " AND {place} > ? AND {place} < ? ORDER BY {place} {order} LIMIT ?"
        );
        (sql, values)
    }

    fn select<T>(
        &self,
        connection: &Connection,
        (after, before): (i64, i64),
        order: &str,
        limit: u32,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Vec<T>> {
        let words = self.words();
        if words.as_ref().is_some_and(String::is_empty) {
            return Ok(Vec::new());
        }
        let (sql, mut values) = self.sql(words.is_some(), order);
        if let Some(words) = words {
            values.insert(0, Box::new(words));
        }
        values.extend([
            Box::new(after) as Box<dyn ToSql>,
            Box::new(before),
            Box::new(limit),
        ]);
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A topic as it was at a version, as the audit has it.
///
/// # Errors
/// When SQLite fails.
pub fn topic_at(connection: &Connection, topic: &Topic, version: i64) -> Outcome<Option<Value>> {
    let mut statement = connection.prepare_cached(
        "SELECT after FROM audit WHERE topic_name = ?3 AND topic_id = ?1 AND json_extract(after, '$.version') = ?2
             AND json_extract(after, '$.topic_name') IS NOT NULL AND json_extract(after, '$.kind') IS NULL
         ORDER BY seq DESC LIMIT 1",
    )?;
    let found = statement.query_row(params![topic.topic_id, version, topic.topic_name], |row| {
        Ok(row.get::<_, Json<_>>(0)?.0)
    });
    Ok(found.optional()?)
}

/// A page of rows, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, filter: &Filter, page: Page) -> Outcome<Vec<AuditRow>> {
    let span = (0, page.before.unwrap_or(i64::MAX));
    filter.select(connection, span, "DESC", page.limit, row)
}

/// Rows with their hashes between two places, oldest first.
///
/// # Errors
/// When SQLite fails.
pub fn export(
    connection: &Connection,
    filter: &Filter,
    span: (i64, i64),
    limit: u32,
) -> Outcome<Vec<(AuditRow, String)>> {
    let read = |found: &Row<'_>| Ok((row(found)?, found.get("hash")?));
    filter.select(connection, span, "ASC", limit, read)
}
