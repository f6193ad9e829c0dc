//! Which scope a call needs, by its method and route. What is not listed needs a credential whose scopes
//! name no actions, so that a new route is closed to narrowed tokens until somebody opens it.

use actix_web::http::Method;
pub use sluice_model::scope::Needed;

/// What a call needs; `pattern` is the route's, `last` the last segment of its path.
pub fn needed(method: &Method, pattern: &str, last: &str) -> Needed {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let rest = pattern
        .strip_prefix("/api/")
        .unwrap_or(pattern.trim_start_matches('/'));
    let area = rest.split('/').next().unwrap_or_default();
    let action = match (area, reads) {
        ("whoami", true) => return Needed::Nothing,
        ("metrics", true) => "metrics:read",
        ("audit", true) => "audit:read",
        (
            "stats" | "topics" | "routes" | "requests" | "subscriptions" | "changes" | "events"
            | "drift" | "policy" | "producers" | "teams" | "webhooks" | "notices" | "deletions",
            true,
        ) => "topics:read",
        ("topics" | "requests", false) => match last {
            "approve" | "reject" | "cancel" | "deactivate" | "reactivate" | "decide" => {
                "requests:decide"
            }
            _ => "topics:request",
        },
        ("apply", _) => "topics:request",
        ("subscriptions", false) => "subscriptions:write",
        ("producers", false) => "producers:report",
        ("policy", false) if last == "try" => "topics:read",
        ("drift", false) => "requests:decide",
        ("policy", false) => "policy:write",
        _ => return Needed::Whole,
    };
    Needed::Action(action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::scope::SCOPES;

    #[test]
    fn calls_need_the_scope_of_what_they_do_and_unknown_ones_need_it_whole() {
        for (method, pattern, last, wanted) in [
            (Method::GET, "/api/whoami", "whoami", Needed::Nothing),
            (
                Method::PUT,
                "/api/whoami/password",
                "password",
                Needed::Whole,
            ),
            (
                Method::GET,
                "/api/topics/{id}",
                "7",
                Needed::Action("topics:read"),
            ),
            (
                Method::POST,
                "/api/topics",
                "topics",
                Needed::Action("topics:request"),
            ),
            (
                Method::POST,
                "/api/topics/{id}/{verb}",
                "approve",
                Needed::Action("requests:decide"),
            ),
            (
                Method::POST,
                "/api/requests/{id}/{verb}",
                "withdraw",
                Needed::Action("topics:request"),
            ),
            (
                Method::PUT,
                "/api/policy",
                "policy",
                Needed::Action("policy:write"),
            ),
            (Method::POST, "/api/tokens", "tokens", Needed::Whole),
            (Method::GET, "/api/users", "users", Needed::Whole),
            (Method::GET, "/api/new-thing", "new-thing", Needed::Whole),
        ] {
            let found = needed(&method, pattern, last);
            assert_eq!(found, wanted, "{method} {pattern}");
            if let Needed::Action(action) = found {
                assert!(SCOPES.iter().any(|(known, _)| *known == action), "{action}");
            }
        }
    }
}
