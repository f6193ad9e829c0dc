//! The routes over HTTP, without Kafka: requests one after another, with the answers so far at hand.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test program uses a part of it"
)]

use actix_web::http::header;
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
pub struct Answer {
    pub status: u16,
    pub location: String,
    pub cookie: String,
    pub body: String,
}

/// A request that is made from the answers so far.
pub type Step = Box<dyn Fn(&[Answer]) -> TestRequest>;

pub fn open(directory: &Path) -> State {
    open_with(directory, &[])
}

/// The same, with settings of its own.
pub fn open_with(directory: &Path, more: &[String]) -> State {
    open_as(directory, &ACCOUNTS, more)
}

/// The accounts of a state, each with one role.
pub const ACCOUNTS: [(&str, &str); 5] = [
    ("ada", "admin"),
    ("ana", "approver"),
    ("eva", "approver"),
    ("ben", "producer"),
    ("cas", "consumer"),
];

/// A state with accounts of one's choice and more settings.
pub fn open_as(directory: &Path, wanted: &[(&str, &str)], more: &[String]) -> State {
    let mut accounts = Vec::new();
    for (account, role) in wanted {
        let file = directory.join(account);
        fs::write(&file, format!("token-of-{account}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let file = file.display();
        accounts.push(format!(
            "{{account='{account}',roles=['{role}'],token_file='{file}'}}"
        ));
    }
    let mut set = vec![
        format!("bootstrap_tokens=[{}]", accounts.join(",")),
        format!("database.path={}", directory.join("admin.db").display()),
    ];
    set.extend_from_slice(more);
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
pub fn run(steps: Vec<Step>) -> Vec<Answer> {
    let directory = tempfile::tempdir().unwrap();
    run_on(open(directory.path()), steps)
}

/// The same against a state of one's choice.
pub fn run_on(state: State, steps: Vec<Step>) -> Vec<Answer> {
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

pub fn get(path: &'static str) -> TestRequest {
    TestRequest::get().uri(path)
}

pub fn post(path: &'static str, form: &'static str) -> TestRequest {
    let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    TestRequest::post()
        .uri(path)
        .insert_header(kind)
        .set_payload(form)
}

pub fn by(account: &str, request: TestRequest) -> TestRequest {
    request.insert_header((header::AUTHORIZATION, format!("Bearer token-of-{account}")))
}

/// A POST with a JSON body.
pub fn post_json(path: &'static str, body: &str) -> TestRequest {
    let kind = (header::CONTENT_TYPE, "application/json");
    TestRequest::post()
        .uri(path)
        .insert_header(kind)
        .set_payload(body.to_owned())
}
