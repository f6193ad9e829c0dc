//! Users; their passwords are hashes already.

use super::{Json, Millis, instant};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sluice_model::access::Role;
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_model::user::User;

const COLUMNS: &str = "user_no, account, display_name, roles, source, disabled, password IS NOT NULL AS has_password, \
    created_by, created_at, password_at, signed_in_at, version, \
    (SELECT json_group_array(team) FROM (SELECT team FROM team_members m WHERE m.account = users.account ORDER BY team)) AS teams";

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        account: row.get("account")?,
        display_name: row.get("display_name")?,
        roles: row.get::<_, Json<_>>("roles")?.0,
        teams: row.get::<_, Json<_>>("teams")?.0,
        source: row.get("source")?,
        disabled: row.get("disabled")?,
        has_password: row.get("has_password")?,
        created_by: row.get("created_by")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        password_at: instant(row.get("password_at")?),
        signed_in_at: instant(row.get("signed_in_at")?),
        version: row.get("version")?,
    })
}

/// What a new user is.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// The account's name.
    pub account: String,
    /// How the user is called.
    pub display_name: Option<String>,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The hash of the password.
    pub password: Option<String>,
    /// `local` or `oidc`.
    pub source: &'static str,
    /// The identity provider's issuer and subject.
    pub subject: Option<String>,
    /// Who makes it.
    pub created_by: String,
}

/// Inserts a user; says whether the account was free.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, new: &NewRow, at: Timestamp) -> Outcome<bool> {
    let at = at.as_millis();
    let inserted = connection.execute(
        "INSERT INTO users (account, display_name, roles, password, source, subject, created_by, created_at,
                            password_at, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, iif(?4 IS NULL, NULL, ?8), 1)
         ON CONFLICT (account) DO NOTHING",
        params![
            new.account,
            new.display_name,
            serde_json::to_string(&new.roles)?,
            new.password,
            new.source,
            new.subject,
            new.created_by,
            at,
        ],
    )?;
    Ok(inserted == 1)
}

/// One user.
///
/// # Errors
/// When SQLite fails.
pub fn by_account(connection: &Connection, account: &str) -> Outcome<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE account = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([account], user)
        .optional()?)
}

/// The account of an identity provider's subject.
///
/// # Errors
/// When SQLite fails.
pub fn by_subject(connection: &Connection, subject: &str) -> Outcome<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE subject = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([subject], user)
        .optional()?)
}

/// A page of users with their numbers, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, page: Page) -> Outcome<Vec<(i64, User)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE (?1 IS NULL OR user_no < ?1) ORDER BY user_no DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![page.before, page.limit], |row| {
        Ok((row.get("user_no")?, user(row)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The hash of a user's password, unless there is none or the user is disabled.
///
/// # Errors
/// When SQLite fails.
pub fn password(connection: &Connection, account: &str) -> Outcome<Option<String>> {
    let mut statement = connection
        .prepare_cached("SELECT password FROM users WHERE account = ?1 AND disabled = 0")?;
    let found = statement
        .query_row([account], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// Writes what a user is, and counts the version.
///
/// # Errors
/// When SQLite fails.
pub fn update(connection: &Connection, user: &User) -> Outcome<()> {
    connection.execute(
        "UPDATE users SET display_name = ?2, roles = ?3, disabled = ?4, version = version + 1 WHERE account = ?1",
        params![
            user.account,
            user.display_name,
            serde_json::to_string(&user.roles)?,
            user.disabled,
        ],
    )?;
    Ok(())
}

/// Writes the hash of a password.
///
/// # Errors
/// When SQLite fails.
pub fn set_password(
    connection: &Connection,
    account: &str,
    hash: &str,
    at: Timestamp,
) -> Outcome<()> {
    connection.execute(
        "UPDATE users SET password = ?2, password_at = ?3 WHERE account = ?1",
        params![account, hash, at.as_millis()],
    )?;
    Ok(())
}

/// Notes a sign-in.
///
/// # Errors
/// When SQLite fails.
pub fn note_sign_in(connection: &Connection, account: &str, at: Timestamp) -> Outcome<()> {
    connection.execute(
        "UPDATE users SET signed_in_at = ?2 WHERE account = ?1",
        params![account, at.as_millis()],
    )?;
    Ok(())
}
