//! Where consumers start, what they read again, and what is gone before they read it.

use super::{consumer, create, numbered, offsets_of, send, status, wait_status};
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};

pub(super) fn start_from(stack: &Stack) -> Outcome {
    let topic = "consumers.start";
    stack.active_topic(topic)?;
    send(stack, topic, &numbered(0..10))?;
    let api = stack.consumer("consumer")?;
    let sink = |name: &str| json!([{"processor_type": "file_sink", "config": {"file_path": name}}]);
    let body = |group: &str, from: Value| {
        let name = format!("{group}.jsonl");
        consumer(
            topic,
            &json!({"consumer_group": group, "start_from": from, "downstream_processors": sink(&name)}),
        )
    };
    let far = json!({"offsets": [{"topic": topic, "partition": 0, "offset": 99}]});
    api.post("/consumers/", &body("start.far", far.clone()))?
        .problem(422)?;
    api.post("/consumers/?dry_run=true", &body("start.far", far))?
        .problem(422)?;
    api.post("/consumers/", &body("start.odd", json!("yesterday")))?
        .problem(422)?;
    let listed = api.get("/consumers/")?.expect(200)?.to_string();
    ensure!(
        !listed.contains("start.far") && !listed.contains("start.odd"),
        "nothing is left behind"
    );
    let at = json!({"offsets": [{"topic": topic, "partition": 0, "offset": 7}]});
    create(&api, &body("start.seven", at))?;
    let latest = create(&api, &body("start.latest", json!("latest")))?;
    wait_status(&api, &latest, "ACTIVE")?;
    send(stack, topic, &numbered(10..12))?;
    for (group, wanted) in [("start.seven", 7..12), ("start.latest", 10..12)] {
        let file = stack.files().join(format!("{group}.jsonl"));
        wait_for(&format!("{group} has what it should"), || {
            let offsets = offsets_of(&file)?;
            Ok((offsets == wanted.clone().collect::<Vec<i64>>()).then_some(()))
        })?;
    }
    Ok(())
}

pub(super) fn replay(stack: &Stack) -> Outcome {
    let topic = "consumers.replay";
    stack.active_topic(topic)?;
    let lines: Vec<String> = (0..50)
        .map(|n| {
            let at = 1_700_000_000_000_i64 + n * 1000;
            format!(
                "{}\n",
                json!({"topic": topic, "value": n.to_string(), "timestamp": at})
            )
        })
        .collect();
    let mut sender = stack.lines()?;
    sender.send(&lines.concat())?;
    sender.acked(50)?;
    let api = stack.consumer("consumer")?;
    let sink = json!([{"processor_type": "file_sink", "config": {"file_path": "replay.jsonl"}}]);
    let id = create(
        &api,
        &consumer(topic, &json!({"downstream_processors": sink})),
    )?;
    let live = stack.files().join("replay.jsonl");
    wait_for("the live consumer has all", || {
        Ok((offsets_of(&live)?.len() == 50).then_some(()))
    })?;
    let path = format!("/consumers/{id}/replays/");
    let range = json!({"from": 1_700_000_010_000_i64, "to": 1_700_000_020_000_i64});
    let would = api
        .post(&format!("{path}?dry_run=true"), &range)?
        .expect(200)?;
    ensure_eq!(would["total"], 10, "{would}");
    let started = api.post(&path, &range)?.expect(202)?;
    let replay_id = started["replay_id"].as_str().unwrap_or_default().to_owned();
    let one = format!("{path}{replay_id}/");
    let done = wait_for("the replay is done", || {
        let replay = api.get(&one)?.expect(200)?;
        Ok((replay["state"] != "running").then_some(replay))
    })?;
    ensure_eq!(done["state"], "done", "{done}");
    ensure_eq!(done["records"], 10, "{done}");
    let beside = stack
        .files()
        .join(format!("replay.jsonl.replay-{}", &replay_id[..8]));
    ensure_eq!(
        offsets_of(&beside)?,
        (10..20).collect::<Vec<_>>(),
        "the range, beside the live file"
    );
    ensure_eq!(offsets_of(&live)?.len(), 50, "the live file is as it was");
    wait_for("the live position is where it was", || {
        let lag = api.get(&format!("/consumers/{id}/lag/"))?.expect(200)?;
        Ok((lag["partitions"][0]["committed"] == 50).then_some(()))
    })?;
    api.post(&format!("{one}cancel/"), &json!({}))?
        .problem(409)?;
    api.post(&path, &json!({"from": 5, "to": 5}))?
        .problem(422)?;
    api.post(
        &path,
        &json!({"from": 1, "to": 5, "topic": "consumers.poison"}),
    )?
    .problem(404)?;
    Ok(())
}

pub(super) fn retention(stack: &Stack) -> Outcome {
    let topic = "consumers.retention";
    stack.active_topic(topic)?;
    send(stack, topic, &numbered(0..50))?;
    let api = stack.consumer("consumer")?;
    let mut ids = Vec::new();
    for policy in ["earliest", "latest", "none"] {
        let name = format!("retention-{policy}.jsonl");
        let sink = json!([{"processor_type": "file_sink", "config": {"file_path": name}}]);
        let at = json!({"offsets": [{"topic": topic, "partition": 0, "offset": 10}]});
        let body = json!({"consumer_group": name, "auto_start": false, "start_from": at,
            "auto_offset_reset": policy, "downstream_processors": sink});
        ids.push(create(&api, &consumer(topic, &body))?);
    }
    let lag = api
        .get(&format!("/consumers/{}/lag/", ids[0]))?
        .expect(200)?;
    ensure_eq!(lag["partitions"][0]["lag"], 40, "{lag}");
    ensure!(
        lag["partitions"][0]["lag_seconds"].is_i64(),
        "the age of what waits: {lag}"
    );
    kafka::delete_records(stack.bootstrap(), topic, 30)?;
    for id in &ids {
        api.post_empty(&format!("/consumers/{id}/start/"))?
            .expect(200)?;
    }
    let file = |policy: &str| stack.files().join(format!("retention-{policy}.jsonl"));
    wait_for("what is left is written", || {
        Ok((offsets_of(&file("earliest"))? == (30..50).collect::<Vec<_>>()).then_some(()))
    })?;
    let now = status(&api, &ids[0])?;
    let gap = &now["errors"][0]["gap"];
    ensure_eq!(
        (&gap["from"], &gap["to"]),
        (&json!(10), &json!(30)),
        "the gap is named: {now}"
    );
    let stopped = wait_status(&api, &ids[2], "ERROR")?;
    ensure!(
        stopped["detail"].to_string().contains("auto_offset_reset"),
        "{stopped}"
    );
    wait_for("the one that wants new records is there", || {
        let now = status(&api, &ids[1])?;
        Ok((now["errors"][0]["gap"]["to"] == 50 && now["status"] == "ACTIVE").then_some(()))
    })?;
    send(stack, topic, &numbered(50..51))?;
    wait_for("it goes on with new records", || {
        Ok((offsets_of(&file("latest"))? == [50]).then_some(()))
    })
}

pub(super) fn made_again(stack: &Stack) -> Outcome {
    let topic = "consumers.again";
    let id = stack.active_topic(topic)?;
    send(stack, topic, &numbered(0..20))?;
    let api = stack.consumer("consumer")?;
    let sink = json!([{"processor_type": "file_sink", "config": {"file_path": "again.jsonl"}}]);
    let consumer = create(
        &api,
        &consumer(topic, &json!({"downstream_processors": sink})),
    )?;
    let file = stack.files().join("again.jsonl");
    wait_for("the first topic is written", || {
        Ok((offsets_of(&file)?.len() == 20).then_some(()))
    })?;
    stack.decide(id, "deactivate", "again")?;
    wait_for("the consumer stops with its topic", || {
        let now = status(&api, &consumer)?;
        Ok((now["observed"] == "stopped").then_some(()))
    })?;
    wait_for("the final offsets are written down", || {
        let audit = api
            .get(&format!("/audit?consumer_id={consumer}"))?
            .expect(200)?;
        let mut rows = audit.as_array().into_iter().flatten();
        let drained = rows.find(|row| row["action"] == "drained");
        let last = drained.map(|row| row["after"]["offsets"][0]["offset"].clone());
        Ok((last == Some(json!(20))).then_some(()))
    })?;
    let path = format!("/api/topics/{id}/delete");
    let filed = stack.admin("requester")?.post_empty(&path)?.expect(202)?;
    let approve = format!("/api/requests/{}/approve", filed["request_id"]);
    stack.admin("approver")?.post_empty(&approve)?.expect(200)?;
    stack.wait_status(id, "deleted")?;
    stack.active_topic(topic)?;
    // More than there were: an old offset would be a legal one, and twenty records would be missing.
    let values: Vec<String> = (0..30).map(|n| format!("again {n}")).collect();
    wait_for("the new topic takes records", || {
        Ok(send(stack, topic, &values[..1]).is_ok().then_some(()))
    })?;
    send(stack, topic, &values[1..])?;
    wait_for("the new topic is written from its start", || {
        let text = std::fs::read_to_string(&file)?;
        let again = text.lines().filter(|line| line.contains("again ")).count();
        Ok((again >= 30).then_some(()))
    })?;
    ensure_eq!(offsets_of(&file)?.len(), 50, "and nothing twice");
    Ok(())
}
