//! The publisher against librdkafka's own mock of a cluster: what becomes of batches in every state of
//! a topic, through an outage, and at the end. Channels in, channels out; no sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_collect,
    reason = "a helper that fails is a failed test"
)]

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use sluice_model::lifecycle::State;
use sluice_model::problem::Code;
use sluice_model::producer::{FlowState, ProducerStatus};
use sluice_model::topic::{OnStop, Route, Routes};
use sluice_producer::assemble;
use sluice_producer::batch::{Fate, Outcome};
use sluice_producer::budget::Budget;
use sluice_producer::channels::{Ask, ListenerEnds, News, Reply, WatcherEnds, channels};
use sluice_producer::publisher::Publisher;
use sluice_producer::settings::ProducerSettings;
use sluice_producer::spool::Spool;
use sluice_service::config::{Flags, load};
use sluice_service::health::Health;
use sluice_service::shutdown::Shutdown;
use std::cell::Cell;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[&str]) -> Mock {
    let cluster = MockCluster::new(1).unwrap();
    for topic in topics {
        cluster.create_topic(topic, 2, 1).unwrap();
    }
    cluster
}

struct Daemon {
    listener: ListenerEnds,
    watcher: WatcherEnds,
    budget: Budget,
    shutdown: Shutdown,
    thread: JoinHandle<anyhow::Result<()>>,
    runtime: tokio::runtime::Runtime,
    next_ticket: u64,
    tables: Cell<u32>,
}

fn start(cluster: &Mock, spool: &Path, set: &[&str]) -> Daemon {
    let bootstrap = format!("kafka.bootstrap={}", cluster.bootstrap_servers());
    let set = set
        .iter()
        .map(ToString::to_string)
        .chain([bootstrap])
        .collect();
    let flags = Flags {
        set,
        ..Flags::default()
    };
    let settings: ProducerSettings = load(&sluice_producer::IDENTITY, &flags).unwrap();
    let (listener, publisher, watcher) = channels();
    let shutdown = Shutdown::default();
    let state = (Health::default(), shutdown.clone());
    let opened = Spool::open(spool).unwrap();
    let publisher =
        Publisher::new(&settings, "test".into(), publisher, opened, None, state).unwrap();
    let thread = std::thread::Builder::new()
        .spawn(move || publisher.run())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let budget = Budget::new(64 * 1024 * 1024);
    Daemon {
        listener,
        watcher,
        budget,
        shutdown,
        thread,
        runtime,
        next_ticket: 1,
        tables: Cell::new(0),
    }
}

impl Daemon {
    fn routes(&self, routes: &[(i64, &str, State, OnStop)]) {
        let topics = routes
            .iter()
            .map(|(topic_id, name, status, on_stop)| Route {
                topic_id: *topic_id,
                topic_name: (*name).to_owned(),
                status: *status,
                partitions: 2,
                on_stop: *on_stop,
            });
        self.tables.set(self.tables.get() + 1);
        let revision = format!("e-{}", self.tables.get());
        let routes = Routes {
            revision: revision.clone(),
            topics: topics.collect(),
        };
        self.watcher.news.send(News::Table(routes)).unwrap();
        self.until("the table", |status| status.revision == revision);
    }

    fn route(&self, name: &str, status: State) {
        self.routes(&[(1, name, status, OnStop::Hold)]);
    }

    fn submit(&mut self, topic: &str, values: std::ops::Range<u32>) -> u64 {
        let text: String = values.map(|n| format!("{n}\n")).collect();
        let lines = assemble::lines(text.into_bytes().into(), Some(topic), 1000);
        let charge = self.budget.try_reserve(lines.bytes).unwrap();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let batch = sluice_producer::batch::Batch {
            ticket,
            detailed: true,
            records: lines.records,
            charge,
        };
        self.listener.batches.send(batch).unwrap();
        ticket
    }

    fn reply(&self) -> Reply {
        let replies = &self.listener.replies;
        let next = async { tokio::time::timeout(PATIENCE, replies.receive()).await };
        self.runtime
            .block_on(next)
            .expect("an answer in time")
            .expect("a publisher")
    }

    fn outcome(&self) -> Outcome {
        loop {
            if let Reply::Outcome(outcome) = self.reply() {
                return outcome;
            }
        }
    }

    fn send(&mut self, topic: &str, values: std::ops::Range<u32>) -> Vec<Fate> {
        let ticket = self.submit(topic, values);
        let outcome = self.outcome();
        assert_eq!(outcome.ticket, ticket);
        outcome.fates
    }

    fn status(&self) -> ProducerStatus {
        self.listener.asks.send(Ask::Status(0)).unwrap();
        loop {
            if let Reply::Status(_, status) = self.reply() {
                let out = status.delivered
                    + status.held
                    + status.in_flight
                    + status.dead_lettered
                    + status.discarded;
                assert_eq!(
                    status.accepted, out,
                    "every record is somewhere: {status:?}"
                );
                return *status;
            }
        }
    }

    fn until(&self, what: &str, done: impl Fn(&ProducerStatus) -> bool) -> ProducerStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if done(&status) {
                return status;
            }
            assert!(Instant::now() < end, "waited for {what}: {status:?}");
            std::thread::yield_now();
        }
    }

    /// Waits until the daemon has taken over a table in which `name` has `state`.
    fn until_state(&self, name: &str, state: FlowState) {
        self.until(state.as_str(), |status| {
            status
                .topics
                .iter()
                .any(|topic| topic.topic_name == name && topic.state == state)
        });
    }

    /// Sends to another topic until Kafka takes it.
    fn until_kafka_answers(&mut self) {
        self.routes(&[
            (1, "orders", State::Active, OnStop::Hold),
            (2, "warm", State::Active, OnStop::Hold),
        ]);
        let end = Instant::now() + PATIENCE;
        let mut number = 0;
        while delivered(&self.send("warm", number..number + 1)) == 0 {
            number += 1;
            assert!(Instant::now() < end);
        }
    }

    fn stop(self) {
        self.shutdown.request();
        drop(self.listener.batches);
        self.thread.join().unwrap().unwrap();
    }
}

fn delivered(fates: &[Fate]) -> usize {
    fates
        .iter()
        .filter(|fate| matches!(fate, Fate::Delivered { .. }))
        .count()
}

fn held(fates: &[Fate], state: &str) -> usize {
    let held = |fate: &&Fate| matches!(fate, Fate::Held { topic_state } if *topic_state == state);
    fates.iter().filter(held).count()
}

fn refusal(fates: &[Fate]) -> Option<Code> {
    match fates.first()? {
        Fate::Refused(refusal) => Some(refusal.code),
        Fate::Delivered { .. } | Fate::Held { .. } => None,
    }
}

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
