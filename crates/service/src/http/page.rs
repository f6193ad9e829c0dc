//! HTML answers and embedded files, with the security headers of the console.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use std::borrow::Cow;

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
