//! Signing in and out, and the page of the first admin.

use super::frame::show;
use crate::auth::oidc::Oidc;
use crate::auth::sign_in;
use crate::routes::query;
use crate::routes::users::address;
use crate::state::State;
use actix_web::cookie::{Cookie, SameSite};
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
fn ways<'a>(state: &'a State, next: &'a str) -> Login<'a> {
    Login {
        next,
        password: true,
        provider: state.oidc().map(Oidc::name),
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

/// The cookie that ties a sign-in to the browser that started it. The provider sends the browser back
/// from another site, so it cannot be Strict.
const FLOW_COOKIE: &str = "sluice_oidc";

fn flow_cookie(state: &State, value: String) -> Cookie<'static> {
    let secure = state.settings.oidc.redirect_url.starts_with("https:");
    Cookie::build(FLOW_COOKIE, value)
        .path("/ui/oidc")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(secure)
        .finish()
}

fn no_provider() -> Problem {
    let detail = "no identity provider is configured; see oidc in config/admin-api.toml";
    Problem::new(Code::NotFound, detail)
}

/// `GET /ui/oidc/start?next=`: on to the identity provider.
pub(super) async fn provider_start(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, Failure> {
    let oidc = state.oidc().ok_or_else(no_provider)?;
    state.throttle.attempt(None, address(&request))?;
    let next = query(&request, "next").unwrap_or_default();
    let (url, started) = oidc.start(local_path(&next)).await?;
    Ok(with_cookie(redirect(&url), &flow_cookie(&state, started)))
}

/// `GET /ui/oidc/callback`: back from the identity provider.
pub(super) async fn provider_callback(
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, Failure> {
    let oidc = state.oidc().ok_or_else(no_provider)?;
    let value = |name: &str| query(&request, name).unwrap_or_default();
    if !value("error").is_empty() {
        let problem = Problem::new(Code::Unauthenticated, "the provider did not sign you in");
        return Ok(refused(&state, "", &problem));
    }
    let cookie = request.cookie(FLOW_COOKIE);
    let cookie = cookie.as_ref().map_or("", |cookie| cookie.value());
    let signed_in = async {
        let (who, next) = oidc.finish(&value("state"), cookie, &value("code")).await?;
        let (token, _) = sign_in::sign_in_vouched(&state, who).await?;
        Ok::<_, Failure>((token, next))
    };
    let mut gone = flow_cookie(&state, String::new());
    gone.make_removal();
    match signed_in.await {
        // A page and no redirect: a Strict cookie does not go along with one that another site began.
        Ok((token, next)) => {
            let page = show(page::signed_in(Service::Admin, &next));
            Ok(with_cookie(
                with_cookie(page, &state.sessions.start(&token)),
                &gone,
            ))
        }
        Err(failure) => Ok(with_cookie(refused(&state, "", &failure.0), &gone)),
    }
}
