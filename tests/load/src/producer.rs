//! The producer daemon beside what else brings records into Kafka.

mod floor;
mod http;
mod latency;
mod lines;

pub(crate) use lines::bulk;

use crate::bench::{Bench, Part, run_parts};
use sluice_e2e::Outcome;

/// The parts in order.
const PARTS: &[Part] = &[
    ("lines", lines::run),
    ("latency", latency::run),
    ("http", http::run),
];

pub(crate) fn run(bench: &Bench) -> Outcome {
    run_parts(bench, "producer", PARTS)
}
