//! Everything that says who may do what, read at once.

use super::{Json, teams, tokens};
use crate::error::Outcome;
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::token::TokenInfo;
use std::collections::HashMap;

/// Tokens, users and teams.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Tokens by their hashes.
    pub tokens: Vec<([u8; 32], TokenInfo)>,
    /// Users by their accounts.
    pub users: HashMap<String, Standing>,
    /// The teams of every account that is in one.
    pub teams: HashMap<String, Vec<String>>,
    /// Every team there is.
    pub team_names: Vec<String>,
}

/// What counts of a user when a credential is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the account may do.
    pub roles: Vec<Role>,
    /// Whether nothing of it is accepted.
    pub disabled: bool,
    /// Whether it can sign in with a password.
    pub has_password: bool,
    /// The identity provider's issuer and subject, for its users.
    pub subject: Option<String>,
}

/// Reads it.
///
/// # Errors
/// When SQLite fails.
pub fn read(connection: &Connection) -> Outcome<Access> {
    let mut statement = connection.prepare_cached(
        "SELECT account, roles, disabled, password IS NOT NULL, subject FROM users",
    )?;
    let users = statement.query_map([], |row| {
        let standing = Standing {
            roles: row.get::<_, Json<_>>(1)?.0,
            disabled: row.get(2)?,
            has_password: row.get(3)?,
            subject: row.get(4)?,
        };
        Ok((row.get(0)?, standing))
    })?;
    let users = users.collect::<Result<_, _>>()?;
    let mut names = connection.prepare_cached("SELECT name FROM teams")?;
    let team_names = names
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Access {
        tokens: tokens::all(connection)?,
        users,
        teams: teams::of_accounts(connection)?,
        team_names,
    })
}
