//! The console's forms about requests and the policy, posted as a browser without scripts posts them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::header;
use actix_web::test::TestRequest;
use common::{Answer, Step, by, get, post_json, run};
use serde_json::{Value, json};

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

fn ask(topic: &'static str) -> Step {
    Box::new(move |_| by("ben", post_json("/api/topics", topic)))
}

fn form(account: &'static str, path: &'static str, fields: &'static str) -> Step {
    Box::new(move |_| by(account, common::post(path, fields)))
}

fn page(account: &'static str, path: &'static str) -> Step {
    Box::new(move |_| by(account, get(path)))
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_requester_edits_in_the_inbox_and_both_sides_comment() {
    let answers = run(vec![
        ask(r#"{"name": "orders", "partitions": 3, "configs": {"retention.ms": "5000"}}"#),
        page("ben", "/ui/requests"),
        page("ana", "/ui/requests"),
        form("ana", "/ui/requests/1/edit", "version=1&partitions=6"),
        form("ben", "/ui/requests/1/edit", "version=1&partitions=many"),
        form(
            "ben",
            "/ui/requests/1/edit",
            "version=1&partitions=6&configs=retention.ms%3D%0D%0Asegment.ms%3D70000&reason=more",
        ),
        form("ben", "/ui/requests/1/edit", "version=1&partitions=7"),
        form(
            "ana",
            "/ui/requests/1/comment",
            "text=why+%3Cb%3Esix%3C%2Fb%3E%3F",
        ),
        form("ben", "/ui/requests/1/comment", "text=load"),
        form("ben", "/ui/requests/1/comment", "text=+"),
        page("ana", "/ui/requests?did=comment"),
        page("ana", "/api/requests/1"),
    ]);
    assert_eq!(
        statuses(&answers),
        [201, 200, 200, 403, 422, 303, 412, 303, 303, 422, 200, 200],
        "{}",
        answers[5].body
    );
    assert!(
        answers[1].body.contains("/ui/requests/1/edit"),
        "her own is edited"
    );
    assert!(
        !answers[2].body.contains("/ui/requests/1/edit"),
        "others' are not"
    );
    assert_eq!(answers[5].location, "/ui/requests?did=edit");
    assert_eq!(answers[8].location, "/ui/requests?did=comment#r1");
    let inbox = &answers[10].body;
    assert!(
        inbox.contains("Comments (2)") && inbox.contains("load"),
        "{inbox}"
    );
    assert!(!inbox.contains("<b>six"), "remarks are text");
    let request = body(&answers[11]);
    assert_eq!(request["spec"]["partitions"], 6);
    assert_eq!(request["spec"]["configs"], json!({"segment.ms": "70000"}));
    assert_eq!(request["comments"], 2);
}

#[test]
fn an_approver_approves_with_changes_in_the_inbox_and_the_requester_sees_it() {
    let answers = run(vec![
        ask(r#"{"name": "orders", "partitions": 64}"#),
        page("ana", "/ui/requests"),
        form("ben", "/ui/requests/1/amend", "version=1&partitions=6"),
        form("ana", "/ui/requests/1/amend", "version=1&partitions=9999"),
        form("ana", "/ui/requests/1/amend", "version=7&partitions=6"),
        form(
            "ana",
            "/ui/requests/1/amend",
            "version=1&partitions=6&configs=retention.ms%3D1000&reason=six+is+plenty",
        ),
        page("ben", "/ui/requests?tab=decided"),
        page("ana", "/api/topics/1"),
    ]);
    assert_eq!(
        statuses(&answers),
        [201, 200, 403, 422, 412, 303, 200, 200],
        "{}",
        answers[5].body
    );
    assert!(answers[1].body.contains("/ui/requests/1/amend"));
    let seen = &answers[6].body;
    assert!(
        seen.contains("ana changed it: 64 to 6 partitions"),
        "{seen}"
    );
    assert!(seen.contains("six is plenty"), "{seen}");
    let topic = body(&answers[7]);
    assert_eq!(
        (&topic["status"], &topic["partitions"], &topic["configs"]),
        (
            &json!("approved"),
            &json!(6),
            &json!({"retention.ms": "1000"})
        )
    );
}

#[test]
fn ticked_requests_are_decided_together_and_the_page_says_when_some_were_not() {
    let answers = run(vec![
        ask(r#"{"name": "a"}"#),
        ask(r#"{"name": "b"}"#),
        ask(r#"{"name": "c"}"#),
        ask(r#"{"name": "d"}"#),
        page("ana", "/ui/requests"),
        form("ben", "/ui/requests/decide", "pick=1%3A1&decision=approve"),
        form("ana", "/ui/requests/decide", "decision=approve"),
        form("ana", "/ui/requests/decide", "pick=1&decision=approve"),
        form("ana", "/ui/requests/decide", "pick=1%3A1&decision=reject"),
        form(
            "ana",
            "/ui/requests/decide",
            "pick=1%3A1&pick=2%3A1&decision=approve",
        ),
        form(
            "ana",
            "/ui/requests/decide",
            "pick=3%3A1&pick=4%3A9&decision=reject&reason=no+need",
        ),
        page("ana", "/ui/requests?did=some"),
        page("ben", "/ui/requests?tab=decided"),
        page("ana", "/api/topics?status=pending"),
    ]);
    assert_eq!(
        statuses(&answers)[4..],
        [200, 403, 422, 422, 422, 303, 303, 200, 200, 200],
        "{}",
        answers[9].body
    );
    assert!(
        answers[4].body.contains("value=\"4:1\""),
        "what is ticked has its version"
    );
    assert_eq!(answers[9].location, "/ui/requests?did=many");
    assert_eq!(answers[10].location, "/ui/requests?did=some");
    assert!(answers[11].body.contains("Not all of the ticked requests"));
    assert!(
        answers[12].body.contains("no need"),
        "the reason reaches who asked"
    );
    let open = body(&answers[13]);
    assert_eq!(
        (open.as_array().unwrap().len(), &open[0]["topic_name"]),
        (1, &json!("d"))
    );
}

/// Text as forms carry it.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

/// Posts the policy that the first answer showed with other members, and fields beside it.
fn policy(account: &'static str, path: &'static str, members: Value, more: &'static str) -> Step {
    Box::new(move |answers| {
        let mut document = body(&answers[0]);
        for (name, value) in members.as_object().unwrap() {
            document[name] = value.clone();
        }
        let form = format!("policy={}&{more}", encoded(&document.to_string()));
        let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = TestRequest::post().uri(path).insert_header(kind);
        by(account, request.set_payload(form))
    })
}

/// Trials, then a version that is written, and one that comes late.
fn policy_steps() -> Vec<Step> {
    let narrow = || json!({"name_pattern": "[a-z]+\\.[a-z]+", "approvals": [{"approvals": "two"}]});
    vec![
        page("ana", "/api/policy"),
        ask(r#"{"name": "orders"}"#),
        page("ana", "/ui/policy"),
        page("ada", "/ui/policy"),
        policy(
            "ana",
            "/ui/policy/try",
            narrow(),
            "version=0&name=a.b&partitions=9999",
        ),
        policy("ana", "/ui/policy/try", json!({}), "version=0&name=a.b"),
        policy(
            "ana",
            "/ui/policy/try",
            json!({"name_pattern": "("}),
            "version=0",
        ),
        form("ana", "/ui/policy/try", "policy=%7Bnot+json&version=0"),
        policy("ana", "/ui/policy", narrow(), "version=0&reason=x"),
        policy("ada", "/ui/policy", narrow(), "version=0"),
        policy(
            "ada",
            "/ui/policy",
            narrow(),
            "version=0&reason=two+parts+from+now+on",
        ),
        policy("ada", "/ui/policy", json!({}), "version=0&reason=mine"),
        page("ada", "/ui/policy?did=policy"),
        page("ada", "/api/audit?action=policy_written"),
        ask(r#"{"name": "plain"}"#),
    ]
}

/// What the page said before anything counted.
fn check_trials(answers: &[Answer]) {
    assert!(!answers[2].body.contains("formaction") && answers[3].body.contains("formaction"));
    let tried = &answers[4].body;
    assert!(
        tried.contains("<b>refused</b>") && tried.contains("not 9999"),
        "{tried}"
    );
    assert!(
        tried.contains("Past requests that would go another way (1)"),
        "{tried}"
    );
    assert!(tried.contains("value=\"9999\""), "what was typed stays");
    assert!(answers[5].body.contains("<b>one approver</b>"));
    assert!(
        answers[5].body.contains("treated the same"),
        "{}",
        answers[5].body
    );
    assert!(
        answers[6].body.contains("no regular expression"),
        "{}",
        answers[6].body
    );
    assert!(
        answers[7].body.contains("{not json"),
        "what was typed stays"
    );
    assert!(
        answers[9].body.contains("the audit keeps why"),
        "{}",
        answers[9].body
    );
}

#[test]
fn a_version_of_the_policy_is_tried_on_its_page_and_activated_with_a_reason() {
    let answers = run(policy_steps());
    assert_eq!(
        statuses(&answers),
        [
            200, 201, 200, 200, 200, 200, 422, 422, 403, 422, 303, 412, 200, 200, 422
        ],
        "{}",
        answers[4].body
    );
    check_trials(&answers);
    assert_eq!(answers[10].location, "/ui/policy?did=policy");
    assert!(answers[11].body.contains("The version that counts now"));
    assert!(
        answers[11].body.contains("name=\"version\" value=\"1\""),
        "seen now"
    );
    assert!(
        answers[12].body.contains("Version 1 counts") && answers[12].body.contains("two approvers")
    );
    let rows = body(&answers[13]);
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["reason"]),
        (1, &json!("two parts from now on"))
    );
}
