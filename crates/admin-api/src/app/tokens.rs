//! Making and revoking API tokens. Only the hash reaches this file.

use super::{Context, record};
use crate::error::Outcome;
use crate::store::tokens;
use rusqlite::Connection;
use sluice_model::problem::{Code, Problem};
use sluice_model::token::{NewToken, TokenInfo};

/// Makes a token.
///
/// # Errors
/// When the store fails.
pub fn create(
    connection: &Connection,
    context: &Context,
    new: &NewToken,
    hash: &[u8; 32],
    prefix: &str,
) -> Outcome<TokenInfo> {
    let mut info = TokenInfo {
        token_id: 0,
        prefix: prefix.to_owned(),
        label: new.label.clone(),
        account: new.account.clone(),
        roles: new.roles.clone(),
        scopes: Vec::new(),
        source: "api".to_owned(),
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

/// Revokes a token; it is refused from the commit on.
///
/// # Errors
/// 404, 409 for a token of the configuration.
pub fn revoke(connection: &Connection, context: &Context, token_id: i64) -> Outcome<()> {
    let missing = || Problem::new(Code::NotFound, format!("there is no token {token_id}"));
    let info = tokens::by_id(connection, token_id)?.ok_or_else(missing)?;
    if info.source == "bootstrap" {
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
