//! The page of users, teams and tokens, and what its forms do.

use super::frame::{Visitor, credential, show, viewer};
use crate::app::teams as team_cases;
use crate::auth::{Credential, require};
use crate::error::Outcome;
use crate::routes::{id, tokens as token_routes, users as user_routes};
use crate::state::State;
use crate::store;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::page::Page;
use sluice_model::problem::Problem;
use sluice_model::scope;
use sluice_model::token::NewToken;
use sluice_model::user::{NewTeam, NewUser, TeamChange, UserChange, check_name, check_password};
use sluice_service::http::body::FormFields;
use sluice_service::http::page::{CONSOLE_CSP, html, redirect};
use sluice_service::http::problem::Failure;
use sluice_service::now;
use sluice_service::secret::Secret;
use sluice_ui::admin::{self, AccessPage};

/// Rows of each list on the page.
const ROWS: Page = Page {
    limit: 500,
    before: None,
};
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Days that a token of the form may last.
const DAYS_MAX: i64 = 3650;

type Answer = Result<HttpResponse, Failure>;

/// Adds the routes.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/access", web::get().to(page))
        .route("/access/users", web::post().to(create_user))
        .route("/access/users/{account}", web::post().to(change_user))
        .route("/access/teams", web::post().to(create_team))
        .route("/access/teams/{name}", web::post().to(change_team))
        .route("/access/tokens", web::post().to(create_token))
        .route("/access/tokens/{id}/revoke", web::post().to(revoke_token))
        .route("/access/password", web::post().to(change_password));
}

/// `GET /ui/access`
async fn page(request: HttpRequest, state: web::Data<State>, visitor: Visitor) -> Answer {
    Ok(show(render(&request, &state, visitor, None, None).await?))
}

/// The page, with what was wrong with a form or the token that it made.
async fn render(
    request: &HttpRequest,
    state: &State,
    visitor: Visitor,
    problem: Option<&Problem>,
    token: Option<&str>,
) -> Result<String, Failure> {
    let actor = visitor.0.clone();
    let read = move |c: &Connection| -> Outcome<_> {
        let all = actor.may(Role::Admin);
        let users = if all {
            store::users::list(c, ROWS)?
        } else {
            Vec::new()
        };
        let teams = store::teams::list(c, ROWS)?;
        let tokens = if all {
            store::tokens::list(c, ROWS)?
        } else {
            store::tokens::list_of(c, &actor.account, ROWS)?
        };
        let own = store::users::by_account(c, &actor.account)?;
        Ok((users, teams, tokens, own))
    };
    let (users, teams, tokens, own) = state.database.read(read).await?;
    let viewer = viewer(request, state, visitor.0).await;
    let users: Vec<_> = users.into_iter().map(|(_, user)| user).collect();
    let teams: Vec<_> = teams.into_iter().map(|(_, team)| team).collect();
    let data = AccessPage {
        users: &users,
        teams: &teams,
        tokens: &tokens,
        own: own.as_ref(),
        problem,
        token,
    };
    Ok(admin::access(&viewer, &data))
}

/// What the visitor can correct comes back on the page; the rest is an error page.
async fn again(
    request: &HttpRequest,
    state: &State,
    visitor: Visitor,
    outcome: Result<&'static str, Failure>,
) -> Answer {
    match outcome {
        Ok(did) => Ok(redirect(&format!("/ui/access?did={did}"))),
        Err(failure) if matches!(failure.0.status, 400 | 404 | 409 | 422) => {
            let page = render(request, state, visitor, Some(&failure.0), None).await?;
            Ok(html(failure.0.status, CONSOLE_CSP, page))
        }
        Err(failure) => Err(failure),
    }
}

/// Words apart by commas or spaces.
fn words(form: &FormFields, name: &str) -> Vec<String> {
    let text = form.get(name).unwrap_or_default();
    let words = text.split([',', ' ', '\n', '\r', '\t']);
    let mut words: Vec<_> = words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.dedup();
    words
}

/// The boxes of roles that were ticked.
fn roles(form: &FormFields) -> Result<Vec<Role>, Problem> {
    let ticked = form.iter().filter(|(name, _)| *name == "role");
    let roles: Result<Vec<Role>, String> = ticked.map(|(_, word)| word.parse()).collect();
    let roles = roles.map_err(|message| Problem::invalid("/roles", message))?;
    if roles.is_empty() {
        return Err(Problem::invalid("/roles", "needs at least one role"));
    }
    Ok(roles)
}

fn password(form: &FormFields, account: &str) -> Result<Option<Secret>, Problem> {
    let typed = form.iter().find(|(name, _)| *name == "password");
    let Some((_, typed)) = typed.filter(|(_, typed)| !typed.is_empty()) else {
        return Ok(None);
    };
    check_password(account, typed).map_err(|message| Problem::invalid("/password", message))?;
    Ok(Some(Secret::new(typed.to_owned())))
}

async fn create_user(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let actor = visitor.0.clone();
    let outcome = async {
        let account = form.get("account").unwrap_or_default();
        check_name(account).map_err(|message| Problem::invalid("/account", message))?;
        let password = password(&form, account)?;
        let new = NewUser {
            account: account.to_owned(),
            display_name: form.get("display_name").map(str::to_owned),
            password: None,
            roles: Some(roles(&form)?),
            teams: Some(words(&form, "teams")),
        };
        user_routes::make(&state, actor, new, password).await?;
        Ok("user")
    };
    let outcome = outcome.await;
    again(&request, &state, visitor, outcome).await
}

async fn change_user(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    account: web::Path<String>,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let actor = visitor.0.clone();
    let outcome = async {
        let password = password(&form, &account)?;
        let change = UserChange {
            display_name: None,
            password: None,
            roles: Some(roles(&form)?),
            teams: Some(words(&form, "teams")),
            disabled: Some(form.get("disabled").is_some()),
        };
        let version = form.get("version").and_then(|version| version.parse().ok());
        let change = (change, password);
        user_routes::alter(&state, actor, account.into_inner(), version, change).await?;
        Ok("user")
    };
    let outcome = outcome.await;
    again(&request, &state, visitor, outcome).await
}

async fn create_team(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let context = state.context(visitor.0.clone());
    let outcome = async {
        let name = form.get("name").unwrap_or_default();
        check_name(name).map_err(|message| Problem::invalid("/name", message))?;
        let new = NewTeam {
            name: name.to_owned(),
            description: form.get("description").map(str::to_owned),
            members: words(&form, "members"),
        };
        let work = move |c: &Connection| team_cases::create(c, &context, &new);
        state.database.write(work).await?;
        state.reload_access().await?;
        Ok("team")
    };
    let outcome = outcome.await;
    again(&request, &state, visitor, outcome).await
}

async fn change_team(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    name: web::Path<String>,
    form: FormFields,
) -> Answer {
    require(&visitor.0, Role::Admin)?;
    let context = state.context(visitor.0.clone());
    let outcome = async {
        let version = form.get("version").and_then(|version| version.parse().ok());
        let remove = form.get("remove").is_some();
        let change = TeamChange {
            description: Some(form.get("description").unwrap_or_default().to_owned()),
            members: Some(words(&form, "members")),
        };
        let work = move |c: &Connection| -> Outcome<()> {
            if remove {
                return team_cases::delete(c, &context, &name, version);
            }
            team_cases::change(c, &context, &name, version, &change).map(drop)
        };
        state.database.write(work).await?;
        state.reload_access().await?;
        Ok("team")
    };
    let outcome = outcome.await;
    again(&request, &state, visitor, outcome).await
}

/// The token is on the page that answers, and nowhere afterwards.
async fn create_token(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    let credential = Credential(credential(&request)?);
    match new_token(&form) {
        Err(problem) => again(&request, &state, visitor, Err(problem.into())).await,
        Ok(new) => match token_routes::make(&state, credential, new).await {
            Ok((token, _)) => {
                let page = render(&request, &state, visitor, None, Some(&token)).await?;
                Ok(show(page))
            }
            Err(failure) => again(&request, &state, visitor, Err(failure)).await,
        },
    }
}

fn new_token(form: &FormFields) -> Result<NewToken, Problem> {
    let scopes = words(form, "scopes");
    for scope in &scopes {
        scope::check(scope).map_err(|message| Problem::invalid("/scopes", message))?;
    }
    let days = form.get("days").map(str::parse::<i64>).transpose();
    let days = days
        .ok()
        .filter(|days| days.is_none_or(|days| (1..=DAYS_MAX).contains(&days)));
    let days = days.ok_or_else(|| {
        Problem::invalid("/days", format!("is a number of days from 1 to {DAYS_MAX}"))
    })?;
    Ok(NewToken {
        account: form.get("account").map(str::to_owned),
        roles: Some(roles(form)?),
        scopes,
        label: form.get("label").map(str::to_owned),
        expires_at: days.map(|days| now().plus_millis(days * DAY_MS)),
    })
}

async fn revoke_token(request: HttpRequest, state: web::Data<State>, visitor: Visitor) -> Answer {
    let (token_id, context) = (id(&request)?, state.context(visitor.0.clone()));
    let work = move |c: &Connection| crate::app::tokens::revoke(c, &context, token_id);
    let outcome = state.database.write(work).await.map(|()| "revoke");
    state.reload_access().await?;
    again(&request, &state, visitor, outcome.map_err(Failure::from)).await
}

async fn change_password(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
    form: FormFields,
) -> Answer {
    let credential = Credential(credential(&request)?);
    let typed = |name: &str| {
        let found = form.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let (current, new) = (Secret::new(typed("current_password")), typed("password"));
    let outcome = if let Err(message) = check_password(&visitor.0.account, &new) {
        Err(Problem::invalid("/password", message).into())
    } else {
        let passwords = (current, Secret::new(new));
        user_routes::set_own_password(&state, credential, &request, passwords).await
    };
    // A 401 here is about the password, not about who is signed in.
    let outcome = outcome.map(|()| "password").map_err(|failure: Failure| {
        if failure.0.status == 401 {
            return Problem::invalid("/current_password", "is wrong").into();
        }
        failure
    });
    again(&request, &state, visitor, outcome).await
}
