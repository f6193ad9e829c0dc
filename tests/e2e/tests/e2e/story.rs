//! The main job: ask → held → approve → created as asked → drained in order → live → consumed.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::fmt::Write as _;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "held records drain in order before live ones and reach a file",
        whole_story,
    ),
    (
        "a topic that is never approved does not hold up another one",
        two_topics,
    ),
    ("a rejected topic refuses records and tells why", rejected),
    (
        "a topic is fenced, deleted from Kafka, and asked for again",
        full_circle,
    ),
    ("all record forms over HTTP reach Kafka", record_forms),
    (
        "lines over TCP and the Unix socket are acknowledged",
        line_inputs,
    ),
    (
        "host and generator inputs reach Kafka after approval",
        built_in_inputs,
    ),
    ("the live tail follows a user's subscriptions", user_stream),
    ("two approvers cannot both decide", approval_race),
];

fn line(topic: &str, number: usize) -> String {
    format!("{{\"topic\": \"{topic}\", \"key\": \"k\", \"value\": {{\"n\":{number}}}}}\n")
}

fn whole_story(stack: &Stack) -> Outcome {
    let topic = "story.orders";
    let id = stack.request(&json!({
        "name": topic, "partitions": 3, "description": "orders",
        "configs": {"retention.ms": "86400000", "cleanup.policy": "delete"},
    }))?;
    let mut sender = stack.lines()?;
    let held: String = (0..500).map(|n| line(topic, n)).collect();
    sender.send(&held)?;
    ensure_eq!(
        sender.acked(500)?,
        Vec::<Value>::new(),
        "no line is refused"
    );
    let answer = stack
        .producer("producer")?
        .post(&format!("/topics/{topic}?key=k"), &json!({"n": 500}))?;
    let body = answer.expect(202)?;
    ensure_eq!(
        body["records"][0],
        json!({"state": "held", "topic_state": "pending"}),
        "held over HTTP"
    );
    ensure_eq!(
        stack.flow(topic)?["held_records"],
        501,
        "what is held is told"
    );
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_none(),
        "nothing exists before the approval"
    );
    stack.approve(id)?;
    let more: String = (501..1000).map(|n| line(topic, n)).collect();
    sender.send(&more)?;
    sender.acked(999)?;
    stack.wait_live(topic)?;
    ensure_eq!(
        kafka::shape(stack.bootstrap(), topic)?,
        Some((3, 1)),
        "created with the asked shape"
    );
    let retention = kafka::topic_config(stack.bootstrap(), topic, "retention.ms")?;
    ensure_eq!(
        retention.as_deref(),
        Some("86400000"),
        "created with the asked configs"
    );
    let values = kafka::values(stack.bootstrap(), topic)?;
    let wanted: Vec<String> = (0..1000).map(|n| format!("{{\"n\":{n}}}")).collect();
    ensure_eq!(
        values,
        wanted,
        "one key, so one partition: everything once and in order"
    );
    consumed_by_file(stack, topic, 1000)
}

fn consumed_by_file(stack: &Stack, topic: &str, records: usize) -> Outcome {
    let consumer = stack.consumer("consumer")?;
    let file = format!("{topic}.jsonl");
    let body = json!({
        "cluster": "governed", "topic": topic, "consumer_group": format!("{topic}-file"), "auto_start": true,
        "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": file}}],
    });
    let created = consumer.post("/consumers/", &body)?.expect(201)?;
    let id = created["id"].as_str().unwrap_or_default().to_owned();
    let path = stack.files().join(&file);
    let lines = wait_for("the file has all records", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Ok((text.lines().count() >= records).then_some(text))
    })?;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap_or_default())?;
    ensure_eq!(first["topic"], topic, "an envelope names its topic");
    ensure_eq!(
        first["value"],
        "{\"n\":0}",
        "and has the value as it was sent"
    );
    ensure_eq!(lines.lines().count(), records, "each record once");
    wait_for("the consumer is ACTIVE without lag", || {
        let status = consumer
            .get(&format!("/consumers/{id}/status/"))?
            .expect(200)?;
        let lag = consumer
            .get(&format!("/consumers/{id}/lag/"))?
            .expect(200)?;
        Ok((status["status"] == "ACTIVE" && lag["total_lag"] == 0).then_some(()))
    })?;
    ensure_eq!(
        consumer
            .json("DELETE", &format!("/consumers/{id}/"), &json!({}))?
            .status,
        204,
        "deleted"
    );
    Ok(())
}

fn two_topics(stack: &Stack) -> Outcome {
    let waiting = stack.request(&json!({"name": "story.waiting"}))?;
    stack.active_topic("story.flowing")?;
    let mut sender = stack.lines()?;
    let mut text = String::new();
    for n in 0..200 {
        write!(
            text,
            "{}{}",
            line("story.waiting", n),
            line("story.flowing", n)
        )?;
    }
    sender.send(&text)?;
    sender.acked(400)?;
    stack.wait_live("story.flowing")?;
    ensure_eq!(
        kafka::values(stack.bootstrap(), "story.flowing")?.len(),
        200,
        "it flows"
    );
    ensure_eq!(
        stack.flow("story.waiting")?["held_records"],
        200,
        "the other waits"
    );
    ensure_eq!(
        stack.topic(waiting)?["status"],
        "pending",
        "and is still undecided"
    );
    ensure!(
        kafka::shape(stack.bootstrap(), "story.waiting")?.is_none(),
        "nothing exists of it"
    );
    Ok(())
}

fn rejected(stack: &Stack) -> Outcome {
    let id = stack.request(&json!({"name": "story.rejected"}))?;
    stack.decide(id, "reject", "no owner")?;
    ensure_eq!(
        stack.topic(id)?["reason"],
        "no owner",
        "the requester learns why"
    );
    wait_for("the producer knows", || {
        let answer = stack
            .producer("producer")?
            .post("/topics/story.rejected", &json!(1))?;
        Ok((answer.status == 409).then_some(answer))
    })?
    .problem(409)
    .and_then(|problem| {
        ensure_eq!(problem["code"], "topic_rejected", "the code says it");
        Ok(())
    })?;
    let mut sender = stack.lines()?;
    sender.send(&line("story.rejected", 0))?;
    let refused = sender.acked(1)?;
    ensure_eq!(refused[0]["refused"], 1, "the line is named");
    ensure_eq!(refused[0]["code"], "topic_rejected", "with the reason");
    Ok(())
}

fn full_circle(stack: &Stack) -> Outcome {
    let topic = "story.circle";
    let id = stack.active_topic(topic)?;
    let mut sender = stack.lines()?;
    sender.send(&line(topic, 0))?;
    sender.acked(1)?;
    stack.decide(id, "deactivate", "not needed")?;
    wait_for("records are held behind the fence", || {
        let answer = stack
            .producer("producer")?
            .post(&format!("/topics/{topic}"), &json!(1))?;
        Ok((answer.json()["records"][0]["topic_state"] == "inactive").then_some(()))
    })?;
    // The first such answer may be about a record that was on its way to Kafka when the fence came
    // and arrives there all the same; one that is sent behind the fence stays.
    let behind = stack
        .producer("producer")?
        .post(&format!("/topics/{topic}"), &json!(2))?;
    behind.expect(202)?;
    ensure_eq!(
        kafka::shape(stack.bootstrap(), topic)?,
        Some((1, 1)),
        "a fence deletes nothing"
    );
    let path = format!("/api/topics/{id}/delete");
    let filed = stack.admin("requester")?.post_empty(&path)?.expect(202)?;
    let request = filed["request_id"].as_i64().unwrap_or_default();
    let approve = format!("/api/requests/{request}/approve");
    stack.admin("approver")?.post_empty(&approve)?.expect(200)?;
    stack.wait_status(id, "deleted")?;
    ensure!(
        kafka::shape(stack.bootstrap(), topic)?.is_none(),
        "it is gone from Kafka"
    );
    let again = stack.active_topic(topic)?;
    ensure!(again != id, "the name has a new identity");
    sender.send(&line(topic, 7))?;
    sender.acked(2)?;
    let values = wait_for("the new topic takes records", || {
        let values = kafka::values(stack.bootstrap(), topic)?;
        Ok(values.contains(&"{\"n\":7}".to_owned()).then_some(values))
    })?;
    let held = stack.flow(topic)?["held_records"].as_u64();
    ensure!(
        held >= Some(1),
        "what was held for the old one stays held: {held:?}"
    );
    ensure!(
        !values.contains(&"{\"n\":0}".to_owned()),
        "and has none of the old one: {values:?}"
    );
    Ok(())
}

fn record_forms(stack: &Stack) -> Outcome {
    let topic = "story.forms";
    stack.active_topic(topic)?;
    let producer = stack.producer("producer")?;
    let path = format!("/topics/{topic}");
    wait_for("it is live", || {
        Ok((producer.post(&path, &json!({"a": 1}))?.status == 200).then_some(()))
    })?;
    let one = producer
        .post_raw(&path, "application/json", "{\"b\": 2}")?
        .expect(200)?;
    ensure_eq!(one["records"][0]["state"], "delivered", "delivered");
    ensure!(
        one["records"][0]["offset"].is_i64(),
        "with its offset: {one}"
    );
    let batch = producer
        .post_raw(&path, "application/json", "[1, \"two\", null]")?
        .expect(200)?;
    ensure_eq!(
        batch["records"].as_array().map(Vec::len),
        Some(3),
        "an array is a batch"
    );
    producer
        .post_raw(&path, "application/x-ndjson", "{\"c\":3}\n{\"d\": 4}\n")?
        .expect(200)?;
    producer
        .post_raw(&path, "application/octet-stream", "raw bytes")?
        .expect(200)?;
    let v2 = "application/vnd.kafka.json.v2+json";
    let answer = producer.post_raw(
        &path,
        v2,
        "{\"records\":[{\"key\":\"k\",\"value\":{\"e\":5}}]}",
    )?;
    let offsets = answer.expect(200)?;
    ensure!(
        offsets["offsets"][0]["offset"].is_i64(),
        "Confluent's answer: {offsets}"
    );
    let binary = "application/vnd.kafka.binary.v2+json";
    producer
        .post_raw(&path, binary, "{\"records\":[{\"value\":\"Zg==\"}]}")?
        .expect(200)?;
    let named = format!("{{\"topic\":\"{topic}\",\"value\":\"named\"}}\n");
    producer
        .post_raw("/records", "application/x-ndjson", named)?
        .expect(200)?;
    let stored = kafka::read_all(stack.bootstrap(), topic)?;
    let values: Vec<_> = stored
        .iter()
        .skip_while(|r| r.value.as_deref() != Some("{\"b\": 2}"))
        .collect();
    let texts: Vec<Option<&str>> = values
        .iter()
        .map(|record| record.value.as_deref())
        .collect();
    let wanted = [
        Some("{\"b\": 2}"),
        Some("1"),
        Some("two"),
        None,
        Some("{\"c\":3}"),
        Some("{\"d\": 4}"),
        Some("raw bytes"),
        Some("{\"e\":5}"),
        Some("f"),
        Some("named"),
    ];
    ensure_eq!(
        texts,
        wanted.to_vec(),
        "values are stored exactly as they were sent"
    );
    Ok(())
}

fn line_inputs(stack: &Stack) -> Outcome {
    let topic = "story.lines";
    stack.active_topic(topic)?;
    let mut unix = sluice_e2e::lines::Lines::unix(stack.fact("/producer/unix"))?;
    unix.send(&line(topic, 0))?;
    unix.acked(1)?;
    let mut tcp = stack.lines()?;
    let whole = format!("{{\"topic\":\"{topic}\",\"x\":1}}");
    tcp.send(&format!(
        "{whole}\n\nnot json\n{{\"value\":1}}\n{}",
        line(topic, 1)
    ))?;
    let refused = tcp.acked(5)?;
    let lines: Vec<_> = refused
        .iter()
        .map(|r| r["refused"].as_u64().unwrap_or(0))
        .collect();
    ensure_eq!(
        lines,
        vec![3, 4],
        "bad lines are named, blank lines count: {refused:?}"
    );
    ensure_eq!(tcp.finish()?, 5, "after the half-close the last ack comes");
    stack.wait_live(topic)?;
    let values = kafka::values(stack.bootstrap(), topic)?;
    ensure_eq!(
        values,
        ["{\"n\":0}".to_owned(), whole, "{\"n\":1}".to_owned()],
        "values"
    );
    Ok(())
}

fn built_in_inputs(stack: &Stack) -> Outcome {
    for topic in ["host_metrics", "sample_sensor", "sample_payments"] {
        stack.active_topic(topic)?;
    }
    let host = wait_for("host metrics arrive", || {
        Ok(kafka::values(stack.bootstrap(), "host_metrics")?.pop())
    })?;
    let host: Value = serde_json::from_str(&host)?;
    ensure!(host.to_string().contains("memory"), "real figures: {host}");
    let sensor = wait_for("samples arrive", || {
        Ok(kafka::values(stack.bootstrap(), "sample_sensor")?.pop())
    })?;
    let sensor: Value = serde_json::from_str(&sensor)?;
    let temperature = sensor["payload"]["temperature"]
        .as_f64()
        .unwrap_or_default();
    ensure!(
        (20.0..=40.0).contains(&temperature),
        "as the reference document makes them: {sensor}"
    );
    Ok(())
}

fn user_stream(stack: &Stack) -> Outcome {
    use std::io::{BufRead as _, BufReader};
    let topic = "story.tail";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let stream = api
        .request("GET", "/stream?user_id=consumer&from=latest")
        .send()?;
    ensure_eq!(stream.status().as_u16(), 200, "the stream opens");
    let mut events = BufReader::new(stream).lines();
    let mut next = |wanted: &str| -> Outcome<Value> {
        let mut event = String::new();
        for line in events.by_ref() {
            let line = line?;
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data:").filter(|_| event == wanted) {
                return Ok(serde_json::from_str(data)?);
            }
        }
        Err(format!("the stream ended before {wanted}").into())
    };
    let admin = stack.admin("consumer")?;
    admin
        .post("/api/subscriptions", &json!({"topic_name": topic}))?
        .expect(201)?;
    let subscribed = next("subscribed")?;
    ensure!(
        subscribed.to_string().contains(topic),
        "the open stream follows: {subscribed}"
    );
    stack
        .producer("producer")?
        .post(&format!("/topics/{topic}"), &json!({"hello": 1}))?;
    let record = next("record")?;
    ensure_eq!(record["topic"], topic, "its topic");
    ensure_eq!(record["value"], "{\"hello\":1}", "its value");
    admin
        .json(
            "DELETE",
            "/api/subscriptions",
            &json!({"topic_name": topic}),
        )?
        .expect(200)?;
    let unsubscribed = next("unsubscribed")?;
    ensure!(
        unsubscribed.to_string().contains(topic),
        "and lets go: {unsubscribed}"
    );
    Ok(())
}

fn approval_race(stack: &Stack) -> Outcome {
    for round in 0..10 {
        let id = stack.request(&json!({"name": format!("story.race{round}")}))?;
        let decide = |account: &'static str, verb: &'static str| {
            let api = stack.admin(account);
            let path = format!("/api/topics/{id}/{verb}");
            std::thread::Builder::new().spawn(move || -> Outcome<u16> {
                Ok(api?.post(&path, &json!({"reason": "race"}))?.status)
            })
        };
        let racers = [decide("approver", "approve")?, decide("admin", "reject")?];
        let mut statuses = Vec::new();
        for racer in racers {
            statuses.push(racer.join().map_err(|_| "a racer panicked")??);
        }
        statuses.sort_unstable();
        ensure_eq!(
            statuses,
            vec![200, 409],
            "round {round}: one decision stands, the other is told"
        );
    }
    Ok(())
}
