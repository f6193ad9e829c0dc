//! Managed consumers beside what else brings records out of Kafka.

mod bare;
mod databases;
mod density;
mod files;
mod forward;
mod managed;
mod viewers;

use crate::bench::{Bench, Part, run_parts};
use sluice_e2e::Outcome;

/// The parts in order.
const PARTS: &[Part] = &[
    ("bare", bare::run),
    ("files", files::run),
    ("sqlite", databases::sqlite),
    ("postgres", databases::postgres),
    ("forward", forward::run),
    ("starts", density::starts),
    ("viewers", viewers::run),
    ("density", density::run),
];

pub(crate) fn run(bench: &Bench) -> Outcome {
    run_parts(bench, "consumer", PARTS)
}
