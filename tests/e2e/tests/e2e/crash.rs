//! kill -9 in the middle: nothing that was acknowledged is lost, and everything goes on by itself.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::collections::BTreeSet;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "the producer is killed while it holds: what it acknowledged arrives in order",
        producer_holding,
    ),
    (
        "the producer is killed under load: acknowledged records arrive",
        producer_loaded,
    ),
    (
        "the admin API is killed: decisions stand and provisioning goes on",
        admin_killed,
    ),
    (
        "the consumer API is killed: its file has every record once",
        consumer_killed,
    ),
    (
        "unknown names become requests, and their records flow after the approval",
        auto_request,
    ),
];

fn line(topic: &str, number: usize) -> String {
    format!("{{\"topic\": \"{topic}\", \"key\": \"k\", \"value\": \"{number}\"}}\n")
}

fn producer_holding(stack: &Stack) -> Outcome {
    let topic = "crash.held";
    let id = stack.request(&json!({"name": topic}))?;
    let mut sender = stack.lines()?;
    sender.send(&(0..300).map(|n| line(topic, n)).collect::<String>())?;
    sender.acked(300)?;
    stack.kill("producer")?;
    stack.start("producer")?;
    ensure_eq!(
        stack.flow(topic)?["held_records"],
        300,
        "all of it was recovered"
    );
    stack.approve(id)?;
    stack.wait_live(topic)?;
    let wanted: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    ensure_eq!(
        kafka::values(stack.bootstrap(), topic)?,
        wanted,
        "once and in order"
    );
    Ok(())
}

fn producer_loaded(stack: &Stack) -> Outcome {
    let topic = "crash.loaded";
    stack.active_topic(topic)?;
    let mut acked = BTreeSet::new();
    for round in 0..3_u64 {
        let mut sender = stack.lines()?;
        let first = round * 100_000;
        let numbers = first..first + 20_000;
        let text: String = numbers
            .clone()
            .map(|n| line(topic, usize::try_from(n).unwrap_or(0)))
            .collect();
        sender.send(&text)?;
        let mut last = 0;
        while last < 5_000 {
            let Some(answer) = sender.answer()? else {
                break;
            };
            last = answer["acked"].as_u64().unwrap_or(last);
        }
        stack.kill("producer")?;
        while let Ok(Some(answer)) = sender.answer() {
            last = answer["acked"].as_u64().unwrap_or(last);
        }
        acked.extend(numbers.take(usize::try_from(last)?));
        stack.start("producer")?;
    }
    stack.wait_live(topic)?;
    let stored: Vec<u64> = kafka::values(stack.bootstrap(), topic)?
        .iter()
        .filter_map(|v| v.parse().ok())
        .collect();
    let present: BTreeSet<u64> = stored.iter().copied().collect();
    let lost: Vec<_> = acked.difference(&present).take(5).collect();
    ensure!(
        lost.is_empty(),
        "acknowledged and lost: {lost:?} of {}",
        acked.len()
    );
    let mut seen = BTreeSet::new();
    let firsts: Vec<u64> = stored.into_iter().filter(|n| seen.insert(*n)).collect();
    ensure!(
        firsts.is_sorted(),
        "first appearances are in the order they were sent"
    );
    Ok(())
}

fn admin_killed(stack: &Stack) -> Outcome {
    let id = stack.request(&json!({"name": "crash.admin", "partitions": 2}))?;
    let path = format!("/api/topics/{id}/approve");
    stack.admin("approver")?.post_empty(&path)?.expect(200)?;
    stack.kill("admin-api")?;
    let topic = "crash.admin";
    let mut sender = stack.lines()?;
    sender.send(&line(topic, 0))?;
    sender.acked(1)?;
    stack.start("admin-api")?;
    stack.wait_status(id, "active")?;
    ensure_eq!(
        kafka::shape(stack.bootstrap(), topic)?,
        Some((2, 1)),
        "one topic, as asked"
    );
    stack.wait_live(topic)?;
    ensure_eq!(
        kafka::values(stack.bootstrap(), topic)?,
        vec!["0".to_owned()],
        "and its record"
    );
    let audit = stack
        .admin("viewer")?
        .get("/api/audit/verify")?
        .expect(200)?;
    ensure_eq!(audit["ok"], true, "the audit chain holds: {audit}");
    Ok(())
}

fn consumer_killed(stack: &Stack) -> Outcome {
    let topic = "crash.consumed";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let body = json!({"cluster": "governed", "topic": topic, "consumer_group": topic, "auto_start": true,
        "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": "crash.jsonl"}}]});
    let id = api.post("/consumers/", &body)?.expect(201)?["id"].clone();
    let file = stack.files().join("crash.jsonl");
    let lines = || {
        std::fs::read_to_string(&file)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let mut sender = stack.lines()?;
    for round in 0..3 {
        let sent = (round + 1) * 2_000;
        sender.send(
            &(sent - 2_000..sent)
                .map(|n| line(topic, n))
                .collect::<String>(),
        )?;
        sender.acked(u64::try_from(sent)?)?;
        wait_for("some of it is written", || {
            Ok((lines() > sent - 2_000).then_some(()))
        })?;
        stack.kill("consumer-api")?;
        stack.start("consumer-api")?;
    }
    wait_for("all of it is written", || {
        Ok((lines() >= 6_000).then_some(()))
    })?;
    let text = std::fs::read_to_string(&file)?;
    let values: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line)
                .map(|r| r["value"].as_str().unwrap_or("").to_owned())
        })
        .collect::<Result<_, _>>()?;
    let wanted: Vec<String> = (0..6_000).map(|n| n.to_string()).collect();
    ensure!(
        values == wanted,
        "each record once and in order; {} lines",
        values.len()
    );
    let id = id.as_str().unwrap_or_default();
    ensure_eq!(
        api.json("DELETE", &format!("/consumers/{id}"), &json!({}))?
            .status,
        204,
        "deleted"
    );
    Ok(())
}

fn auto_request(stack: &Stack) -> Outcome {
    let topic = "crash.demanded";
    let answer = stack
        .producer("producer")?
        .post(&format!("/topics/{topic}"), &json!({"n": 1}))?;
    answer.expect(202)?;
    let id = wait_for("a request is filed", || {
        let answer = stack
            .admin("viewer")?
            .get(&format!("/api/topics/by-name/{topic}"))?;
        Ok((answer.status == 200)
            .then(|| answer.json()["topic_id"].as_i64())
            .flatten())
    })?;
    let waiting = wait_for("the admins see what waits", || {
        let producers = stack.admin("viewer")?.get("/api/producers")?.expect(200)?;
        Ok(producers.to_string().contains(topic).then_some(producers))
    })?;
    ensure!(
        waiting.to_string().contains("held_records"),
        "with figures: {waiting}"
    );
    stack.approve(id)?;
    stack.wait_live(topic)?;
    ensure_eq!(
        kafka::values(stack.bootstrap(), topic)?,
        vec!["{\"n\":1}".to_owned()],
        "it flows"
    );
    Ok(())
}
