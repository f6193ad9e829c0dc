//! The held path: records of a topic that nobody has approved go to the spool, every one synced before its
//! acknowledgement; after the approval they drain to Kafka.

use super::lines::{bulk, tcp};
use crate::bench::{Bench, row};
use crate::figures::{median, per_second};
use sluice_e2e::{Outcome, kafka};
use std::time::Instant;

/// Sizes of values, and how many of each are held: within the spool's bound for a topic as shipped.
const SIZES: [(usize, usize); 2] = [(100, 1_600_000), (1024, 200_000)];

/// Records per second of one round.
struct Round {
    held_in: f64,
    drain: f64,
}

pub(super) fn run(bench: &Bench) -> Outcome {
    let address = bench.fact("/producer/tcp");
    for (size, count) in SIZES {
        let live_topic = format!("bench_{size}");
        bench.topic(&live_topic, 4)?;
        tcp(address, &live_topic, size, count / 4)?;
        let (mut lives, mut bares) = (Vec::new(), Vec::new());
        let (mut ins, mut drains) = (Vec::new(), Vec::new());
        for number in 0..bench.rounds {
            lives.push(tcp(address, &live_topic, size, count)?);
            bares.push(bulk(bench.bootstrap(), &live_topic, size, count)?);
            let round = hold(bench, &fresh(size, number)?, size, count)?;
            ins.push(round.held_in);
            drains.push(round.drain);
        }
        let (live, bare) = (median(lives), median(bares));
        let (held_in, drain) = (median(ins), median(drains));
        row(
            &format!("held: TCP lines to the spool, synced, {size} B"),
            &per_second(held_in),
            &format!("live path {}", per_second(live)),
            Some(held_in / live),
        );
        row(
            &format!("held: from the spool to Kafka after the approval, {size} B"),
            &per_second(drain),
            &format!("bare rdkafka loop {}", per_second(bare)),
            Some(drain / bare),
        );
    }
    Ok(())
}

/// A name that no earlier run has used.
fn fresh(size: usize, number: usize) -> Outcome<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(format!("bench_held_{size}_{number}_{}", now.as_millis()))
}

fn hold(bench: &Bench, topic: &str, size: usize, count: usize) -> Outcome<Round> {
    let id = bench.ask(topic, 4)?;
    let held_in = tcp(bench.fact("/producer/tcp"), topic, size, count)?;
    bench.approve(&id)?;
    let mut first = None;
    let begin = Instant::now();
    let drain = loop {
        let flow = bench.flow(topic)?;
        let delivered = flow["delivered"].as_u64().unwrap_or_default();
        let now = Instant::now();
        // The rate of the flow itself: how soon it begins is another row's matter.
        let (then, before) = *first.get_or_insert((now, delivered));
        if delivered == 0 {
            first = None;
        }
        if delivered >= count as u64 {
            break (delivered - before) as f64 / (now - then).as_secs_f64();
        }
        if begin.elapsed() > sluice_e2e::SOON {
            return Err(format!("{topic} does not drain: {flow}").into());
        }
    };
    let stored = kafka::count(bench.bootstrap(), topic)?;
    if stored != count {
        return Err(format!("{topic}: {count} records were held, Kafka has {stored}").into());
    }
    Ok(Round { held_in, drain })
}
