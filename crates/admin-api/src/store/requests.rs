//! Request rows.

use super::{Json, Millis, Word, instant, millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use serde_json::Value;
use sluice_model::page::Page;
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::time::Timestamp;

const SELECT: &str = "SELECT r.request_id, r.kind, r.status, r.topic_id, t.topic_name, r.requested_by, r.spec, r.base, \
    r.asked, r.amended, r.subscribe, r.reason, r.created_at, r.reminded_at, r.decided_at, r.decided_by, r.decision_reason, \
    r.approvals_needed, r.different_teams, r.approved_by, r.approver_teams, r.version \
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
        different_teams: row.get("different_teams")?,
        approved_by: row.get::<_, Json<_>>("approved_by")?.0,
        approver_teams: row.get::<_, Json<_>>("approver_teams")?.0,
        asked: row.get::<_, Json<_>>("asked")?.0,
        amended: row
            .get::<_, Option<Json<_>>>("amended")?
            .map(|found| found.0),
        subscribe: row.get::<_, Json<_>>("subscribe")?.0,
        reminded_at: instant(row.get("reminded_at")?),
        version: row.get("version")?,
    })
}

/// Inserts a pending request; its `request_id` is ignored and the new one returned.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, request: &Request) -> Outcome<i64> {
    connection
        .prepare_cached(
            "INSERT INTO requests (kind, status, topic_id, requested_by, spec, base, reason, created_at, version,
                 approvals_needed, different_teams, asked, subscribe)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            request.kind.as_str(),
            request.status.as_str(),
            request.topic_id,
            request.requested_by,
            serde_json::to_string(&request.spec)?,
            optional(request.base.as_ref())?,
            request.reason,
            request.created_at.as_millis(),
            request.version,
            request.approvals_needed,
            request.different_teams,
            serde_json::to_string(&request.asked)?,
            serde_json::to_string(&request.subscribe)?,
        ])?;
    Ok(connection.last_insert_rowid())
}

fn optional(document: Option<&impl serde::Serialize>) -> Outcome<Option<String>> {
    Ok(document.map(serde_json::to_string).transpose()?)
}

/// Writes a changed request back, as its next version; what it was is kept beside it.
///
/// # Errors
/// When SQLite fails.
pub fn update(connection: &Connection, request: &Request) -> Outcome<()> {
    if let Some(was) = by_id(connection, request.request_id)? {
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO request_revisions (request_id, version, body) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![
                was.request_id,
                was.version,
                serde_json::to_string(&was)?
            ])?;
    }
    connection
        .prepare_cached(
            "UPDATE requests SET status = ?2, decided_at = ?3, decided_by = ?4, decision_reason = ?5, version = ?6,
                 approved_by = ?7, approver_teams = ?8, approvals_needed = ?9, different_teams = ?10, spec = ?11,
                 asked = ?12, amended = ?13, subscribe = ?14, reason = ?15
             WHERE request_id = ?1",
        )?
        .execute(params![
            request.request_id,
            request.status.as_str(),
            millis(request.decided_at),
            request.decided_by,
            request.decision_reason,
            request.version,
            serde_json::to_string(&request.approved_by)?,
            serde_json::to_string(&request.approver_teams)?,
            request.approvals_needed,
            request.different_teams,
            serde_json::to_string(&request.spec)?,
            serde_json::to_string(&request.asked)?,
            optional(request.amended.as_ref())?,
            serde_json::to_string(&request.subscribe)?,
            request.reason,
        ])?;
    Ok(())
}

/// What a request was at a version that is not the current one any more.
///
/// # Errors
/// When SQLite fails.
pub fn revision(connection: &Connection, request_id: i64, version: i64) -> Outcome<Option<Value>> {
    let mut statement = connection.prepare_cached(
        "SELECT body FROM request_revisions WHERE request_id = ?1 AND version = ?2",
    )?;
    let found = statement.query_row(params![request_id, version], |row| {
        Ok(row.get::<_, Json<_>>(0)?.0)
    });
    Ok(found.optional()?)
}

/// Notes that those who decide were reminded.
///
/// # Errors
/// When SQLite fails.
pub fn note_reminder(connection: &Connection, request_id: i64, at: Timestamp) -> Outcome<()> {
    connection.execute(
        "UPDATE requests SET reminded_at = ?2 WHERE request_id = ?1",
        params![request_id, at.as_millis()],
    )?;
    Ok(())
}

/// Pending requests that were filed, and last reminded of, before an instant; at most `limit`, oldest first.
///
/// # Errors
/// When SQLite fails.
pub fn unreminded(connection: &Connection, before: Timestamp, limit: u32) -> Outcome<Vec<Request>> {
    let sql = format!(
        "{SELECT} WHERE r.status = 'pending' AND r.created_at < ?1 AND coalesce(r.reminded_at, 0) < ?1
         ORDER BY r.created_at LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![before.as_millis(), limit], request)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many requests of an account the policy approved by itself since an instant.
///
/// # Errors
/// When SQLite fails.
pub fn approved_by_policy(
    connection: &Connection,
    account: &str,
    since: Timestamp,
) -> Outcome<i64> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM requests WHERE requested_by = ?1 AND decided_by = 'policy' AND decided_at >= ?2",
    )?;
    Ok(statement.query_row(params![account, since.as_millis()], |row| row.get(0))?)
}

/// Lets a request need at least so many approvals.
///
/// # Errors
/// When SQLite fails.
pub fn need_approvals(connection: &Connection, request_id: i64, least: i64) -> Outcome<()> {
    connection.execute(
        "UPDATE requests SET approvals_needed = max(approvals_needed, ?2) WHERE request_id = ?1",
        params![request_id, least],
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

/// A page of an account's own requests, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn of_account(connection: &Connection, account: &str, page: Page) -> Outcome<Vec<Request>> {
    let sql = format!(
        "{SELECT} WHERE r.requested_by = ?1 AND (?2 IS NULL OR r.request_id < ?2)
         ORDER BY r.request_id DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![account, page.before, page.limit], request)?;
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

/// Requests that were filed before an instant and are still pending; at most `limit`, oldest first.
///
/// # Errors
/// When SQLite fails.
pub fn overdue(connection: &Connection, filed_before: Timestamp, limit: u32) -> Outcome<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT request_id FROM requests WHERE status = 'pending' AND created_at < ?1 ORDER BY created_at LIMIT ?2",
    )?;
    let rows = statement.query_map(params![filed_before.as_millis(), limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
