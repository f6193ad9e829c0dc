//! The change feed.

use super::{Millis, Word};
use crate::error::Outcome;
use rusqlite::{Connection, params};
use sluice_model::subscription::Change;
use sluice_model::time::Timestamp;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// A topic's status or spec.
    Topic,
    /// A request's status.
    Request,
    /// A user-topic mapping.
    Subscription,
}

impl Feed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Request => "request",
            Self::Subscription => "subscription",
        }
    }
}

/// Appends a change.
///
/// # Errors
/// When SQLite fails.
pub fn append(
    connection: &Connection,
    at: Timestamp,
    feed: Feed,
    topic_name: &str,
    status: &str,
    user_id: Option<&str>,
) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO changes (at, kind, topic_name, status, user_id) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![at.as_millis(), feed.as_str(), topic_name, status, user_id])?;
    Ok(())
}

/// The place of the newest change about topics, and of the newest change at all.
///
/// # Errors
/// When SQLite fails.
pub fn heads(connection: &Connection) -> Outcome<(i64, i64)> {
    let mut statement = connection.prepare_cached(
        "SELECT (SELECT coalesce(max(seq), 0) FROM changes WHERE kind = 'topic'),
                (SELECT coalesce(max(seq), 0) FROM changes)",
    )?;
    Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// The place at which a topic was fenced: its newest change that made it inactive.
///
/// # Errors
/// When SQLite fails.
pub fn fence_of_topic(connection: &Connection, topic_name: &str) -> Outcome<i64> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(max(seq), 0) FROM changes
         WHERE topic_name = ?1 AND kind = 'topic' AND status = 'inactive'",
    )?;
    Ok(statement.query_row([topic_name], |row| row.get(0))?)
}

/// At most `limit` changes after a place, oldest first.
///
/// # Errors
/// When SQLite fails.
pub fn after(connection: &Connection, seq: i64, limit: u32) -> Outcome<Vec<Change>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, kind, topic_name, status, user_id FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement.query_map(params![seq, limit], |row| {
        Ok(Change {
            seq: row.get(0)?,
            at: row.get::<_, Millis>(1)?.0,
            kind: row.get::<_, Word<String>>(2)?.0,
            topic_name: row.get(3)?,
            status: row.get(4)?,
            user_id: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// At most `limit` changes after a place, oldest first; none when the feed does not go back that far. Places have
/// no holes but those that were forgotten.
///
/// # Errors
/// When SQLite fails.
pub fn whole_after(connection: &Connection, seq: i64, limit: u32) -> Outcome<Option<Vec<Change>>> {
    let found = after(connection, seq, limit)?;
    let places = found.last().map_or(0, |last| last.seq - seq);
    Ok(usize::try_from(places)
        .is_ok_and(|places| places == found.len())
        .then_some(found))
}

/// Forgets the oldest changes but the newest `keep`, at most `limit` of them; says how many. What still counts stays:
/// the newest about topics, as the table's revision, and the fences of inactive topics.
///
/// # Errors
/// When SQLite fails.
pub fn forget(connection: &Connection, keep: i64, limit: u32) -> Outcome<usize> {
    let (topics, all) = heads(connection)?;
    let mut statement = connection.prepare_cached(
        "DELETE FROM changes WHERE seq IN (
           SELECT c.seq FROM changes c WHERE c.seq <= ?1 AND c.seq <> ?2
             AND NOT (c.kind = 'topic' AND c.status = 'inactive'
               AND EXISTS (SELECT 1 FROM topics t WHERE t.topic_name = c.topic_name AND t.status = 'inactive'))
           ORDER BY c.seq LIMIT ?3)",
    )?;
    Ok(statement.execute(params![all - keep, topics, limit])?)
}

#[cfg(test)]
mod tests;
