//! Topic rows.

use super::{Json, Millis, Word, instant, millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use sluice_model::lifecycle::State;
use sluice_model::name::TopicName;
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_model::topic::{ActiveTopic, Route, Stats, Topic};

const COLUMNS: &str = "topic_id, topic_name, status, partitions, replication_factor, configs, created_by, \
    requested_by, owner, description, on_stop, created_at, approved_at, activated_at, deactivated_at, ended_at, \
    reason, purge_after, purge_started_at, change_request_id, kafka_id, never_delete, version, attempts, next_attempt_at, last_problem";

/// By place, not by name: a page has hundreds of rows, a pass of the reconciler all of them.
fn topic(row: &Row<'_>) -> rusqlite::Result<Topic> {
    Ok(Topic {
        topic_id: row.get(0)?,
        topic_name: row.get(1)?,
        status: row.get::<_, Word<State>>(2)?.0,
        partitions: row.get(3)?,
        replication_factor: row.get(4)?,
        configs: row.get::<_, Json<_>>(5)?.0,
        created_by: row.get(6)?,
        requested_by: row.get(7)?,
        owner: row.get(8)?,
        description: row.get(9)?,
        on_stop: row.get::<_, Word<_>>(10)?.0,
        created_at: row.get::<_, Millis>(11)?.0,
        approved_at: instant(row.get(12)?),
        activated_at: instant(row.get(13)?),
        deactivated_at: instant(row.get(14)?),
        ended_at: instant(row.get(15)?),
        reason: row.get(16)?,
        purge_after: instant(row.get(17)?),
        purge_started_at: instant(row.get(18)?),
        change_request_id: row.get(19)?,
        kafka_id: row.get(20)?,
        never_delete: row.get(21)?,
        version: row.get(22)?,
        attempts: row.get(23)?,
        next_attempt_at: instant(row.get(24)?),
        last_problem: row.get(25)?,
    })
}

/// Inserts a new row; its `topic_id` is ignored and the new one returned.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, name: &TopicName, topic: &Topic) -> Outcome<i64> {
    connection.prepare_cached(
        "INSERT INTO topics (topic_name, collision_key, status, partitions, replication_factor, configs, created_by,
             requested_by, owner, description, on_stop, created_at, version)
         VALUES (:name, :key, :status, :partitions, :replication_factor, :configs, :created_by, :requested_by, :owner,
             :description, :on_stop, :created_at, :version)",
    )?
    .execute(named_params! {
            ":name": name.as_str(),
            ":key": name.collision_key(),
            ":status": topic.status.as_str(),
            ":partitions": topic.partitions,
            ":replication_factor": topic.replication_factor,
            ":configs": serde_json::to_string(&topic.configs)?,
            ":created_by": topic.created_by,
            ":requested_by": topic.requested_by,
            ":owner": topic.owner,
            ":description": topic.description,
            ":on_stop": topic.on_stop.as_str(),
            ":created_at": topic.created_at.as_millis(),
            ":version": topic.version,
        })?;
    Ok(connection.last_insert_rowid())
}

/// Writes the intent of a row back: everything that a decision may change.
///
/// # Errors
/// When SQLite fails.
pub fn update_intent(connection: &Connection, topic: &Topic) -> Outcome<()> {
    connection.prepare_cached(
        "UPDATE topics SET status = :status, partitions = :partitions,
             replication_factor = :replication_factor, configs = :configs,
             change_request_id = :change_request_id, approved_at = :approved_at, activated_at = :activated_at,
             deactivated_at = :deactivated_at, ended_at = :ended_at, reason = :reason, purge_after = :purge_after,
             purge_started_at = :purge_started_at, never_delete = :never_delete, version = :version, attempts = :attempts,
             next_attempt_at = :next_attempt_at, last_problem = :last_problem
         WHERE topic_id = :topic_id",
    )?
    .execute(named_params! {
            ":status": topic.status.as_str(),
            ":partitions": topic.partitions,
            ":replication_factor": topic.replication_factor,
            ":configs": serde_json::to_string(&topic.configs)?,
            ":change_request_id": topic.change_request_id,
            ":approved_at": millis(topic.approved_at),
            ":activated_at": millis(topic.activated_at),
            ":deactivated_at": millis(topic.deactivated_at),
            ":ended_at": millis(topic.ended_at),
            ":reason": topic.reason,
            ":purge_after": millis(topic.purge_after),
            ":purge_started_at": millis(topic.purge_started_at),
            ":never_delete": topic.never_delete,
            ":version": topic.version,
            ":attempts": topic.attempts,
            ":next_attempt_at": millis(topic.next_attempt_at),
            ":last_problem": topic.last_problem,
            ":topic_id": topic.topic_id,
        })?;
    Ok(())
}

/// Writes back what a pending request asks for beside partitions and configs, which are intent.
///
/// # Errors
/// When SQLite fails.
pub fn update_asked(connection: &Connection, topic: &Topic) -> Outcome<()> {
    connection.execute(
        "UPDATE topics SET replication_factor = ?2, owner = ?3, description = ?4 WHERE topic_id = ?1",
        params![
            topic.topic_id,
            topic.replication_factor,
            topic.owner,
            topic.description
        ],
    )?;
    Ok(())
}

/// Writes what the reconciler saw; the intent is not touched.
///
/// # Errors
/// When SQLite fails.
pub fn update_observation(
    connection: &Connection,
    topic_id: i64,
    attempts: i64,
    next_attempt_at: Option<Timestamp>,
    last_problem: Option<&str>,
) -> Outcome<()> {
    connection.execute(
        "UPDATE topics SET attempts = ?2, next_attempt_at = ?3, last_problem = ?4 WHERE topic_id = ?1",
        params![topic_id, attempts, millis(next_attempt_at), last_problem],
    )?;
    Ok(())
}

/// Notes Kafka's ids of topics: `(topic_id, kafka_id)`.
///
/// # Errors
/// When SQLite fails.
pub fn note_kafka_ids(connection: &Connection, ids: &[(i64, String)]) -> Outcome<()> {
    let mut statement =
        connection.prepare_cached("UPDATE topics SET kafka_id = ?2 WHERE topic_id = ?1")?;
    for (topic_id, kafka_id) in ids {
        statement.execute(params![topic_id, kafka_id])?;
    }
    Ok(())
}

/// One row by its id.
///
/// # Errors
/// When SQLite fails.
pub fn by_id(connection: &Connection, topic_id: i64) -> Outcome<Option<Topic>> {
    let sql = format!("SELECT {COLUMNS} FROM topics WHERE topic_id = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([topic_id], topic)
        .optional()?)
}

/// The open row of a name, else its newest.
///
/// # Errors
/// When SQLite fails.
pub fn by_name(connection: &Connection, name: &str) -> Outcome<Option<Topic>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM topics WHERE topic_name = ?1
         ORDER BY status IN ('pending', 'approved', 'active', 'inactive') DESC, topic_id DESC LIMIT 1"
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([name], topic)
        .optional()?)
}

/// The open row that a name equals or collides with.
///
/// # Errors
/// When SQLite fails.
pub fn open_by_collision(connection: &Connection, key: &str) -> Outcome<Option<Topic>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM topics
         WHERE collision_key = ?1 AND status IN ('pending', 'approved', 'active', 'inactive')"
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([key], topic)
        .optional()?)
}

/// A page of rows, newest first, of one status and with a text in the name or description if given.
///
/// # Errors
/// When SQLite fails.
pub fn list(
    connection: &Connection,
    status: Option<State>,
    text: Option<&str>,
    page: Page,
) -> Outcome<Vec<Topic>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM topics
         WHERE (:status IS NULL OR status = :status)
           AND (:text IS NULL OR instr(lower(topic_name), :text) OR instr(lower(description), :text))
           AND (:before IS NULL OR topic_id < :before)
         ORDER BY topic_id DESC LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":status": status.map(State::as_str),
            ":text": text.map(str::to_lowercase),
            ":before": page.before,
            ":limit": page.limit,
        },
        topic,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All rows that the reconciler looks after.
///
/// # Errors
/// When SQLite fails.
pub fn provisioned(connection: &Connection) -> Outcome<Vec<Topic>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM topics WHERE status IN ('approved', 'active', 'inactive') ORDER BY topic_id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_map([], topic)?.collect::<Result<_, _>>()?)
}

/// Those of them that the reconciler may have something to do for.
///
/// # Errors
/// When SQLite fails.
pub fn unsettled(connection: &Connection) -> Outcome<Vec<Topic>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM topics WHERE status IN ('approved', 'inactive')
             OR (status = 'active' AND change_request_id IS NOT NULL) ORDER BY topic_id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_map([], topic)?.collect::<Result<_, _>>()?)
}

/// The newest row of every name, for routing.
///
/// # Errors
/// When SQLite fails.
pub fn routes(connection: &Connection) -> Outcome<Vec<Route>> {
    let mut statement = connection.prepare_cached(
        "SELECT topic_id, topic_name, status, partitions, on_stop FROM topics
         WHERE topic_id IN (SELECT max(topic_id) FROM topics GROUP BY topic_name) ORDER BY topic_name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Route {
            topic_id: row.get(0)?,
            topic_name: row.get(1)?,
            status: row.get::<_, Word<_>>(2)?.0,
            partitions: row.get(3)?,
            on_stop: row.get::<_, Word<_>>(4)?.0,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All active topics by name.
///
/// # Errors
/// When SQLite fails.
pub fn active(connection: &Connection) -> Outcome<Vec<ActiveTopic>> {
    let mut statement = connection.prepare_cached(
        "SELECT topic_id, topic_name, description, partitions, activated_at FROM topics
         WHERE status = 'active' ORDER BY topic_name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(ActiveTopic {
            topic_id: row.get(0)?,
            topic_name: row.get(1)?,
            description: row.get(2)?,
            partitions: row.get(3)?,
            activated_at: instant(row.get(4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The figures of the overview.
///
/// # Errors
/// When SQLite fails.
pub fn stats(connection: &Connection, now: Timestamp) -> Outcome<Stats> {
    let mut stats = Stats {
        timestamp: now,
        ..Stats::default()
    };
    let mut statement =
        connection.prepare_cached("SELECT status, count(*) FROM topics GROUP BY status")?;
    let counts = statement.query_map([], |row| {
        Ok((row.get::<_, Word<State>>(0)?.0, row.get::<_, i64>(1)?))
    })?;
    for count in counts {
        let (state, count) = count?;
        match state {
            State::Pending => stats.pending_topics = count,
            State::Approved => stats.approved_topics = count,
            State::Active => stats.active_topics = count,
            State::Inactive => stats.inactive_topics = count,
            State::Deleted | State::Rejected | State::Withdrawn | State::Expired => continue,
        }
        stats.total_topics += count;
    }
    stats.pending_requests = connection.query_row(
        "SELECT count(*) FROM requests WHERE status = 'pending'",
        [],
        |row| row.get(0),
    )?;
    stats.total_subscriptions =
        connection.query_row("SELECT count(*) FROM subscriptions", [], |row| row.get(0))?;
    Ok(stats)
}
