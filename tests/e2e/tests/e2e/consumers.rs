//! Managed consumers in trouble: poison records, dead sinks, rebalances, brokers that go and come back;
//! and what is done about it afterwards.

mod hook;
mod positions;

use crate::Test;
use hook::Hook;
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::collections::BTreeMap;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "a poison record becomes a dead letter, and is sent again when its cause is gone",
        poison,
    ),
    (
        "a consumer that stops at poison says which record it is",
        stops_at_poison,
    ),
    (
        "too many poison records stop the consumer instead of draining the topic",
        breaker,
    ),
    (
        "a consumer with a dead sink is an error with a reason and is deleted all the same",
        dead_sink,
    ),
    (
        "a new consumer starts where it is told, or is not there at all",
        positions::start_from,
    ),
    (
        "a time range is delivered again beside the live consumer",
        positions::replay,
    ),
    (
        "records that retention took are a gap with a reason, and the consumer goes on as it was told",
        positions::retention,
    ),
    (
        "a topic that is made again is read from its start",
        positions::made_again,
    ),
    (
        "consumers of one group that come and go lose nothing and write nothing twice",
        rebalance_storm,
    ),
];

pub(crate) const ROUGH_TESTS: &[(&str, Test)] = &[(
    "a broker that restarts is an error for a while and costs no record",
    broker_restart,
)];

fn consumer(topic: &str, more: &Value) -> Value {
    let mut body =
        json!({"cluster": "governed", "topic": topic, "consumer_group": topic, "auto_start": true});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

fn hooked(hook: &Hook) -> Value {
    json!([{"processor_type": "streaming_forwarder", "config": {"endpoint_url": hook.url}}])
}

fn create(api: &Api, body: &Value) -> Outcome<String> {
    // A group that is new to Kafka may be without a coordinator for a moment; 503 says try again.
    let answer = wait_for("Kafka knows the group", || {
        let answer = api.post("/consumers/", body)?;
        Ok((answer.status != 503).then_some(answer))
    })?;
    let created = answer.expect(201)?;
    Ok(created["id"].as_str().unwrap_or_default().to_owned())
}

fn status(api: &Api, id: &str) -> Outcome<Value> {
    api.get(&format!("/consumers/{id}/status/"))?.expect(200)
}

fn wait_status(api: &Api, id: &str, wanted: &str) -> Outcome<Value> {
    let mut last = Value::Null;
    wait_for(&format!("the consumer is {wanted}"), || {
        last = status(api, id)?;
        Ok((last["status"] == wanted).then(|| last.clone()))
    })
    .map_err(|error| format!("{error}; it says {last}").into())
}

fn send(stack: &Stack, topic: &str, values: &[String]) -> Outcome {
    let mut sender = stack.lines()?;
    let line = |value: &String| format!("{}\n", json!({"topic": topic, "value": value}));
    sender.send(&values.iter().map(line).collect::<Vec<_>>().concat())?;
    sender.acked(values.len() as u64).map(drop)
}

fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn poison(stack: &Stack) -> Outcome {
    let (topic, hook) = ("consumers.poison", Hook::open()?);
    stack.active_topic(topic)?;
    let mut values = numbered(0..300);
    "poison one".clone_into(&mut values[77]);
    "poison two".clone_into(&mut values[250]);
    send(stack, topic, &values)?;
    let api = stack.consumer("consumer")?;
    let id = create(
        &api,
        &consumer(topic, &json!({"downstream_processors": hooked(&hook)})),
    )?;
    wait_for("the good ones are delivered", || {
        Ok((hook.state().values.len() >= 298).then_some(()))
    })?;
    let good: Vec<String> = values
        .iter()
        .filter(|v| !v.contains("poison"))
        .cloned()
        .collect();
    ensure_eq!(hook.state().values, good, "in order, each once");
    let path = format!("/consumers/{id}/dead-letters/");
    let letters = wait_for("both are dead letters", || {
        let letters = api.get(&path)?.expect(200)?;
        Ok((letters.as_array().map(Vec::len) == Some(2)).then_some(letters))
    })?;
    ensure_eq!(letters[0]["offset"], 77, "the first: {letters}");
    ensure_eq!(letters[1]["record"]["value"], "poison two", "as it came");
    ensure!(
        letters[1]["attempts"].as_i64() > Some(1),
        "tries are counted"
    );
    let now = wait_status(&api, &id, "ACTIVE")?;
    ensure_eq!(now["dead_letters"], 2, "counted: {now}");
    ensure_eq!(now["lag"], 0, "nothing waits");
    ensure!(
        now["bottleneck"]
            .as_str()
            .unwrap_or_default()
            .starts_with("nothing waits"),
        "{now}"
    );
    let page = api.get(&format!("{path}?limit=1"))?;
    ensure!(page.header("link").is_some(), "pages are linked");
    let ids = json!({"records": [{"topic": topic, "partition": 0, "offset": 77},
                                 {"topic": topic, "partition": 0, "offset": 250}]});
    let redrive = format!("/consumers/{id}/redrive/");
    let would = api
        .post(&format!("{redrive}?dry_run=true"), &ids)?
        .expect(200)?;
    ensure_eq!(would[0]["result"], "would_send", "{would}");
    let failed = api.post(&redrive, &ids)?.expect(200)?;
    ensure_eq!(
        failed[0]["result"],
        "failed",
        "the cause is still there: {failed}"
    );
    hook.state().tolerant = true;
    let sent = api.post(&redrive, &ids)?.expect(200)?;
    ensure_eq!(sent[1]["result"], "sent", "{sent}");
    ensure_eq!(hook.state().values.len(), 300, "they arrived");
    let letters = api.get(&path)?.expect(200)?;
    ensure_eq!(letters[0]["redrives"], 1, "rounds are counted: {letters}");
    let stranger = json!({"records": [{"topic": topic, "partition": 0, "offset": 1}]});
    api.post(&redrive, &stranger)?.problem(404)?;
    let audit = api.get("/audit")?.expect(200)?;
    ensure!(
        audit.to_string().contains("\"redrive\""),
        "it is in the audit"
    );
    Ok(())
}

fn stops_at_poison(stack: &Stack) -> Outcome {
    let (topic, hook) = ("consumers.stops", Hook::open()?);
    stack.active_topic(topic)?;
    let values = ["a", "poison", "b"].map(str::to_owned);
    send(stack, topic, &values)?;
    let api = stack.consumer("consumer")?;
    let body = json!({"downstream_processors": hooked(&hook), "on_poison": "stop"});
    let id = create(&api, &consumer(topic, &body))?;
    let now = wait_status(&api, &id, "ERROR")?;
    ensure_eq!(now["reason"], "poison", "{now}");
    ensure!(
        now["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("offset 1"),
        "{now}"
    );
    hook.state().tolerant = true;
    api.post_empty(&format!("/consumers/{id}/start/"))?
        .expect(200)?;
    wait_status(&api, &id, "ACTIVE")?;
    wait_for("all are delivered", || {
        Ok((hook.state().values == values).then_some(()))
    })
}

fn breaker(stack: &Stack) -> Outcome {
    let (topic, hook) = ("consumers.breaker", Hook::open()?);
    stack.active_topic(topic)?;
    let values: Vec<String> = (0..60).map(|n| format!("poison {n}")).collect();
    send(stack, topic, &values)?;
    let api = stack.consumer("consumer")?;
    let body =
        json!({"downstream_processors": hooked(&hook), "poison_max": 10, "poison_window": 100});
    let id = create(&api, &consumer(topic, &body))?;
    let now = wait_status(&api, &id, "ERROR")?;
    ensure!(
        now["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("more than 10 of the last 100"),
        "{now}"
    );
    ensure_eq!(now["dead_letters"], 10, "not one more: {now}");
    hook.state().tolerant = true;
    api.post_empty(&format!("/consumers/{id}/start/"))?
        .expect(200)?;
    wait_for("the rest is delivered", || {
        Ok((hook.state().values.len() == 50).then_some(()))
    })
}

fn dead_sink(stack: &Stack) -> Outcome {
    let (topic, hook) = ("consumers.dead", Hook::open()?);
    stack.active_topic(topic)?;
    hook.state().down = Some(401);
    send(stack, topic, &numbered(0..5))?;
    let api = stack.consumer("consumer")?;
    let body = consumer(topic, &json!({"downstream_processors": hooked(&hook)}));
    let id = create(&api, &body)?;
    let now = wait_status(&api, &id, "ERROR")?;
    ensure_eq!(
        now["reason"],
        "environment",
        "a refused credential is nobody's retry: {now}"
    );
    ensure!(
        now["next_retry_at"].is_string() && now["detail"].to_string().contains("401"),
        "{now}"
    );
    ensure!(now["errors"][0]["class"] == "environment", "{now}");
    let letters = api
        .get(&format!("/consumers/{id}/dead-letters/"))?
        .expect(200)?;
    ensure_eq!(letters, json!([]), "no record is given up for it");
    hook.state().down = None;
    api.post_empty(&format!("/consumers/{id}/start/"))?
        .expect(200)?;
    wait_for("they are delivered when it is mended", || {
        Ok((hook.state().values.len() == 5).then_some(()))
    })?;
    hook.state().down = Some(503);
    send(stack, topic, &numbered(5..9))?;
    let now = wait_status(&api, &id, "ERROR")?;
    ensure_eq!(now["reason"], "transient", "{now}");
    let started = std::time::Instant::now();
    let gone = api.json("DELETE", &format!("/consumers/{id}/"), &json!({}))?;
    ensure_eq!(gone.status, 204, "deleted while its sink is dead");
    ensure!(
        started.elapsed().as_secs() < 30,
        "in time: {:?}",
        started.elapsed()
    );
    Ok(())
}

fn offsets_of(file: &std::path::Path) -> Outcome<Vec<i64>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let offset = |line: &str| serde_json::from_str::<Value>(line).map(|r| r["offset"].as_i64());
    let offsets: Result<Vec<_>, _> = text.lines().map(offset).collect();
    Ok(offsets?.into_iter().flatten().collect())
}

fn rebalance_storm(stack: &Stack) -> Outcome {
    let topic = "consumers.storm";
    let id = stack.request(&json!({"name": topic, "partitions": 6}))?;
    stack.approve(id)?;
    let api = stack.consumer("consumer")?;
    let mut sender = stack.lines()?;
    let (mut sent, mut members, mut files) = (0_u64, Vec::new(), Vec::new());
    for round in 0..8 {
        let name = format!("storm-{round}.jsonl");
        let sink = json!([{"processor_type": "file_sink", "config": {"file_path": name}}]);
        members.push(create(
            &api,
            &consumer(topic, &json!({"downstream_processors": sink})),
        )?);
        files.push(stack.files().join(name));
        let lines: Vec<String> = (sent..sent + 1000)
            .map(|n| {
                format!(
                    "{}\n",
                    json!({"topic": topic, "key": n.to_string(), "value": n.to_string()})
                )
            })
            .collect();
        sender.send(&lines.concat())?;
        sent += 1000;
        sender.acked(sent)?;
        if round > 0 {
            // One goes away in the middle of what it does; from the fourth round on by a stop alone.
            let gone = members.remove(0);
            if round < 4 {
                api.json("DELETE", &format!("/consumers/{gone}/"), &json!({}))?
                    .expect(204)?;
            } else {
                api.post_empty(&format!("/consumers/{gone}/stop/"))?
                    .expect(200)?;
            }
        }
    }
    let mut seen: BTreeMap<(i64, i64), u32> = BTreeMap::new();
    let outcome = wait_for("every record is in some file", || {
        seen.clear();
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            for record in text
                .lines()
                .filter_map(|l| serde_json::from_str::<Value>(l).ok())
            {
                let place = (record["partition"].as_i64(), record["offset"].as_i64());
                let (partition, offset) = (place.0.unwrap_or(-1), place.1.unwrap_or(-1));
                *seen.entry((partition, offset)).or_default() += 1;
            }
        }
        Ok((seen.len() as u64 == sent).then_some(()))
    });
    outcome.map_err(|error| format!("{error}; {} of {sent} are there", seen.len()))?;
    let twice: Vec<_> = seen
        .iter()
        .filter(|(_, times)| **times > 1)
        .take(5)
        .collect();
    ensure!(twice.is_empty(), "written twice: {twice:?}");
    Ok(())
}

fn broker_restart(stack: &Stack) -> Outcome {
    let topic = "consumers.broker";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let sink = json!([{"processor_type": "file_sink", "config": {"file_path": "broker.jsonl"}}]);
    let id = create(
        &api,
        &consumer(topic, &json!({"downstream_processors": sink})),
    )?;
    let file = stack.files().join("broker.jsonl");
    send(stack, topic, &numbered(0..500))?;
    wait_for("the first are written", || {
        Ok((offsets_of(&file)?.len() == 500).then_some(()))
    })?;
    stack.run(&["kill", "kafka"])?;
    let outcome = wait_status(&api, &id, "ERROR");
    send(stack, topic, &numbered(500..1000))?;
    stack.start("kafka")?;
    let down = outcome?;
    ensure!(
        down["detail"]
            .as_str()
            .unwrap_or_default()
            .starts_with("kafka fails"),
        "{down}"
    );
    wait_status(&api, &id, "ACTIVE")?;
    wait_for("the others follow", || {
        Ok((offsets_of(&file)?.len() >= 1000).then_some(()))
    })?;
    let stored = kafka::values(stack.bootstrap(), topic)?.len();
    let offsets = offsets_of(&file)?;
    ensure_eq!(
        offsets,
        (0..i64::try_from(stored)?).collect::<Vec<_>>(),
        "each once, in order"
    );
    Ok(())
}
