//! The console over HTTP, without a browser and without Kafka: signing in, asking, deciding, errors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use actix_web::http::{StatusCode, header};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use sluice_admin_api::settings::Settings;
use sluice_admin_api::state::State;
use sluice_admin_api::{IDENTITY, routes};
use sluice_service::config::{Flags, load};
use sluice_service::http::body::BodyLimits;
use sluice_service::http::track::track;
use sluice_service::shutdown::Shutdown;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// An answer: status, Location or Set-Cookie, and the body.
struct Answer {
    status: u16,
    location: String,
    cookie: String,
    body: String,
}

/// A request that is made from the answers so far.
type Step = Box<dyn Fn(&[Answer]) -> TestRequest>;

fn open(directory: &Path) -> State {
    let mut accounts = Vec::new();
    for (account, role) in [
        ("ana", "approver"),
        ("ben", "producer"),
        ("cas", "consumer"),
    ] {
        let file = directory.join(account);
        fs::write(&file, format!("token-of-{account}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let file = file.display();
        accounts.push(format!(
            "{{account='{account}',roles=['{role}'],token_file='{file}'}}"
        ));
    }
    let set = vec![
        format!("bootstrap_tokens=[{}]", accounts.join(",")),
        format!("database.path={}", directory.join("admin.db").display()),
    ];
    let settings: Settings = load(
        &IDENTITY,
        &Flags {
            config: None,
            set,
            ..Flags::default()
        },
    )
    .unwrap();
    State::open(settings, Shutdown::default()).unwrap()
}

/// Runs requests one after another against the routes.
fn run(steps: Vec<Step>) -> Vec<Answer> {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    actix_web::rt::System::new().block_on(async move {
        let app = App::new()
            .app_data(web::Data::new(state.clone()))
            .app_data(web::Data::new(BodyLimits::default()))
            .wrap(from_fn(track))
            .wrap(NormalizePath::trim())
            .configure(|config| routes::configure(config, &state, IDENTITY));
        let app = init_service(app).await;
        let mut answers = Vec::new();
        for step in steps {
            let response = call_service(&app, step(&answers).to_request()).await;
            let header = |name| {
                let value = response.headers().get(name);
                value
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            answers.push(Answer {
                status: response.status().as_u16(),
                location: header(header::LOCATION),
                cookie: header(header::SET_COOKIE),
                body: String::from_utf8(read_body(response).await.to_vec()).unwrap(),
            });
        }
        answers
    })
}

fn get(path: &'static str) -> TestRequest {
    TestRequest::get().uri(path)
}

fn post(path: &'static str, form: &'static str) -> TestRequest {
    let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    TestRequest::post()
        .uri(path)
        .insert_header(kind)
        .set_payload(form)
}

fn by(account: &str, request: TestRequest) -> TestRequest {
    request.insert_header((header::AUTHORIZATION, format!("Bearer token-of-{account}")))
}

#[test]
fn a_session_starts_with_a_token_and_ends_with_the_sign_out() {
    let session = |answers: &[Answer]| {
        let cookie = answers[2]
            .cookie
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        (header::COOKIE, cookie)
    };
    let answers = run(vec![
        Box::new(|_| get("/ui/topics?status=active")),
        Box::new(|_| post("/ui/login", "token=wrong&next=/ui/topics")),
        Box::new(|_| post("/ui/login", "token=token-of-ana&next=https://evil.example")),
        Box::new(move |a| get("/ui/").insert_header(session(a))),
        Box::new(move |a| post("/ui/logout", "").insert_header(session(a))),
        Box::new(move |a| get("/ui/").insert_header(session(a))),
    ]);
    assert_eq!(
        answers[0].location,
        "/ui/login?next=/ui/topics%3Fstatus%3Dactive"
    );
    assert_eq!(answers[1].status, StatusCode::UNAUTHORIZED);
    assert!(answers[1].body.contains("the token is not known") && answers[1].cookie.is_empty());
    assert_eq!(answers[2].location, "/ui/", "never to another site");
    let cookie = &answers[2].cookie;
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains("token-of-ana"));
    assert!(answers[3].body.contains("<h1>Overview</h1>") && answers[3].body.contains("ana"));
    assert_eq!(answers[4].location, "/ui/login?did=signout");
    assert_eq!(answers[5].location, "/ui/login?next=/ui/");
}

#[test]
fn a_topic_is_asked_for_and_decided_about_with_forms() {
    let answers = run(vec![
        Box::new(|_| {
            by(
                "ben",
                post("/ui/request", "name=two+words&partitions=many&configs=x"),
            )
        }),
        Box::new(|_| {
            by(
                "ben",
                post(
                    "/ui/request",
                    "name=orders&partitions=3&description=%3Cb%3E",
                ),
            )
        }),
        Box::new(|_| by("ben", post("/ui/request", "name=orders"))),
        Box::new(|_| by("ben", post("/ui/requests/1/approve", "version=1"))),
        Box::new(|_| by("ana", get("/ui/requests"))),
        Box::new(|_| by("ana", post("/ui/requests/1/approve", "version=7"))),
        Box::new(|_| by("ana", post("/ui/requests/1/reject", "version=1"))),
        Box::new(|_| by("ana", post("/ui/requests/1/approve", "version=1"))),
        Box::new(|_| by("ana", get("/ui/topics/1?did=approve"))),
        Box::new(|_| by("ana", post("/ui/topics/1/cancel", "version=2&reason=no"))),
        Box::new(|_| by("ana", get("/ui/requests?tab=decided"))),
    ]);
    assert_eq!(answers[0].status, 422);
    assert!(answers[0].body.contains("is a whole number") && answers[0].body.contains("two words"));
    assert_eq!(answers[1].location, "/ui/topics/1?did=request");
    assert_eq!(answers[2].status, 409);
    assert!(answers[2].body.contains("exists already"));
    assert_eq!(answers[3].status, 403);
    assert!(answers[4].body.contains("/ui/requests/1/approve"));
    assert_eq!(answers[5].status, 412);
    assert!(answers[5].body.contains("Somebody was faster"));
    assert_eq!(answers[6].status, 422, "a rejection has a reason");
    assert_eq!(answers[7].location, "/ui/requests?did=approve");
    assert!(answers[8].body.contains("Approved.") && answers[8].body.contains("&#60;b&#62;"));
    assert_eq!(answers[9].location, "/ui/topics/1?did=cancel");
    assert!(answers[10].body.contains("decided by"));
}

#[test]
fn forms_of_other_sites_are_refused_and_errors_are_pages() {
    let evil = (header::ORIGIN, "https://evil.example");
    let answers = run(vec![
        Box::new(move |_| {
            by("ben", post("/ui/request", "name=orders")).insert_header(evil.clone())
        }),
        Box::new(|_| by("ana", get("/ui/topics/99"))),
        Box::new(|_| by("ana", get("/ui/nothing"))),
        Box::new(|_| by("ana", get("/ui/topics?status=odd"))),
        Box::new(|_| by("ana", post("/ui/subscriptions", "topic_name=orders"))),
        Box::new(|_| by("cas", post("/ui/subscriptions", "topic_name=orders"))),
        Box::new(|_| by("ana", get("/api/topics"))),
        Box::new(|_| get("/")),
    ]);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [403, 404, 404, 422, 403, 404, 200, 303]);
    for answer in &answers[..6] {
        assert!(
            answer.body.starts_with("<!doctype html>"),
            "{}",
            answer.body
        );
    }
    assert!(
        answers[5].body.contains("<h1>Subscriptions</h1>"),
        "the form comes back"
    );
    assert_eq!(
        answers[6].body, "[]",
        "nothing was asked for by another site"
    );
    assert_eq!(answers[7].location, "/ui/");
}
