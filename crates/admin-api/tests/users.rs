//! Users over HTTP: made, signed in, narrowed, disabled; and the first admin of a first start.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::header;
use actix_web::test::TestRequest;
use common::{Answer, Step, by, get, open_as, post, post_json, run, run_on};
use serde_json::{Value, json};

const DAN: &str = r#"{"account": "dan", "roles": ["producer"], "password": "correct horse"}"#;
const SIGN_IN: &str = r#"{"account": "dan", "password": "correct horse"}"#;

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

fn send(method: TestRequest, path: &str, body: &str) -> TestRequest {
    let kind = (header::CONTENT_TYPE, "application/json");
    method
        .uri(path)
        .insert_header(kind)
        .set_payload(body.to_owned())
}

fn bearer(request: TestRequest, answer: &Answer) -> TestRequest {
    let token = json(answer)["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    request.insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_user_signs_in_and_what_it_makes_is_never_wider_than_it_is() {
    let answers = run(vec![
        Box::new(|_| by("ada", post_json("/api/users", DAN))),
        Box::new(|_| post_json("/api/sessions", SIGN_IN)),
        Box::new(|a| bearer(get("/api/whoami"), &a[1])),
        Box::new(|a| bearer(post_json("/api/tokens", r#"{"roles": ["admin"]}"#), &a[1])),
        Box::new(|a| {
            let new = r#"{"account": "ben", "roles": ["viewer"]}"#;
            bearer(post_json("/api/tokens", new), &a[1])
        }),
        Box::new(|a| bearer(post_json("/api/tokens", r#"{"label": "mine"}"#), &a[1])),
        Box::new(|a| bearer(get("/api/whoami"), &a[5])),
        Box::new(|a| bearer(get("/api/tokens"), &a[5])),
        Box::new(|_| {
            let weaker = r#"{"roles": ["viewer"]}"#;
            by("ada", send(TestRequest::patch(), "/api/users/dan", weaker))
        }),
        Box::new(|a| bearer(get("/api/whoami"), &a[5])),
        Box::new(|a| bearer(get("/api/users"), &a[5])),
        Box::new(|_| {
            let disabled = r#"{"disabled": true}"#;
            by(
                "ada",
                send(TestRequest::patch(), "/api/users/dan", disabled),
            )
        }),
        Box::new(|a| bearer(get("/api/whoami"), &a[5])),
        Box::new(|a| bearer(get("/api/whoami"), &a[1])),
        Box::new(|_| post_json("/api/sessions", SIGN_IN)),
        Box::new(|_| by("ada", get("/api/audit"))),
    ]);
    let wanted = [
        201, 201, 200, 403, 403, 201, 200, 200, 200, 200, 403, 200, 401, 401, 401, 200,
    ];
    assert_eq!(statuses(&answers), wanted);
    assert!(!answers[0].body.contains("argon2") && !answers[0].body.contains("horse"));
    assert_eq!(json(&answers[2])["account"], "dan");
    assert!(json(&answers[2])["expires_at"].is_string());
    assert_eq!(
        json(&answers[7]).as_array().unwrap().len(),
        2,
        "its own alone"
    );
    assert_eq!(
        json(&answers[9])["roles"],
        json!([]),
        "no wider than the user"
    );
    for action in ["user_created", "user_changed", "signed_in", "token_created"] {
        assert!(answers[15].body.contains(action), "{action}");
    }
    for secret in [
        "horse",
        "argon2",
        json(&answers[5])["token"].as_str().unwrap(),
    ] {
        assert!(!answers[15].body.contains(secret), "{secret} in the audit");
    }
}

#[test]
fn a_new_password_ends_the_other_sessions() {
    let change = r#"{"current_password": "correct horse", "password": "battery staple"}"#;
    let wrong = r#"{"current_password": "wrong horse", "password": "battery staple"}"#;
    let place = "/api/whoami/password";
    let answers = run(vec![
        Box::new(|_| by("ada", post_json("/api/users", DAN))),
        Box::new(|_| post_json("/api/sessions", SIGN_IN)),
        Box::new(|_| post_json("/api/sessions", SIGN_IN)),
        Box::new(move |a| bearer(send(TestRequest::put(), place, wrong), &a[1])),
        Box::new(move |a| bearer(send(TestRequest::put(), place, change), &a[1])),
        Box::new(|a| bearer(get("/api/whoami"), &a[1])),
        Box::new(|a| bearer(get("/api/whoami"), &a[2])),
        Box::new(|_| post_json("/api/sessions", SIGN_IN)),
        Box::new(|_| {
            post(
                "/ui/login",
                "account=dan&password=battery+staple&next=/ui/topics",
            )
        }),
        Box::new(|a| bearer(TestRequest::delete().uri("/api/sessions"), &a[1])),
        Box::new(|a| bearer(get("/api/whoami"), &a[1])),
        Box::new(move |_| by("ben", send(TestRequest::put(), place, change))),
    ]);
    let wanted = [201, 201, 201, 401, 204, 200, 401, 401, 303, 204, 401, 409];
    assert_eq!(statuses(&answers), wanted);
    assert_eq!(answers[8].location, "/ui/topics");
    assert!(answers[8].cookie.contains("SameSite=Strict"));
}

#[test]
fn an_unknown_user_is_told_the_same_and_too_many_tries_are_429() {
    let directory = tempfile::tempdir().unwrap();
    let more = ["sessions.attempts_per_account=2".to_owned()];
    let state = open_as(directory.path(), &common::ACCOUNTS, &more);
    let wrong = r#"{"account": "dan", "password": "wrong horse"}"#;
    let unknown = r#"{"account": "eve", "password": "wrong horse"}"#;
    let answers = run_on(
        state,
        vec![
            Box::new(|_| by("ada", post_json("/api/users", DAN))),
            Box::new(move |_| post_json("/api/sessions", wrong)),
            Box::new(move |_| post_json("/api/sessions", unknown)),
            Box::new(move |_| post_json("/api/sessions", wrong)),
            Box::new(|_| post_json("/api/sessions", SIGN_IN)),
            Box::new(|_| post("/ui/login", "account=dan&password=correct+horse")),
            Box::new(|_| post("/ui/login", "token=token-of-ana")),
        ],
    );
    assert_eq!(statuses(&answers), [201, 401, 401, 401, 429, 429, 303]);
    let said = |answer: &Answer| json(answer)["detail"].clone();
    assert_eq!(said(&answers[1]), said(&answers[2]));
    assert_eq!(json(&answers[4])["code"], "too_many_attempts");
    assert!(answers[5].body.contains("too many attempts"));
}

#[test]
fn scopes_narrow_what_a_token_may_do() {
    let new = r#"{"account": "line", "roles": ["producer"], "scopes": ["topics:request", "topic:line.*"]}"#;
    let odd = r#"{"account": "line", "roles": ["producer"], "scopes": ["topics:requests"]}"#;
    let answers = run(vec![
        Box::new(move |_| by("ada", post_json("/api/tokens", new))),
        Box::new(|a| bearer(get("/api/whoami"), &a[0])),
        Box::new(|a| bearer(get("/api/topics"), &a[0])),
        Box::new(|a| bearer(post_json("/api/topics", r#"{"name": "line.4"}"#), &a[0])),
        Box::new(|a| bearer(post_json("/api/topics", r#"{"name": "orders"}"#), &a[0])),
        Box::new(|a| bearer(post_json("/api/tokens", "{}"), &a[0])),
        Box::new(|a| bearer(get("/ui/topics"), &a[0])),
        Box::new(|a| bearer(get("/metrics"), &a[0])),
        Box::new(move |_| by("ada", post_json("/api/tokens", odd))),
        Box::new(|a| bearer(post_json("/api/topics/1/withdraw", "{}"), &a[0])),
    ]);
    assert_eq!(
        statuses(&answers),
        [201, 200, 403, 201, 403, 403, 403, 403, 422, 200]
    );
    assert_eq!(
        json(&answers[1])["scopes"],
        json!(["topic:line.*", "topics:request"])
    );
    assert!(
        answers[8].body.contains("did you mean"),
        "{}",
        answers[8].body
    );
}

#[test]
fn nobody_locks_itself_out_and_every_fault_is_named() {
    let bad = r#"{"account": "a b", "password": "short", "roles": ["king"], "teamz": []}"#;
    let team = r#"{"account": "dan", "teams": ["nobody"]}"#;
    let boss = r#"{"account": "boss", "roles": ["admin"], "password": "correct horse"}"#;
    let sign_in = r#"{"account": "boss", "password": "correct horse"}"#;
    let patch = |body: &str| send(TestRequest::patch(), "/api/users/boss", body);
    let answers = run(vec![
        Box::new(move |_| by("ada", post_json("/api/users", bad))),
        Box::new(move |_| by("ada", post_json("/api/users", team))),
        Box::new(move |_| by("ada", post_json("/api/users", boss))),
        Box::new(move |_| by("ada", post_json("/api/users", boss))),
        Box::new(move |_| post_json("/api/sessions", sign_in)),
        Box::new(move |a| bearer(patch(r#"{"disabled": true}"#), &a[4])),
        Box::new(move |a| bearer(patch(r#"{"roles": ["viewer"]}"#), &a[4])),
        Box::new(move |a| bearer(patch(r#"{"display_name": "B"}"#), &a[4])),
        Box::new(move |_| by("ana", post_json("/api/users", DAN))),
    ]);
    assert_eq!(
        statuses(&answers),
        [422, 422, 201, 409, 201, 409, 409, 200, 403]
    );
    for pointer in ["/account", "/password", "/roles/0", "/teamz"] {
        assert!(answers[0].body.contains(pointer), "{pointer}");
    }
    assert!(
        !answers[0].body.contains("short"),
        "a password is never said back"
    );
}

#[test]
fn the_first_admin_is_made_once_with_the_secret_of_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let state = open_as(directory.path(), &[("ben", "producer")], &[]);
    state
        .announce_setup("127.0.0.1:8080".parse().unwrap())
        .unwrap();
    let file = directory.path().join("admin.db.setup-url");
    let url = std::fs::read_to_string(&file).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let path = url
        .trim()
        .strip_prefix("http://127.0.0.1:8080")
        .unwrap()
        .to_owned();
    let secret = path.split_once('=').unwrap().1.to_owned();
    let form = |fields: String| {
        let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        TestRequest::post()
            .uri("/ui/setup")
            .insert_header(kind)
            .set_payload(fields)
    };
    let boss = format!("secret={secret}&account=boss&password=correct+horse&kind=user");
    let late = format!("secret={secret}&account=late&kind=token");
    let steps: Vec<Step> = vec![
        Box::new(|_| get("/ui/setup?secret=wrong")),
        Box::new(move |_| TestRequest::get().uri(&path)),
        Box::new(move |_| form(boss.replace("correct+horse", "x"))),
        Box::new({
            let boss = format!("secret={secret}&account=boss&password=correct+horse&kind=user");
            move |_| form(boss.clone())
        }),
        Box::new(|a| {
            let cookie = a[3].cookie.split(';').next().unwrap_or_default().to_owned();
            get("/ui/access").insert_header((header::COOKIE, cookie))
        }),
        Box::new(move |_| form(late.clone())),
    ];
    let answers = run_on(state, steps);
    assert_eq!(statuses(&answers), [403, 200, 422, 303, 200, 404]);
    assert!(answers[4].body.contains("boss"));
    assert!(!file.exists(), "spent");
}

#[test]
fn the_console_manages_users_teams_and_tokens() {
    let answers = run(vec![
        Box::new(|_| by("ada", post("/ui/access/teams", "name=core&members=ben"))),
        Box::new(|_| {
            let form = "account=dan&password=correct+horse&role=viewer&role=producer&teams=core";
            by("ada", post("/ui/access/users", form))
        }),
        Box::new(|_| by("ada", post("/ui/access/users", "account=dan&role=viewer"))),
        Box::new(|_| by("ada", get("/ui/access"))),
        Box::new(|_| {
            by(
                "ada",
                post("/ui/access/tokens", "account=bot&role=viewer&days=7"),
            )
        }),
        Box::new(|_| by("ben", post("/ui/access/users", "account=eve&role=admin"))),
        Box::new(|_| by("ben", get("/ui/access"))),
        Box::new(|_| by("ada", post("/ui/access/tokens/6/revoke", ""))),
        Box::new(|_| get("/ui/login")),
    ]);
    assert_eq!(
        statuses(&answers),
        [303, 303, 409, 200, 200, 403, 200, 303, 200]
    );
    assert!(answers[3].body.contains("dan") && answers[3].body.contains("core"));
    assert!(answers[4].body.contains("id=\"new-token\">sluice_"));
    assert!(!answers[6].body.contains("Add a user"));
    assert_eq!(
        answers[8]
            .body
            .matches("name=\"token\" type=\"password\"")
            .count(),
        1
    );
}
