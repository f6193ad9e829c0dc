//! Users: managed by admins; everybody changes its own password.

use super::{command, listing_of, page, versioned};
use crate::app::users as app;
use crate::auth::{Caller, Credential};
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::LABEL_CHARS_MAX;
use sluice_model::user::{
    NewUser, PasswordChange, TEAMS_MAX, User, UserChange, check_name, check_password,
};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use sluice_service::secret::Secret;

/// Users, newest first; never their passwords.
///
/// # Errors
/// 401, 403, 422.
#[utoipa::path(get, path = "/api/users", tag = "access",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<User>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Admin)?;
    let page = page(&request)?;
    let found = state
        .database
        .read(move |c| store::users::list(c, page))
        .await?;
    Ok(listing_of(&request, page, found))
}

/// One user: everybody may look at itself.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/users/{account}", tag = "access", params(("account" = String, Path)),
    responses((status = 200, body = User), (status = 404, body = Problem)))]
pub async fn get(
    state: web::Data<State>,
    caller: Caller,
    account: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let own = caller.0.account == *account;
    caller.may(if own { Role::Viewer } else { Role::Admin })?;
    let user = state.database.read(move |c| app::get(c, &account)).await?;
    Ok(versioned(&user, user.version))
}

/// Makes a user.
///
/// # Errors
/// 400, 401, 403, 409, 413, 415, 422.
#[utoipa::path(post, path = "/api/users", tag = "access", request_body = NewUser,
    responses((status = 201, body = User), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    no_idempotency(&request)?;
    let (new, password) = new_user(&body.0)?;
    let user = make(&state, actor, new, password).await?;
    let place = format!("/api/users/{}", user.account);
    Ok(HttpResponse::Created()
        .insert_header(("Location", place))
        .insert_header(("ETag", format!("\"{}\"", user.version)))
        .json(user))
}

/// Makes a user whose fields were checked.
pub(crate) async fn make(
    state: &State,
    actor: sluice_model::access::Actor,
    new: NewUser,
    password: Option<Secret>,
) -> Result<User, Failure> {
    let hash = match password {
        Some(password) => Some(state.passwords.hash(password).await?),
        None => None,
    };
    let context = state.context(actor);
    let work = move |c: &Connection| app::create(c, &context, &new, hash);
    let user = state.database.write(work).await?;
    state.reload_access().await?;
    Ok(user)
}

/// A kept answer would be found by the hash of a body that has a password in it.
fn no_idempotency(request: &HttpRequest) -> Result<(), Problem> {
    if request.headers().contains_key("idempotency-key") {
        let message = "is not taken here: nothing is kept of a body that has a password in it";
        return Err(Problem::invalid("Idempotency-Key", message));
    }
    Ok(())
}

/// Changes a user: what is absent stays. A new password, or disabling, ends its sessions.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412, 422.
#[utoipa::path(patch, path = "/api/users/{account}", tag = "access", request_body = UserChange,
    params(("account" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = User), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem)))]
pub async fn change(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    account: web::Path<String>,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    no_idempotency(&request)?;
    let if_match = command::if_match(&request)?;
    let (change, password) = user_change(&body.0, &account)?;
    let user = alter(
        &state,
        actor,
        account.into_inner(),
        if_match,
        (change, password),
    )
    .await?;
    Ok(versioned(&user, user.version))
}

/// Changes a user by fields that were checked.
pub(crate) async fn alter(
    state: &State,
    actor: sluice_model::access::Actor,
    account: String,
    if_match: Option<i64>,
    (change, password): (UserChange, Option<Secret>),
) -> Result<User, Failure> {
    let hash = match password {
        Some(password) => Some(state.passwords.hash(password).await?),
        None => None,
    };
    let context = state.context(actor);
    let work = move |c: &Connection| {
        app::change(c, &context, &account, if_match, &change, hash.as_deref())
    };
    let user = state.database.write(work).await?;
    state.reload_access().await?;
    Ok(user)
}

/// Sets the caller's own password; its other sessions end.
///
/// # Errors
/// 400, 401 when the current one is wrong, 403, 409 without a password, 422, 429.
#[utoipa::path(put, path = "/api/whoami/password", tag = "access", request_body = PasswordChange,
    responses((status = 204, description = "changed"), (status = 401, body = Problem), (status = 422, body = Problem),
        (status = 429, body = Problem)))]
pub async fn change_password(
    request: HttpRequest,
    state: web::Data<State>,
    credential: Credential,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let mut body = Body::parse(&body.0)?;
    let current = Secret::new(body.required_text("current_password"));
    let password = body.required_text("password");
    let account = credential.0.actor.account.clone();
    if !password.is_empty()
        && let Err(message) = check_password(&account, &password)
    {
        body.invalid("password", message);
    }
    body.finish()?;
    set_own_password(
        &state,
        credential,
        &request,
        (current, Secret::new(password)),
    )
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Sets the password of who holds a credential.
pub(crate) async fn set_own_password(
    state: &State,
    credential: Credential,
    request: &HttpRequest,
    (current, password): (Secret, Secret),
) -> Result<(), Failure> {
    let verified = credential.0;
    let account = verified.actor.account.clone();
    state.throttle.attempt(Some(&account), address(request))?;
    let read = move |c: &Connection| store::users::password(c, &account);
    let known = state.database.read(read).await?;
    if known.is_none() {
        let detail = "this account has no password to change";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    if !state.passwords.verify(current, known.clone()).await? {
        return Err(Problem::new(Code::Unauthenticated, "the current password is wrong").into());
    }
    let hash = state.passwords.hash(password).await?;
    let context = state.context(verified.actor);
    let work = move |c: &Connection| {
        let before = known.unwrap_or_default();
        app::change_password(c, &context, (&before, &hash), verified.token_id)
    };
    state.database.write(work).await?;
    Ok(state.reload_access().await?)
}

/// Where a request comes from, as far as the connection says.
pub(crate) fn address(request: &HttpRequest) -> Option<std::net::IpAddr> {
    request.peer_addr().map(|peer| peer.ip())
}

fn roles(body: &mut Body) -> Option<Vec<Role>> {
    let words = body.texts("roles")?;
    Some(read_roles(body, &words))
}

/// Words as roles, with a fault for each that is none.
pub(crate) fn read_roles(body: &mut Body, words: &[String]) -> Vec<Role> {
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
    roles
}

fn teams(body: &mut Body) -> Option<Vec<String>> {
    let teams = body.texts("teams")?;
    if teams.len() > TEAMS_MAX {
        body.invalid("teams", format!("has at most {TEAMS_MAX} teams"));
    }
    Some(teams)
}

fn password(body: &mut Body, account: &str) -> Option<Secret> {
    let password = body.text("password")?;
    if let Err(message) = check_password(account, &password) {
        body.invalid("password", message);
    }
    Some(Secret::new(password))
}

fn new_user(bytes: &[u8]) -> Result<(NewUser, Option<Secret>), Problem> {
    let mut body = Body::parse(bytes)?;
    let account = body.required_text("account");
    if !account.is_empty()
        && let Err(message) = check_name(&account)
    {
        body.invalid("account", message);
    }
    let password = password(&mut body, &account);
    let new = NewUser {
        display_name: body.short_text("display_name", LABEL_CHARS_MAX),
        roles: roles(&mut body),
        teams: teams(&mut body),
        password: None,
        account,
    };
    body.finish()?;
    Ok((new, password))
}

fn user_change(bytes: &[u8], account: &str) -> Result<(UserChange, Option<Secret>), Problem> {
    let mut body = Body::parse(bytes)?;
    let password = password(&mut body, account);
    let change = UserChange {
        display_name: body.short_text("display_name", LABEL_CHARS_MAX),
        roles: roles(&mut body),
        teams: teams(&mut body),
        disabled: body.flag("disabled"),
        password: None,
    };
    body.finish()?;
    Ok((change, password))
}
