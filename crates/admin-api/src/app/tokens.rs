//! Making and revoking API tokens. Only the hash reaches this file.

use super::{Context, record};
use crate::auth::directory::source;
use crate::error::Outcome;
use crate::store::tokens;
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_model::token::TokenInfo;

/// A token that is to be made, after all checks.
#[derive(Clone, Debug)]
pub struct Made {
    /// Whose it will be.
    pub account: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Narrower limits.
    pub scopes: Vec<String>,
    /// What it is for.
    pub label: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// `api` or `personal`.
    pub source: &'static str,
}

/// Makes a token.
///
/// # Errors
/// When the store fails.
pub fn create(
    connection: &Connection,
    context: &Context,
    new: &Made,
    hash: &[u8; 32],
    prefix: &str,
) -> Outcome<TokenInfo> {
    let mut info = TokenInfo {
        token_id: 0,
        prefix: prefix.to_owned(),
        label: new.label.clone(),
        account: new.account.clone(),
        roles: new.roles.clone(),
        scopes: new.scopes.clone(),
        source: new.source.to_owned(),
        created_by: Some(context.actor.account.clone()),
        created_at: context.now,
        expires_at: new.expires_at,
        last_used_at: None,
    };
    info.token_id = tokens::insert(connection, hash, &info)?;
    record(
        connection,
        context,
        "token_created",
        None::<&()>,
        Some(&info),
    )?;
    Ok(info)
}

/// Revokes a token; it is refused from the commit on. Who is not admin revokes its own account's.
///
/// # Errors
/// 404, 409 for a token of the configuration.
pub fn revoke(connection: &Connection, context: &Context, token_id: i64) -> Outcome<()> {
    let missing = || Problem::new(Code::NotFound, format!("there is no token {token_id}"));
    let found = tokens::by_id(connection, token_id)?;
    let actor = &context.actor;
    let visible = |info: &TokenInfo| actor.may(Role::Admin) || info.account == actor.account;
    let info = found.filter(visible).ok_or_else(missing)?;
    if info.source == source::BOOTSTRAP {
        let detail =
            "this token comes from the configuration: remove it from bootstrap_tokens and restart";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    tokens::delete(connection, token_id)?;
    record(
        connection,
        context,
        "token_revoked",
        Some(&info),
        None::<&()>,
    )
}
