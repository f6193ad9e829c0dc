//! The time from the answer of an approval to the first held record being acknowledged by Kafka.

use crate::Target;
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::{Outcome, wait_for};
use std::time::Instant;

/// Milliseconds.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Approves topics one after the other, each with one held record, and looks at the daemon's own count
/// of deliveries until it has arrived (one look takes a fraction of a millisecond).
pub(crate) fn first_acks(target: &Target, topics: usize) -> Outcome<Times> {
    let url = target.fact("/admin_api/url");
    let requester = Api::new(url, target.fact("/tokens/requester"))?;
    let approver = Api::new(url, target.fact("/tokens/approver"))?;
    let producer = Api::new(
        target.fact("/producer/http"),
        target.fact("/tokens/producer"),
    )?;
    let mut times = Vec::new();
    for number in 0..topics {
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
        let delivered = |status: &Value| {
            let topics = status["topics"].as_array();
            topics.is_some_and(|all| {
                all.iter()
                    .any(|t| t["topic_name"] == *name && t["delivered"].as_u64() > Some(0))
            })
        };
        while !delivered(&producer.get("/status")?.expect(200)?) {
            if answered.elapsed() > sluice_e2e::SOON {
                return Err(format!("{name} was approved, but its record is not delivered").into());
            }
        }
        times.push(answered.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times
            .get(index.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    Ok(Times {
        p50: at(0.50),
        p99: at(0.99),
    })
}
