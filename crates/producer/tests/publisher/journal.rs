//! Journaled batches: on disk before Kafka has them.

use crate::harness::{cluster, delivered, held, start};
use sluice_model::producer::FlowState;

#[test]
fn journaled_records_of_a_live_topic_go_to_kafka_in_the_order_of_their_coming() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 0..5)), 5);
    daemon.journal = true;
    for batch in 1..20 {
        assert_eq!(
            delivered(&daemon.send("orders", batch * 5..batch * 5 + 5)),
            5
        );
    }
    daemon.journal = false;
    assert_eq!(delivered(&daemon.send("orders", 100..105)), 5);
    let status = daemon.until("all reports", |status| status.held == 0);
    let orders = status
        .topics
        .iter()
        .find(|topic| topic.topic_name == "orders");
    assert_eq!(orders.unwrap().delivered, 105);
    daemon.stop();
}

#[test]
fn a_journaled_record_is_on_disk_before_kafka_answers_and_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &["spill_after=1h"]);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 900..901)), 1);
    cluster.broker_down(1).unwrap();
    daemon.journal = true;
    let ticket = daemon.submit("orders", 0..50);
    daemon.until("the journal", |status| status.held == 50);
    // What a kill leaves behind is what is on disk now.
    copy_tree(dir.path(), copy.path());
    cluster.broker_up(1).unwrap();
    let outcome = daemon.outcome();
    assert_eq!((outcome.ticket, delivered(&outcome.fates)), (ticket, 50));
    daemon.stop();
    let daemon = start(&cluster, copy.path(), &[]);
    assert_eq!(daemon.status().recovered, 50);
    daemon.route("orders", sluice_model::lifecycle::State::Active);
    daemon.until("the replay", |status| {
        status.delivered == 50 && status.held == 0
    });
    daemon.stop();
}

#[test]
fn journaled_records_are_answered_held_when_kafka_does_not_take_them_and_are_sent_once() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &["spill_after=200ms"]);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 900..901)), 1);
    cluster.broker_down(1).unwrap();
    daemon.journal = true;
    assert_eq!(held(&daemon.send("orders", 0..10), "active"), 10);
    daemon.until_state("orders", FlowState::Paused);
    assert_eq!(held(&daemon.send("orders", 10..20), "active"), 10);
    daemon.journal = false;
    assert_eq!(held(&daemon.send("orders", 20..30), "active"), 10);
    cluster.broker_up(1).unwrap();
    daemon.until("the way back", |status| status.held == 0);
    daemon.until_state("orders", FlowState::Live);
    daemon.journal = true;
    assert_eq!(delivered(&daemon.send("orders", 30..40)), 10);
    let status = daemon.status();
    let orders = status
        .topics
        .iter()
        .find(|topic| topic.topic_name == "orders");
    assert_eq!(orders.unwrap().delivered, 41);
    daemon.stop();
}

#[test]
fn a_full_journal_does_not_stop_a_live_topic() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let set = ["spool.max_topic_bytes=300", "spool.max_bytes=300"];
    let mut daemon = start(&cluster, dir.path(), &set);
    daemon.until_kafka_answers();
    daemon.journal = true;
    assert_eq!(delivered(&daemon.send("orders", 0..100)), 100);
    daemon.until("all reports", |status| status.held == 0);
    daemon.stop();
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
