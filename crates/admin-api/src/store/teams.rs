//! Teams and who is in them.

use super::{Json, Millis};
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_model::user::{NewTeam, Team};
use std::collections::HashMap;

const COLUMNS: &str = "team_no, name, description, created_by, created_at, version, \
    (SELECT json_group_array(account) FROM (SELECT account FROM team_members WHERE team = name ORDER BY account)) AS members";

/// A membership that the API made.
pub const API: &str = "api";
/// A membership that a sign-in with the identity provider made.
pub const OIDC: &str = "oidc";

fn team(row: &Row<'_>) -> rusqlite::Result<Team> {
    Ok(Team {
        name: row.get("name")?,
        description: row.get("description")?,
        members: row.get::<_, Json<_>>("members")?.0,
        created_by: row.get("created_by")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        version: row.get("version")?,
    })
}

/// One team.
///
/// # Errors
/// When SQLite fails.
pub fn by_name(connection: &Connection, name: &str) -> Outcome<Option<Team>> {
    let sql = format!("SELECT {COLUMNS} FROM teams WHERE name = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([name], team)
        .optional()?)
}

/// A page of teams with their numbers, newest first.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, page: Page) -> Outcome<Vec<(i64, Team)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM teams WHERE (?1 IS NULL OR team_no < ?1) ORDER BY team_no DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![page.before, page.limit], |row| {
        Ok((row.get("team_no")?, team(row)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Inserts a team without members; says whether the name was free.
///
/// # Errors
/// When SQLite fails.
pub fn insert(connection: &Connection, new: &NewTeam, by: &str, at: Timestamp) -> Outcome<bool> {
    let inserted = connection.execute(
        "INSERT INTO teams (name, description, created_by, created_at, version) VALUES (?1, ?2, ?3, ?4, 1)
         ON CONFLICT DO NOTHING",
        params![new.name, new.description.as_deref().unwrap_or_default(), by, at.as_millis()],
    )?;
    Ok(inserted == 1)
}

/// Writes the description and counts the version.
///
/// # Errors
/// When SQLite fails.
pub fn update(connection: &Connection, name: &str, description: &str) -> Outcome<()> {
    connection.execute(
        "UPDATE teams SET description = ?2, version = version + 1 WHERE name = ?1",
        params![name, description],
    )?;
    Ok(())
}

/// Removes a team and its memberships.
///
/// # Errors
/// When SQLite fails.
pub fn delete(connection: &Connection, name: &str) -> Outcome<()> {
    connection.execute("DELETE FROM teams WHERE name = ?1", [name])?;
    Ok(())
}

/// Lets a team have exactly these members.
///
/// # Errors
/// When SQLite fails.
pub fn set_members(connection: &Connection, name: &str, members: &[String]) -> Outcome<()> {
    let list = serde_json::to_string(members)?;
    connection.execute(
        "DELETE FROM team_members WHERE team = ?1 AND account NOT IN (SELECT value FROM json_each(?2))",
        params![name, list],
    )?;
    connection.execute(
        "INSERT INTO team_members (team, account, source) SELECT ?1, value, 'api' FROM json_each(?2) WHERE true
         ON CONFLICT DO NOTHING",
        params![name, list],
    )?;
    Ok(())
}

/// Lets an account be in exactly these teams among those of `source`; names without a team are left
/// out. Memberships of other sources stay.
///
/// # Errors
/// When SQLite fails.
pub fn set_teams(
    connection: &Connection,
    account: &str,
    teams: &[String],
    source: &str,
) -> Outcome<()> {
    let list = serde_json::to_string(teams)?;
    connection.execute(
        "DELETE FROM team_members WHERE account = ?1 AND (source = ?3 OR ?3 = 'api')
           AND team NOT IN (SELECT value FROM json_each(?2))",
        params![account, list, source],
    )?;
    connection.execute(
        "INSERT INTO team_members (team, account, source)
         SELECT name, ?1, ?3 FROM teams WHERE name IN (SELECT value FROM json_each(?2))
         ON CONFLICT DO NOTHING",
        params![account, list, source],
    )?;
    Ok(())
}

/// The first of some names that is no team.
///
/// # Errors
/// When SQLite fails.
pub fn unknown(connection: &Connection, names: &[String]) -> Outcome<Option<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT name FROM teams) LIMIT 1",
    )?;
    Ok(statement
        .query_row([serde_json::to_string(names)?], |row| row.get(0))
        .optional()?)
}

/// The teams of every account that is in one.
///
/// # Errors
/// When SQLite fails.
pub fn of_accounts(connection: &Connection) -> Outcome<HashMap<String, Vec<String>>> {
    let mut statement =
        connection.prepare_cached("SELECT account, team FROM team_members ORDER BY team")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut teams: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows {
        let (account, team): (String, String) = row?;
        teams.entry(account).or_default().push(team);
    }
    Ok(teams)
}

/// Whether an open topic names a team as its owner.
///
/// # Errors
/// When SQLite fails.
pub fn owns_topics(connection: &Connection, name: &str) -> Outcome<Option<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT topic_name FROM topics WHERE owner = ?1
           AND status IN ('pending', 'approved', 'active', 'inactive') LIMIT 1",
    )?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}
