//! An identity provider, end to end: a small one runs beside the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod provider;

use actix_web::http::header;
use actix_web::test::TestRequest;
use common::{Answer, Step, by, get, open_as, post_json, run_on};
use jsonwebtoken::Algorithm;
use provider::{FIRST, Provider, SECOND, now_s};
use serde_json::{Value, json};
use sluice_admin_api::state::State;

const REDIRECT: &str = "http://127.0.0.1:8080/ui/oidc/callback";

fn settings(provider: &Provider) -> Vec<String> {
    vec![
        format!("oidc.issuer={}", provider.issuer),
        "oidc.client_id=sluice".to_owned(),
        format!("oidc.redirect_url={REDIRECT}"),
        "oidc.roles={kafka-admins=['approver'],devs=['producer']}".to_owned(),
        "oidc.teams_claim=groups".to_owned(),
        "oidc.teams={devs='core'}".to_owned(),
    ]
}

fn state(directory: &std::path::Path, provider: &Provider) -> State {
    open_as(directory, &common::ACCOUNTS, &settings(provider))
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

fn whoami(token: String) -> Step {
    Box::new(move |_| {
        get("/api/whoami").insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
    })
}

fn claims(provider: &Provider) -> Value {
    json!({"iss": provider.issuer, "aud": "sluice", "sub": "u-1", "exp": now_s() + 300,
        "preferred_username": "olga", "groups": ["devs", "others"]})
}

fn with(provider: &Provider, name: &str, value: Value) -> Value {
    let mut claims = claims(provider);
    claims[name] = value;
    claims
}

/// Back from the provider, which has given a code for what it was asked; `wrong` in another browser.
fn callback(provider: &Provider, wrong: bool) -> Step {
    let provider = provider.clone();
    Box::new(move |answers| {
        let started = &answers[1];
        let url = url::Url::parse(&started.location).unwrap();
        let asked = |name: &str| {
            let mut pairs = url.query_pairs();
            pairs.find(|(key, _)| key == name).unwrap().1.into_owned()
        };
        assert_eq!(asked("code_challenge_method"), "S256");
        let claims = with(&provider, "nonce", json!(asked("nonce")));
        provider.authorize("the-code", &asked("code_challenge"), claims);
        let cookie = if wrong {
            "sluice_oidc=another"
        } else {
            started.cookie.split(';').next().unwrap_or_default()
        };
        TestRequest::get()
            .uri(&format!(
                "/ui/oidc/callback?code=the-code&state={}",
                asked("state")
            ))
            .insert_header((header::COOKIE, cookie))
    })
}

#[test]
fn a_browser_signs_in_over_the_provider_once() {
    let provider = Provider::start();
    let directory = tempfile::tempdir().unwrap();
    let state = state(directory.path(), &provider);
    let session = |answers: &[Answer]| {
        let cookie = &answers[3].cookie;
        (
            header::COOKIE,
            cookie.split(';').next().unwrap_or_default().to_owned(),
        )
    };
    let answers = run_on(
        state,
        vec![
            Box::new(|_| by("ada", post_json("/api/teams", r#"{"name": "core"}"#))),
            Box::new(|_| get("/ui/oidc/start?next=/ui/topics")),
            callback(&provider, true),
            callback(&provider, false),
            Box::new(move |a| get("/ui/topics").insert_header(session(a))),
            callback(&provider, false),
            Box::new(|_| by("ada", get("/api/users/olga"))),
            Box::new(|_| get("/ui/login")),
        ],
    );
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 303, 401, 200, 200, 401, 200, 200]);
    assert!(answers[2].body.contains("another browser"));
    assert!(
        answers[3].body.contains("url=/ui/topics"),
        "{}",
        answers[3].body
    );
    assert!(
        answers[3].cookie.contains("SameSite=Strict") && answers[3].cookie.contains("HttpOnly")
    );
    assert!(answers[4].body.contains("olga"));
    let user = json(&answers[6]);
    assert_eq!(
        (&user["source"], &user["roles"]),
        (&json!("oidc"), &json!(["producer"]))
    );
    assert_eq!(
        user["teams"],
        json!(["core"]),
        "teams that do not exist are left out"
    );
    assert!(answers[7].body.contains("/ui/oidc/start"));
}

#[test]
fn a_bearer_of_the_provider_counts_and_a_forged_one_does_not() {
    let provider = Provider::start();
    let directory = tempfile::tempdir().unwrap();
    let state = state(directory.path(), &provider);
    let sign = |claims: &Value| Provider::sign(&FIRST, Algorithm::ES256, claims);
    let none = {
        let [_, body, _] = split(&sign(&claims(&provider)));
        format!(
            "{}.{body}.",
            provider::encode(br#"{"alg":"none","typ":"JWT"}"#)
        )
    };
    let shared = Provider::sign_shared(&FIRST, &claims(&provider));
    let edited = {
        let [head, _, mark] = split(&sign(&claims(&provider)));
        let body = with(&provider, "groups", json!(["kafka-admins"]));
        format!(
            "{head}.{}.{mark}",
            provider::encode(body.to_string().as_bytes())
        )
    };
    let cases = [
        (sign(&claims(&provider)), 200),
        (sign(&with(&provider, "aud", json!("others"))), 401),
        (
            sign(&with(&provider, "iss", json!("https://evil.example"))),
            401,
        ),
        (sign(&with(&provider, "exp", json!(now_s() - 300))), 401),
        (sign(&with(&provider, "nbf", json!(now_s() + 300))), 401),
        (sign(&with(&provider, "exp", Value::Null)), 401),
        (sign(&with(&provider, "groups", json!(["nobody"]))), 403),
        (
            sign(&with(&provider, "preferred_username", json!("policy"))),
            401,
        ),
        (none, 401),
        (shared, 401),
        (edited, 401),
        (
            Provider::sign(&SECOND, Algorithm::ES256, &claims(&provider)),
            401,
        ),
    ];
    let wanted: Vec<u16> = cases.iter().map(|(_, status)| *status).collect();
    let answers = run_on(
        state,
        cases.into_iter().map(|(token, _)| whoami(token)).collect(),
    );
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(
        statuses,
        wanted,
        "{:?}",
        answers.iter().map(|a| &a.body).collect::<Vec<_>>()
    );
    let who = json(&answers[0]);
    assert_eq!(
        (&who["account"], &who["roles"]),
        (&json!("olga"), &json!(["producer"]))
    );
    assert!(who["expires_at"].is_string());
    assert!(
        provider.fetches() <= 2,
        "an unknown key asks the provider seldom: {}",
        provider.fetches()
    );
}

#[test]
fn a_key_that_the_provider_adds_counts_after_one_more_fetch() {
    let provider = Provider::start();
    provider.show(&[&FIRST, &SECOND]);
    let directory = tempfile::tempdir().unwrap();
    let first = Provider::sign(&FIRST, Algorithm::ES256, &claims(&provider));
    let second = Provider::sign(&SECOND, Algorithm::ES256, &claims(&provider));
    let state = state(directory.path(), &provider);
    let answers = run_on(state, vec![whoami(first), whoami(second)]);
    assert_eq!((answers[0].status, answers[1].status), (200, 200));
    assert_eq!(provider.fetches(), 1, "both keys came with one fetch");
}

#[test]
fn a_local_account_is_not_taken_over_and_a_disabled_one_stays_out() {
    let provider = Provider::start();
    let directory = tempfile::tempdir().unwrap();
    let state = state(directory.path(), &provider);
    let token = Provider::sign(&FIRST, Algorithm::ES256, &claims(&provider));
    let new = r#"{"account": "olga", "password": "correct horse"}"#;
    let answers = run_on(
        state,
        vec![
            Box::new(move |_| by("ada", post_json("/api/users", new))),
            whoami(token),
        ],
    );
    assert_eq!((answers[0].status, answers[1].status), (201, 401));
    assert!(
        answers[1].body.contains("another user"),
        "{}",
        answers[1].body
    );
}

fn split(token: &str) -> [String; 3] {
    let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}
