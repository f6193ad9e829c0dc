//! The admin API: what a decision costs, how soon Kafka serves the topic after it, and what all of it costs
//! beside many topics and a long audit.

mod audit;
mod busy;
mod crowd;
mod decide;
mod pages;
mod reconcile;

use crate::bench::{Bench, Part, run_parts};
use sluice_e2e::Outcome;

/// The parts in order.
const PARTS: &[Part] = &[
    ("decide", decide::run),
    // Makes the topics that the parts after it have beside them; each makes them itself when it runs alone.
    ("crowd", crowd::run),
    ("pages", pages::run),
    ("busy", busy::run),
    ("reconcile", reconcile::run),
    // Last, because it stops the admin API and leaves it a long audit.
    ("audit", audit::run),
];

pub(crate) fn run(bench: &Bench) -> Outcome {
    run_parts(bench, "governance", PARTS)
}
