//! Requests over HTTP: edits, comments, approvals with changes, decisions about old versions, many at once.

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

fn patch(account: &'static str, path: &'static str, body: Value) -> Step {
    step(account, Method::PATCH, path, body)
}

fn seen(account: &'static str, path: &'static str, version: &'static str, body: Value) -> Step {
    Box::new(move |_| {
        let request = json_request(Method::POST, path, &body);
        by(account, request.insert_header((header::IF_MATCH, version)))
    })
}

fn read(path: &'static str) -> Step {
    Box::new(move |_| by("ana", get(path)))
}

/// Writes the policy that counts with some members of its own.
fn policy(members: Value) -> Vec<Step> {
    let write: Step = Box::new(move |answers| {
        let mut policy = body(answers.last().unwrap());
        for (name, value) in members.as_object().unwrap() {
            policy[name] = value.clone();
        }
        by("ada", json_request(Method::PUT, "/api/policy", &policy))
    });
    vec![read("/api/policy"), write]
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_pending_request_is_edited_by_its_requester_and_approvals_begin_anew() {
    let mut steps = policy(json!({"approvals": [{"approvals": "two"}]}));
    steps.extend([
        post(
            "ben",
            "/api/topics",
            json!({"name": "orders", "partitions": 3, "configs": {"retention.ms": 5000}}),
        ),
        post("ana", "/api/requests/1/approve", json!({})),
        patch("ana", "/api/requests/1", json!({"partitions": 6})),
        patch("ben", "/api/requests/1", json!({"partitions": 100_000})),
        patch(
            "ben",
            "/api/requests/1",
            json!({"partitions": 6, "configs": {"retention.ms": null}, "description": "new"}),
        ),
        seen("eva", "/api/requests/1/approve", "\"1\"", json!({})),
        seen("eva", "/api/topics/1/approve", "\"1\"", json!({})),
        post("eva", "/api/requests/1/approve", json!({})),
        read("/api/topics/1"),
        read("/api/audit?limit=50"),
    ]);
    let answers = run(steps);
    assert_eq!(
        statuses(&answers)[2..],
        [201, 200, 403, 422, 200, 412, 412, 200, 200, 200]
    );
    let edited = body(&answers[6]);
    assert_eq!(edited["approved_by"], json!([]), "{edited}");
    assert_eq!(
        (&edited["spec"]["partitions"], &edited["spec"]["configs"]),
        (&json!(6), &json!({}))
    );
    for stale in [&answers[7], &answers[8]] {
        let problem = body(stale);
        let diff = problem["diff"].as_array().unwrap();
        let partitions = diff
            .iter()
            .find(|part| part["pointer"].as_str().unwrap().ends_with("/partitions"));
        assert_eq!(partitions.unwrap()["seen"], 3, "{problem}");
        assert_eq!(partitions.unwrap()["now"], 6, "{problem}");
    }
    let topic = body(&answers[10]);
    assert_eq!(
        topic["status"], "pending",
        "one approval of two for the edited request"
    );
    assert_eq!(
        (&topic["partitions"], &topic["description"]),
        (&json!(6), &json!("new"))
    );
    let audit = body(&answers[11]);
    assert!(
        audit
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["action"] == "edit" && row["actor"] == "ben")
    );
}

#[test]
fn an_approver_approves_with_changes_within_the_policy_and_the_requester_sees_both() {
    let answers = run(vec![
        post(
            "ben",
            "/api/topics",
            json!({"name": "orders", "partitions": 64}),
        ),
        post(
            "ana",
            "/api/requests/1/approve",
            json!({"changes": {"partitions": 9999}}),
        ),
        post(
            "ana",
            "/api/requests/1/approve",
            json!({"changes": {"partitoins": 6}}),
        ),
        post(
            "ana",
            "/api/requests/1/reject",
            json!({"reason": "x", "changes": {"partitions": 6}}),
        ),
        post(
            "ana",
            "/api/requests/1/approve",
            json!({"changes": {"partitions": 6, "configs": {"retention.ms": "1000"}}}),
        ),
        Box::new(|_| by("ben", get("/api/requests/1"))),
        read("/api/topics/1"),
        read("/api/audit?limit=50"),
    ]);
    assert_eq!(statuses(&answers), [201, 422, 422, 422, 200, 200, 200, 200]);
    let request = body(&answers[5]);
    assert_eq!(request["asked"]["partitions"], 64);
    assert_eq!(request["amended"]["by"], "ana");
    assert_eq!(request["amended"]["before"]["partitions"], 64);
    assert_eq!(request["spec"]["partitions"], 6);
    let topic = body(&answers[6]);
    assert_eq!(
        (&topic["status"], &topic["partitions"]),
        (&json!("approved"), &json!(6))
    );
    let audit = body(&answers[7]);
    let row = audit
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["action"] == "amend")
        .unwrap();
    assert_eq!(
        (&row["before"]["partitions"], &row["after"]["partitions"]),
        (&json!(64), &json!(6))
    );
}

#[test]
fn comments_stay_with_their_request() {
    let answers = run(vec![
        post("ben", "/api/topics", json!({"name": "orders"})),
        post("ana", "/api/requests/1/comments", json!({"text": "why?"})),
        post(
            "ben",
            "/api/requests/1/comments",
            json!({"text": "because"}),
        ),
        post("ben", "/api/requests/1/comments", json!({"text": " "})),
        post("ben", "/api/requests/7/comments", json!({"text": "x"})),
        read("/api/requests/1/comments"),
        read("/api/requests/7/comments"),
        read("/api/requests/1"),
    ]);
    assert_eq!(statuses(&answers), [201, 201, 201, 422, 404, 200, 404, 200]);
    let comments = body(&answers[5]);
    assert_eq!(
        (&comments[0]["author"], &comments[1]["text"]),
        (&json!("ana"), &json!("because"))
    );
    let request = body(&answers[7]);
    assert_eq!(
        (&request["comments"], &request["version"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn many_requests_are_decided_at_once_and_one_refusal_stops_no_other() {
    let ids = |ids: Value| json!({"ids": ids, "decision": "approve"});
    let answers = run(vec![
        post("ben", "/api/topics", json!({"name": "a"})),
        post("ben", "/api/topics", json!({"name": "b"})),
        post("ben", "/api/topics", json!({"name": "c"})),
        post("ben", "/api/requests/decide", ids(json!([1]))),
        post("ana", "/api/requests/decide", ids(json!([]))),
        post("ana", "/api/requests/decide", ids(json!([1, 1]))),
        post(
            "ana",
            "/api/requests/decide",
            json!({"ids": [1], "decision": "reject"}),
        ),
        post(
            "ana",
            "/api/requests/decide",
            ids(json!([1, {"request_id": 2, "version": 9}, 77, {"request_id": 3, "version": 1}])),
        ),
        read("/api/topics?status=approved"),
        read("/api/topics?status=pending"),
    ]);
    assert_eq!(statuses(&answers)[3..], [403, 422, 422, 422, 200, 200, 200]);
    let done = body(&answers[7]);
    let items: Vec<_> = done["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(items, [200, 412, 404, 200]);
    assert_eq!((&done["decided"], &done["refused"]), (&json!(2), &json!(2)));
    assert_eq!(body(&answers[8]).as_array().unwrap().len(), 2);
    assert_eq!(body(&answers[9])[0]["topic_name"], "b");
}

#[test]
fn budgets_are_reserved_by_requests_that_wait_and_shown_on_them() {
    let mut steps =
        policy(json!({"budgets": [{"team": "red", "partitions": 20}, {"team": "*", "topics": 1}]}));
    steps.extend([
        post(
            "ben",
            "/api/topics",
            json!({"name": "a", "partitions": 12, "owner": "red"}),
        ),
        post(
            "ben",
            "/api/topics",
            json!({"name": "b", "partitions": 12, "owner": "red"}),
        ),
        post(
            "ben",
            "/api/topics",
            json!({"name": "c", "partitions": 8, "owner": "red"}),
        ),
        read("/api/requests/2"),
        post("ben", "/api/requests/1/withdraw", json!({})),
        post(
            "ben",
            "/api/topics",
            json!({"name": "d", "partitions": 12, "owner": "red"}),
        ),
        patch("ben", "/api/requests/3", json!({"partitions": 13})),
        post(
            "ana",
            "/api/requests/3/approve",
            json!({"changes": {"partitions": 13}}),
        ),
        post("ben", "/api/topics", json!({"name": "e"})),
        post("ben", "/api/topics", json!({"name": "f"})),
    ]);
    let answers = run(steps);
    assert_eq!(
        statuses(&answers)[2..],
        [201, 422, 201, 200, 200, 201, 422, 422, 201, 422]
    );
    assert!(
        answers[3].body.contains("would use 24 of 20 partitions"),
        "{}",
        answers[3].body
    );
    let line = &body(&answers[5])["budget"]["lines"][0];
    assert_eq!(line["summary"], "would use 20 of 20 partitions", "{line}");
    assert_eq!(
        (&line["reserved"], &line["asked"], &line["used"]),
        (&json!(12), &json!(8), &json!(0))
    );
}

#[test]
fn automatic_approvals_have_a_rate_and_never_subscribe_others() {
    let mut steps =
        policy(json!({"approvals": [{"approvals": "auto"}], "auto_approvals_per_hour": 2}));
    steps.extend([
        post(
            "ben",
            "/api/topics",
            json!({"name": "a", "subscribe": ["cas"]}),
        ),
        post(
            "ben",
            "/api/topics",
            json!({"name": "b", "subscribe": ["ben"]}),
        ),
        post("ben", "/api/topics", json!({"name": "c"})),
        post("ben", "/api/topics", json!({"name": "d"})),
        post("ana", "/api/topics", json!({"name": "e"})),
    ]);
    let answers = run(steps);
    let states: Vec<_> = answers[2..6]
        .iter()
        .map(|answer| body(answer)["status"].clone())
        .collect();
    assert_eq!(states, ["pending", "approved", "approved", "pending"]);
}

#[test]
fn who_may_decide_is_the_same_by_id_by_topic_and_in_bulk() {
    let mut steps = policy(json!({"approvals": [
        {"name_pattern": "pay.*", "approvals": "one", "approvers": ["eva"]},
        {"name_pattern": "own.*", "approvals": "one", "approver_teams": ["@owner"]},
    ]}));
    steps.extend([
        post("ben", "/api/topics", json!({"name": "pay", "owner": "red"})),
        post("ben", "/api/topics", json!({"name": "own", "owner": "red"})),
        post("ana", "/api/requests/1/approve", json!({})),
        post("ana", "/api/topics/1/approve", json!({})),
        post("ana", "/api/requests/1/reject", json!({"reason": "no"})),
        post("ada", "/api/requests/1/approve", json!({})),
        post(
            "ana",
            "/api/requests/decide",
            json!({"ids": [1, 2], "decision": "approve"}),
        ),
        post("eva", "/api/requests/1/approve", json!({})),
        post("ana", "/api/topics/1/cancel", json!({})),
        post("eva", "/api/topics/1/cancel", json!({})),
    ]);
    let answers = run(steps);
    assert_eq!(
        statuses(&answers)[4..],
        [403, 403, 403, 403, 200, 200, 403, 200]
    );
    let refused = body(&answers[8]);
    assert_eq!(refused["refused"], 2, "{refused}");
    assert!(
        answers[4].body.contains("that is for eva"),
        "{}",
        answers[4].body
    );
}

#[test]
fn two_teams_means_two_teams() {
    let mut steps = policy(json!({"approvals": [{"approvals": "two_teams"}]}));
    steps.extend([
        post("ben", "/api/topics", json!({"name": "a"})),
        post("ana", "/api/requests/1/approve", json!({})),
    ]);
    let answers = run(steps);
    assert_eq!(
        answers[3].status, 403,
        "an approver who is in no team: {}",
        answers[3].body
    );
}
