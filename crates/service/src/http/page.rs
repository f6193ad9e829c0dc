//! HTML answers and embedded files, with the security headers of the console.

use super::problem::{Failure, internal, respond};
use actix_web::cookie::Cookie;
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use sluice_model::problem::{Code, Problem};
use std::borrow::Cow;
use std::fmt::Write as _;

/// The policy of the console's own pages.
pub const CONSOLE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";
/// The policy of the API documentation: its viewers bring inline styles and a worker.
pub const DOCS_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
    child-src blob:; base-uri 'none'; frame-ancestors 'none'";

/// An HTML page under a content security policy.
pub fn html(status: u16, csp: &'static str, body: String) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    HttpResponseBuilder::new(status)
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, csp))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// A file that is compiled in; the browser keeps it until its ETag changes.
pub fn asset(
    request: &HttpRequest,
    bytes: Cow<'static, [u8]>,
    content_type: &str,
    etag: &str,
) -> HttpResponse {
    let quoted = format!("\"{etag}\"");
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == quoted.as_bytes()) {
        return HttpResponse::NotModified()
            .insert_header((header::ETAG, quoted))
            .finish();
    }
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "max-age=0, must-revalidate"))
        .insert_header((header::ETAG, quoted))
        .body(bytes.into_owned())
}

/// Sends the browser to another page after a form (303).
pub fn redirect(to: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, to))
        .finish()
}

/// A page of the console.
pub fn show(page: String) -> HttpResponse {
    html(200, CONSOLE_CSP, page)
}

/// Adds a cookie to an answer.
pub fn with_cookie(mut answer: HttpResponse, cookie: &Cookie<'static>) -> HttpResponse {
    match answer.add_cookie(cookie) {
        Ok(()) => answer,
        Err(error) => respond(&internal(&error).0),
    }
}

/// The problem that an answer of a page's handler stands for, unless it is a page already.
pub fn problem_of<B>(response: &ServiceResponse<B>) -> Option<Problem> {
    let error = response.response().error();
    if let Some(failure) = error.and_then(|error| error.as_error::<Failure>()) {
        return Some((*failure.0).clone());
    }
    let refused = || {
        Problem::new(
            Code::MethodNotAllowed,
            "this page does not take that method",
        )
    };
    (response.status().as_u16() == 405).then(refused)
}

/// The path that a browser says it came from.
pub fn came_from(request: &HttpRequest) -> Option<String> {
    let referer = request.headers().get(header::REFERER)?.to_str().ok()?;
    let (_, rest) = referer.split_once("://")?;
    rest.find('/').map(|slash| rest[slash..].to_owned())
}

/// A path as the value of a query parameter.
pub fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
    }
    text
}
