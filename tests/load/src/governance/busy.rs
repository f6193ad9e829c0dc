//! Decisions beside many topics: one after the other, and by many clients at once.

use super::crowd;
use crate::bench::{Bench, row};
use crate::figures::Times;
use sluice_e2e::{Outcome, ensure};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Approvals one after the other.
const APPROVALS: usize = 500;
/// Approvals whose topic is waited for.
const WAITED: usize = 30;
/// Topics that many clients ask for and approve.
const TOPICS: usize = 2_000;

pub(super) fn run(bench: &Bench) -> Outcome {
    crowd::ensure(bench)?;
    let count = bench.topics;
    // Names that no earlier run has taken.
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let times = approve(bench, &format!("bench_one_{run}"), APPROVALS, "")?;
    row(
        &format!("approve until its answer, {count} topics"),
        &times.to_string(),
        "target: p50 3, p99 20 ms",
        None,
    );
    let times = approve(bench, &format!("bench_wait_{run}"), WAITED, "?wait=20s")?;
    row(
        &format!("approve until Kafka serves the topic, {count} topics"),
        &times.to_string(),
        "",
        None,
    );
    let added = crowd::add(bench, &format!("bench_many_{run}"), TOPICS)?;
    row(
        &format!("creations accepted, 16 clients, {count} topics"),
        &format!("{:.0}/s", added.asked),
        "target: 1000/s; Klaw 183/s",
        None,
    );
    row(
        &format!("approvals accepted, 16 clients, {count} topics"),
        &format!("{:.0}/s", added.approved),
        "target: 500/s; Klaw 26/s",
        None,
    );
    row(
        &format!("last of {TOPICS} approvals until Kafka serves all of them"),
        &format!("{:.1} s", added.active.as_secs_f64()),
        "",
        None,
    );
    Ok(())
}

fn approve(bench: &Bench, prefix: &str, count: usize, wait: &str) -> Outcome<Times> {
    let mut requester = bench.connection("requester")?;
    let mut approver = bench.connection("approver")?;
    let mut times = Times::default();
    for number in 0..count {
        let body = format!("{{\"name\": \"{prefix}_{number}\"}}");
        let asked = requester.post("/api/topics", &body)?.expect(201)?.json()?;
        let path = format!("/api/topics/{}/approve{wait}", asked["topic_id"]);
        let began = Instant::now();
        let decided = approver.post(&path, "")?.expect(200)?;
        times.push(began.elapsed());
        let status = &decided.json()?["status"];
        ensure!(
            wait.is_empty() || status == "active",
            "approved, but {status}"
        );
    }
    Ok(times)
}
