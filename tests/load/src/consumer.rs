//! Managed consumers beside what else brings records out of Kafka.

mod bare;
mod files;
mod managed;
mod viewers;

use crate::bench::{Bench, Part, run_parts};
use sluice_e2e::Outcome;

/// The parts in order.
const PARTS: &[Part] = &[
    ("bare", bare::run),
    ("files", files::run),
    ("viewers", viewers::run),
];

pub(crate) fn run(bench: &Bench) -> Outcome {
    run_parts(bench, "consumer", PARTS)
}
