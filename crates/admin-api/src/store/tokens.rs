//! Tokens: hashes, never the tokens themselves.

use super::{Json, instant};
use crate::error::Outcome;
use rusqlite::{Connection, params};
use sluice_model::access::{Actor, Role};
use sluice_model::time::Timestamp;

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

/// Replaces the tokens of the configuration by the current ones.
///
/// # Errors
/// When SQLite fails.
pub fn import(connection: &Connection, tokens: &[Bootstrap], now: Timestamp) -> Outcome<()> {
    connection.execute("DELETE FROM tokens WHERE source = 'bootstrap'", [])?;
    for token in tokens {
        connection.execute(
            "INSERT INTO tokens (hash, prefix, account, roles, scopes, source, created_at)
             VALUES (?1, ?2, ?3, ?4, '[]', 'bootstrap', ?5)
             ON CONFLICT (hash) DO UPDATE SET account = excluded.account, roles = excluded.roles",
            params![
                token.hash.as_slice(),
                token.prefix,
                token.account,
                serde_json::to_string(&token.roles)?,
                now.as_millis(),
            ],
        )?;
    }
    Ok(())
}

/// All tokens by their hashes.
///
/// # Errors
/// When SQLite fails.
pub fn all(connection: &Connection) -> Outcome<Vec<([u8; 32], Actor)>> {
    let mut statement =
        connection.prepare("SELECT hash, account, roles, scopes, expires_at FROM tokens")?;
    let rows = statement.query_map([], |row| {
        let actor = Actor {
            account: row.get(1)?,
            roles: row.get::<_, Json<_>>(2)?.0,
            scopes: row.get::<_, Json<_>>(3)?.0,
            expires_at: instant(row.get(4)?),
        };
        Ok((row.get(0)?, actor))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
