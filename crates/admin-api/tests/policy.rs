//! The policy over HTTP: who must approve, new versions, and trials.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::header;
use actix_web::test::TestRequest;
use common::{Answer, Step, by, get, post_json, run};
use serde_json::{Value, json};

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

fn ask(name: &str, partitions: i32) -> Step {
    let body = json!({"name": name, "partitions": partitions}).to_string();
    Box::new(move |_| by("ben", post_json("/api/topics", &body)))
}

fn approve(account: &'static str, asked: usize) -> Step {
    Box::new(move |answers| {
        let id = &body(&answers[asked])["topic_id"];
        by(
            account,
            TestRequest::post().uri(&format!("/api/topics/{id}/approve")),
        )
    })
}

/// Writes the policy that the first answer showed, with these rules.
fn write(rules: Value, version: &'static str) -> Step {
    Box::new(move |answers| {
        let mut policy = body(&answers[0]);
        policy["approvals"] = rules.clone();
        let put = TestRequest::put()
            .uri("/api/policy")
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((header::IF_MATCH, version))
            .set_payload(policy.to_string());
        by("ada", put)
    })
}

fn rules() -> Value {
    json!([
        {"name_pattern": "prod\\..*", "approvals": "two"},
        {"name_pattern": "dev\\..*", "partitions_max": 3, "approvals": "auto"},
    ])
}

#[test]
fn rules_say_how_many_approvers_a_request_needs() {
    let answers = run(vec![
        Box::new(|_| by("ana", get("/api/policy"))),
        write(rules(), "\"0\""),
        ask("dev.a", 3),
        ask("dev.b", 4),
        ask("prod.a", 1),
        approve("ana", 4),
        approve("ana", 4),
        approve("eva", 4),
        Box::new(|_| by("ana", get("/api/audit?limit=100"))),
    ]);
    assert_eq!(answers[1].status, 200, "{}", answers[1].body);
    assert_eq!(body(&answers[1])["version"], 1);
    assert_eq!(
        body(&answers[2])["status"],
        "approved",
        "{}",
        answers[2].body
    );
    assert_eq!(body(&answers[3])["status"], "pending");
    assert_eq!(body(&answers[4])["status"], "pending");
    assert_eq!(body(&answers[5])["status"], "pending", "one of two");
    assert_eq!(answers[6].status, 409, "the same approver again");
    assert_eq!(body(&answers[7])["status"], "approved", "two of two");
    let rows = body(&answers[8]);
    let by_policy = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["topic_name"] == "dev.a" && row["action"] == "approve");
    assert_eq!(by_policy.unwrap()["actor"], "policy");
}

#[test]
fn a_version_is_checked_before_it_counts() {
    let answers = run(vec![
        Box::new(|_| by("ana", get("/api/policy"))),
        write(json!([{"name_pattern": "(", "approvals": "auto"}]), "*"),
        write(json!([{"approvals": "three"}]), "*"),
        write(rules(), "\"7\""),
        Box::new(|_| {
            let put = TestRequest::put().uri("/api/policy").set_payload("{}");
            by(
                "ana",
                put.insert_header((header::CONTENT_TYPE, "application/json")),
            )
        }),
        Box::new(|_| by("ana", get("/api/policy"))),
    ]);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 422, 422, 412, 403, 200]);
    assert_eq!(
        body(&answers[1])["errors"][0]["pointer"],
        "/approvals/0/name_pattern"
    );
    assert_eq!(body(&answers[5])["version"], 0, "nothing was written");
}

#[test]
fn a_trial_judges_a_topic_and_what_exists() {
    let answers = run(vec![
        Box::new(|_| by("ana", get("/api/policy"))),
        Box::new(|_| {
            let trial = r#"{"topic": {"name": "bad name", "partitions": 9999}}"#;
            by("ana", post_json("/api/policy/try", trial))
        }),
        ask("orders", 1),
        approve("ana", 2),
        Box::new(|answers| {
            let mut policy = body(&answers[0]);
            policy.as_object_mut().unwrap().remove("version");
            policy["name_pattern"] = json!("[a-z]+\\.[a-z]+");
            let trial = json!({"policy": policy, "topic": {"name": "a.b"}});
            by("ana", post_json("/api/policy/try", &trial.to_string()))
        }),
        Box::new(|_| by("ana", post_json("/api/policy/try", "{}"))),
    ]);
    let refused = body(&answers[1]);
    assert_eq!(refused["verdict"], "refuse");
    assert_eq!(refused["findings"].as_array().unwrap().len(), 2);
    let tried = body(&answers[4]);
    assert_eq!(tried["verdict"], "one", "{}", answers[4].body);
    assert_eq!(tried["broken"][0]["topic_name"], "orders");
    assert_eq!(answers[5].status, 422);
}
