//! Teams over HTTP: made by admins, seen by all, and part of who somebody is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::header;
use actix_web::test::TestRequest;
use common::{Answer, by, get, post_json, run};
use serde_json::{Value, json};

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

fn patch_json(path: &'static str, body: &'static str) -> TestRequest {
    let kind = (header::CONTENT_TYPE, "application/json");
    TestRequest::patch()
        .uri(path)
        .insert_header(kind)
        .set_payload(body)
}

#[test]
fn a_members_teams_are_part_of_who_it_is() {
    let answers = run(vec![
        Box::new(|_| {
            let new = r#"{"name": "payments", "description": "money", "members": ["ben", "ana"]}"#;
            by("ada", post_json("/api/teams", new))
        }),
        Box::new(|_| by("ben", get("/api/whoami"))),
        Box::new(|_| by("ben", get("/api/teams"))),
        Box::new(|_| {
            by(
                "ada",
                TestRequest::put().uri("/api/teams/payments/members/cas"),
            )
        }),
        Box::new(|_| by("cas", get("/api/whoami"))),
        Box::new(|_| {
            let path = "/api/teams/payments/members/ben";
            by("ada", TestRequest::delete().uri(path))
        }),
        Box::new(|_| by("ben", get("/api/whoami"))),
        Box::new(|_| {
            by(
                "ada",
                patch_json("/api/teams/payments", r#"{"members": []}"#),
            )
        }),
        Box::new(|_| by("cas", get("/api/whoami"))),
        Box::new(|_| by("ada", TestRequest::delete().uri("/api/teams/payments"))),
        Box::new(|_| by("ada", get("/api/teams/payments"))),
        Box::new(|_| by("ada", get("/api/audit"))),
    ]);
    assert_eq!(answers[0].status, 201, "{}", answers[0].body);
    assert_eq!(json(&answers[0])["members"], json!(["ana", "ben"]));
    assert_eq!(json(&answers[1])["teams"], json!(["payments"]));
    assert_eq!(json(&answers[2])[0]["name"], "payments");
    assert_eq!(answers[3].status, 200, "{}", answers[3].body);
    assert_eq!(json(&answers[4])["teams"], json!(["payments"]));
    assert_eq!(json(&answers[6])["teams"], json!([]));
    assert_eq!(json(&answers[7])["members"], json!([]));
    assert_eq!(json(&answers[8])["teams"], json!([]));
    assert_eq!((answers[9].status, answers[10].status), (204, 404));
    for action in ["team_created", "team_changed", "team_deleted"] {
        assert!(answers[11].body.contains(action), "{action}");
    }
}

#[test]
fn only_admins_manage_teams_and_an_owner_of_topics_stays() {
    let answers = run(vec![
        Box::new(|_| by("ana", post_json("/api/teams", r#"{"name": "x"}"#))),
        Box::new(|_| {
            by(
                "ada",
                post_json("/api/teams", r#"{"name": "a/b", "member": []}"#),
            )
        }),
        Box::new(|_| by("ada", post_json("/api/teams", r#"{"name": "core"}"#))),
        Box::new(|_| by("ada", post_json("/api/teams", r#"{"name": "core"}"#))),
        Box::new(|_| {
            by(
                "ben",
                post_json("/api/topics", r#"{"name": "orders", "owner": "core"}"#),
            )
        }),
        Box::new(|_| by("ada", TestRequest::delete().uri("/api/teams/core"))),
        Box::new(|_| {
            let stale = patch_json("/api/teams/core", "{}").insert_header(("If-Match", "\"7\""));
            by("ada", stale)
        }),
        Box::new(|_| by("ada", patch_json("/api/teams/nobody", "{}"))),
    ]);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [403, 422, 201, 409, 201, 409, 412, 404]);
    assert!(
        answers[1].body.contains("did you mean"),
        "{}",
        answers[1].body
    );
}
