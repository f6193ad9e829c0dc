//! The admin API dies at every step of a decision and of a pass of the reconciler: each time it comes to one topic and
//! one audit trail.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};

/// The tests of this file.
pub(crate) const TESTS: &[(&str, Test)] = &[(
    "trusted: wherever the admin API dies, it comes to one topic and one audit trail",
    everywhere,
)];

/// Where it dies while a topic is asked for and created.
const CREATING: &[&str] = &[
    "command.written",
    "command.committed",
    "command.written:2",
    "command.committed:2",
    "create.begun",
    "create.done",
    "provisioned.written",
    "provisioned.committed",
];
/// Where it dies while a topic is changed.
const CHANGING: &[&str] = &[
    "change.grown",
    "change.altered",
    "changed.written",
    "changed.committed",
];
/// Where it dies while a topic is deleted.
const DELETING: &[&str] = &["purge.started", "delete.done", "purged.written"];

fn everywhere(stack: &Stack) -> Outcome {
    let done = CREATING
        .iter()
        .chain(CHANGING)
        .chain(DELETING)
        .enumerate()
        .try_for_each(|(round, place)| one(stack, place, &format!("crash.governed.{round}")));
    if done.is_err() {
        stack.start("admin-api").ok();
    }
    done
}

/// The whole life of a topic, with a death at one place. What is not answered is done again, as a client would.
fn one(stack: &Stack, place: &str, topic: &str) -> Outcome {
    stack.run(&["stop", "admin-api"])?;
    stack.start_with("admin-api", "SLUICE_CRASH_AT", place)?;
    let mut dead = false;
    let id = create(stack, topic, &mut dead)?;
    change(stack, id, &mut dead)?;
    ensure_eq!(
        kafka::shape(stack.bootstrap(), topic)?,
        Some((3, 1)),
        "{place}: as asked and changed"
    );
    delete(stack, id, &mut dead)?;
    ensure!(dead, "{place}: it never came there");
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_none(),
        "{place}: it is gone"
    );
    let viewer = stack.admin("viewer")?;
    let trail = viewer
        .get(&format!("/api/audit?topic={topic}"))?
        .expect(200)?;
    let mut actions: Vec<String> = trail
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| format!("{} {}", row["action"], row["kind"]).replace('"', ""))
        .collect();
    actions.reverse();
    let expected = [
        "request create",
        "approve create",
        "provisioned create",
        "request change",
        "approve change",
        "changed change",
        "deactivate null",
        "request delete",
        "approve delete",
        "purge_started delete",
        "purged delete",
    ];
    let plain: Vec<&str> = actions.iter().map(String::as_str).collect();
    ensure!(
        plain
            .iter()
            .map(|a| a.split(' ').next())
            .eq(expected.iter().map(|a| a.split(' ').next())),
        "{place}: one trail, not {plain:?}"
    );
    let verified = viewer.get("/api/audit/verify")?.expect(200)?;
    ensure_eq!(verified["ok"], true, "{place}: {verified}");
    Ok(())
}

/// Whether the admin API runs; when it died it is started again, without dying.
fn revived(stack: &Stack, dead: &mut bool) -> Outcome<bool> {
    let status: Value = serde_json::from_str(&stack.run(&["status", "--json"])?)?;
    if status["admin-api"]["state"] == "running" {
        return Ok(false);
    }
    *dead = true;
    stack.start("admin-api")?;
    Ok(true)
}

fn row(stack: &Stack, topic: &str) -> Option<Value> {
    let viewer = stack.admin("viewer").ok()?;
    let found = viewer.get(&format!("/api/topics/by-name/{topic}")).ok()?;
    (found.status == 200).then(|| found.json())
}

fn create(stack: &Stack, topic: &str, dead: &mut bool) -> Outcome<i64> {
    let requester = stack.admin("requester")?;
    let approver = stack.admin("approver")?;
    wait_for("it is asked for, approved and active", || {
        revived(stack, dead)?;
        let Some(found) = row(stack, topic) else {
            requester
                .post("/api/topics", &json!({"name": topic, "partitions": 2}))
                .ok();
            return Ok(None);
        };
        let id = found["topic_id"].as_i64().unwrap_or_default();
        match found["status"].as_str() {
            Some("pending") => {
                approver
                    .post_empty(&format!("/api/topics/{id}/approve"))
                    .ok();
                Ok(None)
            }
            Some("active") => Ok(Some(id)),
            _ => Ok(None),
        }
    })
}

/// The newest request of a kind about a topic.
fn request(stack: &Stack, id: i64, kind: &str) -> Outcome<Option<Value>> {
    let all = stack
        .admin("viewer")?
        .get(&format!("/api/requests?kind={kind}"))
        .map(|answer| answer.json())
        .unwrap_or_default();
    let mut all = all.as_array().into_iter().flatten();
    Ok(all.find(|request| request["topic_id"] == id).cloned())
}

fn change(stack: &Stack, id: i64, dead: &mut bool) -> Outcome {
    let requester = stack.admin("requester")?;
    let approver = stack.admin("approver")?;
    let wanted = json!({"partitions": 3, "configs": {"retention.ms": "86400000"}});
    wait_for("the change is in Kafka", || {
        revived(stack, dead)?;
        let Some(found) = request(stack, id, "change")? else {
            requester
                .json("PATCH", &format!("/api/topics/{id}"), &wanted)
                .ok();
            return Ok(None);
        };
        if found["status"] == "pending" {
            let path = format!("/api/requests/{}/approve", found["request_id"]);
            approver.post_empty(&path).ok();
            return Ok(None);
        }
        let Ok(topic) = stack.topic(id) else {
            return Ok(None);
        };
        let arrived = topic["partitions"] == 3 && topic["change_request_id"].is_null();
        Ok(arrived.then_some(()))
    })
}

fn delete(stack: &Stack, id: i64, dead: &mut bool) -> Outcome {
    let requester = stack.admin("requester")?;
    let approver = stack.admin("approver")?;
    wait_for("it is deleted", || {
        revived(stack, dead)?;
        let Ok(topic) = stack.topic(id) else {
            return Ok(None);
        };
        match topic["status"].as_str() {
            Some("active") => {
                let reason = json!({"reason": "not needed"});
                approver
                    .post(&format!("/api/topics/{id}/deactivate"), &reason)
                    .ok();
            }
            Some("inactive") => match request(stack, id, "delete")? {
                None => {
                    requester
                        .post_empty(&format!("/api/topics/{id}/delete"))
                        .ok();
                }
                Some(found) if found["status"] == "pending" => {
                    let path = format!("/api/requests/{}/approve", found["request_id"]);
                    approver.post_empty(&path).ok();
                }
                Some(_) => {}
            },
            Some("deleted") => return Ok(Some(())),
            _ => {}
        }
        Ok(None)
    })
}
