//! API tokens over HTTP: made, used, listed, revoked, and never shown twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::header;
use actix_web::test::TestRequest;
use common::{Answer, by, get, post_json, run};
use serde_json::Value;

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn a_token_works_until_it_is_revoked_and_is_shown_once() {
    let with = |answers: &[Answer]| {
        let token = json(&answers[0])["token"].as_str().unwrap().to_owned();
        get("/api/whoami").insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
    };
    let new = r#"{"account": "dan", "roles": ["producer"], "label": "line 4"}"#;
    let answers = run(vec![
        Box::new(move |_| by("ada", post_json("/api/tokens", new))),
        Box::new(move |a| with(a)),
        Box::new(|_| by("ada", get("/api/tokens"))),
        Box::new(|_| by("ada", get("/api/audit"))),
        Box::new(|answers| {
            let id = &json(&answers[0])["token_id"];
            by(
                "ada",
                TestRequest::delete().uri(&format!("/api/tokens/{id}")),
            )
        }),
        Box::new(move |a| with(a)),
        Box::new(|_| by("ada", get("/api/audit/verify"))),
    ]);
    assert_eq!(answers[0].status, 201, "{}", answers[0].body);
    let made = json(&answers[0]);
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("sluice_") && token.len() > 60);
    let who = json(&answers[1]);
    assert_eq!(
        (who["account"].as_str(), &who["roles"][0]),
        (Some("dan"), &"producer".into())
    );
    assert!(answers[2].body.contains(made["prefix"].as_str().unwrap()));
    assert!(answers[3].body.contains("token_created"));
    for answer in &answers[2..4] {
        assert!(!answer.body.contains(token), "shown a second time");
    }
    assert_eq!(answers[4].status, 204, "{}", answers[4].body);
    assert_eq!(answers[5].status, 401);
    assert_eq!(json(&answers[6])["ok"], true);
}

#[test]
fn only_admins_make_tokens_for_others_and_every_fault_is_named() {
    let bad =
        r#"{"account": "", "roles": ["king"], "expires_at": "2001-01-01T00:00:00Z", "rolez": 1}"#;
    let answers = run(vec![
        Box::new(|_| {
            by(
                "ana",
                post_json("/api/tokens", r#"{"account": "x", "roles": ["admin"]}"#),
            )
        }),
        Box::new(|_| by("ana", get("/api/tokens"))),
        Box::new(move |_| by("ada", post_json("/api/tokens", bad))),
        Box::new(|_| by("ada", TestRequest::delete().uri("/api/tokens/1"))),
        Box::new(|_| by("ada", TestRequest::delete().uri("/api/tokens/999"))),
        Box::new(|_| {
            let request = post_json("/api/tokens", r#"{"account": "x", "roles": ["viewer"]}"#);
            by("ada", request.insert_header(("Idempotency-Key", "k")))
        }),
    ]);
    assert_eq!((answers[0].status, answers[1].status), (403, 200));
    assert_eq!(json(&answers[1])[0]["account"], "ana", "its own alone");
    assert_eq!(json(&answers[1]).as_array().unwrap().len(), 1);
    assert_eq!(answers[2].status, 422, "{}", answers[2].body);
    let faults = json(&answers[2])["errors"].clone();
    let mut pointers: Vec<&str> = faults
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/account", "/expires_at", "/roles/0", "/rolez"]);
    assert_eq!(answers[3].status, 409, "a token of the configuration");
    assert_eq!(answers[4].status, 404);
    assert_eq!(answers[5].status, 422);
}
