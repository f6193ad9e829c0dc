//! Changes of topics that exist: asked for, approved, brought to Kafka; and changes that nobody approved.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "an approved change reaches Kafka and what it does not name stays",
        approved_change,
    ),
    ("what is changed behind our back is drift", drift),
    (
        "trusted: an orphan is deleted only by a request",
        orphan_deleted,
    ),
    (
        "an orphan becomes a governed topic when it is adopted",
        orphan,
    ),
];

/// Answers the id of an active topic of one partition.
fn active(stack: &Stack, name: &str) -> Outcome<i64> {
    let id = stack.request(&json!({
        "name": name, "partitions": 1, "configs": {"retention.ms": "86400000", "segment.ms": "3600000"},
    }))?;
    stack.approve(id)?;
    stack.wait_live(name)?;
    Ok(id)
}

fn approved_change(stack: &Stack) -> Outcome {
    let topic = "change.orders";
    let id = active(stack, topic)?;
    let requester = stack.admin("requester")?;
    let path = format!("/api/topics/{id}");
    let shrink = requester.json("PATCH", &path, &json!({"partitions": 0}))?;
    ensure_eq!(shrink.status, 422, "partitions never shrink");
    let nothing = requester.json("PATCH", &path, &json!({}))?;
    ensure_eq!(nothing.status, 422, "a change that changes nothing");
    let stale = requester
        .request("PATCH", &path)
        .header("If-Match", "\"1\"");
    let stale = Api::send(stale.json(&json!({"partitions": 2})))?;
    ensure_eq!(stale.status, 412, "a change of what it was before");
    kafka::alter(stack.bootstrap(), topic, "max.message.bytes", "2000000")?;
    let change =
        json!({"partitions": 4, "configs": {"retention.ms": "3600000", "segment.ms": null}});
    let filed = requester.json("PATCH", &path, &change)?.expect(202)?;
    let request = filed["request_id"].clone();
    let again = requester.json("PATCH", &path, &change)?;
    ensure_eq!(again.status, 409, "one open request at a time");
    ensure_eq!(
        kafka::shape(stack.bootstrap(), topic)?,
        Some((1, 1)),
        "nothing changes before the approval"
    );
    let decide = format!("/api/requests/{request}/approve");
    let own = requester.post_empty(&decide)?;
    ensure_eq!(own.status, 403, "the requester never decides");
    stack.admin("approver")?.post_empty(&decide)?.expect(200)?;
    let changed = wait_for("the change is in Kafka", || {
        let row = requester.get(&path)?.expect(200)?;
        Ok(row["change_request_id"].is_null().then_some(row))
    })?;
    ensure_eq!(changed["partitions"], 4, "the row has the new intent");
    ensure_eq!(
        kafka::shape(stack.bootstrap(), topic)?,
        Some((4, 1)),
        "grown"
    );
    for (name, value, why) in [
        ("retention.ms", "3600000", "set"),
        (
            "segment.ms",
            "604800000",
            "taken back to the brokers' default",
        ),
        (
            "max.message.bytes",
            "2000000",
            "what the change does not name is not reset",
        ),
    ] {
        let found = kafka::topic_config(stack.bootstrap(), topic, name)?;
        ensure_eq!(found.as_deref(), Some(value), "{why}");
    }
    let rows = requester.get("/api/audit?limit=1000")?.expect(200)?;
    let actions: Vec<&Value> = rows
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["request_id"] == request)
        .map(|row| &row["action"])
        .collect();
    ensure_eq!(
        actions,
        ["changed", "approve", "request"],
        "every step is audited"
    );
    Ok(())
}

fn drift(stack: &Stack) -> Outcome {
    let topic = "change.drift";
    active(stack, topic)?;
    let viewer = stack.admin("viewer")?;
    let entries = |kind: &str| -> Outcome<Option<Value>> {
        let all = viewer.get("/api/drift")?.expect(200)?;
        let found = all.as_array().into_iter().flatten();
        let mut ours = found.filter(|e| e["topic_name"] == topic && e["kind"] == kind);
        Ok(ours.next().cloned())
    };
    let id = format!("/api/topics/by-name/{topic}");
    wait_for("Kafka's id of the topic is known", || {
        let row = viewer.get(&id)?.expect(200)?;
        Ok((!row["kafka_id"].is_null()).then_some(()))
    })?;
    kafka::alter(stack.bootstrap(), topic, "retention.ms", "5000")?;
    let found = wait_for("the config is reported", || entries("config"))?;
    ensure_eq!(
        (&found["key"], &found["want"], &found["have"]),
        (&json!("retention.ms"), &json!("86400000"), &json!("5000")),
        "which, what was approved and what is there"
    );
    let approver = stack.admin("approver")?;
    let this = json!({"topic_name": topic, "kind": "config", "key": "retention.ms"});
    let asked = stack
        .admin("requester")?
        .post("/api/drift/restore", &this)?;
    ensure_eq!(asked.status, 403, "only approvers mend drift");
    approver.post("/api/drift/restore", &this)?.expect(200)?;
    wait_for("what was approved is back in Kafka", || {
        let value = kafka::topic_config(stack.bootstrap(), topic, "retention.ms")?;
        Ok((value.as_deref() == Some("86400000")).then_some(()))
    })?;
    wait_for("it is no drift any more", || {
        Ok(entries("config")?.is_none().then_some(()))
    })?;
    let again = approver.post("/api/drift/restore", &this)?;
    ensure_eq!(again.status, 404, "what is mended is gone");
    kafka::delete(stack.bootstrap(), topic)?;
    wait_for("it is reported missing", || entries("missing"))?;
    kafka::create(stack.bootstrap(), topic, 1)?;
    wait_for("another topic of its name is reported", || {
        entries("recreated")
    })?;
    kafka::delete(stack.bootstrap(), topic)?;
    Ok(())
}

fn orphan_deleted(stack: &Stack) -> Outcome {
    let topic = "change.stray";
    kafka::create(stack.bootstrap(), topic, 1)?;
    let this = json!({"topic_name": topic, "kind": "orphan", "reason": "nobody's"});
    let approver = stack.admin("approver")?;
    wait_for("its deletion is asked for", || {
        Ok((approver.post("/api/drift/delete", &this)?.status == 200).then_some(()))
    })?;
    let row = approver
        .get(&format!("/api/topics/by-name/{topic}"))?
        .expect(200)?;
    ensure_eq!(row["status"], "inactive", "taken in behind a fence: {row}");
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_some(),
        "and nothing is gone"
    );
    let open = approver
        .get("/api/requests?kind=delete&status=pending")?
        .expect(200)?;
    let mut open = open.as_array().into_iter().flatten();
    let request = open.find(|request| request["topic_name"] == topic);
    let request = request
        .map(|request| request["request_id"].clone())
        .unwrap_or_default();
    let path = format!("/api/requests/{request}/approve");
    ensure_eq!(approver.post_empty(&path)?.status, 403, "not by who asked");
    stack.admin("admin")?.post_empty(&path)?.expect(200)?;
    stack.wait_status(row["topic_id"].as_i64().unwrap_or_default(), "deleted")?;
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_none(),
        "now it is"
    );
    Ok(())
}

fn orphan(stack: &Stack) -> Outcome {
    let topic = "change.orphan";
    kafka::create(stack.bootstrap(), topic, 2)?;
    let this = json!({"topic_name": topic, "kind": "orphan"});
    let viewer = stack.admin("viewer")?;
    let listed = |path: &str| -> Outcome<bool> {
        let all = viewer.get(path)?.expect(200)?;
        let mut names = all.as_array().into_iter().flatten();
        Ok(names.any(|entry| entry["topic_name"] == topic))
    };
    wait_for("the orphan is reported", || {
        Ok(listed("/api/drift")?.then_some(()))
    })?;
    let approver = stack.admin("approver")?;
    approver.post("/api/drift/ignore", &this)?.expect(200)?;
    ensure_eq!(listed("/api/drift")?, false, "it may stay");
    ensure_eq!(
        listed("/api/drift?ignored=true")?,
        true,
        "and is not forgotten"
    );
    approver.post("/api/drift/adopt", &this)?.expect(200)?;
    let row = viewer
        .get(&format!("/api/topics/by-name/{topic}"))?
        .expect(200)?;
    ensure_eq!(
        (&row["status"], &row["partitions"]),
        (&json!("active"), &json!(2)),
        "as Kafka has it"
    );
    let sent = stack
        .producer("producer")?
        .post(&format!("/topics/{topic}"), &json!({"n": 1}))?;
    ensure_eq!(sent.status / 100, 2, "records flow");
    stack.wait_live(topic)
}
