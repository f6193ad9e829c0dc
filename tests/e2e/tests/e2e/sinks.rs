//! Sinks that keep offsets beside their data: the process dies at every step of their commits, disks
//! fill and databases go away. What is asked of the files and databases themselves: no gap, none twice.

mod databases;
mod trouble;

use crate::Test;
use databases::{Databases, forget, seen, whole};
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq};
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "sinks: the consumer API dies at the steps of a commit: every sink has each record once",
        crash_matrix,
    ),
    (
        "sinks: a database that goes away is an ERROR with its cause, and nothing is missing afterwards",
        trouble::database_gone,
    ),
    (
        "sinks: a full disk is an ERROR that heals by itself, and nothing is missing afterwards",
        trouble::disk_full,
    ),
];

/// Every place of a commit at which a process may die. `SLUICE_CRASH_ROUNDS=N` dies N times at each;
/// without it, once at those of [`USUAL`].
const PLACES: [&str; 11] = [
    "file_sink.appended",
    "file_sink.written",
    "file_sink.synced",
    "file_sink.manifest",
    "file_sink.renamed",
    "file_sink.dir_synced",
    "file_sink.saved",
    "database_sync.begun",
    "database_sync.rows",
    "database_sync.offsets",
    "database_sync.committed",
];
const USUAL: [&str; 4] = [
    "file_sink.manifest",
    "file_sink.saved",
    "database_sync.rows",
    "database_sync.committed",
];
/// Records between two deaths.
const RECORDS: u64 = 3_000;
const PARTITIONS: u64 = 3;
/// The longest that a step of these tests takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits as long as a busy machine may need: a killed member's partitions are given away only after its
/// session has ended, and then everything goes on.
fn patiently(what: &str, mut look: impl FnMut() -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !look()? {
        ensure!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn topic(stack: &Stack, name: &str) -> Outcome {
    let id = stack.request(&json!({"name": name, "partitions": PARTITIONS}))?;
    stack.approve(id)
}

fn send(stack: &Stack, topic: &str, from: u64, to: u64) -> Outcome {
    let mut sender = stack.lines()?;
    let line = |n| {
        format!(
            "{{\"topic\": \"{topic}\", \"key\": \"k{}\", \"value\": \"{n}\"}}\n",
            n % 50
        )
    };
    sender.send(&(from..to).map(line).collect::<String>())?;
    sender.acked(to - from).map(drop)
}

fn create(api: &Api, topic: &str, group: &str, kind: &str, config: &Value) -> Outcome<String> {
    let body = json!({"cluster": "governed", "topic": topic, "consumer_group": group, "auto_start": true,
        "downstream_processors": [{"processor_type": kind, "config": config}]});
    let made = api.post("/consumers/", &body)?.expect(201)?;
    Ok(made["id"].as_str().unwrap_or_default().to_owned())
}

fn delete(api: &Api, id: &str) -> Outcome {
    let answer = api.json("DELETE", &format!("/consumers/{id}"), &json!({}))?;
    ensure_eq!(answer.status, 204, "deleted");
    Ok(())
}

fn crash_matrix(stack: &Stack) -> Outcome {
    let name = "sinks_crash";
    topic(stack, name)?;
    let databases = Databases::start(false);
    let config = |sink: &str| match sink {
        "append" => Some(("file_sink", json!({"file_path": format!("{name}.jsonl")}))),
        "rotated" => Some((
            "file_sink",
            json!({"dir": name, "rotate_records": 300, "rotate_age": "500ms"}),
        )),
        "sqlite" => Some((
            "database_sync",
            json!({"dsn": format!("{name}.db"), "table": name}),
        )),
        "redis" => Some((
            "database_sync",
            json!({"dsn": databases.dsn(sink)?, "stream": name}),
        )),
        _ => Some((
            "database_sync",
            json!({"dsn": databases.dsn(sink)?, "table": name}),
        )),
    };
    forget(&databases, name)?;
    let api = stack.consumer("consumer")?;
    let mut sinks = Vec::new();
    for sink in [
        "append", "rotated", "sqlite", "postgres", "mariadb", "redis",
    ] {
        if let Some((kind, config)) = config(sink) {
            let id = create(&api, name, &format!("{name}.{sink}"), kind, &config)?;
            sinks.push((sink, id));
        }
    }
    let rounds: Option<usize> = std::env::var("SLUICE_CRASH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let places: Vec<&str> = match rounds {
        Some(rounds) => PLACES
            .iter()
            .cycle()
            .take(PLACES.len() * rounds)
            .copied()
            .collect(),
        None => USUAL.to_vec(),
    };
    let mut sent = 0;
    for (round, place) in places.iter().enumerate() {
        stack.run(&["stop", "consumer-api"])?;
        send(stack, name, sent, sent + RECORDS)?;
        sent += RECORDS;
        // The second time, so that something was committed before; the start may already see the end. A file
        // that grows is synced by the quarter of a second: all that was sent may be one time.
        let synced = ["file_sink.synced", "file_sink.saved"].contains(place);
        let times = if synced { 1 } else { 1 + round % 3 };
        let crash = format!("{place}:{times}");
        stack
            .start_with("consumer-api", "SLUICE_CRASH_AT", &crash)
            .ok();
        patiently(&format!("it dies at {crash}"), || {
            let status: Value = serde_json::from_str(&stack.run(&["status", "--json"])?)?;
            Ok(status["consumer-api"]["state"] != "running")
        })?;
        for (sink, _) in &sinks {
            whole(
                &seen(stack, &databases, sink, name)?,
                &format!("{sink} after {crash}"),
            )?;
        }
        stack.start("consumer-api")?;
        for (sink, _) in &sinks {
            patiently(&format!("{sink} has {sent} records after {crash}"), || {
                let total = whole(
                    &seen(stack, &databases, sink, name)?,
                    &format!("{sink} after {crash}"),
                )?;
                Ok(total == sent)
            })?;
        }
    }
    for (_, id) in &sinks {
        delete(&api, id)?;
    }
    forget(&databases, name)
}
