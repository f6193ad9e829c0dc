//! The streaming forwarder: to topics exactly once, to webhooks with keys that repeat.

mod hook;

use crate::Test;
use hook::{Hook, Say, verified};
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::kafka::{self, Whole};
use sluice_e2e::stack::{Stack, script};
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const CALM: &[(&str, Test)] = &[
    (
        "a webhook that fails, is slow and refuses the token gets every record, under keys that repeat",
        webhook,
    ),
    (
        "a forwarder writes only to active topics, never round in circles, and waits when its topic is stopped",
        governed,
    ),
    (
        "a record that a webhook refuses becomes a dead letter in its own topic once that is approved",
        dead_letters,
    ),
];

pub(crate) const ROUGH: &[(&str, Test)] = &[(
    "the consumer API is killed while it forwards to another cluster: everything is there once, as it was",
    killed,
)];

/// The first record's time: not long ago, for brokers throw old records away.
static BEGUN: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| {
        i64::try_from(now.as_millis()).unwrap_or(0) - 600_000
    })
});

/// The record of a number: some have no key, some no value, some odd headers.
fn record(number: usize) -> Whole {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    Whole {
        partition: 0,
        offset: 0,
        timestamp: Some(*BEGUN + i64::try_from(number).unwrap_or(0)),
        key: (number % 10 != 3).then(|| format!("k{}", number % 50).into_bytes()),
        value: (number % 10 != 7).then(|| [number.to_string().as_bytes(), &[0xff, 0]].concat()),
        headers: vec![
            header("n", Some(number.to_string().as_bytes())),
            header("n", None),
            header("bytes", Some(&[0, 0xfe])),
        ],
    }
}

fn number(record: &Whole) -> usize {
    let text = record.headers.first().and_then(|(_, value)| value.clone());
    let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    text.parse().unwrap_or(usize::MAX)
}

/// Creates a consumer of a topic and starts it; answers its id.
fn start(stack: &Stack, source: &Value, processor: &Value) -> Outcome<String> {
    let mut body = json!({
        "cluster": "governed", "auto_start": true,
        "downstream_processors": [{"processor_type": "streaming_forwarder", "config": processor}]
    });
    if let (Some(body), Some(source)) = (body.as_object_mut(), source.as_object()) {
        body.extend(source.clone());
    }
    let created = stack
        .consumer("consumer")?
        .post("/consumers/", &body)?
        .expect(201)?;
    Ok(created["id"].as_str().unwrap_or_default().to_owned())
}

fn remove(stack: &Stack, id: &str) -> Outcome {
    let request = stack
        .consumer("consumer")?
        .request("DELETE", &format!("/consumers/{id}/"));
    Api::send(request)?.expect(204)?;
    Ok(())
}

fn refused(stack: &Stack, source: &str, processor: &Value) -> Outcome<String> {
    let body = json!({
        "cluster": "governed", "topic": source, "consumer_group": "forward.refused",
        "downstream_processors": [{"processor_type": "streaming_forwarder", "config": processor}]
    });
    let answer = stack
        .consumer("consumer")?
        .post("/consumers/?dry_run=true", &body)?;
    Ok(answer.problem(422)?["errors"].to_string())
}

fn killed(stack: &Stack) -> Outcome {
    const COUNT: usize = 60_000;
    let dir = stack.files().join("../../../dr").display().to_string();
    script("kafka", &["start", "--dir", &dir, "--heap", "256m"])?;
    let outcome = forward_through_kills(stack, &dir, COUNT);
    script("kafka", &["stop", "--purge", "--dir", &dir]).ok();
    outcome
}

fn forward_through_kills(stack: &Stack, dir: &str, count: usize) -> Outcome {
    let status: Value =
        serde_json::from_str(&script("kafka", &["status", "--json", "--dir", dir])?)?;
    let dr = status["bootstrap"].as_str().unwrap_or_default();
    let clusters =
        format!("consumer-api.clusters=[{{name=\"dr\", bootstrap=\"{dr}\", topics=\"mirror.*\"}}]");
    stack.run(&["up", "--set", &clusters])?;
    kafka::create(dr, "mirror", 3)?;
    kafka::create(dr, "private", 1)?;
    let topic = "forward.source";
    let id = stack.request(&json!({"name": topic, "partitions": 4}))?;
    stack.approve(id)?;
    let message = refused(stack, topic, &json!({"cluster": "dr", "topic": "private"}))?;
    ensure!(
        message.contains("lets be written"),
        "the pattern counts: {message}"
    );
    let source = json!({"topic": topic, "consumer_group": "forward.killed"});
    start(stack, &source, &json!({"cluster": "dr", "topic": "mirror"}))?;
    wait_for("the topic has leaders", || {
        Ok(kafka::shape(dr, "mirror")?.filter(|(partitions, _)| *partitions == 3))
    })?;
    let step = count / 4;
    for round in 0..4 {
        kafka::produce(
            stack.bootstrap(),
            topic,
            round * step..(round + 1) * step,
            record,
        )?;
        let some = round * step + step / 4;
        wait_for("some of it is forwarded", || {
            Ok((kafka::count(dr, "mirror")? > some).then_some(()))
        })?;
        if round < 3 {
            stack.kill("consumer-api")?;
            stack.start("consumer-api")?;
        }
    }
    wait_for("everything is forwarded", || {
        Ok((kafka::count(dr, "mirror")? >= count).then_some(()))
    })?;
    let found = wait_for("all transactions have ended", || {
        let found = kafka::read_committed(dr, "mirror")?;
        Ok((found.len() >= count).then_some(found))
    })?;
    let numbers: BTreeSet<usize> = found.iter().map(number).collect();
    ensure_eq!(
        (found.len(), numbers.len()),
        (count, count),
        "no loss and no repeat"
    );
    let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for found in &found {
        let n = number(found);
        let same = Whole {
            partition: found.partition,
            offset: found.offset,
            ..record(n)
        };
        ensure_eq!(
            *found,
            same,
            "keys, values, headers and timestamps are as they were"
        );
        if let Some(before) = found.key.clone().and_then(|key| last.insert(key, n)) {
            ensure!(
                before < n,
                "{before} came before {n}: the order of a key is kept"
            );
        }
    }
    Ok(())
}

fn governed(stack: &Stack) -> Outcome {
    let (source, target) = ("forward.in", "forward.out");
    stack.active_topic(source)?;
    let to = |topic: &str| json!({"cluster": "governed", "topic": topic});
    let message = refused(stack, source, &to(target))?;
    ensure!(
        message.contains("never asked for"),
        "not asked for: {message}"
    );
    let id = stack.request(&json!({"name": target}))?;
    let message = refused(stack, source, &to(target))?;
    ensure!(message.contains("approval"), "not approved: {message}");
    stack.approve(id)?;
    let message = refused(stack, source, &to(source))?;
    ensure!(message.contains("round for ever"), "itself: {message}");
    let consumer = start(
        stack,
        &json!({"topic": source, "consumer_group": "forward.out"}),
        &to(target),
    )?;
    let message = refused(stack, target, &to(source))?;
    ensure!(message.contains("round for ever"), "back: {message}");
    kafka::produce(stack.bootstrap(), source, 0..100, record)?;
    let all = |count: usize| {
        wait_for("the records are forwarded", || {
            let found = kafka::read_committed(stack.bootstrap(), target)?;
            Ok((found.len() >= count).then_some(found))
        })
    };
    ensure_eq!(all(100)?.len(), 100, "once");
    stack.decide(id, "deactivate", "maintenance")?;
    let status = || {
        stack
            .consumer("viewer")?
            .get(&format!("/consumers/{consumer}/status/"))?
            .expect(200)
    };
    kafka::produce(stack.bootstrap(), source, 100..200, record)?;
    wait_for("the consumer says that its destination is stopped", || {
        let status = status()?;
        let said = status["detail"]
            .as_str()
            .is_some_and(|text| text.contains("inactive"));
        Ok((status["status"] == "ERROR" && said).then_some(()))
    })?;
    ensure_eq!(
        kafka::read_committed(stack.bootstrap(), target)?.len(),
        100,
        "nothing behind the fence"
    );
    stack.decide(id, "reactivate", "done")?;
    ensure_eq!(all(200)?.len(), 200, "everything, once, after it");
    remove(stack, &consumer)?;
    Ok(())
}

fn webhook(stack: &Stack) -> Outcome {
    const COUNT: usize = 300;
    let topic = "forward.hooked";
    stack.active_topic(topic)?;
    let secrets = stack.files().join("../../secrets");
    std::fs::write(secrets.join("hook"), "h00k")?;
    std::fs::write(secrets.join("bearer"), "Bearer b34r3r")?;
    let hook = Hook::start()?;
    hook.say(Say::Fail);
    let config = json!({
        "endpoint_url": format!("{}?token=qu3ry", hook.url), "timeout_ms": 500, "max_records": 50,
        "secret_file": "hook", "authorization_file": "bearer"
    });
    let id = start(
        stack,
        &json!({"topic": topic, "consumer_group": "forward.hooked"}),
        &config,
    )?;
    let api = stack.consumer("consumer")?;
    kafka::produce(stack.bootstrap(), topic, 0..COUNT, record)?;
    for (say, class) in [
        (Say::Fail, "transient"),
        (Say::Hang, "transient"),
        (Say::Unauthorised, "environment"),
    ] {
        hook.say(say);
        let before = hook.count();
        api.post_empty(&format!("/consumers/{id}/restart/"))?;
        wait_for("the receiver is tried again", || {
            Ok((hook.count() > before + 1).then_some(()))
        })?;
        wait_for("the status says why", || {
            let status = api.get(&format!("/consumers/{id}/status/"))?.expect(200)?;
            Ok(
                (status["status"] == "ERROR" && status["errors"][0]["class"] == class)
                    .then_some(()),
            )
        })?;
    }
    hook.say(Say::Yes);
    api.post_empty(&format!("/consumers/{id}/resume/"))?;
    let wanted: BTreeSet<i64> = (0..i64::try_from(COUNT)?).collect();
    wait_for("the receiver has every record", || {
        Ok((hook.taken() == wanted).then_some(()))
    })?;
    let requests = hook.requests();
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    for request in &requests {
        ensure!(
            verified("h00k", request),
            "the signature is right: {request:?}"
        );
        ensure_eq!(
            request.header("authorization"),
            Some("Bearer b34r3r"),
            "the token is there"
        );
        let key = request.header("idempotency-key").unwrap_or_default();
        let before = bodies.insert(key, &request.body);
        ensure!(
            before.is_none_or(|before| before == request.body),
            "{key} is one and the same request"
        );
    }
    let places: BTreeSet<i64> = bodies
        .values()
        .filter_map(|body| {
            let records: Value = serde_json::from_str(body).ok()?;
            records[0]["offset"].as_i64()
        })
        .collect();
    ensure_eq!(places.len(), bodies.len(), "no record went under two keys");
    let shown = api
        .get(&format!("/consumers/{id}/"))?
        .expect(200)?
        .to_string();
    let status = api
        .get(&format!("/consumers/{id}/status/"))?
        .expect(200)?
        .to_string();
    let audit = api.get("/audit")?.expect(200)?.to_string();
    for text in [&shown, &status, &audit] {
        let leaks = ["h00k", "b34r3r", "qu3ry"]
            .iter()
            .any(|secret| text.contains(secret));
        ensure!(!leaks, "no secret is shown: {text}");
    }
    remove(stack, &id)?;
    Ok(())
}

fn dead_letters(stack: &Stack) -> Outcome {
    let topic = "forward.poison";
    stack.active_topic(topic)?;
    let hook = Hook::start()?;
    hook.say(Say::Yes);
    hook.refuse(5);
    let source = json!({"topic": topic, "consumer_group": "forward.poison"});
    let id = start(stack, &source, &json!({"endpoint_url": hook.url}))?;
    let asked = wait_for("the dead-letter topic is asked for", || {
        let answer = stack
            .admin("viewer")?
            .get("/api/topics/by-name/forward.poison.dlq")?;
        Ok((answer.status == 200).then(|| answer.json()))
    })?;
    ensure_eq!(asked["status"], "pending", "a human decides about it");
    let taken = |wanted: BTreeSet<i64>| {
        wait_for("all others are taken", || {
            Ok((hook.taken() == wanted).then_some(()))
        })
    };
    kafka::produce(stack.bootstrap(), topic, 0..10, record)?;
    taken((0..10).filter(|n| *n != 5).collect())?;
    let file = stack.files().join(format!("dead-letters/{id}.jsonl"));
    let line: Value = wait_for("the file has the record", || {
        Ok(std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| serde_json::from_str(text.trim()).ok()))
    })?;
    ensure_eq!(line["offset"], 5, "the one that was refused");
    let topic_id = asked["topic_id"].as_i64().unwrap_or_default();
    stack.approve(topic_id)?;
    wait_for("the consumer API knows of it", || {
        let shown = stack
            .consumer("viewer")?
            .get(&format!("/consumers/{id}/"))?
            .expect(200)?;
        Ok((shown["dead_letters"][0]["status"] == "active").then_some(()))
    })?;
    hook.refuse(12);
    kafka::produce(stack.bootstrap(), topic, 10..20, record)?;
    taken((0..20).filter(|n| ![5, 12].contains(n)).collect())?;
    let letters = wait_for("the topic has the record", || {
        let found = kafka::read_committed(stack.bootstrap(), "forward.poison.dlq")?;
        Ok((!found.is_empty()).then_some(found))
    })?;
    let letter = &letters[0];
    let own = record(12);
    ensure_eq!(
        (&letter.key, &letter.value, letter.timestamp),
        (&own.key, &own.value, own.timestamp),
        "as it was"
    );
    ensure_eq!(letter.headers[..3], own.headers[..], "own headers first");
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(known, _)| known == name);
        found
            .and_then(|(_, value)| value.clone())
            .and_then(|value| String::from_utf8(value).ok())
    };
    for (name, value) in [
        ("topic", topic),
        ("partition", "0"),
        ("offset", "12"),
        ("consumer", &id),
    ] {
        let found = header(&format!("sluice.{name}"));
        ensure_eq!(found, Some(value.to_owned()), "the context");
    }
    ensure!(
        header("sluice.error").is_some_and(|text| text.contains("422")),
        "the reason"
    );
    ensure!(
        header("sluice.attempts").is_some_and(|text| text.parse::<u32>().is_ok()),
        "the attempts"
    );
    remove(stack, &id)?;
    Ok(())
}
