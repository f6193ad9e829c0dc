//! Users: made and changed by admins, who never see a password's hash.

use super::{Context, check_version, record};
use crate::error::Outcome;
use crate::store::users::NewRow;
use crate::store::{teams, tokens, users};
use rusqlite::Connection;
use serde_json::json;
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_model::user::{NewUser, User, UserChange};

/// One user.
///
/// # Errors
/// 404.
pub fn get(connection: &Connection, account: &str) -> Outcome<User> {
    let missing = || Problem::new(Code::NotFound, format!("there is no user {account}"));
    Ok(users::by_account(connection, account)?.ok_or_else(missing)?)
}

/// Makes a user; `password` is the hash.
///
/// # Errors
/// 409 when there is one with the account, 422 for a team that does not exist.
pub fn create(
    connection: &Connection,
    context: &Context,
    new: &NewUser,
    password: Option<String>,
) -> Outcome<User> {
    let row = NewRow {
        account: new.account.clone(),
        display_name: new.display_name.clone(),
        roles: new.roles.clone().unwrap_or_else(|| vec![Role::Viewer]),
        password,
        source: "local",
        subject: None,
        created_by: context.actor.account.clone(),
    };
    if !users::insert(connection, &row, context.now)? {
        let detail = format!("there is a user {} already", new.account);
        return Err(Problem::new(Code::Duplicate, detail).into());
    }
    if let Some(teams) = &new.teams {
        set_teams(connection, &new.account, teams)?;
    }
    let user = get(connection, &new.account)?;
    record(
        connection,
        context,
        "user_created",
        None::<&()>,
        Some(&user),
    )?;
    Ok(user)
}

fn set_teams(connection: &Connection, account: &str, names: &[String]) -> Outcome<()> {
    if let Some(name) = teams::unknown(connection, names)? {
        let message = format!("there is no team {name}");
        return Err(Problem::invalid("/teams", message).into());
    }
    teams::set_teams(connection, account, names, teams::API)
}

/// Changes a user; `password` is the new hash. What must not go on with the old state ends: sessions
/// when the password changes, and everything when the user is disabled.
///
/// # Errors
/// 404, 409 for a change that would lock its author out, 412, 422.
pub fn change(
    connection: &Connection,
    context: &Context,
    account: &str,
    if_match: Option<i64>,
    change: &UserChange,
    password: Option<&str>,
) -> Outcome<User> {
    let before = get(connection, account)?;
    check_version(if_match, before.version)?;
    let after = User {
        display_name: change.display_name.clone().or(before.display_name.clone()),
        roles: change.roles.clone().unwrap_or_else(|| before.roles.clone()),
        disabled: change.disabled.unwrap_or(before.disabled),
        ..before.clone()
    };
    let own = context.actor.account == account;
    let weaker = after.disabled || !after.roles.contains(&Role::Admin);
    if own && weaker && before.roles.contains(&Role::Admin) {
        let detail =
            "nobody takes the role admin from itself or disables itself; another admin does";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    users::update(connection, &after)?;
    if let Some(names) = &change.teams {
        set_teams(connection, account, names)?;
    }
    if let Some(hash) = password {
        if before.source != "local" {
            let detail =
                format!("{account} signs in with the identity provider and has no password");
            return Err(Problem::new(Code::Conflict, detail).into());
        }
        users::set_password(connection, account, hash, context.now)?;
    }
    if password.is_some() || after.disabled {
        tokens::end_sessions(connection, account, None)?;
    }
    let after = get(connection, account)?;
    record(
        connection,
        context,
        "user_changed",
        Some(&before),
        Some(&after),
    )?;
    Ok(after)
}

/// Sets the caller's own password; its other sessions end.
///
/// # Errors
/// 401 when the password changed meanwhile.
pub fn change_password(
    connection: &Connection,
    context: &Context,
    (before, after): (&str, &str),
    session: Option<i64>,
) -> Outcome<()> {
    let account = &context.actor.account;
    if users::password(connection, account)?.as_deref() != Some(before) {
        let detail = "the current password is not that any more";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    users::set_password(connection, account, after, context.now)?;
    let ended = tokens::end_sessions(connection, account, session)?;
    let said = json!({"account": account, "sessions_ended": ended});
    record(
        connection,
        context,
        "password_changed",
        None::<&()>,
        Some(&said),
    )
}
