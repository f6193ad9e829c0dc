//! Tokens: hashes, never the tokens themselves.

use super::{Json, Millis, instant, millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sluice_model::access::Role;
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_model::token::TokenInfo;

const COLUMNS: &str = "token_id, prefix, label, account, roles, scopes, source, created_by, created_at, \
    expires_at, last_used_at";

/// A token of the configuration, hashed.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Its first characters, to recognise it by.
    pub prefix: String,
    /// Whose it is.
    pub account: String,
    /// What the account may do.
    pub roles: Vec<Role>,
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenInfo> {
    Ok(TokenInfo {
        token_id: row.get("token_id")?,
        prefix: row.get("prefix")?,
        label: row.get("label")?,
        account: row.get("account")?,
        roles: row.get::<_, Json<_>>("roles")?.0,
        scopes: row.get::<_, Json<_>>("scopes")?.0,
        source: row.get("source")?,
        created_by: row.get("created_by")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        expires_at: instant(row.get("expires_at")?),
        last_used_at: instant(row.get("last_used_at")?),
    })
}

/// Replaces the tokens of the configuration by the current ones; those that stay keep their identity.
///
/// # Errors
/// When SQLite fails.
pub fn import(connection: &Connection, tokens: &[Bootstrap], now: Timestamp) -> Outcome<()> {
    for token in tokens {
        connection.execute(
            "INSERT INTO tokens (hash, prefix, account, roles, scopes, source, created_at)
             VALUES (?1, ?2, ?3, ?4, '[]', 'bootstrap', ?5)
             ON CONFLICT (hash) DO UPDATE SET account = excluded.account, roles = excluded.roles,
                 source = 'bootstrap', expires_at = NULL",
            params![
                token.hash.as_slice(),
                token.prefix,
                token.account,
                serde_json::to_string(&token.roles)?,
                now.as_millis(),
            ],
        )?;
    }
    let mut known =
        connection.prepare("SELECT token_id, hash FROM tokens WHERE source = 'bootstrap'")?;
    let rows = known.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        let (token_id, hash): (i64, [u8; 32]) = row?;
        if !tokens.iter().any(|token| token.hash == hash) {
            delete(connection, token_id)?;
        }
    }
    Ok(())
}

/// Inserts a token that an admin made; its `token_id` is ignored and the new one returned.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, hash: &[u8; 32], info: &TokenInfo) -> Outcome<i64> {
    connection.execute(
        "INSERT INTO tokens (hash, prefix, label, account, roles, scopes, source, created_by, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            hash.as_slice(),
            info.prefix,
            info.label,
            info.account,
            serde_json::to_string(&info.roles)?,
            serde_json::to_string(&info.scopes)?,
            info.source,
            info.created_by,
            info.created_at.as_millis(),
            millis(info.expires_at),
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Removes a token.
///
/// # Errors
/// When SQLite fails.
pub fn delete(connection: &Connection, token_id: i64) -> Outcome<()> {
    connection.execute("DELETE FROM tokens WHERE token_id = ?1", [token_id])?;
    Ok(())
}

/// One token.
///
/// # Errors
/// When SQLite fails.
pub fn by_id(connection: &Connection, token_id: i64) -> Outcome<Option<TokenInfo>> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE token_id = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([token_id], token)
        .optional()?)
}

/// A page of tokens, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, page: Page) -> Outcome<Vec<TokenInfo>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tokens WHERE (?1 IS NULL OR token_id < ?1) ORDER BY token_id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![page.before, page.limit], token)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All tokens with their hashes.
///
/// # Errors
/// When SQLite fails.
pub fn all(connection: &Connection) -> Outcome<Vec<([u8; 32], TokenInfo)>> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS}, hash FROM tokens"))?;
    let rows = statement.query_map([], |row| Ok((row.get("hash")?, token(row)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes when tokens were last used: `(token_id, when)`.
///
/// # Errors
/// When SQLite fails.
pub fn note_uses(connection: &Connection, uses: &[(i64, Timestamp)]) -> Outcome<()> {
    let mut statement =
        connection.prepare_cached("UPDATE tokens SET last_used_at = ?2 WHERE token_id = ?1")?;
    for (token_id, at) in uses {
        statement.execute(params![token_id, at.as_millis()])?;
    }
    Ok(())
}

/// Ends the sessions of an account, but for one if given; answers how many there were.
///
/// # Errors
/// When SQLite fails.
pub fn end_sessions(connection: &Connection, account: &str, but: Option<i64>) -> Outcome<usize> {
    Ok(connection.execute(
        "DELETE FROM tokens WHERE source = 'session' AND account = ?1 AND token_id IS NOT ?2",
        params![account, but],
    )?)
}

/// Removes sessions that have ended, and the oldest ones of an account beyond the newest `most`.
///
/// # Errors
/// When SQLite fails.
pub fn prune_sessions(
    connection: &Connection,
    account: &str,
    most: u32,
    now: Timestamp,
) -> Outcome<()> {
    connection.execute(
        "DELETE FROM tokens WHERE source = 'session' AND expires_at <= ?1",
        [now.as_millis()],
    )?;
    connection.execute(
        "DELETE FROM tokens WHERE source = 'session' AND account = ?1 AND token_id NOT IN
           (SELECT token_id FROM tokens WHERE source = 'session' AND account = ?1 ORDER BY token_id DESC LIMIT ?2)",
        params![account, most],
    )?;
    Ok(())
}

/// A page of the tokens of one account, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn list_of(connection: &Connection, account: &str, page: Page) -> Outcome<Vec<TokenInfo>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tokens WHERE account = ?3 AND (?1 IS NULL OR token_id < ?1)
         ORDER BY token_id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![page.before, page.limit, account], token)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
