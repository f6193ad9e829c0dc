//! Measures a running stack beside its references on the same broker, in one run, and prints ratios:
//! `sluice-load STACK.JSON [--only GROUP[/PART]]... [--topics N] [ROUNDS]`. Started by `scripts/bench`.
//!
//! A group is a module here; a part of it is a file of that module and a line in its `run`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing figures is what this program is for"
)]

mod approve;
mod bench;
mod consumer;
mod figures;
mod governance;
mod http;
mod process;
mod producer;

use bench::{Bench, Part};
use sluice_e2e::Outcome;

/// Rounds of each throughput measurement unless told; the median counts.
const ROUNDS: usize = 3;
/// Topics that governance is measured beside, unless told.
const TOPICS: usize = 10_000;
/// How it is called.
const USAGE: &str = "usage: sluice-load STACK.JSON [--only GROUP[/PART]]... [--topics N] [ROUNDS]";

/// The groups in the order of their rows.
const GROUPS: [Part; 4] = [
    ("producer", producer::run),
    ("approve", approve::run),
    ("consumer", consumer::run),
    ("governance", governance::run),
];

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or(USAGE)?;
    let mut only = Vec::new();
    let (mut rounds, mut topics) = (ROUNDS, TOPICS);
    while let Some(argument) = arguments.next() {
        if argument == "--only" {
            only.push(arguments.next().ok_or(USAGE)?);
        } else if argument == "--topics" {
            topics = arguments.next().ok_or(USAGE)?.parse()?;
        } else {
            rounds = argument.parse()?;
        }
    }
    let known = |word: &String| {
        let group = word.split('/').next();
        GROUPS.iter().any(|(name, _)| Some(*name) == group)
    };
    if let Some(stranger) = only.iter().find(|word| !known(word)) {
        return Err(format!("there is no group {stranger:?}; {USAGE}").into());
    }
    let bench = Bench::new(path.as_ref(), only, rounds, topics)?;
    println!("| what | ours | reference | ratio |\n|---|---|---|---|");
    for (name, run) in GROUPS {
        if bench.has_group(name) {
            run(&bench)?;
        }
    }
    Ok(())
}
