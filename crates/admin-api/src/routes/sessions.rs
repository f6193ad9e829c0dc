//! Signing in and out over JSON, and the first admin.

use super::users::address;
use crate::auth::{Credential, sign_in};
use crate::state::State;
use actix_web::{HttpRequest, HttpResponse, web};
use sluice_model::body::Body;
use sluice_model::problem::Problem;
use sluice_model::token::CreatedToken;
use sluice_model::user::{SetUp, SignIn};
use sluice_service::http::body::JsonBytes;
use sluice_service::http::problem::Failure;
use sluice_service::secret::Secret;

/// Signs in with an account and a password: the answer has a bearer that ends by itself.
///
/// # Errors
/// 400, 401, 413, 415, 422, 429 after too many attempts.
#[utoipa::path(post, path = "/api/sessions", tag = "access", request_body = SignIn, security(()),
    responses((status = 201, body = CreatedToken), (status = 401, body = Problem), (status = 422, body = Problem),
        (status = 429, body = Problem)))]
pub async fn start(
    request: HttpRequest,
    state: web::Data<State>,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let mut body = Body::parse(&body.0)?;
    let account = body.required_text("account");
    let password = Secret::new(body.required_text("password"));
    body.finish()?;
    let address = address(&request);
    let (token, info) = sign_in::sign_in(&state, &account, password, address).await?;
    Ok(created(token, info))
}

fn created(token: String, info: sluice_model::token::TokenInfo) -> HttpResponse {
    HttpResponse::Created()
        .insert_header(("Cache-Control", "no-store"))
        .json(CreatedToken { token, info })
}

/// Ends the session whose bearer this is.
///
/// # Errors
/// 401, 409 when the bearer is no session.
#[utoipa::path(delete, path = "/api/sessions", tag = "access",
    responses((status = 204, description = "ended"), (status = 401, body = Problem), (status = 409, body = Problem)))]
pub async fn end(state: web::Data<State>, credential: Credential) -> Result<HttpResponse, Failure> {
    sign_in::sign_out(&state, credential.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes the first admin with the one-time secret that a start without any admin prints: with a
/// password a user, without one a token, which the answer shows.
///
/// # Errors
/// 400, 403 for another secret, 404 when there is nothing to set up, 409, 422, 429.
#[utoipa::path(post, path = "/api/setup", tag = "access", request_body = SetUp, security(()),
    responses((status = 201, body = CreatedToken, description = "the token, or {account, roles} of the user"),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn set_up(
    request: HttpRequest,
    state: web::Data<State>,
    body: JsonBytes,
) -> Result<HttpResponse, Failure> {
    let mut body = Body::parse(&body.0)?;
    let secret = body.required_text("secret");
    let account = body.required_text("account");
    let password = body.text("password").map(Secret::new);
    body.finish()?;
    let address = address(&request);
    let made = sign_in::set_up(&state, &secret, &account, password, address).await?;
    Ok(match made {
        Some((token, info)) => created(token, info),
        None => HttpResponse::Created()
            .json(serde_json::json!({"account": account, "roles": ["admin"]})),
    })
}
