//! The first admin, made with the one-time secret of a first start.

use super::{Context, record};
use crate::error::Outcome;
use crate::store::users::NewRow;
use crate::store::{tokens, users};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};
use sluice_model::token::TokenInfo;

/// How the first admin will come in.
#[derive(Clone, Debug)]
pub enum FirstAdmin {
    /// With a password, whose hash this is.
    Password(String),
    /// With a token: its hash and its first characters.
    Token([u8; 32], String),
}

/// Makes the first admin.
///
/// # Errors
/// 409 when there is a user with that account.
pub fn create(
    connection: &Connection,
    context: &Context,
    account: &str,
    first: FirstAdmin,
) -> Outcome<Option<TokenInfo>> {
    let (hash, prefix) = match first {
        FirstAdmin::Token(hash, prefix) => (hash, prefix),
        FirstAdmin::Password(password) => {
            let row = NewRow {
                account: account.to_owned(),
                display_name: None,
                roles: vec![Role::Admin],
                password: Some(password),
                source: "local",
                subject: None,
                created_by: context.actor.account.clone(),
            };
            if !users::insert(connection, &row, context.now)? {
                let detail = format!("there is a user {account} already");
                return Err(Problem::new(Code::Duplicate, detail).into());
            }
            let user = super::users::get(connection, account)?;
            record(
                connection,
                context,
                "user_created",
                None::<&()>,
                Some(&user),
            )?;
            return Ok(None);
        }
    };
    let mut info = TokenInfo {
        token_id: 0,
        prefix,
        label: Some("setup".to_owned()),
        account: account.to_owned(),
        roles: vec![Role::Admin],
        scopes: Vec::new(),
        source: "api".to_owned(),
        created_by: Some(context.actor.account.clone()),
        created_at: context.now,
        expires_at: None,
        last_used_at: None,
    };
    info.token_id = tokens::insert(connection, &hash, &info)?;
    record(
        connection,
        context,
        "token_created",
        None::<&()>,
        Some(&info),
    )?;
    Ok(Some(info))
}
