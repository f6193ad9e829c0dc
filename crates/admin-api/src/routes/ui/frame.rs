//! Who looks at a page, signing in and out, and errors as pages.

use crate::auth::Verified;
use crate::routes::query;
use crate::state::State;
use crate::store;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::cookie::same_origin;
use sluice_service::http::credential;
pub(super) use sluice_service::http::page::show;
use sluice_service::http::page::{CONSOLE_CSP, came_from, encoded, html, problem_of, redirect};
use sluice_service::http::problem::{Failure, internal};
use sluice_service::http::track::request_id;
use sluice_service::now;
use sluice_service::secret::Secret;
use sluice_ui::page::{self, Service, Trouble, Viewer, local_path, notice};
use std::future::{Ready, ready};

/// Somebody who may look at pages: by a session's cookie or by a bearer.
#[derive(Clone, Debug)]
pub(super) struct Visitor(pub(super) Actor);

impl FromRequest for Visitor {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).map(Self))
    }
}

fn identify(request: &HttpRequest) -> Result<Actor, Failure> {
    credential(request).map(|known| known.actor)
}

/// Who looks, and with which credential: a bearer or the session's.
pub(super) fn credential(request: &HttpRequest) -> Result<Verified, Failure> {
    let Some(state) = request.app_data::<web::Data<State>>() else {
        return Err(internal(&"the app has no state"));
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let session = state.sessions.token(request);
    let token = credential::token(request).or(session.as_ref().map(Secret::expose));
    let known = state.tokens.identify_whole(token, reads, now())?;
    crate::auth::require(&known.actor, Role::Viewer)?;
    if !known.actor.scopes.is_empty() {
        let detail = "a token that is narrowed by scopes is for programs; sign in with another one";
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    Ok(known)
}

/// What the frame of a page says to somebody.
pub(super) async fn viewer(request: &HttpRequest, state: &State, actor: Actor) -> Viewer {
    let stats = state
        .database
        .read(|c| store::topics::stats(c, now()))
        .await;
    let readiness = state.health.readiness();
    let trouble = |(name, reason): (&&str, &String)| Trouble {
        name: (*name).to_owned(),
        reason: reason.clone(),
    };
    Viewer {
        service: Service::Admin,
        actor,
        troubles: readiness.reasons.iter().map(trouble).collect(),
        pending: stats.map_or(0, |stats| stats.pending_requests),
        now: now(),
        notice: query(request, "did").as_deref().and_then(notice),
    }
}

/// The middleware of all pages: forms come from our own pages, errors are pages, and who is not
/// signed in is sent to the login.
pub(super) async fn pages<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !same_origin(request.request()) {
        let problem = Problem::new(Code::Forbidden, "this form was sent by another site's page");
        let (request, _) = request.into_parts();
        let answer = error_page(&request, &problem).await;
        return Ok(ServiceResponse::new(request, answer).map_into_right_body());
    }
    let response = next.call(request).await?;
    let Some(problem) = problem_of(&response) else {
        return Ok(response.map_into_left_body());
    };
    let (request, _) = response.into_parts();
    let answer = error_page(&request, &problem).await;
    Ok(ServiceResponse::new(request, answer).map_into_right_body())
}

async fn error_page(request: &HttpRequest, problem: &Problem) -> HttpResponse {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/ui/", |path| path.as_str());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let back = back(request);
    if problem.is(Code::Unauthenticated) {
        let next = if reads { path } else { back.as_str() };
        return redirect(&format!("/ui/login?next={}", encoded(local_path(next))));
    }
    let mut problem = problem.clone();
    problem.request_id = request_id();
    let viewer = match (identify(request), request.app_data::<web::Data<State>>()) {
        (Ok(actor), Some(state)) => Some(viewer(request, state, actor).await),
        _ => None,
    };
    let viewer = viewer.map(|viewer| Viewer {
        notice: None,
        ..viewer
    });
    let body = page::problem(Service::Admin, viewer.as_ref(), &problem, &back);
    html(problem.status, CONSOLE_CSP, body)
}

/// The page of ours that a request came from.
fn back(request: &HttpRequest) -> String {
    local_path(came_from(request).as_deref().unwrap_or("/ui/")).to_owned()
}
