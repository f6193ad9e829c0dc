//! Where a caller's token stands in a request.

use actix_web::HttpRequest;
use actix_web::http::header;

/// The token of a request: `Authorization: Bearer`, or `X-Producer-Key` as the producers of the
/// reference documents send it.
pub fn token(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get("x-producer-key")?.to_str().ok()
}
