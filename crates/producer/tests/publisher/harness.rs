//! A publisher with channels in and out, against a mock of a cluster.

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
use sluice_producer::spool::disk::{Disk, RealDisk};
use sluice_service::config::{Flags, load};
use sluice_service::health::Health;
use sluice_service::shutdown::Shutdown;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Mock = MockCluster<'static, DefaultProducerContext>;

pub(crate) fn cluster(topics: &[&str]) -> Mock {
    let cluster = MockCluster::new(1).unwrap();
    for topic in topics {
        cluster.create_topic(topic, 2, 1).unwrap();
    }
    cluster
}

pub(crate) struct Daemon {
    pub(crate) listener: ListenerEnds,
    pub(crate) watcher: WatcherEnds,
    pub(crate) budget: Budget,
    pub(crate) shutdown: Shutdown,
    pub(crate) thread: JoinHandle<anyhow::Result<()>>,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) next_ticket: u64,
    pub(crate) tables: Cell<u32>,
    /// Whether batches are journaled.
    pub(crate) journal: bool,
}

pub(crate) fn start(cluster: &Mock, spool: &Path, set: &[&str]) -> Daemon {
    start_on(cluster, spool, set, Arc::new(RealDisk))
}

/// A daemon whose spool stands on any disk.
pub(crate) fn start_on(cluster: &Mock, spool: &Path, set: &[&str], disk: Arc<dyn Disk>) -> Daemon {
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
    let opened = Spool::open_on(disk, spool).unwrap();
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
        journal: false,
    }
}

impl Daemon {
    pub(crate) fn routes(&self, routes: &[(i64, &str, State, OnStop)]) {
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

    pub(crate) fn route(&self, name: &str, status: State) {
        self.routes(&[(1, name, status, OnStop::Hold)]);
    }

    pub(crate) fn submit(&mut self, topic: &str, values: std::ops::Range<u32>) -> u64 {
        let text: String = values.map(|n| format!("{n}\n")).collect();
        let lines = assemble::lines(text.into_bytes().into(), Some(topic), 1000);
        let charge = self.budget.try_reserve(lines.bytes).unwrap();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let batch = sluice_producer::batch::Batch {
            ticket,
            detailed: true,
            journal: self.journal,
            records: lines.records,
            charge,
        };
        self.listener.batches.send(batch).unwrap();
        ticket
    }

    pub(crate) fn reply(&self) -> Reply {
        let replies = &self.listener.replies;
        let next = async { tokio::time::timeout(PATIENCE, replies.receive()).await };
        self.runtime
            .block_on(next)
            .expect("an answer in time")
            .expect("a publisher")
    }

    pub(crate) fn outcome(&self) -> Outcome {
        loop {
            if let Reply::Outcome(outcome) = self.reply() {
                return outcome;
            }
        }
    }

    pub(crate) fn send(&mut self, topic: &str, values: std::ops::Range<u32>) -> Vec<Fate> {
        let ticket = self.submit(topic, values);
        let outcome = self.outcome();
        assert_eq!(outcome.ticket, ticket);
        outcome.fates
    }

    pub(crate) fn status(&self) -> ProducerStatus {
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

    pub(crate) fn until(
        &self,
        what: &str,
        done: impl Fn(&ProducerStatus) -> bool,
    ) -> ProducerStatus {
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
    pub(crate) fn until_state(&self, name: &str, state: FlowState) {
        self.until(state.as_str(), |status| {
            status
                .topics
                .iter()
                .any(|topic| topic.topic_name == name && topic.state == state)
        });
    }

    /// Sends to another topic until Kafka takes it.
    pub(crate) fn until_kafka_answers(&mut self) {
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

    pub(crate) fn stop(self) {
        self.shutdown.request();
        drop(self.listener.batches);
        self.thread.join().unwrap().unwrap();
    }
}

pub(crate) fn delivered(fates: &[Fate]) -> usize {
    fates
        .iter()
        .filter(|fate| matches!(fate, Fate::Delivered { .. }))
        .count()
}

pub(crate) fn held(fates: &[Fate], state: &str) -> usize {
    let held = |fate: &&Fate| matches!(fate, Fate::Held { topic_state } if *topic_state == state);
    fates.iter().filter(held).count()
}

pub(crate) fn refusal(fates: &[Fate]) -> Option<Code> {
    match fates.first()? {
        Fate::Refused(refusal) => Some(refusal.code),
        Fate::Delivered { .. } | Fate::Held { .. } => None,
    }
}
