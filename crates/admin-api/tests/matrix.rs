//! Every route of the OpenAPI document against every role: who is let in, and who is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::{Method, header};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use common::open_as;
use sluice_admin_api::{IDENTITY, openapi, routes};
use sluice_model::access::{ROLES, Role};
use sluice_service::http::track::track;
use std::collections::BTreeSet;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Anybody, without a credential.
    Nothing,
    /// Anybody with a credential of this role or of one that includes it.
    Has(Role),
}

use Need::{Has, Nothing};

const READ: Need = Has(Role::Viewer);
const ASK: Need = Has(Role::Producer);
const DECIDE: Need = Has(Role::Approver);
const OWN: Need = Has(Role::Consumer);
const ALL: Need = Has(Role::Admin);

/// The matrix. A new route stands here, or the test fails.
const ROUTES: &[(&str, &str, Need)] = &[
    ("GET", "/api/health", Nothing),
    ("POST", "/api/sessions", Nothing),
    ("POST", "/api/setup", Nothing),
    ("GET", "/api/audit", READ),
    ("GET", "/api/audit/export", READ),
    ("GET", "/api/audit/verify", READ),
    ("GET", "/api/changes", READ),
    ("GET", "/api/drift", READ),
    ("POST", "/api/drift/{verb}", DECIDE),
    ("GET", "/api/events", READ),
    ("GET", "/api/policy", READ),
    ("PUT", "/api/policy", ALL),
    ("POST", "/api/policy/try", READ),
    ("GET", "/api/producers", READ),
    ("POST", "/api/producers/heartbeat", ASK),
    ("GET", "/api/requests", READ),
    ("POST", "/api/requests/decide", DECIDE),
    ("GET", "/api/requests/{id}", READ),
    ("PATCH", "/api/requests/{id}", ASK),
    ("GET", "/api/requests/{id}/comments", READ),
    ("POST", "/api/requests/{id}/comments", READ),
    ("POST", "/api/requests/{id}/{verb}", DECIDE),
    ("GET", "/api/routes", READ),
    ("DELETE", "/api/sessions", READ),
    ("GET", "/api/stats", READ),
    ("DELETE", "/api/subscriptions", OWN),
    ("GET", "/api/subscriptions", READ),
    ("POST", "/api/subscriptions", OWN),
    ("GET", "/api/teams", READ),
    ("POST", "/api/teams", ALL),
    ("DELETE", "/api/teams/{name}", ALL),
    ("GET", "/api/teams/{name}", READ),
    ("PATCH", "/api/teams/{name}", ALL),
    ("DELETE", "/api/teams/{name}/members/{account}", ALL),
    ("PUT", "/api/teams/{name}/members/{account}", ALL),
    ("GET", "/api/tokens", READ),
    // An account without a user: making a token for itself takes an admin.
    ("POST", "/api/tokens", ALL),
    ("DELETE", "/api/tokens/{id}", READ),
    ("GET", "/api/topics", READ),
    ("POST", "/api/topics", ASK),
    ("POST", "/api/topics/activate_by_name", ASK),
    ("GET", "/api/topics/active", READ),
    ("GET", "/api/topics/by-name/{name}", READ),
    ("GET", "/api/topics/{id}", READ),
    ("PATCH", "/api/topics/{id}", ASK),
    ("POST", "/api/topics/{id}/delete", ASK),
    ("POST", "/api/topics/{id}/{verb}", DECIDE),
    ("GET", "/api/users", ALL),
    ("POST", "/api/users", ALL),
    ("GET", "/api/users/{account}", ALL),
    ("PATCH", "/api/users/{account}", ALL),
    ("POST", "/api/apply", ASK),
    ("GET", "/api/webhooks", READ),
    ("GET", "/api/notices", READ),
    ("GET", "/api/topics/{id}/fence", READ),
    ("POST", "/api/topics/{id}/protect", ALL),
    ("POST", "/api/topics/{id}/unprotect", ALL),
    ("GET", "/api/deletions", READ),
    ("PUT", "/api/deletions", ALL),
    ("GET", "/api/whoami", READ),
    ("PUT", "/api/whoami/password", READ),
];

/// The routes of the document.
fn documented() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if Method::from_bytes(method.to_uppercase().as_bytes()).is_ok() {
                routes.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    routes
}

#[test]
fn every_documented_route_stands_in_the_matrix() {
    let owned =
        |(method, path, _): &(&str, &str, Need)| (String::from(*method), String::from(*path));
    let table: BTreeSet<_> = ROUTES.iter().map(owned).collect();
    let documented = documented();
    let missing: Vec<_> = documented.difference(&table).collect();
    let gone: Vec<_> = table.difference(&documented).collect();
    assert!(
        missing.is_empty(),
        "say in tests/matrix.rs who may call {missing:?}"
    );
    assert!(gone.is_empty(), "{gone:?} are not documented (any more)");
}

/// A path with something in its places; nothing there exists.
fn filled(path: &str) -> String {
    path.replace("{id}", "999999")
        .replace(
            "{verb}",
            if path.contains("drift") {
                "ignore"
            } else {
                "approve"
            },
        )
        .replace("{name}", "x")
        .replace("{account}", "x")
}

/// A body that gets past what is read before the role is known.
fn body(path: &str) -> &'static str {
    match path {
        "/api/requests/decide" => r#"{"decision": "approve", "ids": [999999]}"#,
        _ => "{}",
    }
}

#[test]
fn every_role_reaches_what_it_may_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = ROLES.map(|role| (role.as_str(), role.as_str()));
    let state = open_as(directory.path(), &accounts, &[]);
    let mut faults = Vec::new();
    actix_web::rt::System::new().block_on(async {
        let app = App::new()
            .app_data(web::Data::new(state.clone()))
            .wrap(from_fn(track))
            .wrap(NormalizePath::trim())
            .configure(|config| routes::configure(config, &state, IDENTITY));
        let app = init_service(app).await;
        for (method, path, need) in ROUTES {
            let callers = ROLES.map(Some).into_iter().chain([None]);
            for role in callers {
                let mut request = TestRequest::default()
                    .method(Method::from_bytes(method.as_bytes()).unwrap())
                    .uri(&filled(path))
                    .insert_header((header::CONTENT_TYPE, "application/json"))
                    .set_payload(body(path));
                if let Some(role) = role {
                    let token = format!("Bearer token-of-{role}");
                    request = request.insert_header((header::AUTHORIZATION, token));
                }
                let status = call_service(&app, request.to_request())
                    .await
                    .status()
                    .as_u16();
                let right = match (need, role) {
                    (Nothing, _) => !matches!(status, 401 | 403),
                    (Has(_), None) => status == 401,
                    (Has(needed), Some(role)) if role.includes(*needed) => {
                        !matches!(status, 401 | 403)
                    }
                    (Has(_), Some(_)) => status == 403,
                };
                if !right || status >= 500 {
                    faults.push(format!(
                        "{method} {path} as {role:?}: {status}, it needs {need:?}"
                    ));
                }
            }
        }
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn auth_none_starts_on_loopback_only() {
    use sluice_admin_api::settings::Settings;
    use sluice_service::config::{Flags, load};
    let loaded = |listen: &str| {
        let set = ["auth=none", "http.insecure_plaintext=true"].map(str::to_owned);
        let listen = format!("http.listen={listen}");
        let flags = Flags {
            set: set.into_iter().chain([listen]).collect(),
            ..Flags::default()
        };
        load::<Settings>(&IDENTITY, &flags)
    };
    assert!(loaded("127.0.0.1:0").is_ok());
    let refused = loaded("0.0.0.0:0").err().map(|error| format!("{error:#}"));
    assert!(refused.unwrap().contains("loopback"));
}
