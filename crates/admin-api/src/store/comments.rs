//! Comments on requests.

use super::Millis;
use crate::error::Outcome;
use rusqlite::{Connection, params};
use sluice_model::page::Page;
use sluice_model::request::Comment;

/// Inserts a comment; its `comment_id` is ignored and the new one returned.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, comment: &Comment) -> Outcome<i64> {
    connection.execute(
        "INSERT INTO request_comments (request_id, author, at, body) VALUES (?1, ?2, ?3, ?4)",
        params![
            comment.request_id,
            comment.author,
            comment.created_at.as_millis(),
            comment.text
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

/// How many comments a request has.
///
/// # Errors
/// When SQLite fails.
pub fn count(connection: &Connection, request_id: i64) -> Outcome<i64> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM request_comments WHERE request_id = ?1")?;
    Ok(statement.query_row([request_id], |row| row.get(0))?)
}

/// A page of the comments on a request, oldest first: those after the page's cursor.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, request_id: i64, page: Page) -> Outcome<Vec<Comment>> {
    let mut statement = connection.prepare_cached(
        "SELECT comment_id, request_id, author, at, body FROM request_comments
         WHERE request_id = ?1 AND comment_id > ?2 ORDER BY comment_id LIMIT ?3",
    )?;
    let after = page.before.unwrap_or(0);
    let rows = statement.query_map(params![request_id, after, page.limit], |row| {
        Ok(Comment {
            comment_id: row.get(0)?,
            request_id: row.get(1)?,
            author: row.get(2)?,
            created_at: row.get::<_, Millis>(3)?.0,
            text: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
