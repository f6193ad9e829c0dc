//! Problems as answers.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use sluice_model::problem::{Code, Problem};
use std::fmt;

/// The content type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem on its way out of a handler.
#[derive(Debug)]
pub struct Failure(pub Box<Problem>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        respond(&self.0)
    }
}

/// A fault of ours: logged whole under the request's id, answered without details.
pub fn internal(error: &dyn fmt::Display) -> Failure {
    let request_id = super::track::request_id();
    tracing::error!(request.id = request_id, error = %error, "request failed");
    let detail = "the log of the service has the cause under this request_id";
    Problem::new(Code::Internal, detail).into()
}

/// Writes a problem, with the id of the request that it answers.
pub fn respond(problem: &Problem) -> HttpResponse {
    let mut problem = problem.clone();
    problem.request_id = super::track::request_id();
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponseBuilder::new(status);
    if status == StatusCode::UNAUTHORIZED {
        builder.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"sluice\""));
    }
    if let Some(seconds) = problem.retry_after_s {
        builder.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    builder.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
    match serde_json::to_vec(&problem) {
        Ok(body) => builder.body(body),
        Err(_) => builder
            .insert_header(ContentType::plaintext())
            .body("internal error"),
    }
}

#[cfg(feature = "sqlite")]
impl From<crate::sqlite::StoreError> for Failure {
    fn from(error: crate::sqlite::StoreError) -> Self {
        match error {
            crate::sqlite::StoreError::Busy => {
                Problem::new(Code::Busy, "too many changes are waiting")
                    .retry_after(1)
                    .into()
            }
            crate::sqlite::StoreError::Unavailable(reason) => {
                tracing::warn!(reason, "the database does not answer");
                Problem::new(Code::Unavailable, "the database does not answer; try again")
                    .retry_after(1)
                    .into()
            }
            other => internal(&other),
        }
    }
}

#[cfg(feature = "sqlite")]
impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        crate::sqlite::StoreError::from(error).into()
    }
}
