//! What was seen of a file first is noted before anything of it is sent.

use super::{append, wait_numbers};
use sluice_e2e::Outcome;
use sluice_e2e::daemon::Daemon;
use sluice_e2e::stack::Stack;
use std::fs::File;
use std::process::Stdio;

/// A file that is copied and truncated while the daemon is dead, right after its first lines were sent.
pub(super) fn run(stack: &Stack) -> Outcome {
    stack.active_topic("tail.first")?;
    let settings = [
        "inputs.tail.enabled=true",
        "inputs.tail.paths=[\"logs/*.log\"]",
        "inputs.tail.topic=tail.first",
        // Longer than the test: only the first look writes the positions.
        "inputs.tail.poll=1h",
    ];
    let mut daemon = Daemon::start(stack, "tail-first", &settings, Stdio::null())?;
    daemon.address("http")?;
    daemon.kill()?;
    let logs = daemon.dir().join("logs");
    std::fs::create_dir_all(&logs)?;
    let log = logs.join("app.log");
    append(&log, 0..100)?;
    daemon.again(stack, &settings)?;
    wait_numbers(stack, "tail.first", 100)?;
    daemon.kill()?;
    append(&log, 100..200)?;
    std::fs::copy(&log, logs.join("app.log.1"))?;
    File::create(&log)?;
    append(&log, 200..250)?;
    let settings = [&settings[..3], &["inputs.tail.poll=50ms"]].concat();
    daemon.again(stack, &settings)?;
    wait_numbers(stack, "tail.first", 250).map(drop)
}
