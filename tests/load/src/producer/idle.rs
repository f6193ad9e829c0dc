//! What thousands of connections that say nothing take.

use crate::bench::{Bench, row};
use crate::process::Process;
use sluice_e2e::{Outcome, ensure_eq};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Connections.
const CONNECTIONS: usize = 2_000;
/// Time over which processor time is measured.
const WATCHED: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &Bench) -> Outcome {
    let process = Process::of(bench, "producer")?;
    let quiet = share(process)?;
    let before = process.rss_kb()?;
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(bench.fact("/producer/tcp"))?;
        let mut answers = BufReader::with_capacity(64, stream);
        let hello = b"{\"hello\": {\"acks\": \"cumulative\"}}\n";
        answers.get_mut().write_all(hello)?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        ensure_eq!(line.trim(), "{\"acked\": 0}", "the greeting is answered");
        open.push(answers);
    }
    let after = process.rss_kb()?;
    let cores = share(process)?;
    let each = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    row(
        &format!("{CONNECTIONS} idle connections"),
        &format!("{cores:.3} cores, {each:.1} kB each"),
        &format!("no connections: {quiet:.3} cores, {} MB", before / 1024),
        None,
    );
    Ok(())
}

/// Cores that a process takes while nothing happens.
fn share(process: Process) -> Outcome<f64> {
    let (cpu, started) = (process.cpu_s()?, Instant::now());
    std::thread::sleep(WATCHED);
    Ok((process.cpu_s()? - cpu) / started.elapsed().as_secs_f64())
}
