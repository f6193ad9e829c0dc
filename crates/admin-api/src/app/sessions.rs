//! Signing in and out: a session is a token that a sign-in makes and that ends by itself.

use super::{Context, record};
use crate::auth::directory::source;
use crate::error::Outcome;
use crate::store::users::NewRow;
use crate::store::{teams, tokens, users};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_model::token::TokenInfo;
use sluice_model::user::User;

/// Sessions that one account has at one time; the oldest ones make room.
const SESSIONS_MAX: u32 = 50;

/// A session that is to start.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The hash of its token.
    pub hash: [u8; 32],
    /// The first characters of its token.
    pub prefix: String,
    /// When it ends in any case.
    pub expires_at: Timestamp,
}

/// Starts a session of a user whose password was checked.
///
/// # Errors
/// 401 when the password that was checked does not count any more.
pub fn start(
    connection: &Connection,
    context: &Context,
    checked: &str,
    new: &NewSession,
) -> Outcome<TokenInfo> {
    let account = &context.actor.account;
    if users::password(connection, account)?.as_deref() != Some(checked) {
        return Err(refused().into());
    }
    begin(connection, context, "password", new)
}

/// What everybody is told who cannot sign in, whatever the reason.
pub fn refused() -> Problem {
    let detail = "the account or the password is wrong";
    Problem::new(Code::Unauthenticated, detail)
}

fn begin(
    connection: &Connection,
    context: &Context,
    by: &str,
    new: &NewSession,
) -> Outcome<TokenInfo> {
    let account = &context.actor.account;
    let mut info = TokenInfo {
        token_id: 0,
        prefix: new.prefix.clone(),
        label: Some(format!("signed in by {by}")),
        account: account.clone(),
        roles: Vec::new(),
        scopes: Vec::new(),
        source: source::SESSION.to_owned(),
        created_by: Some(account.clone()),
        created_at: context.now,
        expires_at: Some(new.expires_at),
        last_used_at: None,
    };
    info.token_id = tokens::insert(connection, &new.hash, &info)?;
    tokens::prune_sessions(connection, account, SESSIONS_MAX, context.now)?;
    users::note_sign_in(connection, account, context.now)?;
    record(connection, context, "signed_in", None::<&()>, Some(&info))?;
    Ok(info)
}

/// Ends a session.
///
/// # Errors
/// When SQLite fails.
pub fn end(connection: &Connection, context: &Context, token_id: i64) -> Outcome<()> {
    let Some(info) = tokens::by_id(connection, token_id)? else {
        return Ok(());
    };
    if info.source != source::SESSION {
        let detail = "this credential is no session: it is revoked with DELETE /api/tokens/{id}";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    tokens::delete(connection, token_id)?;
    record(connection, context, "signed_out", Some(&info), None::<&()>)
}

/// Somebody whom the identity provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The account's name, as the configured claim has it.
    pub account: String,
    /// Issuer and subject: what the user is known by.
    pub subject: String,
    /// How the user is called.
    pub display_name: Option<String>,
    /// What the claims give.
    pub roles: Vec<Role>,
    /// The teams that the claims name.
    pub teams: Vec<String>,
}

/// Starts a session of a user of the identity provider; the user is made at the first one, and roles
/// and teams follow the claims at each.
///
/// # Errors
/// 403 when the account belongs to somebody else or is disabled.
pub fn start_vouched(
    connection: &Connection,
    context: &Context,
    who: &Vouched,
    new: &NewSession,
) -> Outcome<TokenInfo> {
    let user = match users::by_subject(connection, &who.subject)? {
        Some(user) => user,
        None => adopt(connection, context, who)?,
    };
    if user.account != who.account {
        let detail = format!(
            "{} was renamed to {}; an admin has to sort that out",
            user.account, who.account
        );
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    if user.disabled {
        let detail = format!("the account {} is disabled", user.account);
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    let after = User {
        roles: who.roles.clone(),
        display_name: who.display_name.clone(),
        ..user.clone()
    };
    teams::set_teams(connection, &user.account, &who.teams, teams::OIDC)?;
    if user.roles != after.roles || user.display_name != after.display_name {
        users::update(connection, &after)?;
        record(
            connection,
            context,
            "user_changed",
            Some(&user),
            Some(&after),
        )?;
    }
    begin(connection, context, "the identity provider", new)
}

fn adopt(connection: &Connection, context: &Context, who: &Vouched) -> Outcome<User> {
    let row = NewRow {
        account: who.account.clone(),
        display_name: who.display_name.clone(),
        roles: who.roles.clone(),
        password: None,
        source: "oidc",
        subject: Some(who.subject.clone()),
        created_by: who.account.clone(),
    };
    if !users::insert(connection, &row, context.now)? {
        let detail = format!("the account {} belongs to another user here", who.account);
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    let user = super::users::get(connection, &who.account)?;
    record(
        connection,
        context,
        "user_created",
        None::<&()>,
        Some(&user),
    )?;
    Ok(user)
}
