//! Teams: seen by everybody who may read, managed by admins.

use super::command::{self, Reply};
use super::{listing_of, page, versioned};
use crate::app::{Context, teams as app};
use crate::auth::Caller;
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::body::Body;
use sluice_model::problem::Problem;
use sluice_model::topic::{DESCRIPTION_CHARS_MAX, LABEL_CHARS_MAX};
use sluice_model::user::{MEMBERS_MAX, NewTeam, Team, TeamChange, check_name};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;

/// Teams with their members, newest first.
///
/// # Errors
/// 401, 403, 422.
#[utoipa::path(get, path = "/api/teams", tag = "access",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Team>)))]
pub async fn list(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let page = page(&request)?;
    let found = state
        .database
        .read(move |c| store::teams::list(c, page))
        .await?;
    Ok(listing_of(&request, page, found))
}

/// One team.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/api/teams/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 200, body = Team), (status = 404, body = Problem)))]
pub async fn get(
    state: web::Data<State>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    caller.may(Role::Viewer)?;
    let team = state.database.read(move |c| app::get(c, &name)).await?;
    Ok(versioned(&team, team.version))
}

/// Makes a team.
///
/// # Errors
/// 400, 401, 403, 409, 413, 415, 422.
#[utoipa::path(post, path = "/api/teams", tag = "access", request_body = NewTeam,
    responses((status = 201, body = Team), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let new = new_team(&body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        Reply::new(201, &app::create(connection, context, &new)?)
    };
    let reply = command::run(&state, &request, actor, &body.0, work).await?;
    state.reload_access().await?;
    Ok(reply.respond())
}

/// Changes a team: what is absent stays.
///
/// # Errors
/// 400, 401, 403, 404, 412, 422.
#[utoipa::path(patch, path = "/api/teams/{name}", tag = "access", request_body = TeamChange,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Team), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub async fn change(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    name: web::Path<String>,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let if_match = command::if_match(&request)?;
    let change = team_change(&body.0)?;
    let work = move |connection: &Connection, context: &Context| {
        let changed = app::change(connection, context, &name, if_match, &change)?;
        Reply::new(200, &changed)
    };
    let reply = command::run(&state, &request, actor, &body.0, work).await?;
    state.reload_access().await?;
    Ok(reply.respond())
}

/// Removes a team that owns nothing.
///
/// # Errors
/// 401, 403, 404, 409 while it owns topics, 412.
#[utoipa::path(delete, path = "/api/teams/{name}", tag = "access",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "removed"), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remove(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let actor = caller.may(Role::Admin)?;
    let if_match = command::if_match(&request)?;
    let context = state.context(actor);
    state
        .database
        .write(move |c| app::delete(c, &context, &name, if_match))
        .await?;
    state.reload_access().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Lets an account be a member.
///
/// # Errors
/// 401, 403, 404, 422.
#[utoipa::path(put, path = "/api/teams/{name}/members/{account}", tag = "access",
    params(("name" = String, Path), ("account" = String, Path)),
    responses((status = 200, body = Team), (status = 404, body = Problem)))]
pub async fn add_member(
    state: web::Data<State>,
    caller: Caller,
    place: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (name, account) = place.into_inner();
    check_member(&account).map_err(|message| Problem::invalid("account", message))?;
    member(&state, caller, (name, account), true).await
}

/// Takes a member away.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/api/teams/{name}/members/{account}", tag = "access",
    params(("name" = String, Path), ("account" = String, Path)),
    responses((status = 200, body = Team), (status = 404, body = Problem)))]
pub async fn remove_member(
    state: web::Data<State>,
    caller: Caller,
    place: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    member(&state, caller, place.into_inner(), false).await
}

async fn member(
    state: &State,
    caller: Caller,
    (name, account): (String, String),
    member: bool,
) -> Result<HttpResponse, Failure> {
    let context = state.context(caller.may(Role::Admin)?);
    let work = move |c: &Connection| app::set_member(c, &context, &name, &account, member);
    let team = state.database.write(work).await?;
    state.reload_access().await?;
    Ok(versioned(&team, team.version))
}

/// An account that may be in a team: a user's, or any that has tokens.
fn check_member(account: &str) -> Result<(), String> {
    let length = account.chars().count();
    if account.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if length > LABEL_CHARS_MAX || account.chars().any(char::is_control) {
        return Err(format!(
            "has at most {LABEL_CHARS_MAX} characters, none of them control"
        ));
    }
    Ok(())
}

fn members(body: &mut Body) -> Option<Vec<String>> {
    let mut members = body.texts("members")?;
    if members.len() > MEMBERS_MAX {
        body.invalid("members", format!("has at most {MEMBERS_MAX} accounts"));
    }
    for (index, member) in members.iter().enumerate().take(MEMBERS_MAX) {
        if let Err(message) = check_member(member) {
            body.invalid(&format!("members/{index}"), message);
        }
    }
    members.sort();
    members.dedup();
    Some(members)
}

fn new_team(bytes: &[u8]) -> Result<NewTeam, Problem> {
    let mut body = Body::parse(bytes)?;
    let name = body.required_text("name");
    if !name.is_empty()
        && let Err(message) = check_name(&name)
    {
        body.invalid("name", message);
    }
    let description = body.short_text("description", DESCRIPTION_CHARS_MAX);
    let members = members(&mut body).unwrap_or_default();
    body.finish()?;
    Ok(NewTeam {
        name,
        description,
        members,
    })
}

fn team_change(bytes: &[u8]) -> Result<TeamChange, Problem> {
    let mut body = Body::parse(bytes)?;
    let description = body.short_text("description", DESCRIPTION_CHARS_MAX);
    let members = members(&mut body);
    body.finish()?;
    Ok(TeamChange {
        description,
        members,
    })
}
