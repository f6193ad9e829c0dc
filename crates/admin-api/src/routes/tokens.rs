//! API tokens: made, listed and revoked by admins.

use super::{id, listing, page};
use crate::app::tokens as app;
use crate::auth::{Caller, prefix};
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::Problem;
use sluice_model::time::Timestamp;
use sluice_model::token::{CreatedToken, NewToken, TokenInfo};
use sluice_model::topic::LABEL_CHARS_MAX;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::{Failure, internal};
use sluice_service::now;
use sluice_service::secret::hash;

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;
/// What every token begins with, so that scanners find one that leaked.
const TOKEN_MARK: &str = "sluice_";

/// Tokens, newest first; never the secrets.
///
/// # Errors
/// 401, 403, 422.
#[utoipa::path(get, path = "/api/tokens", tag = "tokens",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<TokenInfo>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Admin)?;
    let page = page(&request)?;
    let found = state
        .database
        .read(move |c| store::tokens::list(c, page))
        .await?;
    Ok(listing(&request, page, &found, |token| token.token_id))
}

/// Makes a token; the answer is the only one that shows it.
///
/// # Errors
/// 400, 401, 403, 413, 415, 422.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 422, body = Problem)))]
pub async fn create(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    if request.headers().contains_key("idempotency-key") {
        let message =
            "is not taken here: a token is shown once, so a repeat could not show it again";
        return Err(Problem::invalid("Idempotency-Key", message).into());
    }
    let new = new_token(&body.0, now())?;
    let token = random_token()?;
    let (hash, prefix, context) = (hash(&token), prefix(&token), state.context(actor));
    let work =
        move |connection: &Connection| app::create(connection, &context, &new, &hash, &prefix);
    let info = state.database.write(work).await?;
    state.reload_access().await?;
    Ok(HttpResponse::Created()
        .insert_header(("Cache-Control", "no-store"))
        .json(CreatedToken { token, info }))
}

fn new_token(bytes: &[u8], now: Timestamp) -> Result<NewToken, Problem> {
    let mut body = Body::parse(bytes)?;
    let account = body.required_text("account");
    let length = account.chars().count();
    if account.trim().is_empty() {
        body.invalid("account", "is empty");
    } else if length > LABEL_CHARS_MAX || account.chars().any(char::is_control) {
        let message = format!("has at most {LABEL_CHARS_MAX} characters, none of them control");
        body.invalid("account", message);
    }
    let words = body.texts("roles").unwrap_or_default();
    let mut roles = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        match word.parse::<Role>() {
            Ok(role) if !roles.contains(&role) => roles.push(role),
            Ok(_) => {}
            Err(message) => body.invalid(&format!("roles/{index}"), message),
        }
    }
    if words.is_empty() {
        body.invalid("roles", "needs at least one role");
    }
    let label = body.short_text("label", LABEL_CHARS_MAX);
    let expires_at = body.text("expires_at").map(|text| Timestamp::parse(&text));
    match &expires_at {
        Some(Err(error)) => body.invalid("expires_at", format!("is no RFC 3339 time: {error}")),
        Some(Ok(at)) if *at <= now => body.invalid("expires_at", "is in the past"),
        _ => {}
    }
    body.finish()?;
    Ok(NewToken {
        account,
        roles,
        label,
        expires_at: expires_at.and_then(Result::ok),
    })
}

fn random_token() -> Result<String, Failure> {
    use std::fmt::Write as _;
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| internal(&error))?;
    let mut token = TOKEN_MARK.to_owned();
    for byte in bytes {
        let _infallible = write!(token, "{byte:02x}");
    }
    Ok(token)
}

/// Revokes a token; it is refused from the answer on.
///
/// # Errors
/// 401, 403, 404, 409 for a token of the configuration.
#[utoipa::path(delete, path = "/api/tokens/{id}", tag = "tokens", params(("id" = i64, Path)),
    responses((status = 204, description = "revoked"), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn revoke(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let (token_id, context) = (id(&request)?, state.context(actor));
    state
        .database
        .write(move |c| app::revoke(c, &context, token_id))
        .await?;
    state.reload_access().await?;
    Ok(HttpResponse::NoContent().finish())
}
