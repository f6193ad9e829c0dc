//! Measures a running stack beside a bare librdkafka loop on the same broker, in one run, and prints
//! ratios: `sluice-load STACK.JSON [ROUNDS]`. Started by `scripts/bench`.
#![expect(
    clippy::print_stdout,
    reason = "printing figures is what this program is for"
)]

mod approve;
mod produce;

use serde_json::Value;
use sluice_e2e::Outcome;

/// Rounds of each throughput measurement unless told; the median counts.
const ROUNDS: usize = 3;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Target {
    facts: Value,
}

impl Target {
    pub(crate) fn fact(&self, pointer: &str) -> &str {
        self.facts
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: sluice-load STACK.JSON [ROUNDS]")?;
    let rounds = arguments.next().map_or(Ok(ROUNDS), |text| text.parse())?;
    let target = Target {
        facts: serde_json::from_str(&std::fs::read_to_string(path)?)?,
    };
    println!("| what | ours | reference | ratio |\n|---|---|---|---|");
    for (size, count) in [(100, 2_000_000), (1024, 400_000)] {
        let figures = produce::compare(&target, size, count, rounds)?;
        let ratio = figures.tcp / figures.bare;
        println!(
            "| TCP lines to Kafka, {size} B values, one connection | {:.0} records/s | bare rdkafka loop {:.0} records/s | {ratio:.2} |",
            figures.tcp, figures.bare
        );
    }
    let times = approve::first_acks(&target, 50)?;
    println!(
        "| answer of approve to first held record acked, 50 topics | p50 {:.1} ms, p99 {:.1} ms | | |",
        times.p50, times.p99
    );
    Ok(())
}

/// The middle one of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
