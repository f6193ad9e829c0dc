//! The producer daemon beside what else brings records into Kafka.

mod floor;
mod held;
mod http;
mod idle;
mod latency;
mod lines;
mod outage;
mod peers;

pub(crate) use lines::bulk;

use crate::bench::{Bench, Part, run_parts};
use sluice_e2e::Outcome;

/// The parts in order.
const PARTS: &[Part] = &[
    // First: what a process under load has given back to its allocator would hide what they take.
    ("idle", idle::run),
    ("lines", lines::run),
    ("peers", peers::run),
    ("latency", latency::run),
    ("http", http::run),
    ("held", held::run),
    // Last, because it stops Kafka.
    ("outage", outage::run),
];

pub(crate) fn run(bench: &Bench) -> Outcome {
    run_parts(bench, "producer", PARTS)
}
