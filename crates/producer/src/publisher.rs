//! The publisher: the only owner of the Kafka producer and of the spool.
//!
//! One loop on one thread. Each turn takes what is there (batches, routes, delivery reports), writes and
//! syncs what must be held in one go, then works on the topics that need it. It never waits for the
//! admin API, and for Kafka only in bounded looks at metadata.

pub mod block;
mod clock;
mod doubt;
mod drain;
pub mod gear;
mod hold;
mod intake;
mod journal;
pub mod kafka;
mod leave;
mod ledger;
mod look;
mod mover;
mod pump;
mod reports;
mod routes;
mod settle;
mod spill;
mod status;
mod syncer;
mod tide;
pub mod topic;

use crate::channels::{Ask, News, PublisherEnds, Reply};
use crate::settings::ProducerSettings;
use crate::spool::{Found, Spool};
use anyhow::Context as _;
use block::{Blocks, TopicId};
use crossbeam_channel::{Receiver, never, select};
use kafka::{Kafka, Report};
use ledger::MEASURE_EVERY;
use rdkafka::ClientConfig;
use sluice_model::topic::{OnStop, Route, Routes};
use sluice_service::health::Health;
use sluice_service::shutdown::Shutdown;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use topic::{Backlog, Topic};

/// Batches that one turn takes.
const TURN_BATCHES: usize = 64;
/// Longest sleep: everything that waits for time is looked at this often at least.
const TICK: Duration = Duration::from_millis(500);
/// Time between saves of the cursors.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// Part of the shutdown time that is kept for the last syncs and for leaving librdkafka.
const STOP_RESERVE: Duration = Duration::from_secs(3);
/// While stopping, time without an acknowledgement after which held records in flight are left alone.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Counters since the start; what is held and in flight is summed from the topics.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    accepted: u64,
    recovered: u64,
    delivered: u64,
    dead_lettered: u64,
    discarded: u64,
    refused: u64,
    quarantined_blocks: u64,
}

/// The publisher's own part of the configuration.
#[derive(Clone, Debug)]
struct Limits {
    instance: String,
    spill_after: Duration,
    hold_max: u64,
    hold_topic_max: u64,
    max_age: Duration,
    on_max_age: OnStop,
    reserve: u64,
    auto_request: bool,
    names_max: usize,
    heartbeat: Duration,
    shutdown: Duration,
}

/// The publisher.
#[derive(Debug)]
pub struct Publisher {
    limits: Limits,
    ends: PublisherEnds,
    kafka: Kafka,
    kafka_config: ClientConfig,
    spool: Spool,
    health: Health,
    shutdown: Shutdown,
    blocks: Blocks,
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, TopicId>,
    routes: HashMap<String, Route>,
    revision: String,
    table_known: bool,
    heard: Instant,
    totals: Totals,
    /// Topics that need work.
    active: Vec<TopicId>,
    /// Whether a topic had more to hand over than its share of the turn.
    hungry: bool,
    /// Topics with new records on their way to the log.
    gathering: Vec<TopicId>,
    syncer: syncer::Syncer,
    tide: tide::Tide,
    mover: mover::Mover,
    clock: clock::Clock,
    /// Whether the cursors are to be saved with the next round.
    checkpoint_due: bool,
    /// Whether the disk has nothing left beside its reserve.
    no_room: bool,
    /// Held bytes of all topics, while records are gathered.
    held_bytes: Option<u64>,
    reports: Vec<Report>,
    outbox: VecDeque<Reply>,
    /// Records of names that the next table may know, oldest first.
    doubts: Vec<doubt::Doubt>,
    next_backlog: u64,
    /// Why the spool takes nothing, if so.
    storage_problem: Option<String>,
    kafka_down: bool,
    /// Whether brokers may be down: a topic got no acknowledgements.
    suspected: bool,
    probing: bool,
    /// Numbers looks at topics.
    next_look: u64,
    probe_at: Instant,
    heartbeat_at: Instant,
    heartbeat_due: bool,
    checkpoint_at: Instant,
    measure_at: Instant,
    spill_check_at: Instant,
    last_delivery: Instant,
    inputs_open: bool,
    stop_at: Option<Instant>,
}

impl Publisher {
    /// A publisher with the spool's logs and the last known routes.
    ///
    /// # Errors
    /// When librdkafka does not accept the settings.
    pub fn new(
        settings: &ProducerSettings,
        instance: String,
        ends: PublisherEnds,
        (spool, found): (Spool, Found),
        last_routes: Option<Routes>,
        (health, shutdown): (Health, Shutdown),
    ) -> anyhow::Result<Self> {
        let record_max = settings.limits.record_max_bytes;
        let kafka_config = kafka::config(&settings.kafka, record_max, settings.memory.max_bytes)
            .context("read the Kafka password")?;
        let kafka = Kafka::start(&kafka_config).context("start the Kafka producer")?;
        let now = Instant::now();
        health.degraded("kafka", "no broker has answered yet");
        let mover = mover::Mover::start(Arc::clone(spool.disk()), spool.dir().to_path_buf())
            .context("start the thread for moving")?;
        let mut this = Self {
            limits: Limits {
                instance,
                spill_after: settings.spill_after,
                hold_max: settings.spool.max_bytes,
                hold_topic_max: settings.spool.max_topic_bytes,
                max_age: settings.spool.max_age,
                on_max_age: settings.spool.on_max_age,
                reserve: settings.spool.reserve_bytes,
                auto_request: settings.auto_request,
                names_max: settings.auto_request_names_max,
                heartbeat: settings.watch.heartbeat,
                shutdown: Duration::from_secs(settings.shutdown_s),
            },
            ends,
            kafka,
            kafka_config,
            spool,
            health,
            shutdown,
            blocks: Blocks::default(),
            topics: Vec::new(),
            by_name: HashMap::new(),
            routes: HashMap::new(),
            revision: String::new(),
            table_known: false,
            heard: now,
            totals: Totals::default(),
            active: Vec::new(),
            hungry: false,
            gathering: Vec::new(),
            syncer: syncer::Syncer::start().context("start the thread for syncing")?,
            tide: tide::Tide::new(settings.spill_after, now),
            mover,
            clock: clock::Clock::new(sluice_service::now().as_millis(), now),
            checkpoint_due: false,
            no_room: false,
            held_bytes: None,
            reports: Vec::new(),
            outbox: VecDeque::new(),
            doubts: Vec::new(),
            next_backlog: 0,
            storage_problem: None,
            kafka_down: true,
            suspected: false,
            probing: false,
            next_look: 0,
            probe_at: now,
            heartbeat_at: now,
            heartbeat_due: true,
            checkpoint_at: now,
            measure_at: now + MEASURE_EVERY,
            spill_check_at: now,
            last_delivery: now,
            inputs_open: true,
            stop_at: None,
        };
        this.adopt_found(found);
        if let Some(routes) = last_routes {
            this.apply_routes(routes);
        }
        Ok(this)
    }

    /// Takes over what the spool held at start.
    fn adopt_found(&mut self, found: Found) {
        self.totals.quarantined_blocks = found.quarantined;
        if found.torn_bytes > 0 {
            tracing::info!(
                bytes = found.torn_bytes,
                "an unfinished write was cut off the spool"
            );
        }
        for held in found.held {
            let records = held.log.held_records;
            self.totals.accepted += records;
            self.totals.recovered += records;
            tracing::info!(
                topic.name = held.meta.topic_name,
                records,
                "held records were found"
            );
            let id = self.topic(&held.meta.topic_name.clone());
            let backlog = self.numbered(held);
            if let Some(topic) = self.topics.get_mut(id) {
                topic.topic_id = topic.topic_id.max(backlog.held.meta.topic_id);
                // Logs are in the order of their making: the last one is the topic's present life.
                topic.retired.extend(topic.backlog.replace(backlog));
            }
        }
    }

    fn numbered(&mut self, held: crate::spool::Held) -> Backlog {
        self.next_backlog += 1;
        Backlog {
            number: self.next_backlog,
            held,
            leaving: None,
        }
    }

    /// The topic of a name; made when it is new.
    fn topic(&mut self, name: &str) -> TopicId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let name: Arc<str> = name.into();
        self.topics
            .push(Topic::new(Arc::clone(&name), Instant::now()));
        self.by_name.insert(name, self.topics.len() - 1);
        self.topics.len() - 1
    }

    /// Runs until the inputs are closed and everything that was taken in is safe.
    ///
    /// # Errors
    /// When records that were taken in could neither be sent nor kept.
    pub fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.wait();
            self.turn();
            if self.may_end() {
                return self.end();
            }
        }
    }

    fn wait(&mut self) {
        let timeout = self.timeout();
        let closed: Receiver<_> = never();
        let batches = if self.inputs_open {
            &self.ends.batches
        } else {
            &closed
        };
        select! {
            recv(batches) -> batch => match batch {
                Ok(batch) => self.take(batch),
                Err(_) => self.inputs_open = false,
            },
            recv(self.ends.asks) -> ask => match ask {
                Ok(Ask::Status(ticket)) => self.answer_status(ticket),
                Err(_) => self.ends.asks = never(),
            },
            recv(self.ends.news) -> news => match news {
                Ok(news) => self.hear(news),
                Err(_) => self.ends.news = never(),
            },
            recv(self.syncer.done) -> done => self.end_round(done.unwrap_or_default()),
            recv(self.mover.done) -> moved => {
                if let Ok(moved) = moved {
                    self.moved(moved);
                }
            }
            recv(self.kafka.events) -> _ => {}
            default(timeout) => {}
        }
        for _ in 1..TURN_BATCHES {
            let Ok(batch) = self.ends.batches.try_recv() else {
                break;
            };
            self.take(batch);
        }
    }

    fn hear(&mut self, news: News) {
        self.heard = Instant::now();
        if let News::Table(routes) = news {
            self.apply_routes(routes);
            self.settle_doubts(self.heard);
            self.heartbeat_due = true;
        }
    }

    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let mut next = now + TICK;
        let mut consider = |at: Instant| next = next.min(at);
        consider(self.heartbeat_at);
        if let Some(at) = self.doubt_ends() {
            consider(at);
        }
        if let Some(at) = self.next_probe() {
            consider(at);
        }
        if self.topics.iter().any(Topic::is_awaited) {
            consider(self.spill_check_at);
        }
        for topic in self.active.iter().filter_map(|id| self.topics.get(*id)) {
            if let Some(at) = drain::next_try(topic, self.room_for(topic.state)) {
                consider(at);
            }
        }
        if !self.reports.is_empty() || self.hungry {
            return Duration::ZERO;
        }
        if !self.outbox.is_empty() || self.stop_at.is_some() {
            consider(now + Duration::from_millis(5));
        }
        next.saturating_duration_since(now)
    }

    fn turn(&mut self) {
        self.take_reports();
        self.take_answers();
        self.take_moved();
        let now = Instant::now();
        if self
            .doubt_ends()
            .is_some_and(|at| now >= at || !self.inputs_open)
        {
            self.settle_doubts(now);
        }
        self.start_round();
        self.work_on_topics();
        let now = Instant::now();
        if now >= self.spill_check_at {
            self.spill_check_at = now + self.limits.spill_after / 4;
            self.spill_overdue(now);
        }
        if now >= self.checkpoint_at {
            self.checkpoint_at = now + CHECKPOINT;
            self.checkpoint_due = true;
            self.look_at_disk();
        }
        self.watch_kafka(now);
        if now >= self.measure_at {
            self.measure_at = now + MEASURE_EVERY;
            self.measure(now);
            self.look_at_clock(now);
            self.expire();
        }
        if self.heartbeat_due || now >= self.heartbeat_at {
            self.send_heartbeat(now);
        }
        while let Some(reply) = self.outbox.pop_front() {
            if let Err(reply) = self.ends.replies.try_send(reply) {
                if self.inputs_open {
                    self.outbox.push_front(reply);
                }
                break;
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.outbox.push_back(reply);
    }

    /// Puts a topic on the list of those that need work.
    fn list(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.get_mut(id)
            && !topic.listed
        {
            topic.listed = true;
            self.active.push(id);
        }
    }

    fn work_on_topics(&mut self) {
        self.hungry = false;
        self.tide.turn(Instant::now());
        let mut active = std::mem::take(&mut self.active);
        // Another one is the first next time: what is free is not always taken by the same.
        let first = usize::from(active.len() > 1);
        active.rotate_left(first);
        for id in active {
            if let Some(topic) = self.topics.get_mut(id) {
                topic.listed = false;
            }
            if self.work(id) {
                self.list(id);
            }
        }
    }

    /// Whether nothing is left to do: the inputs are closed and everything is safe.
    fn may_end(&mut self) -> bool {
        let now = Instant::now();
        if self.stop_at.is_none() && (self.shutdown.requested() || !self.inputs_open) {
            self.stop_at = Some(now + self.limits.shutdown.saturating_sub(STOP_RESERVE));
        }
        let Some(stop_at) = self.stop_at else {
            return false;
        };
        if now >= stop_at {
            self.spill_everything();
        }
        if self.inputs_open || self.blocks.unanswered() > 0 {
            return Self::stop_overdue(now, stop_at);
        }
        let flying: u32 = self.topics.iter().map(|topic| topic.flying).sum();
        flying == 0 || now >= stop_at || now.duration_since(self.last_delivery) > STOP_PATIENCE
    }

    /// A last bound, for inputs that do not close or a spool that takes nothing.
    fn stop_overdue(now: Instant, stop_at: Instant) -> bool {
        now >= stop_at + STOP_RESERVE / 2
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.take_reports();
        self.write_gathered();
        self.checkpoint();
        self.turn();
        // Nothing of this process may write to the spool once its lock is gone.
        self.await_round();
        self.mover.finish();
        let lost: u64 = self.topics.iter().map(|topic| topic.in_flight).sum();
        let held: u64 = self.topics.iter().map(Topic::held_records).sum();
        tracing::info!(
            accepted = self.totals.accepted,
            delivered = self.totals.delivered,
            held,
            "publisher ends"
        );
        anyhow::ensure!(
            lost == 0,
            "{lost} records could neither be sent nor kept; their senders were not told that they are safe"
        );
        Ok(())
    }
}
