//! What governance is trusted for: audit, evidence, fences with proof, labels and switches.

use crate::Test;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::time::Duration;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "trusted: the audit says who, for whom and from where; it is searched, exported and verified",
        audit,
    ),
    (
        "trusted: a topic that is still read is deleted only by two who type its name",
        deletion_in_use,
    ),
    (
        "trusted: a label and a switch stop deletions that were approved",
        label_and_switch,
    ),
    (
        "trusted: a feed that does not go back far enough says so",
        gone,
    ),
];

fn audit(stack: &Stack) -> Outcome {
    let topic = "trust.audit";
    let asked = json!({"name": topic, "created_by": "team-x", "description": "for the audit"});
    let asked = stack.admin("requester")?.post("/api/topics", &asked)?;
    let id = asked.expect(201)?["topic_id"].as_i64().unwrap_or_default();
    let token = stack.token("approver");
    let reason = json!({"reason": format!("no; =1+1 {token} zzyzx")});
    let approver = stack.admin("approver")?;
    let rejected = approver.post(&format!("/api/topics/{id}/reject"), &reason)?;
    rejected.expect(200)?;
    let request_id = rejected.header("x-request-id").unwrap_or_default();
    let viewer = stack.admin("viewer")?;
    let found = viewer
        .get(&format!(
            "/api/audit?q=zzyzx&actor=approver&action=reject&topic={topic}&from=2020-01-01"
        ))?
        .expect(200)?;
    ensure_eq!(found.as_array().map(Vec::len), Some(1), "one row: {found}");
    let row = &found[0];
    ensure_eq!(
        (&row["requested_by"], &row["actor"], &row["on_behalf_of"]),
        (&json!("requester"), &json!("approver"), &json!("team-x")),
        "who asked, who decided, for whom"
    );
    ensure_eq!(row["source"]["interface"], "api", "by which way");
    ensure_eq!(row["source"]["address"], "127.0.0.1", "from where");
    ensure_eq!(
        row["source"]["http_request_id"],
        *request_id,
        "by which request"
    );
    ensure_eq!(row["before"]["status"], "pending", "before");
    ensure_eq!(row["after"]["status"], "rejected", "after");
    let none = viewer
        .get(&format!("/api/audit?topic={topic}&to=2020-01-01"))?
        .expect(200)?;
    ensure_eq!(none, json!([]), "nothing that long ago");
    let lines = viewer.get(&format!("/api/audit/export?format=ndjson&topic={topic}"))?;
    ensure_eq!(lines.status, 200, "exported");
    let rows: Vec<Value> = lines
        .text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    ensure_eq!(rows.len(), 2, "request and rejection: {}", lines.text);
    ensure!(
        rows.iter().all(|row| row["hash"].is_string()),
        "with hashes"
    );
    let csv = viewer.get(&format!("/api/audit/export?format=csv&topic={topic}"))?;
    ensure!(
        csv.text.starts_with("seq,at,action,"),
        "a header: {}",
        csv.text
    );
    for text in [&lines.text, &csv.text, &found.to_string()] {
        ensure!(!text.contains(token), "no token in {text}");
    }
    viewer.get("/api/audit?from=yesterday")?.problem(422)?;
    viewer.get("/api/audit/export?format=xml")?.problem(422)?;
    let verified = viewer.get("/api/audit/verify")?.expect(200)?;
    ensure_eq!(verified["ok"], true, "the chain holds: {verified}");
    Ok(())
}

/// A member of a group that reads a topic.
fn reader(stack: &Stack, topic: &str, group: &str) -> Outcome<BaseConsumer> {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", stack.bootstrap())
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "45000")
        .create()?;
    consumer.subscribe(&[topic])?;
    wait_for("the group has read", || {
        let read = consumer.poll(Duration::from_millis(200)).transpose()?;
        Ok(read.map(drop))
    })?;
    consumer.commit_consumer_state(rdkafka::consumer::CommitMode::Sync)?;
    Ok(consumer)
}

fn deletion_in_use(stack: &Stack) -> Outcome {
    let topic = "trust.in_use";
    let id = stack.active_topic(topic)?;
    let mut sender = stack.lines()?;
    for n in 0..3 {
        let record = json!({"topic": topic, "value": {"n": n}});
        sender.send(&format!("{record}\n"))?;
    }
    sender.acked(3)?;
    let reader = reader(stack, topic, "trust-readers")?;
    let viewer = stack.admin("viewer")?;
    let path = format!("/api/topics/{id}/fence");
    let open = viewer.get(&path)?.expect(200)?;
    ensure_eq!(
        open["fenced"],
        false,
        "an active topic has no fence: {open}"
    );
    stack.decide(id, "deactivate", "not needed")?;
    let fence = wait_for("the fence is proven and the reader is seen", || {
        let fence = viewer.get(&path)?.expect(200)?;
        let seen = fence["usage"]["groups"][0]["members"] == 1;
        Ok((fence["fenced"] == true && seen).then_some(fence))
    })?;
    let summary = fence["summary"].as_str().unwrap_or_default();
    ensure!(
        summary.starts_with("1 of 1 producers fenced, 1 consumer still reading, lag "),
        "{summary}"
    );
    let delete = format!("/api/topics/{id}/delete");
    let filed = stack.admin("requester")?.post_empty(&delete)?.expect(202)?;
    let request = format!("/api/requests/{}", filed["request_id"]);
    let evidence = wait_for("the evidence is on the request", || {
        let shown = viewer.get(&request)?.expect(200)?;
        Ok(shown["evidence"]
            .is_object()
            .then(|| shown["evidence"].clone()))
    })?;
    ensure_eq!(evidence["usage"]["records"], 3, "{evidence}");
    ensure!(evidence["usage"]["last_write_at"].is_string(), "{evidence}");
    ensure!(evidence["bytes"].as_i64() > Some(0), "{evidence}");
    ensure!(!evidence["in_use"][0].is_null(), "{evidence}");
    let approve = format!("{request}/approve");
    let approver = stack.admin("approver")?;
    let refused = approver.post_empty(&approve)?.problem(422)?;
    ensure_eq!(refused["errors"][0]["pointer"], "/confirm", "{refused}");
    let wrong = json!({"confirm": "trust.other"});
    approver.post(&approve, &wrong)?.problem(422)?;
    let confirmed = json!({"confirm": topic});
    let counted = approver.post(&approve, &confirmed)?.expect(200)?;
    ensure_eq!(
        counted["status"],
        "inactive",
        "one is not enough: {counted}"
    );
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_some(),
        "it is still there"
    );
    stack
        .admin("admin")?
        .post(&approve, &confirmed)?
        .expect(200)?;
    drop(reader);
    stack.wait_status(id, "deleted")?;
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_none(),
        "it is gone"
    );
    Ok(())
}

fn label_and_switch(stack: &Stack) -> Outcome {
    let topic = "trust.kept";
    let id = stack.active_topic(topic)?;
    let (admin, requester) = (stack.admin("admin")?, stack.admin("requester")?);
    let protect = format!("/api/topics/{id}/protect");
    ensure_eq!(requester.post_empty(&protect)?.status, 403, "only admins");
    admin
        .post(&protect, &json!({"reason": "audited data"}))?
        .expect(200)?;
    stack.decide(id, "deactivate", "not needed")?;
    let delete = format!("/api/topics/{id}/delete");
    let refused = requester.post_empty(&delete)?.problem(409)?;
    ensure!(
        refused["detail"].to_string().contains("never_delete"),
        "{refused}"
    );
    admin
        .post_empty(&format!("/api/topics/{id}/unprotect"))?
        .expect(200)?;
    let filed = requester.post_empty(&delete)?.expect(202)?;
    let switch = |enabled: bool| -> Outcome<Value> {
        let body = json!({"enabled": enabled, "reason": "a test"});
        admin.json("PUT", "/api/deletions", &body)?.expect(200)
    };
    ensure_eq!(switch(false)?["enabled"], false, "switched off");
    let approve = format!("/api/requests/{}/approve", filed["request_id"]);
    let approved = stack.admin("approver")?.post_empty(&approve)?;
    let held = approved.expect(200).and_then(|_| {
        // Passes go by, and nothing is deleted.
        std::thread::sleep(Duration::from_secs(2));
        let row = stack.topic(id)?;
        ensure_eq!(row["status"], "inactive", "{row}");
        ensure!(row["purge_after"].is_string(), "though it is due: {row}");
        ensure!(
            kafka::shape(stack.bootstrap(), topic)?.is_some(),
            "it is still there"
        );
        Ok(())
    });
    switch(true)?;
    held?;
    stack.wait_status(id, "deleted")?;
    let words = requester
        .get("/api/audit?action=deletions_off&actor=admin&limit=1")?
        .expect(200)?;
    ensure_eq!(words[0]["reason"], "a test", "the switch is audited");
    Ok(())
}

fn gone(stack: &Stack) -> Outcome {
    let viewer = stack.admin("viewer")?;
    let begin = viewer.get("/api/changes")?.expect(200)?;
    ensure_eq!(begin["reset"], true, "where to begin");
    let revision = begin["revision"].as_str().unwrap_or_default();
    let news = viewer.get(&format!("/api/changes?since={revision}"))?;
    ensure!(
        matches!(news.status, 200 | 304),
        "goes on from there: {}",
        news.text
    );
    for old in ["0badc0de-1", "nonsense"] {
        let refused = viewer
            .get(&format!("/api/changes?since={old}"))?
            .problem(410)?;
        ensure_eq!(refused["code"], "revision_gone", "{refused}");
    }
    Ok(())
}
