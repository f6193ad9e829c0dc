//! Teams: made, changed and removed by admins.

use super::{Context, check_version, record};
use crate::error::Outcome;
use crate::store::teams;
use rusqlite::Connection;
use sluice_model::problem::{Code, Problem};
use sluice_model::user::{NewTeam, Team, TeamChange};

/// One team.
///
/// # Errors
/// 404.
pub fn get(connection: &Connection, name: &str) -> Outcome<Team> {
    let missing = || Problem::new(Code::NotFound, format!("there is no team {name}"));
    Ok(teams::by_name(connection, name)?.ok_or_else(missing)?)
}

/// Makes a team.
///
/// # Errors
/// 409 when there is one with the name.
pub fn create(connection: &Connection, context: &Context, new: &NewTeam) -> Outcome<Team> {
    if !teams::insert(connection, new, &context.actor.account, context.now)? {
        let detail = format!("there is a team {} already", new.name);
        return Err(Problem::new(Code::Duplicate, detail).into());
    }
    teams::set_members(connection, &new.name, &new.members)?;
    let team = get(connection, &new.name)?;
    record(
        connection,
        context,
        "team_created",
        None::<&()>,
        Some(&team),
    )?;
    Ok(team)
}

/// Changes a team.
///
/// # Errors
/// 404, 412.
pub fn change(
    connection: &Connection,
    context: &Context,
    name: &str,
    if_match: Option<i64>,
    change: &TeamChange,
) -> Outcome<Team> {
    let before = get(connection, name)?;
    check_version(if_match, before.version)?;
    let description = change.description.as_ref().unwrap_or(&before.description);
    teams::update(connection, name, description)?;
    if let Some(members) = &change.members {
        teams::set_members(connection, name, members)?;
    }
    let after = get(connection, name)?;
    record(
        connection,
        context,
        "team_changed",
        Some(&before),
        Some(&after),
    )?;
    Ok(after)
}

/// Adds one member, or takes one away; the same twice is no change.
///
/// # Errors
/// 404, 422 when the team is full.
pub fn set_member(
    connection: &Connection,
    context: &Context,
    name: &str,
    account: &str,
    member: bool,
) -> Outcome<Team> {
    let team = get(connection, name)?;
    if team.members.iter().any(|known| known == account) == member {
        return Ok(team);
    }
    let mut members = team.members;
    members.retain(|known| known != account);
    if member {
        members.push(account.to_owned());
    }
    if members.len() > sluice_model::user::MEMBERS_MAX {
        return Err(Problem::invalid("/members", "the team is full").into());
    }
    let members = TeamChange {
        members: Some(members),
        description: None,
    };
    change(connection, context, name, None, &members)
}

/// Removes a team that owns nothing.
///
/// # Errors
/// 404, 409 while it owns topics, 412.
pub fn delete(
    connection: &Connection,
    context: &Context,
    name: &str,
    if_match: Option<i64>,
) -> Outcome<()> {
    let before = get(connection, name)?;
    check_version(if_match, before.version)?;
    if let Some(topic) = teams::owns_topics(connection, name)? {
        let detail =
            format!("{name} owns topics, {topic} among them; give them another owner first");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    teams::delete(connection, name)?;
    record(
        connection,
        context,
        "team_deleted",
        Some(&before),
        None::<&()>,
    )
}
