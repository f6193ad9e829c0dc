//! Who looks at a page, signing in and out, and errors as pages.

use super::value;
use crate::access::{self, Caller};
use crate::context::Context;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::body::FormFields;
use sluice_service::http::cookie::same_origin;
pub(super) use sluice_service::http::page::show;
use sluice_service::http::page::{
    CONSOLE_CSP, came_from, encoded, html, problem_of, redirect, with_cookie,
};
use sluice_service::http::track::request_id;
use sluice_service::now;
use sluice_service::secret::Secret;
use sluice_ui::page::{self, Login, Service, Trouble, Viewer, local_path, notice};

/// What the frame of a page says to somebody.
pub(super) fn viewer(request: &HttpRequest, context: &Context, actor: Actor) -> Viewer {
    let readiness = context.health.readiness();
    let trouble = |(name, reason): (&&str, &String)| Trouble {
        name: (*name).to_owned(),
        reason: reason.clone(),
    };
    Viewer {
        service: Service::Consumer,
        actor,
        troubles: readiness.reasons.iter().map(trouble).collect(),
        pending: 0,
        now: now(),
        notice: value(request, "did").as_deref().and_then(notice),
    }
}

/// The middleware of all pages: forms come from our own pages, who is not signed in is sent to the
/// login, and errors are pages.
pub(super) async fn pages<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let admitted = admit(request.request()).await;
    let (request, problem) = match admitted {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = next.call(request).await?;
            let Some(problem) = problem_of(&response) else {
                return Ok(response.map_into_left_body());
            };
            (response.into_parts().0, problem)
        }
        Err(problem) => (request.into_parts().0, problem),
    };
    let answer = error_page(&request, &problem);
    Ok(ServiceResponse::new(request, answer).map_into_right_body())
}

/// Who asks, for the pages that need to know.
async fn admit(request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !same_origin(request) {
        return Err(Problem::new(
            Code::Forbidden,
            "this form was sent by another site's page",
        ));
    }
    let path = request.path().trim_end_matches('/');
    if path.starts_with("/ui/assets/") || matches!(path, "/ui/login" | "/ui/logout") {
        return Ok(None);
    }
    let Some(context) = request.app_data::<web::Data<Context>>() else {
        return Err(Problem::new(Code::Internal, "the service is not set up"));
    };
    let token = access::token(context, request)?;
    let caller = access::verify(context, token).await?;
    caller.need(Role::Viewer).map_err(|failure| *failure.0)?;
    let caller = access::scopes::admit(Ok(caller), Some(context), request).await?;
    Ok(Some(caller))
}

fn error_page(request: &HttpRequest, problem: &Problem) -> HttpResponse {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/ui/", |path| path.as_str());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let back = back(request);
    if problem.is(Code::Unauthenticated) {
        let next = local_path(if reads { path } else { back.as_str() });
        return redirect(&format!("/ui/login?next={}", encoded(next)));
    }
    let mut problem = problem.clone();
    problem.request_id = request_id();
    let caller = request.extensions().get::<Caller>().cloned();
    let context = request.app_data::<web::Data<Context>>();
    let viewer = caller.zip(context).map(|(caller, context)| Viewer {
        notice: None,
        ..viewer(request, context, caller.actor)
    });
    let body = page::problem(Service::Consumer, viewer.as_ref(), &problem, &back);
    html(problem.status, CONSOLE_CSP, body)
}

/// The page of ours that a request came from.
fn back(request: &HttpRequest) -> String {
    local_path(came_from(request).as_deref().unwrap_or("/ui/")).to_owned()
}

/// `GET /ui/login`
pub(super) async fn login_page(request: HttpRequest) -> HttpResponse {
    let next = value(&request, "next").unwrap_or_default();
    let notice = value(&request, "did").as_deref().and_then(notice);
    let next = next.as_str();
    let login = Login {
        next,
        notice,
        ..Login::default()
    };
    show(page::login(Service::Consumer, &login))
}

/// `POST /ui/login`: a token that the admin API knows starts a session.
pub(super) async fn login(context: web::Data<Context>, form: FormFields) -> HttpResponse {
    let next = form.get("next").unwrap_or_default();
    let token = form.get("token").unwrap_or_default();
    match access::verify(&context, Secret::new(token.to_owned())).await {
        Ok(_) => with_cookie(redirect(local_path(next)), &context.sessions.start(token)),
        Err(problem) => {
            let words = format!("You are not signed in: {}.", problem.detail);
            let login = Login {
                next,
                problem: Some(&words),
                ..Login::default()
            };
            let page = page::login(Service::Consumer, &login);
            html(problem.status, CONSOLE_CSP, page)
        }
    }
}

/// `POST /ui/logout`
pub(super) async fn logout(request: HttpRequest, context: web::Data<Context>) -> HttpResponse {
    with_cookie(
        redirect("/ui/login?did=signout"),
        &context.sessions.end(&request),
    )
}
