//! The publisher against librdkafka's own mock of a cluster: what becomes of batches in every state of
//! a topic, through an outage, and at the end. Channels in, channels out; no sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_collect,
    reason = "a helper that fails is a failed test"
)]

mod gears;
mod harness;
mod journal;
mod leave;
mod slow_disk;

use harness::{PATIENCE, cluster, delivered, held, refusal, start};
use sluice_model::lifecycle::State;
use sluice_model::problem::Code;
use sluice_model::producer::FlowState;
use sluice_model::topic::{OnStop, Route, Routes};
use sluice_producer::batch::Fate;
use sluice_producer::channels::News;

#[test]
fn records_of_a_pending_topic_are_held_and_flow_when_it_is_active() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.route("orders", State::Pending);
    assert_eq!(held(&daemon.send("orders", 0..10), "pending"), 10);
    assert_eq!(
        refusal(&daemon.send("nobody", 0..1)),
        Some(Code::UnknownTopic)
    );
    daemon.route("orders", State::Active);
    let status = daemon.until("the drain", |status| status.delivered == 10);
    assert_eq!((status.held, status.refused), (0, 1));
    daemon.until_state("orders", FlowState::Live);
    assert_eq!(delivered(&daemon.send("orders", 10..20)), 10);
    daemon.stop();
}

#[test]
fn the_first_record_of_an_active_topic_goes_straight_to_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.route("orders", State::Active);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 0..1)), 1);
    daemon.stop();
}

#[test]
fn a_stopped_topic_refuses_and_what_is_held_follows_the_admins_word() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    let words = [
        ("a", OnStop::Hold),
        ("b", OnStop::Discard),
        ("c", OnStop::DeadLetter),
    ];
    let table = |status| {
        words
            .iter()
            .enumerate()
            .map(move |(id, (name, word))| (id as i64, *name, status, *word))
    };
    daemon.routes(&table(State::Pending).collect::<Vec<_>>());
    for (name, _) in words {
        assert_eq!(held(&daemon.send(name, 0..3), "pending"), 3);
    }
    daemon.routes(&table(State::Rejected).collect::<Vec<_>>());
    let status = daemon.until("the admin's word", |status| {
        (status.held, status.discarded, status.dead_lettered) == (3, 3, 3)
    });
    assert_eq!(status.accepted, 9);
    assert_eq!(refusal(&daemon.send("b", 0..1)), Some(Code::TopicRejected));
    let letters = std::fs::read_to_string(dir.path().join("dead-letter/c.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), 3);
    // The name is asked for again: what was held stays with the life that ended.
    daemon.routes(&[(10, "a", State::Pending, OnStop::Hold)]);
    daemon.until_state("a", FlowState::Pending);
    assert_eq!(held(&daemon.send("a", 0..2), "pending"), 2);
    assert_eq!(daemon.status().held, 5);
    daemon.stop();
}

#[test]
fn the_hold_is_bounded_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["warm"]);
    let mut daemon = start(
        &cluster,
        dir.path(),
        &["spool.max_topic_bytes=200", "spool.max_bytes=300"],
    );
    daemon.routes(&[
        (1, "a", State::Pending, OnStop::Hold),
        (2, "b", State::Approved, OnStop::Hold),
    ]);
    let fates = daemon.send("a", 10..30);
    let taken = held(&fates, "pending");
    assert!(taken > 0 && taken < 20, "{taken}");
    assert!(matches!(&fates[19], Fate::Refused(refusal) if refusal.code == Code::HoldFull));
    assert!(held(&daemon.send("b", 10..30), "approved") < taken);
    let status = daemon.status();
    assert!(status.spool.held_bytes <= 300 + 100, "{status:?}");
    daemon.stop();
}

#[test]
fn an_outage_holds_what_is_in_flight_and_loses_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &["spill_after=200ms"]);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 0..5)), 5);
    cluster.broker_down(1).unwrap();
    assert_eq!(held(&daemon.send("orders", 5..10), "active"), 5);
    daemon.until_state("orders", FlowState::Paused);
    assert_eq!(held(&daemon.send("orders", 10..15), "active"), 5);
    assert_eq!(daemon.status().held, 10);
    cluster.broker_up(1).unwrap();
    let status = daemon.until("the way back", |status| status.held == 0);
    let orders = status
        .topics
        .iter()
        .find(|topic| topic.topic_name == "orders")
        .unwrap();
    assert_eq!(orders.delivered, 15);
    daemon.stop();
}

#[test]
fn a_stop_in_an_outage_keeps_everything_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.until_kafka_answers();
    cluster.broker_down(1).unwrap();
    let ticket = daemon.submit("orders", 0..100);
    daemon.shutdown.request();
    let outcome = daemon.outcome();
    assert_eq!(
        (outcome.ticket, held(&outcome.fates, "active")),
        (ticket, 100)
    );
    daemon.stop();
    cluster.broker_up(1).unwrap();
    let daemon = start(&cluster, dir.path(), &[]);
    assert_eq!(daemon.status().recovered, 100);
    daemon.route("orders", State::Active);
    let status = daemon.until("the drain", |status| status.held == 0);
    assert_eq!(status.delivered, 100);
    daemon.stop();
}

#[test]
fn a_fence_is_confirmed_when_nothing_is_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &[]);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 0..5)), 5);
    let routes = Routes {
        revision: "fence".into(),
        topics: vec![Route {
            topic_id: 1,
            topic_name: "orders".into(),
            status: State::Inactive,
            partitions: 2,
            on_stop: OnStop::Hold,
        }],
    };
    daemon.watcher.news.send(News::Table(routes)).unwrap();
    daemon.until_state("orders", FlowState::Inactive);
    assert_eq!(held(&daemon.send("orders", 5..7), "inactive"), 2);
    let confirmed = async {
        loop {
            use sluice_producer::channels::Note;
            match daemon.watcher.notes.receive().await {
                Some(Note::Heartbeat(beat)) if beat.revision == "fence" => return beat,
                Some(_) => {}
                None => panic!("the publisher is gone"),
            }
        }
    };
    let beat = daemon
        .runtime
        .block_on(async { tokio::time::timeout(PATIENCE, confirmed).await });
    assert!(
        beat.unwrap()
            .topics
            .iter()
            .all(|topic| topic.in_flight == 0)
    );
    daemon.stop();
}

#[test]
fn unknown_names_are_told_and_held_up_to_a_bound_when_they_become_requests() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["warm"]);
    let mut daemon = start(
        &cluster,
        dir.path(),
        &["auto_request=true", "auto_request_names_max=2"],
    );
    daemon.routes(&[]);
    assert_eq!(held(&daemon.send("x", 0..1), "unknown"), 1);
    assert_eq!(held(&daemon.send("y", 0..1), "unknown"), 1);
    assert_eq!(refusal(&daemon.send("z", 0..1)), Some(Code::Busy));
    daemon.stop();
}
