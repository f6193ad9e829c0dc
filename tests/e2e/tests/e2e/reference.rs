//! The examples of the reference documents, field by field.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "the admin API's examples answer as documented",
        admin_examples,
    ),
    (
        "the consumer service's two-processor example works",
        consumer_example,
    ),
];

fn has(body: &Value, members: &[&str]) -> Outcome {
    let missing: Vec<_> = members
        .iter()
        .filter(|name| body.get(**name).is_none())
        .collect();
    ensure!(missing.is_empty(), "{body} lacks {missing:?}");
    Ok(())
}

fn entry(listing: &Value, topic: &str) -> Outcome<Value> {
    let items = listing.as_array().ok_or("a listing is a bare array")?;
    let found = items
        .iter()
        .find(|item| item["topic_name"] == topic)
        .cloned();
    found.ok_or_else(|| format!("{topic} is not listed").into())
}

fn admin_examples(stack: &Stack) -> Outcome {
    let requester = stack.admin("requester")?;
    let approver = stack.admin("approver")?;
    let viewer = stack.admin("viewer")?;
    let health = stack
        .admin("")?
        .with_token("")
        .get("/api/health")?
        .expect(200)?;
    ensure_eq!(health["status"], "healthy", "health needs no credential");
    has(&health, &["timestamp"])?;

    let created = requester.post(
        "/api/topics",
        &json!({
            "name": "user_events", "created_by": "admin", "partitions": 3, "replication_factor": 1,
            "description": "User activity events",
        }),
    )?;
    let body = created.expect(201)?;
    ensure_eq!(
        body["message"],
        "Topic creation request submitted",
        "message"
    );
    let id = body["topic_id"].as_i64().ok_or("topic_id is an integer")?;
    ensure_eq!(
        created.header("location"),
        Some(&*format!("/api/topics/{id}")),
        "Location"
    );

    let row = entry(&viewer.get("/api/topics")?.expect(200)?, "user_events")?;
    ensure_eq!(row["status"], "pending", "status");
    ensure_eq!(row["created_by"], "admin", "a free label, as it was sent");
    ensure_eq!(row["requested_by"], "requester", "the credential's account");
    ensure_eq!(row["partitions"], 3, "partitions");
    has(
        &row,
        &[
            "topic_id",
            "replication_factor",
            "created_at",
            "approved_at",
            "activated_at",
            "description",
        ],
    )?;

    let approved = approver
        .post_empty(&format!("/api/topics/{id}/approve"))?
        .expect(200)?;
    ensure_eq!(
        approved["message"],
        "Topic approved successfully",
        "message"
    );
    let key = stack.token("producer");
    let request = viewer
        .with_token("")
        .request("POST", "/api/topics/activate_by_name");
    let request = request
        .header("X-Producer-Key", key)
        .json(&json!({"topic_name": "user_events"}));
    let activated = sluice_e2e::http::Api::send(request)?.expect(200)?;
    ensure_eq!(activated["message"], "Topic activated", "message");
    let active = entry(
        &viewer.get("/api/topics/active")?.expect(200)?,
        "user_events",
    )?;
    ensure!(active["activated_at"].is_string(), "activated_at: {active}");

    let consumer = stack.admin("admin")?;
    let key = json!({"user_id": "user_1", "topic_name": "user_events"});
    let added = consumer.post("/api/subscriptions", &key)?.expect(201)?;
    ensure_eq!(
        added["message"],
        "Subscription added successfully",
        "message"
    );
    let mine = viewer
        .get("/api/subscriptions?user_id=user_1")?
        .expect(200)?;
    let subscription = entry(&mine, "user_events")?;
    ensure_eq!(subscription["user_id"], "user_1", "user_id");
    ensure_eq!(subscription["status"], "active", "status");
    let stats = viewer.get("/api/stats")?.expect(200)?;
    has(
        &stats,
        &[
            "total_topics",
            "pending_topics",
            "active_topics",
            "total_subscriptions",
            "timestamp",
        ],
    )?;
    let removed = consumer
        .json("DELETE", "/api/subscriptions", &key)?
        .expect(200)?;
    ensure_eq!(
        removed["message"],
        "Subscription removed successfully",
        "message"
    );
    Ok(())
}

fn consumer_example(stack: &Stack) -> Outcome {
    stack.active_topic("reference.topic")?;
    let (host, port) = stack
        .bootstrap()
        .split_once(':')
        .ok_or("no port in the bootstrap")?;
    let api = stack.consumer("consumer")?;
    let created = api
        .post(
            "/consumers/",
            &json!({
                "broker_ip": host, "broker_port": port.parse::<u16>()?, "topic": "reference.topic",
                "consumer_group": "reference-group", "client_id": "reference-client",
                "downstream_processors": [
                    {"processor_type": "file_sink", "config": {"file_path": "path/to/file.log"}},
                    {"processor_type": "database_sync", "config": {}},
                ],
            }),
        )?
        .expect(201)?;
    let id = created["id"].as_str().ok_or("id is a string")?.to_owned();
    ensure_eq!(created["status"], "INACTIVE", "not started yet");
    ensure_eq!(created["broker_ip"], host, "broker_ip as it was sent");
    ensure_eq!(
        created["client_id"],
        "reference-client",
        "client_id as it was sent"
    );
    let processors = created["downstream_processors"]
        .as_array()
        .ok_or("processors are listed")?;
    ensure_eq!(processors.len(), 2, "both");
    for processor in processors {
        has(
            processor,
            &["id", "processor_type", "config", "created_at", "updated_at"],
        )?;
    }
    let listed = api.get("/consumers/")?.expect(200)?;
    let known = listed
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["id"] == created["id"]));
    ensure!(known, "GET /consumers/ lists it: {listed}");
    api.get(&format!("/consumers/{id}"))?.expect(200)?;
    api.post_empty(&format!("/consumers/{id}/start/"))?
        .expect(200)?;
    for n in 0..20 {
        stack
            .producer("producer")?
            .post("/topics/reference.topic?key=k", &json!({"n": n}))?;
    }
    wait_for("the consumer is ACTIVE", || {
        let status = api.get(&format!("/consumers/{id}/status/"))?.expect(200)?;
        Ok((status["status"] == "ACTIVE").then_some(()))
    })?;
    let file = stack.files().join("path/to/file.log");
    wait_for("the file has them", || {
        Ok((std::fs::read_to_string(&file)
            .unwrap_or_default()
            .lines()
            .count()
            == 20)
            .then_some(()))
    })?;
    let database = stack.files().join(format!("{id}.db"));
    wait_for("the database has them", || {
        let Ok(connection) = rusqlite::Connection::open_with_flags(
            &database,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        ) else {
            return Ok(None);
        };
        let count = connection.query_row("SELECT count(*) FROM records", [], |row| {
            row.get::<_, i64>(0)
        });
        Ok((count.unwrap_or(0) == 20).then_some(()))
    })?;
    api.post_empty(&format!("/consumers/{id}/stop/"))?
        .expect(200)?;
    let status = api.get(&format!("/consumers/{id}/status/"))?.expect(200)?;
    ensure_eq!(status["status"], "INACTIVE", "stopped");
    ensure_eq!(
        api.json("DELETE", &format!("/consumers/{id}/"), &json!({}))?
            .status,
        204,
        "deleted"
    );
    api.get(&format!("/consumers/{id}/"))?.problem(404)?;
    Ok(())
}
