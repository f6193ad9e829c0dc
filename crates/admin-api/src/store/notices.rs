//! Webhooks' places in the audit, and the log of what was sent to them.

use super::{Millis, Word, instant, millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use sluice_model::notice::{Notice, NoticeStatus};
use sluice_model::page::Page;
use sluice_model::time::Timestamp;

const COLUMNS: &str = "notice_id, webhook, audit_seq, action, topic_name, status, created_at, attempts, \
    next_attempt_at, delivered_at, last_status, last_problem";

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    Ok(Notice {
        notice_id: row.get("notice_id")?,
        webhook: row.get("webhook")?,
        audit_seq: row.get("audit_seq")?,
        action: row.get("action")?,
        topic_name: row.get("topic_name")?,
        status: row.get::<_, Word<_>>("status")?.0,
        created_at: row.get::<_, Millis>("created_at")?.0,
        attempts: row.get("attempts")?,
        next_attempt_at: row.get::<_, Millis>("next_attempt_at")?.0,
        delivered_at: instant(row.get("delivered_at")?),
        last_status: row.get("last_status")?,
        last_problem: row.get("last_problem")?,
    })
}

/// How far the audit was looked at for a webhook; none for a new one.
///
/// # Errors
/// When SQLite fails.
pub fn position(connection: &Connection, webhook: &str) -> Outcome<Option<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT position FROM webhooks WHERE name = ?1")?;
    Ok(statement
        .query_row([webhook], |row| row.get(0))
        .optional()?)
}

/// Notes how far the audit was looked at for a webhook.
///
/// # Errors
/// When SQLite fails.
pub fn advance(connection: &Connection, webhook: &str, position: i64) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO webhooks (name, position) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET position = excluded.position",
        )?
        .execute(params![webhook, position])?;
    Ok(())
}

/// Puts a notice on the way; its id is ignored. One that is there stays as it is.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, notice: &Notice) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT INTO notices (webhook, audit_seq, action, topic_name, status, created_at, next_attempt_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (webhook, audit_seq) DO NOTHING",
        )?
        .execute(params![
            notice.webhook,
            notice.audit_seq,
            notice.action,
            notice.topic_name,
            notice.status.as_str(),
            notice.created_at.as_millis(),
            notice.next_attempt_at.as_millis(),
        ])?;
    Ok(())
}

/// Notices that are due, the longest waiting first.
///
/// # Errors
/// When SQLite fails.
pub fn due(connection: &Connection, now: Timestamp, limit: u32) -> Outcome<Vec<Notice>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM notices WHERE status = 'waiting' AND next_attempt_at <= ?1
         ORDER BY next_attempt_at, notice_id LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![now.as_millis(), limit], notice)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes the outcome of a try.
///
/// # Errors
/// When SQLite fails.
pub fn update(connection: &Connection, notice: &Notice) -> Outcome<()> {
    connection
        .prepare_cached(
            "UPDATE notices SET status = ?2, attempts = ?3, next_attempt_at = ?4, delivered_at = ?5,
                 last_status = ?6, last_problem = ?7 WHERE notice_id = ?1",
        )?
        .execute(params![
            notice.notice_id,
            notice.status.as_str(),
            notice.attempts,
            notice.next_attempt_at.as_millis(),
            millis(notice.delivered_at),
            notice.last_status,
            notice.last_problem,
        ])?;
    Ok(())
}

/// A page of the log, newest first, of one webhook and status if given.
///
/// # Errors
/// When SQLite fails.
pub fn list(
    connection: &Connection,
    webhook: Option<&str>,
    status: Option<NoticeStatus>,
    page: Page,
) -> Outcome<Vec<Notice>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM notices WHERE (:webhook IS NULL OR webhook = :webhook)
           AND (:status IS NULL OR status = :status) AND (:before IS NULL OR notice_id < :before)
         ORDER BY notice_id DESC LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values = named_params! {
        ":webhook": webhook,
        ":status": status.map(NoticeStatus::as_str),
        ":before": page.before,
        ":limit": page.limit,
    };
    let rows = statement.query_map(values, notice)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets notices that were settled and are older than an instant.
///
/// # Errors
/// When SQLite fails.
pub fn forget(connection: &Connection, before: Timestamp) -> Outcome<()> {
    connection
        .prepare_cached("DELETE FROM notices WHERE status <> 'waiting' AND created_at < ?1")?
        .execute([before.as_millis()])?;
    Ok(())
}
