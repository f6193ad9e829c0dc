//! Three brokers, of which one dies: leaders change, and a partition may be left without one.

use crate::Test;
use crate::durability::{Acked, check, line};
use serde_json::json;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "cluster: leaders die under load, and what was acknowledged arrives in order by key",
        leader_loss,
    ),
    (
        "cluster: a partition without a leader keeps none of 99 other topics waiting",
        leaderless,
    ),
];

/// Lines of one write.
const PIECE: u64 = 200;
/// Keys of the lines.
const KEYS: u64 = 5;

/// Waits until every partition of a topic has a leader, and answers that of partition 0.
fn leader(stack: &Stack, topic: &str) -> Outcome<i32> {
    wait_for(&format!("{topic} has a leader"), || {
        Ok(kafka::leader(stack.bootstrap(), topic, 0).ok())
    })
}

/// Sends until told to stop; gives how many lines were acknowledged.
fn send_on(stack: &Stack, topic: &str, stop: &AtomicBool) -> Outcome<u64> {
    let mut sender = stack.lines()?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let text: String = (sent..sent + PIECE)
            .map(|at| line(topic, at % KEYS, at))
            .collect();
        sender.send(&text)?;
        sent += PIECE;
        sender.acked(sent)?;
    }
    Ok(sent)
}

fn leader_loss(stack: &Stack) -> Outcome {
    let topic = "cluster.led";
    let body = json!({"name": topic, "partitions": 3, "replication_factor": 3});
    stack.approve(stack.request(&body)?)?;
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_on(stack, topic, &stop));
        let deaths = (0..3).try_for_each(|_| {
            // Some of it flows before each death.
            let before = kafka::count(stack.bootstrap(), topic)?;
            wait_for("records flow", || {
                Ok((kafka::count(stack.bootstrap(), topic)? > before + 1000).then_some(()))
            })?;
            let dead = format!("kafka-{}", leader(stack, topic)?);
            stack.kill(&dead)?;
            wait_for("another broker leads", || {
                let now = kafka::leader(stack.bootstrap(), topic, 0);
                Ok(now
                    .is_ok_and(|now| format!("kafka-{now}") != dead)
                    .then_some(()))
            })?;
            stack.start(&dead)
        });
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| "the sender died")?;
        deaths.and(sent)
    })?;
    stack.wait_live(topic)?;
    let mut acked = Acked::new();
    for at in 0..sent {
        let place = (topic.to_owned(), format!("k{}", at % KEYS));
        acked.entry(place).or_default().insert(at);
    }
    let (stored, repeats) = check(stack, topic, &acked)?;
    ensure!(
        stored as u64 >= sent,
        "{stored} are stored of {sent}, {repeats} repeats"
    );
    Ok(())
}

/// One record to each topic: how long the slowest took, and which were not delivered.
fn round(stack: &Stack, topics: &[String]) -> Outcome<(Vec<Duration>, Vec<String>)> {
    let api = stack.producer("producer")?;
    let (mut times, mut late) = (Vec::new(), Vec::new());
    for topic in topics {
        let began = Instant::now();
        let answer = api.post(&format!("/topics/{topic}"), &json!(0))?;
        times.push(began.elapsed());
        if answer.status != 200 {
            late.push(format!("{topic}: {}", answer.text));
        }
    }
    times.sort_unstable();
    Ok((times, late))
}

/// Longest wait until all topics flow: a round of records that all wait takes a minute.
const ALL_LIVE_MAX: Duration = Duration::from_secs(120);

/// Rounds until one in which every topic delivers; how long each record of that one took.
fn all_delivered(stack: &Stack, topics: &[String]) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + ALL_LIVE_MAX;
    loop {
        let (times, late) = round(stack, topics)?;
        if late.is_empty() {
            return Ok(times);
        }
        ensure!(
            Instant::now() < end,
            "{} topics do not deliver: {:?}",
            late.len(),
            late.first()
        );
    }
}

/// What happens to the others while one partition has no leader.
#[expect(clippy::print_stderr, reason = "figures of a measurement")]
fn beside_dead(stack: &Stack, lost: &str, topics: &[String], before: &[Duration]) -> Outcome {
    let api = stack.producer("producer")?;
    let held = api.post(&format!("/topics/{lost}"), &json!("second"))?;
    held.expect(202)?;
    all_delivered(stack, topics)?;
    // What cannot flow keeps coming, and nobody else notices.
    let mut worst = Vec::new();
    for at in 0..5 {
        api.post(&format!("/topics/{lost}"), &json!(at))?
            .expect(202)?;
        let (times, late) = round(stack, topics)?;
        ensure!(late.is_empty(), "beside the dead partition: {late:?}");
        worst.extend(times);
    }
    worst.sort_unstable();
    let at = |times: &[Duration], percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    eprintln!(
        "99 topics: p50 {:?}, p98 {:?} before; p50 {:?}, p98 {:?}, longest {:?} beside a dead partition",
        at(before, 50),
        at(before, 98),
        at(&worst, 50),
        at(&worst, 98),
        worst.last()
    );
    // Generous, for a busy machine: without isolation each would take spill_after, 500 ms.
    ensure!(
        at(&worst, 50) < Duration::from_millis(100),
        "half of the others took {:?}",
        at(&worst, 50)
    );
    Ok(())
}

fn leaderless(stack: &Stack) -> Outcome {
    let admin = stack.admin("approver")?;
    let lost = "cluster.lost";
    let id = stack.request(&json!({"name": lost, "partitions": 1, "replication_factor": 1}))?;
    stack.approve(id)?;
    let topics: Vec<String> = (0..99).map(|n| format!("cluster.other.{n}")).collect();
    let mut ids = Vec::new();
    for topic in &topics {
        // With two of three replicas alive, acks=all and the least number of replicas still go.
        let body = json!({"name": topic, "partitions": 1, "replication_factor": 3});
        let id = stack.request(&body)?;
        let approve = format!("/api/topics/{id}/approve");
        admin.post_empty(&approve)?.expect(200)?;
        ids.push(id);
    }
    for id in ids {
        stack.wait_status(id, "active")?;
    }
    all_delivered(stack, &topics)?;
    let before = all_delivered(stack, &topics)?;
    let api = stack.producer("producer")?;
    api.post(&format!("/topics/{lost}"), &json!("first"))?
        .expect(200)?;
    let dead = format!("kafka-{}", leader(stack, lost)?);
    stack.kill(&dead)?;
    for topic in &topics {
        wait_for(&format!("another broker leads {topic}"), || {
            let now = kafka::leader(stack.bootstrap(), topic, 0);
            Ok(now
                .is_ok_and(|now| format!("kafka-{now}") != dead)
                .then_some(()))
        })?;
    }
    let outcome = beside_dead(stack, lost, &topics, &before);
    stack.start(&dead)?;
    outcome?;
    stack.wait_live(lost)?;
    let values = kafka::values(stack.bootstrap(), lost)?;
    let wanted = ["first", "second", "0", "1", "2", "3", "4"];
    ensure_eq!(values, wanted, "all of it, in order");
    Ok(())
}
