//! The time from the answer of an approval to the first held record being acknowledged by Kafka.

use crate::bench::{Bench, row};
use crate::figures::Times;
use serde_json::{Value, json};
use sluice_e2e::{Outcome, wait_for};
use std::time::Instant;

/// Topics that are approved, one after the other.
const TOPICS: usize = 50;

pub(crate) fn run(bench: &Bench) -> Outcome {
    let times = first_acks(bench)?;
    let what = format!("answer of approve to first held record acked, {TOPICS} topics");
    row(&what, &times.to_string(), "", None);
    Ok(())
}

/// Approves topics, each with one held record, and looks at the daemon's own count of deliveries until
/// it has arrived (one look takes a fraction of a millisecond).
fn first_acks(bench: &Bench) -> Outcome<Times> {
    let (requester, approver) = (bench.admin("requester")?, bench.admin("approver")?);
    let producer = bench.producer()?;
    let mut times = Times::default();
    for number in 0..TOPICS {
        let name = format!("bench_approve_{number}");
        let asked = requester
            .post("/api/topics", &json!({"name": name}))?
            .expect(201)?;
        wait_for("the record is held", || {
            let held = producer.post(&format!("/topics/{name}"), &json!({"n": number}))?;
            Ok((held.status == 202).then_some(()))
        })?;
        let path = format!("/api/topics/{}/approve", asked["topic_id"]);
        approver.post_empty(&path)?.expect(200)?;
        let answered = Instant::now();
        while !delivered(&producer.get("/status")?.expect(200)?, &name) {
            if answered.elapsed() > sluice_e2e::SOON {
                return Err(format!("{name} was approved, but its record is not delivered").into());
            }
        }
        times.push(answered.elapsed());
    }
    Ok(times)
}

fn delivered(status: &Value, name: &str) -> bool {
    let topics = status["topics"].as_array();
    topics.is_some_and(|all| {
        all.iter()
            .any(|t| t["topic_name"] == *name && t["delivered"].as_u64() > Some(0))
    })
}
