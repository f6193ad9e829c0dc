//! The live tail: resuming, filters, slow viewers, many viewers.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::events::Events;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq};
use std::collections::BTreeSet;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a stream resumes where it was, over all partitions", resume),
    (
        "a stream to a slow viewer costs no memory, and each policy keeps its word",
        slow,
    ),
    (
        "a filtered stream shows what it names, and says how far its search is",
        filters,
    ),
    (
        "a stream with many viewers has one reader, and each gets everything",
        shared,
    ),
];

/// Values of the slow viewers' test.
const BIG: usize = 100_000;
/// How many of them.
const BIG_COUNT: usize = 600;
/// Megabytes by which the process may grow while three viewers leave 60 MB each unread.
const GROWTH_MAX_MB: u64 = 72;

type Place = (i64, i64);

fn open(stack: &Stack, query: &str, last_id: Option<&str>) -> Outcome<Events> {
    let base = stack.fact("/consumer_api/url");
    Events::open(
        base,
        &format!("/stream?{query}"),
        stack.token("viewer"),
        last_id,
    )
}

pub(crate) fn topic(stack: &Stack, name: &str, partitions: u32) -> Outcome {
    let id = stack.request(&json!({"name": name, "partitions": partitions}))?;
    stack.approve(id)?;
    stack.wait_live(name)
}

/// Sends numbered records `from..to`, with the number as key and in the value.
pub(crate) fn send(stack: &Stack, topic: &str, numbers: std::ops::Range<usize>) -> Outcome {
    let lines: Vec<String> = numbers
        .map(|n| {
            let (even, headers) = (n % 2 == 0, json!({"parity": if n % 2 == 0 { "even" } else { "odd" }}));
            json!({"topic": topic, "key": n.to_string(), "headers": headers, "value": {"n": n, "even": even}}).to_string()
        })
        .collect();
    let api = stack.producer("producer")?;
    let answer = api.post_raw("/records", "application/x-ndjson", lines.join("\n"))?;
    ensure!(answer.status < 300, "sent: {}", answer.text);
    Ok(())
}

pub(crate) fn number(record: &Value) -> Outcome<usize> {
    Ok(record["key"].as_str().unwrap_or_default().parse()?)
}

fn place(record: &Value) -> Place {
    let part = |name: &str| record[name].as_i64().unwrap_or(-1);
    (part("partition"), part("offset"))
}

fn resume(stack: &Stack) -> Outcome {
    let name = "stream.resume";
    topic(stack, name, 3)?;
    let query = format!("topics={name}&from=earliest");
    send(stack, name, 0..30)?;
    let mut first = open(stack, &query, None)?;
    let mut seen = BTreeSet::new();
    for _ in 0..11 {
        seen.insert(number(&first.wait_for("record")?.data)?);
    }
    let id = first.last_id.clone();
    drop(first);
    send(stack, name, 30..40)?;
    let rest: BTreeSet<usize> = (0..40).filter(|n| !seen.contains(n)).collect();
    let read = |mut events: Events| -> Outcome<Vec<usize>> {
        (0..rest.len())
            .map(|_| number(&events.wait_for("record")?.data))
            .collect()
    };
    let by_header = read(open(stack, &query, Some(&id))?)?;
    let by_cursor = read(open(stack, &format!("{query}&cursor={id}"), None)?)?;
    let api = stack.consumer("viewer")?;
    let page = api
        .get(&format!("/topics/{name}/records?cursor={id}&limit=100"))?
        .expect(200)?;
    let records = page["records"].as_array().cloned().unwrap_or_default();
    let by_page = records.iter().map(number).collect::<Outcome<Vec<_>>>()?;
    for (how, got) in [
        ("Last-Event-ID", by_header),
        ("cursor", by_cursor),
        ("a page", by_page),
    ] {
        ensure_eq!(got.len(), rest.len(), "{how}: nothing twice");
        ensure_eq!(
            got.into_iter().collect::<BTreeSet<_>>(),
            rest,
            "{how}: exactly the rest"
        );
    }
    for bad in ["nonsense", "", "AgEB"] {
        let answer = api.get(&format!("/stream?topics={name}&cursor={bad}"))?;
        ensure_eq!(answer.problem(400)?["code"], "bad_cursor", "cursor {bad:?}");
    }
    let heartbeat = open(stack, &format!("topics={name}"), None)?.wait_for("heartbeat")?;
    send(stack, name, 40..41)?;
    let record = open(stack, &query, Some(&heartbeat.id))?.wait_for("record")?;
    ensure_eq!(
        number(&record.data)?,
        40,
        "the id of a heartbeat is a cursor too"
    );
    Ok(())
}

fn rss_mb(stack: &Stack) -> Outcome<u64> {
    let pid = stack.facts["consumer_api"]["pid"]
        .as_u64()
        .unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb: u64 = line
        .unwrap_or_default()
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kb / 1024)
}

/// What a viewer got.
struct Got {
    records: Vec<Place>,
    missed: BTreeSet<Place>,
    reason: Option<String>,
    last_id: String,
}

/// Reads to the last record or the end of the stream.
fn drain(mut events: Events, last: &BTreeSet<Place>) -> Outcome<Got> {
    let (mut records, mut missed, mut reason) = (Vec::new(), BTreeSet::new(), None);
    let done = |records: &[Place], missed: &BTreeSet<Place>| {
        last.iter()
            .all(|place| records.contains(place) || missed.contains(place))
    };
    while let Some(event) = events.next_event()? {
        match event.name.as_str() {
            "record" => records.push(place(&event.data)),
            "gap" => {
                let part = |name: &str| event.data[name].as_i64().unwrap_or(-1);
                missed.extend((part("from")..part("to")).map(|offset| (part("partition"), offset)));
            }
            "end" => reason = event.data["reason"].as_str().map(str::to_owned),
            _ => {}
        }
        if done(&records, &missed) {
            break;
        }
    }
    let last_id = events.last_id;
    Ok(Got {
        records,
        missed,
        reason,
        last_id,
    })
}

fn slow(stack: &Stack) -> Outcome {
    let name = "stream.slow";
    topic(stack, name, 2)?;
    let open_with = |policy: &str| open(stack, &format!("topics={name}&policy={policy}"), None);
    // They are opened and not read.
    let [pause, gap, disconnect] = ["pause", "gap", "disconnect"].map(open_with);
    let (pause, gap, disconnect) = (pause?, gap?, disconnect?);
    let mut fast = open_with("disconnect")?;
    let before = rss_mb(stack)?;
    let api = stack.producer("producer")?;
    let value = "x".repeat(BIG);
    let (mut all, mut ends) = (BTreeSet::new(), [-1_i64; 2]);
    for number in 0..BIG_COUNT {
        let path = format!("/topics/{name}?key={number}");
        let sent = api.post_raw(&path, "application/octet-stream", value.clone())?;
        // Under load it may be held for a moment.
        ensure!(sent.status < 300, "sent: {}", sent.text);
        let record = fast.wait_for("record")?.data;
        ensure_eq!(
            record["key"],
            number.to_string(),
            "who reads is not held up by those who do not"
        );
        let seen = place(&record);
        all.insert(seen);
        let end = ends
            .get_mut(usize::try_from(seen.0)?)
            .ok_or("a third partition")?;
        *end = seen.1;
    }
    let grown = rss_mb(stack)?.saturating_sub(before);
    ensure!(grown <= GROWTH_MAX_MB, "grown by {grown} MB");
    let last: BTreeSet<Place> = (0..).zip(ends).collect();
    let Got {
        records, missed, ..
    } = drain(pause, &last)?;
    ensure_eq!(
        (records.len(), missed.len()),
        (BIG_COUNT, 0),
        "pause: nothing twice, no gap"
    );
    ensure_eq!(
        records.into_iter().collect::<BTreeSet<_>>(),
        all,
        "pause: everything"
    );
    let Got {
        records, missed, ..
    } = drain(gap, &last)?;
    let got: BTreeSet<Place> = records.iter().copied().collect();
    ensure_eq!(got.len(), records.len(), "gap: nothing twice");
    ensure!(
        !missed.is_empty() && got.is_disjoint(&missed),
        "gap: {} missed",
        missed.len()
    );
    ensure_eq!(
        got.union(&missed).copied().collect::<BTreeSet<_>>(),
        all,
        "gap: says exactly what it left out"
    );
    let Got {
        mut records,
        reason,
        last_id,
        ..
    } = drain(disconnect, &last)?;
    ensure_eq!(
        reason.as_deref(),
        Some("slow"),
        "disconnect: after {} records",
        records.len()
    );
    let again = open(stack, &format!("topics={name}"), Some(&last_id))?;
    records.extend(drain(again, &last)?.records);
    ensure_eq!(
        records.len(),
        BIG_COUNT,
        "disconnect: resumed, nothing twice"
    );
    ensure_eq!(
        records.into_iter().collect::<BTreeSet<_>>(),
        all,
        "disconnect: resumed, everything"
    );
    Ok(())
}

fn filters(stack: &Stack) -> Outcome {
    let name = "stream.filters";
    topic(stack, name, 2)?;
    send(stack, name, 0..40)?;
    for (filter, wanted) in [
        ("filter=key%3D17", vec![17]),
        (
            "filter=header.parity%3Deven&filter=value~%22n%22:1",
            vec![10, 12, 14, 16, 18],
        ),
        ("filter=/n%3D39", vec![39]),
        ("filter=/even%3Dfalse&filter=/n%3D5", vec![5]),
    ] {
        let mut events = open(
            stack,
            &format!("topics={name}&from=earliest&{filter}"),
            None,
        )?;
        let mut found = Vec::new();
        let progress = loop {
            let event = events.next_event()?.ok_or("the stream ended")?;
            match event.name.as_str() {
                "record" => found.push(number(&event.data)?),
                "progress" if event.data["scanned"] == 40 => break event,
                _ => {}
            }
        };
        found.sort_unstable();
        ensure_eq!(found, wanted, "{filter}");
        ensure_eq!(progress.data["matched"], wanted.len(), "{filter}");
        let page = format!("/topics/{name}/records?limit=100&{filter}");
        let page = stack.consumer("viewer")?.get(&page)?.expect(200)?;
        ensure_eq!(
            page["records"].as_array().map(Vec::len),
            Some(wanted.len()),
            "a page, {filter}"
        );
    }
    let mut live = open(stack, &format!("topics={name}&filter=/even%3Dtrue"), None)?;
    live.wait_for("heartbeat")?;
    send(stack, name, 41..43)?;
    ensure_eq!(
        number(&live.wait_for("record")?.data)?,
        42,
        "live records are filtered too"
    );
    let bad = stack
        .consumer("viewer")?
        .get(&format!("/stream?topics={name}&filter=nonsense"))?;
    ensure_eq!(
        bad.problem(422)?["errors"][0]["pointer"],
        "filter",
        "{}",
        bad.text
    );
    Ok(())
}

fn readers_started(stack: &Stack) -> Outcome<f64> {
    let text = stack.consumer("viewer")?.get("/metrics")?.text;
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("stream_readers_started_total "));
    Ok(lines.filter_map(|count| count.parse::<f64>().ok()).sum())
}

fn shared(stack: &Stack) -> Outcome {
    let name = "stream.shared";
    topic(stack, name, 2)?;
    let mut viewers = Vec::new();
    let query = format!("topics={name}");
    viewers.push(open(stack, &query, None)?);
    for _ in 1..60 {
        viewers.push(open(stack, &query, None)?);
    }
    // Those who come later catch up and then join the others.
    send(stack, name, 0..50)?;
    for _ in 0..30 {
        viewers.push(open(stack, &format!("{query}&from=earliest"), None)?);
    }
    send(stack, name, 50..100)?;
    for viewer in &mut viewers {
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            seen.insert(number(&viewer.wait_for("record")?.data)?);
        }
        ensure_eq!(seen.len(), 100, "each gets everything once");
    }
    // Other tests of this stack look at topics of their own at the same time.
    let started = readers_started(stack)?;
    ensure!(
        started < 40.0,
        "{started} readers for 90 viewers of one topic"
    );
    Ok(())
}
