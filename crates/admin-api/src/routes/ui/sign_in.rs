//! Signing in and out, and the page of the first admin.

use super::frame::show;
use crate::auth::sign_in;
use crate::routes::query;
use crate::routes::users::address;
use crate::state::State;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::body::FormFields;
use sluice_service::http::page::{CONSOLE_CSP, html, redirect, with_cookie};
use sluice_service::http::problem::Failure;
use sluice_service::now;
use sluice_service::secret::Secret;
use sluice_ui::admin;
use sluice_ui::page::{self, Login, Service, local_path, notice};

/// What the login page shows besides the words about a failure.
fn ways<'a>(state: &State, next: &'a str) -> Login<'a> {
    let _ways_of_sign_in = &state.settings.sessions;
    Login {
        next,
        password: true,
        ..Login::default()
    }
}

/// `GET /ui/login`
pub(super) async fn login_page(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let next = query(&request, "next").unwrap_or_default();
    let notice = query(&request, "did").as_deref().and_then(notice);
    let login = ways(&state, &next);
    show(page::login(Service::Admin, &Login { notice, ..login }))
}

/// The field as it was typed: white space belongs to a password.
fn raw(form: &FormFields, name: &str) -> Secret {
    let found = form.iter().find(|(field, _)| *field == name);
    Secret::new(found.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// `POST /ui/login`: a valid token, or an account with its password, starts a session.
pub(super) async fn login(
    request: HttpRequest,
    state: web::Data<State>,
    form: FormFields,
) -> HttpResponse {
    let next = form.get("next").unwrap_or_default();
    let signed_in = match form.get("account") {
        Some(account) => {
            let password = raw(&form, "password");
            let started = sign_in::sign_in(&state, account, password, address(&request)).await;
            started.map(|(token, _)| token)
        }
        None => with_token(&state, form.get("token").unwrap_or_default()),
    };
    match signed_in {
        Ok(token) => with_cookie(redirect(local_path(next)), &state.sessions.start(&token)),
        Err(failure) => refused(&state, next, &failure.0),
    }
}

/// The login page with the reason of a refusal.
pub(super) fn refused(state: &State, next: &str, problem: &Problem) -> HttpResponse {
    let words = format!("You are not signed in: {}.", problem.detail);
    let login = Login {
        problem: Some(&words),
        ..ways(state, next)
    };
    let mut answer = html(
        problem.status,
        CONSOLE_CSP,
        page::login(Service::Admin, &login),
    );
    if let Some(seconds) = problem.retry_after_s {
        let seconds = actix_web::http::header::HeaderValue::from(seconds);
        answer
            .headers_mut()
            .insert(actix_web::http::header::RETRY_AFTER, seconds);
    }
    answer
}

fn with_token(state: &State, token: &str) -> Result<String, Failure> {
    let actor = state.tokens.identify(Some(token), true, now())?;
    if !actor.scopes.is_empty() {
        let detail = "a token that is narrowed by scopes is for programs";
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    Ok(token.to_owned())
}

/// `POST /ui/logout`: the session's own token ends too.
pub(super) async fn logout(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    if let Some(token) = state.sessions.token(&request)
        && let Ok(known) = state.tokens.verify(token.expose(), now())
        && known.source == crate::auth::directory::source::SESSION
        && let Err(failure) = sign_in::sign_out(&state, known).await
    {
        tracing::warn!(error = %failure, "a session's token lives on until its time is over");
    }
    with_cookie(
        redirect("/ui/login?did=signout"),
        &state.sessions.end(&request),
    )
}

/// `GET /ui/setup?secret=`
pub(super) async fn setup_page(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, Failure> {
    state.throttle.attempt(None, address(&request))?;
    let secret = query(&request, "secret").unwrap_or_default();
    state.setup.check(&secret)?;
    Ok(show(admin::setup(&secret, "", None)))
}

/// `POST /ui/setup`: the first admin, who is signed in at once or gets a token.
pub(super) async fn set_up(
    request: HttpRequest,
    state: web::Data<State>,
    form: FormFields,
) -> Result<HttpResponse, Failure> {
    let secret = form.get("secret").unwrap_or_default();
    let account = form.get("account").unwrap_or_default();
    let by_token = form.get("kind") == Some("token");
    let password = (!by_token).then(|| raw(&form, "password"));
    let address = address(&request);
    let made = sign_in::set_up(&state, secret, account, password.clone(), address).await;
    let problem = match made {
        Ok(Some((token, _))) => return Ok(show(admin::first_token(account, &token))),
        Ok(None) => {
            let password = password.unwrap_or_else(|| Secret::new(String::new()));
            let (token, _) = sign_in::sign_in(&state, account, password, address).await?;
            return Ok(with_cookie(redirect("/ui/"), &state.sessions.start(&token)));
        }
        Err(failure) if matches!(failure.0.status, 409 | 422) => failure.0,
        Err(failure) => return Err(failure),
    };
    let page = admin::setup(secret, account, Some(&problem));
    Ok(html(problem.status, CONSOLE_CSP, page))
}
