//! No topic keeps another one waiting: not its backlog, and not its thousands of idle connections.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::daemon::Daemon;
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, SOON, ensure, ensure_eq, kafka, wait_for};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "robust: a live topic's records flow while another topic drains a large backlog",
        live_beside_drain,
    ),
    (
        "robust: 2,000 idle connections cost a live sender nothing",
        idle_connections,
    ),
];

/// Connections that say nothing.
const IDLE: usize = 2_000;
/// What each of them may cost the daemon, in kilobytes of memory.
const IDLE_KB_MAX: u64 = 16;

/// Records of the backlog.
const BACKLOG: u64 = 400_000;
/// Records of one write to the stream input.
const PIECE: u64 = 10_000;

/// How long each of some requests took, sorted.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "figures of a measurement")]
fn live_beside_drain(stack: &Stack) -> Outcome {
    let (live, big) = ("fair.live", "fair.big");
    stack.active_topic(live)?;
    let id = stack.request(&json!({"name": big}))?;
    let mut sender = stack.lines()?;
    let filler = "x".repeat(200);
    for first in (0..BACKLOG).step_by(usize::try_from(PIECE)?) {
        let lines: Vec<String> = (first..first + PIECE)
            .map(|n| {
                json!({"topic": big, "key": "k", "value": format!("{n} {filler}")}).to_string()
            })
            .collect();
        let text = lines.join("\n") + "\n";
        sender.send(&text)?;
        sender.acked(first + PIECE)?;
    }
    ensure_eq!(stack.flow(big)?["held_records"], BACKLOG, "it is held");
    let api = stack.producer("producer")?;
    let path = format!("/topics/{live}");
    wait_for("the live topic is live", || {
        let answer = api.post(&path, &json!("warm"))?;
        Ok((answer.status == 200).then_some(()))
    })?;
    let approve = format!("/api/topics/{id}/approve");
    stack.admin("approver")?.post_empty(&approve)?.expect(200)?;
    let (mut times, mut held) = (Vec::new(), Vec::new());
    let began = Instant::now();
    let mut drained = false;
    while !drained {
        let sent = Instant::now();
        let answer = api.post(&path, &json!(times.len()))?;
        times.push(sent.elapsed());
        if answer.status != 200 {
            held.push((began.elapsed(), answer.text));
        }
        if times.len().is_multiple_of(20) {
            let flow = stack.flow(big)?;
            drained = flow["state"] == "live" && flow["held_records"] == 0;
        }
        ensure!(
            began.elapsed() < Duration::from_secs(120),
            "the backlog does not drain: {}",
            stack.flow(big)?
        );
    }
    let count = times.len();
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    eprintln!(
        "{BACKLOG} drained in {:?}; beside it {count} live records: p50 {p50:?}, p99 {p99:?}, longest {:?}, held {}",
        began.elapsed(),
        times.last(),
        held.len()
    );
    ensure!(
        held.is_empty(),
        "{} of {count} live records were not delivered in time: {:?}",
        held.len(),
        held.first()
    );
    ensure_eq!(
        kafka::count(stack.bootstrap(), big)? as u64,
        BACKLOG,
        "each of the backlog once"
    );
    Ok(())
}

/// How long single records to a topic take, sorted; all of them are delivered.
fn single(api: &Api, topic: &str) -> Outcome<Vec<Duration>> {
    let path = format!("/topics/{topic}");
    let mut times = Vec::new();
    for at in 0..200 {
        let began = Instant::now();
        api.post(&path, &json!(at))?.expect(200)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Resident memory of a process.
fn resident_kb(pid: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

/// How many connections the daemon says that its TCP input has.
fn connections(api: &Api) -> Outcome<usize> {
    let metrics = api.get("/metrics")?;
    let line = "producer_connections{input=\"tcp\"} ";
    let value = metrics
        .text
        .lines()
        .find_map(|text| text.strip_prefix(line));
    Ok(value.map_or(Ok(0), str::parse)?)
}

#[expect(clippy::print_stderr, reason = "figures of a measurement")]
fn idle_connections(stack: &Stack) -> Outcome {
    let topic = "fair.beside";
    stack.active_topic(topic)?;
    let settings = ["inputs.tcp.enabled=true"];
    let daemon = Daemon::start(stack, "idle", &settings, Stdio::null())?;
    let (api, address) = (daemon.http()?, daemon.address("tcp")?);
    wait_for("the topic is live", || {
        let answer = api.post(&format!("/topics/{topic}"), &json!(0))?;
        Ok((answer.status == 200).then_some(()))
    })?;
    let mut before = single(&api, topic)?;
    let empty_kb = resident_kb(daemon.pid())?;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(&address)?);
    }
    wait_for("all connections are taken", || {
        Ok((connections(&api)? >= IDLE).then_some(()))
    })?;
    let mut beside = single(&api, topic)?;
    let full_kb = resident_kb(daemon.pid())?.saturating_sub(empty_kb);
    let [before, p50, p99] = [
        percentile(&mut before, 50),
        percentile(&mut beside, 50),
        percentile(&mut beside, 99),
    ];
    eprintln!(
        "{IDLE} idle connections: {full_kb} KiB more; single records p50 {before:?} before, p50 {p50:?}, p99 {p99:?} beside"
    );
    ensure!(
        full_kb < IDLE as u64 * IDLE_KB_MAX,
        "{full_kb} KiB for {IDLE}"
    );
    // Generous, for a busy machine.
    ensure!(
        p50 < before * 3 + Duration::from_millis(5),
        "{before:?} before, {p50:?} beside"
    );
    // One that wakes up is served at once.
    let mut woken = idle.pop().ok_or("none")?;
    woken.set_read_timeout(Some(SOON))?;
    woken.write_all(b"{\"hello\": {\"acks\": \"cumulative\"}}\n")?;
    let mut answer = [0; 64];
    let length = woken.read(&mut answer)?;
    let answer: Value = serde_json::from_slice(answer.get(..length).unwrap_or_default())?;
    ensure_eq!(answer["acked"], 0, "the hello is answered");
    drop((woken, idle));
    wait_for("all connections are gone", || {
        Ok((connections(&api)? == 0).then_some(()))
    })
}
