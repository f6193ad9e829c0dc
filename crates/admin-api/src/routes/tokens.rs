//! API tokens: everybody makes and revokes its own, admins everybody's.

use super::users::read_roles;
use super::{id, listing, page};
use crate::app::tokens::{self as app, Made};
use crate::auth::directory::{Verified, source};
use crate::auth::sign_in::random_token;
use crate::auth::{Caller, Credential, prefix, require};
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::{Code, Problem};
use sluice_model::scope::{self, SCOPES_MAX};
use sluice_model::time::Timestamp;
use sluice_model::token::{CreatedToken, NewToken, TokenInfo};
use sluice_model::topic::LABEL_CHARS_MAX;
use sluice_model::user::check_reserved;
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use sluice_service::now;
use sluice_service::secret::hash;

/// Tokens, newest first: an admin's view of all of them, everybody else's of its own account's; never
/// the secrets.
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
    let actor = caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let read = move |c: &Connection| {
        if actor.may(Role::Admin) {
            store::tokens::list(c, page)
        } else {
            store::tokens::list_of(c, &actor.account, page)
        }
    };
    let found = state.database.read(read).await?;
    Ok(listing(&request, page, &found, |token| token.token_id))
}

/// Makes a token; the answer is the only one that shows it. A user makes tokens for itself that are
/// never wider than it is; admins make them for every account.
///
/// # Errors
/// 400, 401, 403, 413, 415, 422.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 422, body = Problem)))]
pub async fn create(
    request: HttpRequest,
    state: web::Data<State>,
    credential: Credential,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    if request.headers().contains_key("idempotency-key") {
        let message =
            "is not taken here: a token is shown once, so a repeat could not show it again";
        return Err(Problem::invalid("Idempotency-Key", message).into());
    }
    require(&credential.0.actor, Role::Viewer)?;
    let new = new_token(&body.0, &credential.0, now())?;
    let (token, info) = make(&state, credential, new).await?;
    Ok(HttpResponse::Created()
        .insert_header(("Cache-Control", "no-store"))
        .json(CreatedToken { token, info }))
}

/// Makes a token whose fields were checked, if its maker may.
pub(crate) async fn make(
    state: &State,
    credential: Credential,
    new: NewToken,
) -> Result<(String, TokenInfo), Failure> {
    let new = allowed(state, &credential.0, new)?;
    let token = random_token()?;
    let context = state.context(credential.0.actor);
    let (hash, prefix) = (hash(&token), prefix(&token));
    let work =
        move |connection: &Connection| app::create(connection, &context, &new, &hash, &prefix);
    let info = state.database.write(work).await?;
    state.reload_access().await?;
    Ok((token, info))
}

/// Whether somebody may make a token. Admins may make any; a user's own is never wider than what it is
/// made with, neither in roles nor in time.
fn allowed(state: &State, maker: &Verified, new: NewToken) -> Result<Made, Problem> {
    let actor = &maker.actor;
    let forbidden = |detail: String| Err(Problem::new(Code::Forbidden, detail));
    let account = new.account.unwrap_or_else(|| actor.account.clone());
    let user = state.tokens.user(&actor.account);
    let personal = account == actor.account && user.is_some();
    if !personal {
        require(actor, Role::Admin)?;
    }
    let roles = new.roles.unwrap_or_else(|| actor.roles.clone());
    if let Some(wider) = roles.iter().find(|role| !actor.may(**role)) {
        return forbidden(format!(
            "{} has not the role {wider} to give",
            actor.account
        ));
    }
    // A sign-in may make what outlives it; another credential gives no more time than it has.
    let end = actor.expires_at.filter(|_| maker.source != source::SESSION);
    if let Some(end) = end
        && new.expires_at.is_none_or(|at| at > end)
    {
        return forbidden(format!(
            "the credential that makes it ends at {end}; the token ends no later"
        ));
    }
    Ok(Made {
        account,
        roles,
        scopes: new.scopes,
        label: new.label,
        expires_at: new.expires_at,
        source: if personal {
            source::PERSONAL
        } else {
            source::API
        },
    })
}

fn new_token(bytes: &[u8], maker: &Verified, now: Timestamp) -> Result<NewToken, Problem> {
    let mut body = Body::parse(bytes)?;
    let account = body.text("account");
    if let Some(account) = &account {
        let length = account.chars().count();
        if account.trim().is_empty() {
            body.invalid("account", "is empty");
        } else if length > LABEL_CHARS_MAX || account.chars().any(char::is_control) {
            let message = format!("has at most {LABEL_CHARS_MAX} characters, none of them control");
            body.invalid("account", message);
        } else if let Err(message) = check_reserved(account) {
            body.invalid("account", message);
        }
    }
    let words = body.texts("roles");
    let own = account
        .as_ref()
        .is_none_or(|account| *account == maker.actor.account);
    let roles = match words {
        Some(words) => Some(read_roles(&mut body, &words)),
        None if own => None,
        None => {
            body.invalid("roles", "needs at least one role");
            None
        }
    };
    let scopes = scopes(&mut body);
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
        scopes,
        label,
        expires_at: expires_at.and_then(Result::ok),
    })
}

fn scopes(body: &mut Body) -> Vec<String> {
    let mut scopes = body.texts("scopes").unwrap_or_default();
    if scopes.len() > SCOPES_MAX {
        body.invalid("scopes", format!("has at most {SCOPES_MAX} scopes"));
    }
    for (index, scope) in scopes.iter().enumerate().take(SCOPES_MAX) {
        if let Err(message) = scope::check(scope) {
            body.invalid(&format!("scopes/{index}"), message);
        }
    }
    scopes.sort();
    scopes.dedup();
    scopes
}

/// Revokes a token, your own or as admin anybody's; it is refused from the answer on.
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
    let actor = caller.may(Role::Viewer)?;
    let (token_id, context) = (id(&request)?, state.context(actor));
    state
        .database
        .write(move |c| app::revoke(c, &context, token_id))
        .await?;
    state.reload_access().await?;
    Ok(HttpResponse::NoContent().finish())
}
