//! Many topics: what it takes to ask for them, to approve them, and until Kafka serves them all.

use crate::bench::{Bench, row};
use crate::http::Connection;
use sluice_e2e::{Outcome, ensure};
use std::time::{Duration, Instant};

/// Clients at one time.
const CLIENTS: usize = 16;
/// Accounts that ask in turn: each may have a bounded number of open requests.
const REQUESTERS: [&str; 2] = ["requester", "producer"];
/// Time that Kafka gets for each topic before the rest is given up, and for the first one.
const EACH: Duration = Duration::from_millis(50);
const FIRST: Duration = Duration::from_secs(30);
/// Time between two looks at how many are there.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn run(bench: &Bench) -> Outcome {
    if there(bench)? {
        return Ok(());
    }
    let added = add(bench, "bench_crowd", bench.topics)?;
    let count = bench.topics;
    row(
        &format!("creations accepted while there are 0 to {count} topics, {CLIENTS} clients"),
        &format!("{:.0}/s", added.asked),
        "",
        None,
    );
    row(
        &format!("approvals of these, {CLIENTS} clients"),
        &format!("{:.0}/s", added.approved),
        "",
        None,
    );
    row(
        &format!("last of {count} approvals until Kafka serves all of them"),
        &format!("{:.1} s", added.active.as_secs_f64()),
        "",
        None,
    );
    Ok(())
}

/// The topics, for a part that runs alone.
pub(super) fn ensure(bench: &Bench) -> Outcome {
    if !there(bench)? {
        add(bench, "bench_crowd", bench.topics)?;
    }
    Ok(())
}

fn there(bench: &Bench) -> Outcome<bool> {
    let last = format!("/api/topics/by-name/bench_crowd_{}", bench.topics - 1);
    let found = bench.connection("viewer")?.get(&last)?;
    Ok(found.status == 200)
}

/// What adding topics came to.
pub(super) struct Added {
    /// Creations accepted in a second.
    pub(super) asked: f64,
    /// Approvals accepted in a second.
    pub(super) approved: f64,
    /// From the last approval until all are active.
    pub(super) active: Duration,
}

/// Asks for topics, approves them, and waits until all are active.
pub(super) fn add(bench: &Bench, prefix: &str, count: usize) -> Outcome<Added> {
    let active_before = active(&mut bench.connection("viewer")?)?;
    let began = Instant::now();
    let ids = together(|client| ask(bench, prefix, client, count))?;
    let asked = count as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    together(|client| {
        let mut approver = bench.connection("approver")?;
        for id in ids.iter().skip(client).step_by(CLIENTS) {
            let path = format!("/api/topics/{id}/approve");
            approver.post(&path, "")?.expect(200)?;
        }
        Ok(Vec::<()>::new())
    })?;
    let approved = count as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let deadline = began + FIRST + EACH * u32::try_from(count)?;
    let mut viewer = bench.connection("viewer")?;
    loop {
        let there = active(&mut viewer)? - active_before;
        if there >= i64::try_from(count)? {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{there} of {count} topics are active"
        );
        std::thread::sleep(LOOK);
    }
    Ok(Added {
        asked,
        approved,
        active: began.elapsed(),
    })
}

fn ask(bench: &Bench, prefix: &str, client: usize, count: usize) -> Outcome<Vec<i64>> {
    let account = REQUESTERS[client % REQUESTERS.len()];
    let mut requester = bench.connection(account)?;
    let mut ids = Vec::new();
    for number in (client..count).step_by(CLIENTS) {
        let body = format!(
            "{{\"name\": \"{prefix}_{number}\", \"owner\": \"team-{}\", \"description\": \"what shop {number} sells\"}}",
            number % 40
        );
        let asked = requester.post("/api/topics", &body)?.expect(201)?.json()?;
        ids.push(asked["topic_id"].as_i64().ok_or("no topic_id")?);
    }
    Ok(ids)
}

fn active(viewer: &mut Connection) -> Outcome<i64> {
    let stats = viewer.get("/api/stats")?.expect(200)?.json()?;
    Ok(stats["active_topics"].as_i64().unwrap_or_default())
}

/// Runs all clients side by side; what they give, in their order.
fn together<T: Send>(work: impl Fn(usize) -> Outcome<Vec<T>> + Sync) -> Outcome<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || work(client)))
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok(all)
    })
}
