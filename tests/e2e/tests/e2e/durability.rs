//! The promise of the producer: what it acknowledged arrives, in order, whatever is done to it.
//!
//! `SLUICE_KILL_ROUNDS` raises the number of rounds of the kill loop.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::lines::Lines;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "the producer is killed again and again under load: acknowledged records arrive, in order by key",
        kill_loop,
    ),
    (
        "a stop under full load ends in time, and what was acknowledged is in Kafka or in the spool",
        stop_under_load,
    ),
    (
        "brokers that are away for long lose nothing and turn nothing round",
        brokers_away,
    ),
    (
        "a spool is replayed once, over HTTP and over a stream, and the audit comes out even",
        replay_and_audit,
    ),
];

/// Kill rounds when nothing else is said.
const ROUNDS: u64 = 4;
/// Lines of one sender and round.
const LINES: u64 = 4_000;
/// Senders at one time; each has a key of its own.
const SENDERS: u64 = 3;

pub(crate) fn line(topic: &str, key: u64, number: u64) -> String {
    format!("{{\"topic\": \"{topic}\", \"key\": \"k{key}\", \"value\": \"{number}\"}}\n")
}

/// What was acknowledged, by topic and key.
pub(crate) type Acked = BTreeMap<(String, String), BTreeSet<u64>>;

/// Sends until the daemon is gone; gives how many lines were acknowledged.
fn send_until_gone(mut sender: Lines, text: &str, stop_at: u64, mut stop: impl FnMut()) -> u64 {
    // What cannot be sent any more is not acknowledged either.
    let _gone = sender.send(text);
    let (mut last, mut stopped) = (0, false);
    while let Ok(Some(answer)) = sender.answer() {
        last = answer["acked"].as_u64().unwrap_or(last);
        if last >= stop_at && !stopped {
            stopped = true;
            stop();
        }
    }
    last
}

/// One round: several senders to two topics, and a kill in the middle.
fn round(stack: &Stack, number: u64, topics: &[&str; 2], acked: &mut Acked) -> Outcome {
    let first = number * 1_000_000;
    let plan = |sender: u64, at: u64| {
        let topic = topics[usize::from((at + sender).is_multiple_of(3))];
        (topic, first + at)
    };
    // Somewhere else in each round, from the first acknowledgement to nearly the last.
    let stop_at = number.wrapping_mul(2_654_435_761) % LINES;
    let connections = (0..SENDERS)
        .map(|_| stack.lines())
        .collect::<Outcome<Vec<_>>>()?;
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SENDERS)
            .zip(connections)
            .map(|(sender, connection)| {
                let text: String = (0..LINES)
                    .map(|at| plan(sender, at))
                    .map(|(topic, number)| line(topic, sender, number))
                    .collect();
                scope.spawn(move || {
                    send_until_gone(connection, &text, stop_at, || {
                        if sender == 0 {
                            stack.kill("producer").ok();
                        }
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .collect::<Vec<_>>()
    });
    for (sender, count) in (0..SENDERS).zip(counts) {
        for (topic, number) in (0..count).map(|at| plan(sender, at)) {
            let place = (topic.to_owned(), format!("k{sender}"));
            acked.entry(place).or_default().insert(number);
        }
    }
    stack.start("producer")
}

/// Checks one topic: acknowledged ⊆ stored, and first appearances of each key in the order of sending.
pub(crate) fn check(stack: &Stack, topic: &str, acked: &Acked) -> Outcome<(usize, usize)> {
    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in kafka::read_all(stack.bootstrap(), topic)? {
        let number = record.value.and_then(|value| value.parse().ok());
        by_key
            .entry(record.key.unwrap_or_default())
            .or_default()
            .push(number.ok_or("a value that nobody sent")?);
    }
    let (mut stored, mut repeats) = (0, 0);
    for (key, numbers) in by_key {
        stored += numbers.len();
        let all = numbers.len();
        let mut seen = BTreeSet::new();
        let firsts: Vec<u64> = numbers.into_iter().filter(|n| seen.insert(*n)).collect();
        repeats += all - firsts.len();
        ensure!(firsts.is_sorted(), "{topic}: key {key} is out of order");
        let wanted = acked.get(&(topic.to_owned(), key.clone()));
        let lost: Vec<_> = wanted
            .into_iter()
            .flat_map(|wanted| wanted.difference(&seen))
            .take(5)
            .collect();
        ensure!(
            lost.is_empty(),
            "{topic}: key {key}: acknowledged and lost: {lost:?}"
        );
    }
    for ((of, key), wanted) in acked {
        let missing = of == topic && !wanted.is_empty() && stored == 0;
        ensure!(!missing, "{topic}: nothing of key {key} arrived");
    }
    Ok((stored, repeats))
}

#[expect(clippy::print_stderr, reason = "figures of a long run")]
fn kill_loop(stack: &Stack) -> Outcome {
    let rounds = std::env::var("SLUICE_KILL_ROUNDS").ok();
    let rounds: u64 = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let live = "kill.live";
    stack.active_topic(live)?;
    let mut acked = Acked::new();
    let mut held: Vec<(i64, String)> = Vec::new();
    for number in 1..=rounds {
        // Every third round begins with a topic that nobody has approved yet.
        if number % 3 == 1 {
            if let Some((id, name)) = held.last() {
                stack.approve(*id)?;
                stack.wait_live(name)?;
            }
            let name = format!("kill.held.{number}");
            held.push((
                stack.request(&json!({"name": name, "partitions": 2}))?,
                name,
            ));
        }
        let name = held.last().map_or(live, |(_, name)| name.as_str());
        // Some rounds happen while no broker is there.
        let away = number % 8 == 5;
        if away {
            stack.kill("kafka")?;
        }
        round(stack, number, &[live, name], &mut acked)?;
        if away {
            stack.start("kafka")?;
        }
    }
    if let Some((id, _)) = held.last() {
        stack.approve(*id)?;
    }
    let names = held.iter().map(|(_, name)| name.as_str()).chain([live]);
    let (mut stored, mut repeats) = (0, 0);
    for name in names {
        stack.wait_live(name)?;
        let (some, twice) = check(stack, name, &acked)?;
        stored += some;
        repeats += twice;
    }
    let count: usize = acked.values().map(BTreeSet::len).sum();
    ensure!(count > 0, "no round acknowledged anything");
    eprintln!(
        "kill loop: {rounds} rounds, {count} acknowledged, {stored} stored, {repeats} repeats"
    );
    Ok(())
}

fn stop_under_load(stack: &Stack) -> Outcome {
    let live = "stop.live";
    stack.active_topic(live)?;
    stack.request(&json!({"name": "stop.held"}))?;
    let sender = stack.lines()?;
    let lines = 200_000_u64;
    let topic = |at: u64| {
        if at.is_multiple_of(4) {
            "stop.held"
        } else {
            live
        }
    };
    let text: String = (0..lines).map(|at| line(topic(at), 0, at)).collect();
    let mut took = Duration::ZERO;
    let count = send_until_gone(sender, &text, lines / 10, || {
        let began = Instant::now();
        stack.run(&["stop", "producer"]).ok();
        took = began.elapsed();
    });
    ensure!(took < Duration::from_secs(23), "the stop took {took:?}");
    ensure!(count >= lines / 10, "only {count} lines were acknowledged");
    stack.start("producer")?;
    let held = stack.flow("stop.held")?["held_records"]
        .as_u64()
        .unwrap_or(0);
    let wanted = (0..count).filter(|at| at.is_multiple_of(4)).count() as u64;
    ensure!(
        held >= wanted,
        "{held} are held, {wanted} were acknowledged"
    );
    stack.wait_live(live)?;
    let mut acked = Acked::new();
    let of_live = (0..count).filter(|at| !at.is_multiple_of(4));
    acked.insert((live.to_owned(), "k0".to_owned()), of_live.collect());
    check(stack, live, &acked).map(drop)
}

fn brokers_away(stack: &Stack) -> Outcome {
    let topic = "away";
    stack.active_topic(topic)?;
    let mut sender = stack.lines()?;
    let mut sent = 0;
    let mut send = |sender: &mut Lines, count: u64| -> Outcome {
        let text: String = (sent..sent + count)
            .map(|at| line(topic, at % 5, at))
            .collect();
        sender.send(&text)?;
        sent += count;
        sender.acked(sent).map(drop)
    };
    send(&mut sender, 500)?;
    stack.kill("kafka")?;
    // Every batch is acknowledged while nobody is there, and a restart in between changes nothing.
    for _ in 0..4 {
        send(&mut sender, 500)?;
    }
    stack.kill("producer")?;
    stack.start("producer")?;
    let held = stack.flow(topic)?["held_records"].as_u64().unwrap_or(0);
    ensure!(held >= 2_000, "only {held} of 2000 are held");
    stack.start("kafka")?;
    stack.wait_live(topic)?;
    let mut acked = Acked::new();
    for at in 0..2_500 {
        let place = (topic.to_owned(), format!("k{}", at % 5));
        acked.entry(place).or_default().insert(at);
    }
    check(stack, topic, &acked).map(drop)
}

fn tool(stack: &Stack, arguments: &[&str]) -> Outcome<(bool, String)> {
    let mut command = Command::new(stack.binaries()?.join("sluice-producer"));
    let output = command.args(arguments).output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    Ok((output.status.success(), text))
}

fn replay_and_audit(stack: &Stack) -> Outcome {
    let topic = "replay.held";
    stack.request(&json!({"name": topic}))?;
    let mut sender = stack.lines()?;
    sender.send(&(0..300).map(|at| line(topic, 0, at)).collect::<String>())?;
    sender.acked(300)?;
    for target in ["replay.http", "replay.tcp"] {
        stack.active_topic(target)?;
    }
    let dir = tempfile::tempdir()?;
    let token = dir.path().join("token");
    std::fs::write(&token, stack.token("producer"))?;
    let token = token.display().to_string();
    let http = stack.fact("/producer/http").to_owned();
    let spool = stack.fact("/producer/spool").to_owned();
    let (fine, text) = tool(
        stack,
        &[
            "audit",
            "--url",
            &http,
            "--token-file",
            &token,
            "--dir",
            &spool,
        ],
    )?;
    ensure!(fine && text.contains("balanced"), "{text}");
    let (fine, text) = tool(stack, &["spool", "replay", "--dir", &spool, "--url", &http])?;
    ensure!(!fine && text.contains("another process has"), "{text}");
    for (target, way, address) in [
        ("replay.http", "--url", http.as_str()),
        ("replay.tcp", "--tcp", stack.fact("/producer/tcp")),
    ] {
        let copy = dir.path().join(target).display().to_string();
        let copied = Command::new("cp").args(["-r", &spool, &copy]).status()?;
        ensure!(copied.success(), "cp failed");
        let replay = [
            "spool",
            "replay",
            "--dir",
            &copy,
            "--topic",
            topic,
            "--to",
            target,
            way,
            address,
            "--token-file",
            &token,
        ];
        let (fine, text) = tool(stack, &replay)?;
        ensure!(fine && text.contains("300 records"), "{text}");
        let (fine, text) = tool(stack, &replay)?;
        ensure!(
            fine && !text.contains("300"),
            "the second replay repeats: {text}"
        );
        stack.wait_live(target)?;
        let wanted: Vec<String> = (0..300).map(|at| at.to_string()).collect();
        ensure_eq!(
            kafka::values(stack.bootstrap(), target)?,
            wanted,
            "once and in order"
        );
    }
    let listed = tool(
        stack,
        &["spool", "ls", "--json", "--dir", &spool, "--topic", topic],
    )?
    .1;
    let rows: Value = serde_json::from_str(&listed)?;
    ensure_eq!(rows[0]["held_records"], 300, "what was replayed was a copy");
    Ok(())
}
