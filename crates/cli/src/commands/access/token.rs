//! `sluice token`.

use super::ROWS;
use crate::args::access::{Token, TokenCreate};
use crate::commands::{Outcome, each};
use crate::context::Context;
use crate::failure::{Exit, Failure, note};
use crate::output::{Column, cell};
use crate::secret;
use serde_json::{Value, json};
use sluice_admin_client::call;
use sluice_model::time::Timestamp;
use sluice_model::token::NewToken;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const TOKENS: [Column; 9] = [
    ("ID", "token_id"),
    ("PREFIX", "prefix"),
    ("ACCOUNT", "account"),
    ("ROLES", "roles"),
    ("SCOPES", "scopes"),
    ("SOURCE", "source"),
    ("LABEL", "label"),
    ("EXPIRES", "expires_at"),
    ("LAST USED", "last_used_at"),
];

pub(crate) fn run(context: &Context, command: Token) -> Result<(), Failure> {
    match command {
        Token::List => {
            let tokens = context.admin(call::tokens().with("limit", ROWS).raw())?;
            context.output.listing(&tokens, &TOKENS, "token_id")
        }
        Token::Create(command) => create(context, command),
        Token::Revoke { ids } => each(context, &ids, |id| {
            context.admin(call::revoke_token(*id))?;
            Ok(Outcome {
                answer: json!({"token_id": id, "revoked": true}),
                name: id.to_string(),
                sentence: format!("token {id}: revoked"),
            })
        }),
    }
}

fn create(context: &Context, command: TokenCreate) -> Result<(), Failure> {
    let new = NewToken {
        account: command.owner,
        roles: (!command.roles.is_empty()).then_some(command.roles),
        scopes: command.scopes,
        label: command.label,
        expires_at: command.expires.map(end).transpose()?,
    };
    let created = context.admin(call::create_token(&new).raw())?;
    show(context, &created, command.save.as_deref())
}

/// The instant that is so far ahead.
fn end(time: Duration) -> Result<Timestamp, Failure> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let ms = since.saturating_add(time).as_millis();
    let ms = i64::try_from(ms).map_err(|_| Failure::new(Exit::Usage, "--expires is too far"))?;
    Ok(Timestamp::from_millis(ms))
}

/// Prints a token that was made, or writes it to a file. What is known of it goes beside it, so that a
/// script gets the token alone.
pub(super) fn show(context: &Context, created: &Value, save: Option<&Path>) -> Result<(), Failure> {
    let ends = match created["expires_at"].as_str() {
        Some(at) => format!("ends at {at}"),
        None => "does not end".to_owned(),
    };
    let what = format!(
        "token {} of {}, roles {}, scopes {}, {ends}",
        cell(created, "token_id"),
        cell(created, "account"),
        cell(created, "roles"),
        cell(created, "scopes"),
    );
    let token = created["token"].as_str().unwrap_or_default();
    let Some(path) = save else {
        note(&format!("{what}; it is shown this once"));
        return context.output.done(created, token, token);
    };
    secret::save(path, token)?;
    let mut known = created.clone();
    if let Some(members) = known.as_object_mut() {
        members.remove("token");
        members.insert("file".to_owned(), json!(path));
    }
    let place = path.display().to_string();
    context
        .output
        .done(&known, &place, &format!("{what}: in {place}"))
}
