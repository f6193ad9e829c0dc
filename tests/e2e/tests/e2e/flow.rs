//! The flow of records: across the moment of an approval, and of many topics beside each other.

use crate::Test;
use serde_json::json;
use sluice_e2e::kafka::Stored;
use sluice_e2e::lines::Lines;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const TESTS: &[(&str, Test)] = &[(
    "an approval during full ingest keeps the order of every key",
    approved_at_full_speed,
)];

/// Keys of the records.
const KEYS: u64 = 16;
/// Lines of one write.
const CHUNK: u64 = 200;
/// Lines that may be unacknowledged.
const WINDOW: u64 = 20_000;

/// Sends numbered lines with keys as fast as they are acknowledged until it is told to stop; answers how
/// many were sent, all of them acknowledged.
fn stream(mut lines: Lines, topic: &str, stop: &AtomicBool) -> Outcome<u64> {
    let (mut sent, mut acked) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut text = String::new();
        for number in sent..sent + CHUNK {
            let key = number % KEYS;
            writeln!(
                text,
                "{{\"topic\":\"{topic}\",\"key\":\"k{key}\",\"value\":{number}}}"
            )?;
        }
        lines.send(&text)?;
        sent += CHUNK;
        if sent - acked > WINDOW {
            acked = sent - WINDOW / 2;
            let refused = lines.acked(acked)?;
            ensure!(refused.is_empty(), "nothing is refused: {refused:?}");
        }
    }
    let refused = lines.acked(sent)?;
    ensure!(refused.is_empty(), "nothing is refused: {refused:?}");
    Ok(sent)
}

/// Checks that every number below `sent` is there, and that the numbers of each key rise but for those
/// that were stored before; answers how many are there twice.
fn check_order(records: &[Stored], sent: u64) -> Outcome<usize> {
    let mut last: HashMap<(&str, i32), u64> = HashMap::new();
    let mut seen = vec![false; usize::try_from(sent)?];
    let mut repeated = 0;
    for record in records {
        let number: u64 = record.value.as_deref().unwrap_or_default().parse()?;
        let key = record.key.as_deref().unwrap_or_default();
        let place = seen
            .get_mut(usize::try_from(number)?)
            .ok_or("a number that was never sent")?;
        if std::mem::replace(place, true) {
            repeated += 1;
            continue;
        }
        if let Some(before) = last.insert((key, record.partition), number) {
            ensure!(
                before < number,
                "{key}: {number} stands behind {before} in partition {}",
                record.partition
            );
        }
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    ensure_eq!(missing, 0, "acknowledged records are missing");
    Ok(repeated)
}

fn approved_at_full_speed(stack: &Stack) -> Outcome {
    let topic = "flow.flip";
    let id = stack.request(&json!({"name": topic, "partitions": 4}))?;
    wait_for("the daemon knows the topic", || {
        Ok((stack.flow(topic)?["state"] == "pending").then_some(()))
    })?;
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let lines = stack.lines()?;
        let sender = scope.spawn(|| stream(lines, topic, &stop));
        let flipped = (|| {
            wait_for("a backlog has grown", || {
                let held = stack.flow(topic)?["held_records"].as_u64();
                Ok((held > Some(20_000)).then_some(()))
            })?;
            stack.approve(id)?;
            wait_for("the topic is live under load", || {
                Ok((stack.flow(topic)?["state"] == "live").then_some(()))
            })?;
            let then = stack.flow(topic)?["delivered"].as_u64().unwrap_or_default();
            wait_for("it flows on while it is live", || {
                let now = stack.flow(topic)?["delivered"].as_u64().unwrap_or_default();
                Ok((now > then + 1000).then_some(()))
            })
        })();
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| "the sender panicked")?;
        flipped.and(sent)
    })?;
    stack.wait_live(topic)?;
    let repeated = check_order(&kafka::read_all(stack.bootstrap(), topic)?, sent)?;
    ensure_eq!(repeated, 0, "nothing failed, so nothing is there twice");
    let took = &stack.flow(topic)?["approve_to_first_delivery_ms"];
    ensure!(took.is_u64(), "the flip is timed: {took}");
    Ok(())
}
