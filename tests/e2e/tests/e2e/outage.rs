//! Dependencies that are down: services start, say so, and recover by themselves.

use crate::Test;
use serde_json::json;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "without the admin API the producer keeps its table",
        no_admin,
    ),
    ("services start without Kafka and recover", no_kafka),
];

fn no_admin(stack: &Stack) -> Outcome {
    let topic = "outage.table";
    stack.active_topic(topic)?;
    stack.wait_live(topic).or_else(|_| {
        stack
            .producer("producer")?
            .post(&format!("/topics/{topic}"), &json!(0))?;
        stack.wait_live(topic)
    })?;
    stack.run(&["stop", "admin-api"])?;
    let outcome = without_admin(stack, topic);
    stack.start("admin-api")?;
    outcome
}

fn without_admin(stack: &Stack, topic: &str) -> Outcome {
    stack.run(&["stop", "producer"])?;
    stack.run(&["start", "producer"])?;
    let mut sender = stack.lines()?;
    sender.send(&format!("{{\"topic\":\"{topic}\",\"value\":\"down\"}}\n"))?;
    sender.acked(1)?;
    wait_for("the record is delivered by the kept table", || {
        let values = kafka::values(stack.bootstrap(), topic)?;
        Ok(values.contains(&"down".to_owned()).then_some(()))
    })?;
    let ready = stack
        .producer("")?
        .with_token("")
        .get("/readyz")?
        .expect(200)?;
    ensure!(
        ready.to_string().contains("admin-api"),
        "readiness says so: {ready}"
    );
    Ok(())
}

fn no_kafka(stack: &Stack) -> Outcome {
    let topic = "outage.kafka";
    let id = stack.active_topic(topic)?;
    stack.run(&["stop", "kafka"])?;
    let outcome = without_kafka(stack, topic);
    stack.start("kafka")?;
    outcome?;
    wait_for("the held record is delivered", || {
        let values = kafka::values(stack.bootstrap(), topic)?;
        Ok((values.len() == 1).then_some(()))
    })?;
    stack.wait_status(id, "active")?;
    let later = stack
        .admin("viewer")?
        .get("/api/topics/by-name/outage.later")?
        .expect(200)?;
    stack.wait_status(later["topic_id"].as_i64().unwrap_or_default(), "active")?;
    for api in [
        stack.admin("viewer")?,
        stack.producer("producer")?,
        stack.consumer("viewer")?,
    ] {
        wait_for("it is ready again", || {
            let ready = api.get("/readyz")?.json();
            Ok((ready["degraded"] == json!([])).then_some(()))
        })?;
    }
    Ok(())
}

fn without_kafka(stack: &Stack, topic: &str) -> Outcome {
    for service in ["admin-api", "producer", "consumer-api"] {
        stack.run(&["stop", service])?;
        stack.run(&["start", service])?;
    }
    for api in [
        stack.admin("viewer")?,
        stack.producer("producer")?,
        stack.consumer("viewer")?,
    ] {
        wait_for("readiness says that Kafka is down", || {
            let ready = api.get("/readyz")?;
            let told = ready.json()["degraded"].to_string().contains("kafka");
            Ok((ready.status == 200 && told).then_some(()))
        })?;
    }
    let later = stack.request(&json!({"name": "outage.later"}))?;
    let path = format!("/api/topics/{later}/approve?wait=1s");
    let decided = stack.admin("approver")?.post_empty(&path)?.expect(200)?;
    ensure_eq!(
        decided["status"],
        "approved",
        "approved, and waiting for Kafka"
    );
    let answer = stack
        .producer("producer")?
        .post(&format!("/topics/{topic}"), &json!(1))?;
    let body = answer.expect(202)?;
    ensure_eq!(
        body["records"][0]["state"],
        "held",
        "taken durably without Kafka"
    );
    Ok(())
}
