//! Many managed consumers in one process: what they take while nothing comes, and while all are busy; and
//! how long it takes to start and to stop one.

use super::files::fresh;
use super::managed::Managed;
use crate::bench::{Bench, note, row};
use crate::figures::Times;
use crate::process::Process;
use crate::producer::bulk;
use serde_json::json;
use sluice_e2e::Outcome;
use std::time::{Duration, Instant};

/// Consumers that have nothing to do.
const IDLE: usize = 1000;
/// Consumers that are given records all the time.
const BUSY: usize = 200;
/// Records that each busy consumer reads, in turns of some at a time.
const BUSY_RECORDS: usize = 40_000;
const BUSY_TURNS: usize = 20;
/// Time over which processor time is measured.
const WATCHED: Duration = Duration::from_secs(10);
/// Starts and stops that are measured.
const STARTS: usize = 30;

pub(crate) fn run(bench: &Bench) -> Outcome {
    let process = Process::of(bench, "consumer_api")?;
    let before = process.rss_mb()?;
    let idle = many(bench, "bench_idle", IDLE)?;
    let (cpu, started) = (process.cpu_s()?, Instant::now());
    std::thread::sleep(WATCHED);
    let cpu = (process.cpu_s()? - cpu) / started.elapsed().as_secs_f64();
    row(
        &format!("{IDLE} idle managed consumers in one process"),
        &format!(
            "{} MB ({before} MB before), {} threads, {cpu:.2} cores",
            process.rss_mb()?,
            process.threads()?
        ),
        "300 MB",
        None,
    );
    drop(idle);
    let busy = many(bench, "bench_busy", BUSY)?;
    let (peak, cpu, started) = (process.watch()?, process.cpu_s()?, Instant::now());
    for _ in 0..BUSY_TURNS {
        bulk(
            bench.bootstrap(),
            "bench_busy",
            100,
            BUSY_RECORDS / BUSY_TURNS,
        )?;
    }
    for consumer in &busy {
        super::managed::until("everybody has every record", || {
            Ok(consumer.written()? >= BUSY_RECORDS as u64)
        })?;
    }
    let took = started.elapsed().as_secs_f64();
    row(
        &format!("{BUSY} busy managed consumers in one process, to files"),
        &format!(
            "{} MB at most, {} threads, {:.2} cores, {:.0} k records/s",
            peak.mb(),
            process.threads()?,
            (process.cpu_s()? - cpu) / took,
            (BUSY * BUSY_RECORDS) as f64 / took / 1000.0
        ),
        "400 MB",
        None,
    );
    Ok(())
}

/// Consumers of one topic, each in a group of its own, all of them active.
fn many(bench: &Bench, topic: &str, count: usize) -> Outcome<Vec<Managed>> {
    bench.topic(topic, 1)?;
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("{}-{number}", fresh("many"));
        let config = json!({"file_path": format!("many/{name}.txt"), "format": "value"});
        let consumer = Managed::create(bench, topic, &name, "file_sink", &config)?;
        consumer.tell("start")?;
        all.push(consumer);
    }
    note(&format!("{count} consumers of {topic} are started"));
    for consumer in &all {
        consumer.reaches("ACTIVE")?;
    }
    Ok(all)
}

pub(crate) fn starts(bench: &Bench) -> Outcome {
    let topic = "bench_starts";
    bench.topic(topic, 4)?;
    let name = fresh("starts");
    let config = json!({"file_path": format!("{name}.txt")});
    let consumer = Managed::create(bench, topic, &name, "file_sink", &config)?;
    let (mut starts, mut stops) = (Times::default(), Times::default());
    for _ in 0..STARTS {
        let began = Instant::now();
        consumer.tell("start")?;
        consumer.reaches("ACTIVE")?;
        starts.push(began.elapsed());
        let began = Instant::now();
        consumer.tell("stop")?;
        consumer.reaches("INACTIVE")?;
        stops.push(began.elapsed());
    }
    row("consumer: start to ACTIVE", &starts.to_string(), "", None);
    row("consumer: stop to INACTIVE", &stops.to_string(), "", None);
    Ok(())
}
