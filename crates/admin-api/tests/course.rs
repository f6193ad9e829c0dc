//! The course of requests beyond their decision. There is no Kafka here: the tests play the reconciler's part
//! with the use cases that are its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::{Method, header};
use actix_web::test::TestRequest;
use common::{Answer, Step, by, get, open, open_as, open_with, run_on};
use rusqlite::Connection;
use serde_json::{Value, json};
use sluice_admin_api::app::{Context, observe};
use sluice_admin_api::error::Outcome;
use sluice_admin_api::state::State;

/// An hour, as instants count.
const HOUR_MS: i64 = 3_600_000;

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

fn step(account: &'static str, method: Method, path: &'static str, body: Value) -> Step {
    Box::new(move |_| {
        let request = TestRequest::with_uri(path).method(method.clone());
        let kind = (header::CONTENT_TYPE, "application/json");
        let request = request.insert_header(kind).set_payload(body.to_string());
        by(account, request)
    })
}

fn post(account: &'static str, path: &'static str, body: Value) -> Step {
    step(account, Method::POST, path, body)
}

fn read(path: &'static str) -> Step {
    Box::new(move |_| by("ana", get(path)))
}

/// One request.
fn one(state: &State, step: Step) -> Answer {
    run_on(state.clone(), vec![step]).remove(0)
}

/// One request that succeeds.
fn good(state: &State, step: Step) -> Value {
    let answer = one(state, step);
    assert!((200..300).contains(&answer.status), "{}", answer.body);
    body(&answer)
}

/// Lets the policy that counts have some members of its own.
fn policy(state: &State, members: &Value) {
    let mut policy = good(state, read("/api/policy"));
    for (name, value) in members.as_object().unwrap() {
        policy[name] = value.clone();
    }
    good(state, step("ada", Method::PUT, "/api/policy", policy));
}

/// Does what the reconciler would do.
fn reconcile<T: Send + 'static>(
    state: &State,
    work: impl FnOnce(&Connection, &Context) -> Outcome<T> + Send + 'static,
) -> T {
    let context = state.system();
    let command = move |connection: &Connection| work(connection, &context);
    let done = actix_web::rt::System::new().block_on(state.database.write(command));
    done.unwrap()
}

/// A topic that Kafka serves.
fn active(state: &State, name: &str) {
    let asked = good(state, post("ben", "/api/topics", json!({"name": name})));
    let id = asked["topic_id"].as_i64().unwrap();
    let approve: Step = Box::new(move |_| {
        let path = format!("/api/topics/{id}/approve");
        by("ana", TestRequest::post().uri(&path))
    });
    good(state, approve);
    reconcile(state, move |c, context| {
        observe::provisioned(c, context, id)
    });
}

#[test]
fn two_approvers_of_different_teams_let_a_request_through_and_two_of_one_team_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    for (name, members) in [
        ("red", json!(["ana", "ada"])),
        ("blue", json!(["eva", "ben"])),
    ] {
        let team = json!({"name": name, "members": members});
        good(&state, post("ada", "/api/teams", team));
    }
    policy(
        &state,
        &json!({"approvals": [{"approvals": "two_teams"}], "allow_self_approval": false}),
    );
    good(
        &state,
        post("ben", "/api/topics", json!({"name": "orders"})),
    );
    let approve = |account| one(&state, post(account, "/api/requests/1/approve", json!({})));
    let first = approve("ana");
    assert_eq!(
        (first.status, &body(&first)["status"]),
        (200, &json!("pending")),
        "{}",
        first.body
    );
    let same_team = approve("ada");
    assert_eq!(same_team.status, 403, "{}", same_team.body);
    assert!(same_team.body.contains("of red"), "{}", same_team.body);
    let second = approve("eva");
    assert_eq!(
        (second.status, &body(&second)["status"]),
        (200, &json!("approved")),
        "{}",
        second.body
    );
    let request = good(&state, read("/api/requests/1"));
    assert_eq!(request["approved_by"], json!(["ana", "eva"]));
}

#[test]
fn those_who_decide_are_reminded_once_in_each_span_and_never_of_what_is_decided() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    for name in ["decided", "waits"] {
        good(&state, post("ben", "/api/topics", json!({"name": name})));
    }
    good(&state, post("ana", "/api/requests/1/approve", json!({})));
    let after = |ms: i64| {
        reconcile(&state, move |c, context| {
            let later = Context {
                now: context.now.plus_millis(ms),
                ..context.clone()
            };
            observe::remind(c, &later, later.now.plus_millis(-HOUR_MS))
        })
    };
    let before = good(&state, read("/api/changes"))["revision"].clone();
    assert_eq!(after(HOUR_MS / 2), 0, "it is early");
    assert_eq!(after(HOUR_MS + 1000), 1);
    assert_eq!(after(HOUR_MS + 5000), 0, "the next pass");
    assert_eq!(after(2 * HOUR_MS + 9000), 1, "after the same time again");
    let rows = good(&state, read("/api/audit?action=remind"));
    let about: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["topic_name"])
        .collect();
    assert_eq!(about, ["waits", "waits"]);
    let since: Step = Box::new(move |_| {
        let path = format!("/api/changes?since={}", before.as_str().unwrap());
        by("ana", TestRequest::get().uri(&path))
    });
    let changes = good(&state, since).to_string();
    assert_eq!(changes.matches("reminder").count(), 2, "{changes}");
    let request = good(&state, read("/api/requests/2"));
    assert!(request["reminded_at"].is_string(), "{request}");
    assert_eq!(request["version"], 1, "nobody's decision is stale by it");
}

#[test]
fn who_asks_for_a_topic_with_subscriptions_gets_both_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let asked = json!({"name": "orders", "subscribe": ["cas", "billing"]});
    good(&state, post("ben", "/api/topics", asked));
    good(&state, post("ana", "/api/requests/1/approve", json!({})));
    let subscriptions = || good(&state, read("/api/subscriptions"));
    assert_eq!(subscriptions(), json!([]), "not before Kafka serves it");
    reconcile(&state, |c, context| observe::provisioned(c, context, 1));
    let found = subscriptions();
    let mut users: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["user_id"].as_str().unwrap(), row["status"].as_str()))
        .collect();
    users.sort_unstable();
    let status = Some("active");
    assert_eq!(users, [("billing", status), ("cas", status)]);
}

#[test]
fn a_fence_is_lifted_by_request_where_a_rule_names_that_kind() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    policy(
        &state,
        &json!({"approvals": [{"kinds": ["reactivate"], "name_pattern": "orders", "approvals": "one"}]}),
    );
    active(&state, "orders");
    active(&state, "free");
    for path in ["/api/topics/1/deactivate", "/api/topics/2/deactivate"] {
        good(&state, post("ana", path, json!({})));
    }
    good(&state, post("ana", "/api/topics/2/reactivate", json!({})));
    assert_eq!(good(&state, read("/api/topics/2"))["status"], "active");

    let asked = good(
        &state,
        post(
            "ana",
            "/api/topics/1/reactivate",
            json!({"reason": "fixed"}),
        ),
    );
    let request = asked["request_id"].as_i64().unwrap();
    assert_eq!(asked["status"], "inactive", "{asked}");
    let again = one(&state, post("eva", "/api/topics/1/reactivate", json!({})));
    assert_eq!(again.status, 409, "{}", again.body);
    let decide = |account: &'static str| -> Answer {
        let approve: Step = Box::new(move |_| {
            let path = format!("/api/requests/{request}/approve");
            by(account, TestRequest::post().uri(&path))
        });
        one(&state, approve)
    };
    assert_eq!(decide("ana").status, 403, "her own request");
    assert_eq!(good(&state, read("/api/topics/1"))["status"], "inactive");
    assert_eq!(decide("eva").status, 200);
    assert_eq!(good(&state, read("/api/topics/1"))["status"], "active");
    let rows = good(&state, read("/api/audit?topic=orders&action=reactivate"));
    assert_eq!(
        (&rows[0]["requested_by"], &rows[0]["actor"]),
        (&json!("ana"), &json!("eva"))
    );
}

#[test]
fn a_request_about_a_topic_that_is_gone_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let more = ["lifecycle.purge_on_deactivate=true", "lifecycle.grace=0s"].map(str::to_owned);
    let state = open_with(directory.path(), &more);
    policy(
        &state,
        &json!({"approvals": [{"kinds": ["reactivate"], "approvals": "one"}]}),
    );
    active(&state, "orders");
    good(
        &state,
        post("cas", "/api/subscriptions", json!({"topic_name": "orders"})),
    );
    good(&state, post("ana", "/api/topics/1/deactivate", json!({})));
    let asked = good(&state, post("ana", "/api/topics/1/reactivate", json!({})));
    assert_eq!(asked["request_id"], 2);
    let version = good(&state, read("/api/topics/1"))["version"]
        .as_i64()
        .unwrap();
    let started = reconcile(&state, move |c, context| {
        observe::start_purge(c, context, 1, version)
    });
    assert!(started.is_some(), "the deletion begins");
    reconcile(&state, |c, context| observe::purged(c, context, 1));
    let request = good(&state, read("/api/requests/2"));
    assert_eq!(request["status"], "cancelled", "{request}");
    assert_eq!(request["decision_reason"], "the topic is deleted");
    assert_eq!(good(&state, read("/api/subscriptions")), json!([]));
    let late = one(&state, post("eva", "/api/requests/2/approve", json!({})));
    assert_eq!(late.status, 409, "{}", late.body);
    assert_eq!(good(&state, read("/api/topics/1"))["status"], "deleted");
}

#[test]
fn a_policy_may_want_a_description_and_an_owner_that_is_a_team_of_the_requester() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = [
        ("ada", "admin"),
        ("ana", "approver"),
        ("ben", "producer"),
        ("dan", "producer"),
    ];
    let state = open_as(directory.path(), &accounts, &[]);
    for (name, members) in [("red", json!(["ben", "dan"])), ("blue", json!(["dan"]))] {
        let team = json!({"name": name, "members": members});
        good(&state, post("ada", "/api/teams", team));
    }
    policy(
        &state,
        &json!({"require_description": true, "owner_is_own_team": true}),
    );
    let ask = |account, body: Value| one(&state, post(account, "/api/topics", body));
    let pointer = |answer: &Answer| {
        assert_eq!(answer.status, 422, "{}", answer.body);
        body(answer)["errors"][0]["pointer"].clone()
    };
    assert_eq!(pointer(&ask("ben", json!({"name": "a"}))), "/description");
    let blank = json!({"name": "a", "description": "  "});
    assert_eq!(pointer(&ask("ben", blank)), "/description");
    let another = json!({"name": "a", "description": "x", "owner": "blue"});
    assert_eq!(pointer(&ask("ben", another)), "/owner");
    let only = ask("ben", json!({"name": "a", "description": "x"}));
    assert_eq!(only.status, 201, "{}", only.body);
    assert_eq!(
        good(&state, read("/api/topics/1"))["owner"],
        "red",
        "the only team of ben"
    );
    let which = json!({"name": "b", "description": "x"});
    assert_eq!(pointer(&ask("dan", which)), "/owner");
    let said = json!({"name": "b", "description": "x", "owner": "blue"});
    assert_eq!(ask("dan", said).status, 201);
    let nobody = json!({"name": "c", "description": "x"});
    assert_eq!(pointer(&ask("ada", nobody)), "/owner");
}
