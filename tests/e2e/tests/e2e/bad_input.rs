//! What bad input gets: a clear problem, never a 500, never a hang, never a silent loss.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::http::Answer;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq};
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "the admin API refuses bad topics and says which rule",
        bad_topics,
    ),
    (
        "duplicates are 409 and leave the service fast and writable",
        duplicates,
    ),
    ("credentials are asked for and roles are kept", credentials),
    ("illegal transitions name the allowed ones", transitions),
    ("the producer refuses what it cannot route", bad_records),
    (
        "the consumer API refuses what it must not do",
        bad_consumers,
    ),
];

fn bad_topics(stack: &Stack) -> Outcome {
    let api = stack.admin("requester")?;
    let long = "x".repeat(250);
    let cases: Vec<(Value, u16, &str)> = vec![
        (json!({"name": ""}), 422, "/name"),
        (json!({"name": "."}), 422, "/name"),
        (json!({"name": "a b"}), 422, "/name"),
        (json!({"name": "<script>"}), 422, "/name"),
        (json!({"name": "größe"}), 422, "/name"),
        (json!({"name": long}), 422, "/name"),
        (json!({"name": "__consumer_offsets"}), 422, "/name"),
        (json!({"name": 5}), 400, "/name"),
        (json!({"name": null}), 422, "/name"),
        (json!({}), 422, "/name"),
        (
            json!({"name": "bad.p", "partitions": 0}),
            422,
            "/partitions",
        ),
        (
            json!({"name": "bad.p", "partitions": 1_000_000}),
            422,
            "/partitions",
        ),
        (
            json!({"name": "bad.p", "partitions": 1.7}),
            400,
            "/partitions",
        ),
        (
            json!({"name": "bad.p", "partitions": "3"}),
            400,
            "/partitions",
        ),
        (
            json!({"name": "bad.p", "partitions": 99_999_999_999_i64}),
            400,
            "/partitions",
        ),
        (
            json!({"name": "bad.p", "replication_factor": 99}),
            422,
            "/replication_factor",
        ),
        (
            json!({"name": "bad.p", "replication_factor": 40_000}),
            400,
            "/replication_factor",
        ),
        (
            json!({"name": "bad.p", "configs": {"retention.ms": "banana"}}),
            422,
            "/configs/retention.ms",
        ),
        (
            json!({"name": "bad.p", "configs": {"retention": "1"}}),
            422,
            "/configs/retention",
        ),
        (json!({"name": "bad.p", "nmae": "x"}), 422, "/nmae"),
    ];
    for (body, status, pointer) in cases {
        let problem = api.post("/api/topics", &body)?.problem(status)?;
        let named = problem["errors"]
            .as_array()
            .is_some_and(|e| e.iter().any(|e| e["pointer"] == pointer));
        ensure!(named, "{body} should name {pointer}: {problem}");
    }
    let several = json!({"name": "a b", "partitons": 3, "replication_factor": 0});
    let problem = api.post("/api/topics", &several)?.problem(422)?;
    ensure_eq!(
        problem["errors"].as_array().map(Vec::len),
        Some(3),
        "all at once: {problem}"
    );
    let malformed = api
        .post_raw("/api/topics", "application/json", "{\"name\": ")?
        .problem(400)?;
    ensure_eq!(malformed["code"], "malformed_json", "malformed");
    api.post_raw("/api/topics", "text/plain", "{\"name\": \"x\"}")?
        .problem(415)?;
    api.post_raw("/api/topics", "application/json", vec![b' '; 3_000_000])?
        .problem(413)?;
    api.get("/api/topics/999999")?.problem(404)?;
    api.get("/api/nothing")?.problem(404)?;
    api.json("PUT", "/api/topics", &json!({}))?.problem(405)?;
    api.get("/api/topics?status=nonsense")?.problem(422)?;
    api.get("/api/topics?limit=0")?.problem(422)?;
    Ok(())
}

fn duplicates(stack: &Stack) -> Outcome {
    let api = stack.admin("requester")?;
    api.post("/api/topics", &json!({"name": "bad.dup_1"}))?
        .expect(201)?;
    let same = api
        .post("/api/topics", &json!({"name": "bad.dup_1"}))?
        .problem(409)?;
    ensure_eq!(same["code"], "duplicate", "the same name");
    let collides = api
        .post("/api/topics", &json!({"name": "bad_dup.1"}))?
        .problem(409)?;
    ensure_eq!(
        collides["code"],
        "name_collision",
        "Kafka takes . and _ for the same"
    );
    let started = Instant::now();
    for n in 0..100 {
        let body = json!({"name": format!("bad.after{n}")});
        let created = api.post("/api/topics", &body)?.expect(201)?;
        let withdraw = format!("/api/topics/{}/withdraw", created["topic_id"]);
        api.post_empty(&withdraw)?.expect(200)?;
    }
    ensure!(
        started.elapsed() < Duration::from_secs(20),
        "100 creates and withdrawals took {:?}",
        started.elapsed()
    );
    Ok(())
}

fn credentials(stack: &Stack) -> Outcome {
    let nobody = stack.admin("")?.with_token("");
    for path in [
        "/api/topics",
        "/api/routes",
        "/api/stats",
        "/api/whoami",
        "/metrics",
    ] {
        let answer = nobody.get(path)?;
        answer.problem(401)?;
        ensure!(
            answer.header("www-authenticate").is_some(),
            "{path} says how"
        );
    }
    nobody
        .with_token("wrong")
        .get("/api/topics")?
        .problem(401)?;
    stack
        .admin("viewer")?
        .post("/api/topics", &json!({"name": "bad.viewer"}))?
        .problem(403)?;
    let id = stack.request(&json!({"name": "bad.roles"}))?;
    let approve = format!("/api/topics/{id}/approve");
    stack
        .admin("requester")?
        .post_empty(&approve)?
        .problem(403)?;
    let own = stack
        .admin("admin")?
        .post("/api/topics", &json!({"name": "bad.own"}))?
        .expect(201)?;
    let own = format!("/api/topics/{}/approve", own["topic_id"]);
    let refused = stack.admin("admin")?.post_empty(&own)?.problem(403)?;
    ensure_eq!(
        refused["code"],
        "self_approval",
        "the requester never approves, admins included"
    );
    stack
        .producer("producer")?
        .with_token("")
        .post("/topics/x", &json!(1))?
        .problem(401)?;
    stack
        .producer("viewer")?
        .post("/topics/x", &json!(1))?
        .problem(403)?;
    stack
        .consumer("consumer")?
        .with_token("")
        .get("/consumers/")?
        .problem(401)?;
    stack
        .consumer("viewer")?
        .post("/consumers/", &json!({}))?
        .problem(403)?;
    Ok(())
}

fn transitions(stack: &Stack) -> Outcome {
    let id = stack.request(&json!({"name": "bad.steps"}))?;
    let approver = stack.admin("approver")?;
    let verb = |verb: &str| -> Outcome<Answer> {
        approver.post(
            &format!("/api/topics/{id}/{verb}"),
            &json!({"reason": "test"}),
        )
    };
    let refused = verb("deactivate")?.problem(409)?;
    ensure_eq!(
        refused["allowed"],
        json!(["approve", "reject", "withdraw"]),
        "what is possible"
    );
    approver
        .post_empty(&format!("/api/topics/{id}/reject"))?
        .problem(422)?;
    verb("nonsense")?.problem(404)?;
    let stale = approver
        .request("POST", &format!("/api/topics/{id}/approve"))
        .header("If-Match", "\"9\"");
    sluice_e2e::http::Api::send(stale)?.problem(412)?;
    verb("reject")?.expect(200)?;
    let ended = verb("approve")?.problem(409)?;
    ensure_eq!(ended["allowed"], json!([]), "nothing is possible");
    Ok(())
}

fn bad_records(stack: &Stack) -> Outcome {
    let api = stack.producer("producer")?;
    let unknown = api
        .post("/topics/bad.nobody-asked", &json!(1))?
        .problem(404)?;
    ensure_eq!(unknown["code"], "unknown_topic", "nobody asked for it");
    api.post_raw("/topics/bad.nobody-asked", "application/json", "{\"a\":")?
        .problem(400)?;
    api.post_raw("/topics/bad.nobody-asked", "text/html", "x")?
        .problem(415)?;
    api.get("/nothing")?.problem(404)?;
    api.json("DELETE", "/status", &json!({}))?.problem(405)?;
    let mut sender = stack.lines()?;
    let oversize = format!(
        "{{\"topic\":\"bad.big\",\"value\":\"{}\"}}\n",
        "x".repeat(2_000_000)
    );
    sender.send("not json\n{\"value\":1}\n{\"topic\":\"a b\"}\n")?;
    sender.send(&oversize)?;
    sender.send("{\"topic\":\"bad.nobody-asked\",\"value\":1}\n[1]\n")?;
    let refused = sender.acked(6)?;
    let lines: Vec<_> = refused
        .iter()
        .filter_map(|r| r["refused"].as_u64())
        .collect();
    ensure_eq!(
        lines,
        vec![1, 2, 3, 4, 5, 6],
        "each bad line is named: {refused:?}"
    );
    for refusal in &refused {
        ensure!(
            refusal["code"].is_string() && refusal["detail"].is_string(),
            "why: {refusal}"
        );
    }
    let status = api.get("/status")?.expect(200)?;
    ensure!(
        status["refused"].as_u64() >= Some(6),
        "refusals are counted: {}",
        status["refused"]
    );
    Ok(())
}

fn bad_consumers(stack: &Stack) -> Outcome {
    stack.active_topic("bad.consumed")?;
    let pending = "bad.pending";
    stack.request(&json!({"name": pending}))?;
    let api = stack.consumer("consumer")?;
    let with = |change: Value| {
        let mut body = json!({"cluster": "governed", "topic": "bad.consumed", "consumer_group": "g",
            "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": "bad.jsonl"}}]});
        for (name, value) in change.as_object().cloned().unwrap_or_default() {
            body[name] = value;
        }
        body
    };
    let sink = |path: &str| json!({"downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": path}}]});
    for path in ["/etc/passwd", "../outside.jsonl", "a/../../outside.jsonl"] {
        let problem = api.post("/consumers/", &with(sink(path)))?.problem(422)?;
        ensure_eq!(problem["code"], "path_outside_root", "{path}");
    }
    let stranger = json!({"cluster": null, "broker_ip": "127.0.0.1", "broker_port": 1});
    let problem = api.post("/consumers/", &with(stranger))?.problem(403)?;
    ensure_eq!(
        problem["code"],
        "unknown_cluster",
        "a free address is a port scanner"
    );
    api.post(
        "/consumers/",
        &with(json!({"broker_port": 99_999, "broker_ip": "127.0.0.1"})),
    )?
    .problem(400)?;
    api.post("/consumers/", &with(json!({"topic": pending})))?
        .problem(409)?;
    api.post("/consumers/", &with(json!({"topic": "bad.nobody-asked"})))?
        .problem(404)?;
    api.post("/consumers/", &with(json!({"consumer_group": ""})))?
        .problem(422)?;
    api.post("/consumers/", &with(json!({"nonsense": 1})))?
        .problem(422)?;
    let unknown = json!({"downstream_processors": [{"processor_type": "nonsense", "config": {}}]});
    api.post("/consumers/", &with(unknown))?.problem(422)?;
    api.get("/consumers/00000000-0000-0000-0000-000000000000/")?
        .problem(404)?;
    api.get("/stream?topics=bad.consumed&cursor=nonsense")?
        .problem(400)?;
    let listed = api.get("/consumers/")?.expect(200)?;
    let ghosts = listed
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["topic"] == "bad.consumed"));
    ensure!(!ghosts, "a refused create leaves nothing behind: {listed}");
    Ok(())
}
