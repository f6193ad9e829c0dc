//! Request rows.

use super::{Json, Millis, Word, instant, millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use sluice_model::page::Page;
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::time::Timestamp;

const SELECT: &str = "SELECT r.request_id, r.kind, r.status, r.topic_id, t.topic_name, r.requested_by, r.spec, r.base, \
    r.reason, r.created_at, r.decided_at, r.decided_by, r.decision_reason, r.approvals_needed, r.approved_by, r.version \
    FROM requests r JOIN topics t USING (topic_id)";

fn request(row: &Row<'_>) -> rusqlite::Result<Request> {
    Ok(Request {
        request_id: row.get("request_id")?,
        kind: row.get::<_, Word<Kind>>("kind")?.0,
        status: row.get::<_, Word<RequestStatus>>("status")?.0,
        topic_id: row.get("topic_id")?,
        topic_name: row.get("topic_name")?,
        requested_by: row.get("requested_by")?,
        spec: row.get::<_, Json<_>>("spec")?.0,
        base: row.get::<_, Option<Json<_>>>("base")?.map(|base| base.0),
        reason: row.get("reason")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        decided_at: instant(row.get("decided_at")?),
        decided_by: row.get("decided_by")?,
        decision_reason: row.get("decision_reason")?,
        approvals_needed: row.get("approvals_needed")?,
        approved_by: row.get::<_, Json<_>>("approved_by")?.0,
        version: row.get("version")?,
    })
}

/// Inserts a pending request; its `request_id` is ignored and the new one returned.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, request: &Request) -> Outcome<i64> {
    connection.execute(
        "INSERT INTO requests (kind, status, topic_id, requested_by, spec, base, reason, created_at, version,
             approvals_needed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            request.kind.as_str(),
            request.status.as_str(),
            request.topic_id,
            request.requested_by,
            serde_json::to_string(&request.spec)?,
            request.base.as_ref().map(serde_json::to_string).transpose()?,
            request.reason,
            request.created_at.as_millis(),
            request.version,
            request.approvals_needed,
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Writes a decision back.
///
/// # Errors
/// When SQLite fails.
pub fn update(connection: &Connection, request: &Request) -> Outcome<()> {
    connection.execute(
        "UPDATE requests SET status = ?2, decided_at = ?3, decided_by = ?4, decision_reason = ?5, version = ?6,
             approved_by = ?7
         WHERE request_id = ?1",
        params![
            request.request_id,
            request.status.as_str(),
            millis(request.decided_at),
            request.decided_by,
            request.decision_reason,
            request.version,
            serde_json::to_string(&request.approved_by)?,
        ],
    )?;
    Ok(())
}

/// One request by its id.
///
/// # Errors
/// When SQLite fails.
pub fn by_id(connection: &Connection, request_id: i64) -> Outcome<Option<Request>> {
    let sql = format!("{SELECT} WHERE r.request_id = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([request_id], request)
        .optional()?)
}

/// The pending request about a topic, of any kind: there is at most one.
///
/// # Errors
/// When SQLite fails.
pub fn open_of_topic(connection: &Connection, topic_id: i64) -> Outcome<Option<Request>> {
    let sql = format!("{SELECT} WHERE r.topic_id = ?1 AND r.status = 'pending'");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([topic_id], request)
        .optional()?)
}

/// The newest request of a kind about a topic.
///
/// # Errors
/// When SQLite fails.
pub fn newest_of_topic(
    connection: &Connection,
    topic_id: i64,
    kind: Kind,
) -> Outcome<Option<Request>> {
    let sql = format!(
        "{SELECT} WHERE r.topic_id = ?1 AND r.kind = ?2 ORDER BY r.request_id DESC LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_row(params![topic_id, kind.as_str()], request)
        .optional()?)
}

/// A page of requests, newest first, of one status and kind if given.
///
/// # Errors
/// When SQLite fails.
pub fn list(
    connection: &Connection,
    status: Option<RequestStatus>,
    kind: Option<Kind>,
    page: Page,
) -> Outcome<Vec<Request>> {
    let sql = format!(
        "{SELECT} WHERE (:status IS NULL OR r.status = :status) AND (:kind IS NULL OR r.kind = :kind)
           AND (:before IS NULL OR r.request_id < :before) ORDER BY r.request_id DESC LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":status": status.map(RequestStatus::as_str),
            ":kind": kind.map(Kind::as_str),
            ":before": page.before,
            ":limit": page.limit,
        },
        request,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Pending requests, oldest first, with ids after the given one.
///
/// # Errors
/// When SQLite fails.
pub fn waiting(connection: &Connection, after: i64, limit: u32) -> Outcome<Vec<Request>> {
    let sql = format!(
        "{SELECT} WHERE r.status = 'pending' AND r.request_id > ?1 ORDER BY r.request_id LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit], request)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A page of requests that are not pending, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn decided(connection: &Connection, page: Page) -> Outcome<Vec<Request>> {
    let sql = format!(
        "{SELECT} WHERE r.status <> 'pending' AND (?1 IS NULL OR r.request_id < ?1)
         ORDER BY r.request_id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![page.before, page.limit], request)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many requests of an account are pending.
///
/// # Errors
/// When SQLite fails.
pub fn open_of_account(connection: &Connection, account: &str) -> Outcome<i64> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM requests WHERE requested_by = ?1 AND status = 'pending'",
    )?;
    Ok(statement.query_row([account], |row| row.get(0))?)
}

/// Requests that were filed before an instant and are still pending.
///
/// # Errors
/// When SQLite fails.
pub fn overdue(connection: &Connection, filed_before: Timestamp) -> Outcome<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT request_id FROM requests WHERE status = 'pending' AND created_at < ?1",
    )?;
    let rows = statement.query_map([filed_before.as_millis()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
