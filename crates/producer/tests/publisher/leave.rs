//! Records that leave the spool without Kafka: too old, of an ended topic, or damaged on disk.

use crate::harness::{Daemon, cluster, delivered, held, start};
use sluice_model::lifecycle::State;
use sluice_model::topic::OnStop;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

fn letters(spool: &Path, topic: &str) -> usize {
    let path = spool.join(format!("dead-letter/{topic}.jsonl"));
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn fill(daemon: &mut Daemon, topic: &str, pieces: u32) -> u64 {
    for piece in 0..pieces {
        let values = piece * 10_000..(piece + 1) * 10_000;
        assert_eq!(held(&daemon.send(topic, values), "pending"), 10_000);
    }
    u64::from(pieces) * 10_000
}

#[test]
fn what_is_held_for_too_long_leaves_and_what_is_younger_stays() {
    for (way, word) in [("dead_letter", true), ("discard", false)] {
        let dir = tempfile::tempdir().unwrap();
        let cluster = cluster(&["orders", "warm"]);
        let on_max_age = format!("spool.on_max_age={way}");
        let set = ["spool.max_age=2s", on_max_age.as_str()];
        let mut daemon = start(&cluster, dir.path(), &set);
        daemon.route("orders", State::Pending);
        let old = fill(&mut daemon, "orders", 3);
        // Something younger comes all the time; none of it may leave with the old ones too early.
        let status = daemon.until("the old ones leave", |status| {
            status.dead_lettered + status.discarded >= old
        });
        assert_eq!(status.dead_lettered > 0, word);
        assert_eq!(letters(dir.path(), "orders") as u64, status.dead_lettered);
        assert_eq!(held(&daemon.send("orders", 0..5), "pending"), 5);
        daemon.route("orders", State::Active);
        let status = daemon.until("the young ones flow", |status| {
            status.held == 0 && status.delivered == 5
        });
        assert_eq!(status.accepted, old + 5);
        daemon.stop();
    }
}

#[test]
fn an_active_topics_records_are_never_too_old() {
    let dir = tempfile::tempdir().unwrap();
    // The broker has no such topic: its records wait for it.
    let cluster = cluster(&["warm"]);
    let mut daemon = start(&cluster, dir.path(), &["spool.max_age=1ms"]);
    daemon.until_kafka_answers();
    daemon.route("orders", State::Active);
    assert_eq!(held(&daemon.send("orders", 0..5), "active"), 5);
    let asked = std::time::Instant::now();
    while asked.elapsed().as_millis() < 2_500 {
        assert_eq!(daemon.status().held, 5);
    }
    daemon.stop();
}

#[test]
fn a_large_log_of_an_ended_topic_keeps_no_other_topic_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.until_kafka_answers();
    let table = |big| {
        [
            (1, "orders", State::Active, OnStop::Hold),
            (2, "warm", State::Active, OnStop::Hold),
            (3, "big", big, OnStop::DeadLetter),
        ]
    };
    daemon.routes(&table(State::Pending));
    let all = fill(&mut daemon, "big", 20);
    daemon.routes(&table(State::Rejected));
    // Batches of the other topic are answered while it goes.
    let mut between = 0;
    loop {
        assert_eq!(delivered(&daemon.send("warm", 0..10)), 10);
        let status = daemon.status();
        if status.dead_lettered == all {
            break;
        }
        between += usize::from(status.dead_lettered > 0);
    }
    assert!(between > 0, "it went in one piece");
    assert_eq!(letters(dir.path(), "big") as u64, all);
    let topics = || {
        std::fs::read_dir(dir.path().join("topics"))
            .unwrap()
            .count()
    };
    daemon.until("the log is gone", |_| topics() == 0);
    daemon.stop();
}

#[test]
fn a_block_that_is_damaged_while_the_daemon_runs_is_counted_and_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.route("orders", State::Pending);
    for first in [0, 10, 20] {
        assert_eq!(
            held(&daemon.send("orders", first..first + 10), "pending"),
            10
        );
    }
    let segment = dir.path().join("topics/00000001/0000000001.seg");
    let length = std::fs::metadata(&segment).unwrap().len();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap();
    // In the middle of the second of three blocks of the same size.
    file.write_all_at(&[0xa5; 4], length / 2).unwrap();
    daemon.route("orders", State::Active);
    let status = daemon.until("the rest flows", |status| status.held == 0);
    assert_eq!((status.delivered, status.discarded), (20, 10));
    assert_eq!(status.spool.quarantined_blocks, 1);
    let kept = || {
        let found = std::fs::read_dir(dir.path().join("quarantine")).ok();
        found.map_or(0, Iterator::count)
    };
    daemon.until("the block is put aside", |_| kept() == 2);
    daemon.stop();
}
