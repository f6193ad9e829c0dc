//! Declared topics and trials of policies over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::{Method, header};
use actix_web::test::TestRequest;
use common::{Answer, Step, by, get, run};
use serde_json::{Value, json};

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

fn json_request(method: Method, path: &str, body: &Value) -> TestRequest {
    TestRequest::with_uri(path)
        .method(method)
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .set_payload(body.to_string())
}

fn step(account: &'static str, method: Method, path: &'static str, body: Value) -> Step {
    Box::new(move |_| by(account, json_request(method.clone(), path, &body)))
}

fn post(account: &'static str, path: &'static str, body: Value) -> Step {
    step(account, Method::POST, path, body)
}

fn read(path: &'static str) -> Step {
    Box::new(move |_| by("ana", get(path)))
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

fn steps(answer: &Answer) -> Vec<String> {
    let plan = body(answer);
    let items = plan["topics"].as_array().unwrap().iter();
    items
        .map(|item| item["step"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_declared_set_is_planned_filed_once_and_deletes_nothing() {
    let set = |dry_run: bool| {
        json!({"dry_run": dry_run, "topics": [
            {"name": "a", "partitions": 3},
            {"name": "b", "partitions": 9999},
            {"name": "there", "partitions": 2, "configs": {"retention.ms": 1000}, "description": "other"},
        ]})
    };
    let answers = run(vec![
        post("eva", "/api/topics", json!({"name": "there"})),
        post("ben", "/api/topics", json!({"name": "there"})),
        post("ben", "/api/apply", set(true)),
        read("/api/topics?status=pending"),
        post("ben", "/api/apply", set(false)),
        post("ben", "/api/apply", set(false)),
        read("/api/requests?status=pending"),
        post(
            "ben",
            "/api/apply",
            json!({"topics": [{"name": "a", "partitions": 4}]}),
        ),
        read("/api/requests/2"),
    ]);
    assert_eq!(
        statuses(&answers),
        [403, 201, 200, 200, 200, 200, 200, 200, 200]
    );
    assert_eq!(steps(&answers[2]), ["create", "refused", "change"]);
    assert_eq!(
        body(&answers[2])["topics"][1]["findings"][0]["pointer"],
        "/partitions"
    );
    assert_eq!(
        body(&answers[3]).as_array().unwrap().len(),
        1,
        "a dry run files nothing"
    );
    assert_eq!(steps(&answers[4]), ["create", "refused", "change"]);
    assert_eq!(
        steps(&answers[5]),
        ["unchanged", "refused", "unchanged"],
        "{}",
        answers[5].body
    );
    assert_eq!(
        body(&answers[6]).as_array().unwrap().len(),
        2,
        "nothing is filed twice"
    );
    assert_eq!(steps(&answers[7]), ["change"]);
    assert_eq!(body(&answers[8])["spec"]["partitions"], 4);
}

#[test]
fn a_set_is_checked_as_a_whole_and_a_dry_run_sees_its_own_collisions() {
    let set = json!({"topics": [{"name": "a"}], "dry_run": true});
    let answers = run(vec![
        post(
            "ben",
            "/api/apply",
            json!({"topics": [{"name": "a"}, {"name": "a"}]}),
        ),
        post(
            "ben",
            "/api/apply",
            json!({"topics": [{"name": "a", "partitoins": 1}]}),
        ),
        post("cas", "/api/apply", set),
        post(
            "ben",
            "/api/apply",
            json!({"topics": [{"name": "a.b"}, {"name": "a_b"}], "dry_run": true}),
        ),
    ]);
    assert_eq!(statuses(&answers), [422, 422, 403, 200]);
    assert_eq!(steps(&answers[3]), ["create", "refused"]);
}

#[test]
fn a_new_policy_is_tried_against_topics_past_requests_and_budgets() {
    let answers = run(vec![
        post(
            "ben",
            "/api/topics",
            json!({"name": "a", "partitions": 9, "owner": "red"}),
        ),
        post("ana", "/api/topics/1/approve", json!({})),
        post("ben", "/api/topics", json!({"name": "b", "owner": "red"})),
        read("/api/policy"),
        Box::new(|answers| {
            let mut policy = body(&answers[3]);
            policy.as_object_mut().unwrap().remove("version");
            policy["approvals"] = json!([{"name_pattern": "b", "approvals": "two_teams"}]);
            policy["partitions"]["max"] = json!(8);
            policy["budgets"] = json!([{"team": "red", "topics": 1}]);
            let trial = json!({"policy": policy, "topic": {"name": "c", "owner": "red"}});
            by("ana", json_request(Method::POST, "/api/policy/try", &trial))
        }),
        read("/api/policy"),
    ]);
    let trial = body(&answers[4]);
    assert_eq!(trial["broken"][0]["topic_name"], "a", "{trial}");
    let words: Vec<_> = trial["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["was"].as_str().unwrap(), r["would_be"].as_str().unwrap()))
        .collect();
    assert_eq!(words, [("one", "two_teams"), ("one", "refuse")]);
    assert_eq!(trial["over_budget"][0]["team"], "red");
    assert_eq!(
        (&trial["verdict"], &trial["findings"][0]["pointer"]),
        (&json!("refuse"), &json!("/owner"))
    );
    assert_eq!(body(&answers[5])["version"], 0, "a trial writes nothing");
}
