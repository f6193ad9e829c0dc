//! One session of a worker: from opened sinks to a closed client.

mod assignment;
mod events;
mod watch;
mod write;

use super::context::Context;
use super::pipeline::{Burial, Pipeline};
use super::stage::Stop;
use super::{Backoff, Job, Link, Order, SLICE};
use crate::batch::Views;
use crate::status::{Fault, KAFKA, Phase};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use sluice_model::consumer::AutoOffsetReset;
use sluice_service::kafka::consume::{Records, Taken};
use sluice_service::now;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A member that is silent for this long (a killed process) gives its partitions away.
const SESSION_TIMEOUT: Duration = Duration::from_secs(8);
/// Time between two looks at Kafka while it is in trouble.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// A drain is over when nothing came for this long, or after the longer time.
const DRAIN_IDLE: Duration = Duration::from_secs(2);
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Bytes that a small record stands for when what is fetched ahead is counted in records.
const SMALL_RECORD_BYTES: u64 = 400;

/// Records that a consumer keeps room for between batches.
const MESSAGES_KEPT: usize = 1000;

type Client = BaseConsumer<Context>;

fn config(job: &Job, prefetch: u64) -> std::io::Result<ClientConfig> {
    let mut config = job.cluster.client(&job.client_id)?;
    let millis = |duration: Duration| duration.as_millis().to_string();
    config
        .set("group.id", &job.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        // The runtime stores an offset once it is durable; librdkafka commits what is stored now and then,
        // and when partitions are taken away or the client closes.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", millis(COMMIT_INTERVAL))
        // Where to start is decided by the session; a position that is gone must be noticed.
        .set("auto.offset.reset", "error")
        .set("session.timeout.ms", millis(SESSION_TIMEOUT))
        .set("heartbeat.interval.ms", millis(SESSION_TIMEOUT / 4))
        .set("fetch.queue.backoff.ms", "2")
        .set(
            "queued.min.messages",
            (prefetch / SMALL_RECORD_BYTES).to_string(),
        )
        .set(
            "queued.max.messages.kbytes",
            (prefetch / 1024).max(1).to_string(),
        )
        .set("fetch.max.bytes", prefetch.to_string())
        .set("message.max.bytes", prefetch.min(1_000_000).to_string())
        .set("topic.metadata.refresh.interval.ms", "10000");
    Ok(config)
}

/// Runs until an order ends it or something fails that needs a new start.
pub(super) fn run(job: &mut Job, link: &Arc<Link>, backoff: &mut Backoff) -> Result<(), Fault> {
    link.report().enter(Phase::Starting, now());
    let prefetch = job.prefetch.reserve();
    let config = config(job, prefetch.bytes()).map_err(|error| Fault::kafka(error.to_string()))?;
    let burial = Burial {
        letters: job.letters.as_mut(),
        breaker: &mut job.breaker,
    };
    let pipeline = match Pipeline::open(&mut job.processors, burial, link) {
        Ok(pipeline) => pipeline,
        Err(Stop::Fault(fault)) => return Err(fault),
        // Nothing was given to it yet, so there is nothing to read again.
        Err(Stop::Rewind) => return Err(Fault::kafka("a sink was not ready")),
    };
    link.report().sinks_recovered(now());
    let context = Context::new(&job.consumer_id);
    let client: Client = config
        .create_with_context(context)
        .map_err(|error| Fault::kafka(error.to_string()))?;
    let topics: Vec<&str> = job.topics.iter().map(|(topic, _)| topic.as_str()).collect();
    client
        .subscribe(&topics)
        .map_err(|error| Fault::kafka(error.to_string()))?;
    let settings = &job.settings;
    let batch_max = pipeline.batch_max();
    let batch_bytes = usize::try_from(prefetch.bytes()).unwrap_or(usize::MAX);
    // Records and events wake this thread, as orders do.
    let thread = std::thread::current();
    let mut session = Session {
        client: &client,
        records: Records::new(client.client(), move || thread.unpark()),
        views: Views::default(),
        link,
        pipeline,
        backoff,
        topics: &job.topics,
        reset: job.auto_offset_reset,
        stall_after: settings.stall_after,
        limits: (
            settings.batch_records.min(batch_max),
            settings.batch_bytes.min(batch_bytes),
            settings.batch_age,
        ),
        batch: Batch::default(),
        stored: BTreeMap::new(),
        paused: None,
        looked: Instant::now(),
        empty_checked: 0,
        last_message: Instant::now(),
        watch: watch::Watch::new(),
        misled: false,
    };
    let outcome = session.run();
    session.leave();
    drop(session);
    // Leaves the group. This may hang inside librdkafka; the manager waits for a bounded time only.
    drop(client);
    outcome
}

/// Records that are read and not yet written.
#[derive(Default)]
struct Batch<'c> {
    messages: Vec<Taken<'c>>,
    bytes: usize,
    since: Option<Instant>,
}

impl<'c> Batch<'c> {
    /// Takes what is there, at most so many records. Errors in a record's place go to `failed`.
    fn fill(&mut self, from: &mut Records<'c>, max: usize, failed: impl FnMut(Code)) -> bool {
        let before = self.messages.len();
        from.take(max, &mut self.messages, failed);
        let new = self.messages.get(before..).unwrap_or_default();
        if new.is_empty() {
            return false;
        }
        self.bytes += new.iter().map(Taken::len).sum::<usize>();
        self.since.get_or_insert_with(Instant::now);
        true
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.messages.shrink_to(MESSAGES_KEPT);
        self.bytes = 0;
        self.since = None;
    }
}

struct Session<'a, 'j> {
    client: &'a Client,
    records: Records<'a>,
    views: Views,
    link: &'a Link,
    pipeline: Pipeline<'j>,
    backoff: &'a mut Backoff,
    topics: &'a [(String, i64)],
    reset: AutoOffsetReset,
    stall_after: Duration,
    limits: (usize, usize, Duration),
    batch: Batch<'a>,
    /// Our partitions, and the offset that was stored for each; none: nothing is known.
    stored: BTreeMap<(String, i32), Option<i64>>,
    /// For which assignment reading was stopped or allowed last.
    paused: Option<(u64, bool)>,
    looked: Instant,
    /// The assignment whose emptiness was explained.
    empty_checked: u64,
    last_message: Instant,
    watch: watch::Watch,
    /// Whether librdkafka's own positions may be wrong.
    misled: bool,
}

impl Session<'_, '_> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut drain: Option<Instant> = None;
        loop {
            match self.link.ordered() {
                Order::Stop => break,
                Order::Drain => {
                    let started = *drain.get_or_insert_with(|| {
                        self.last_message = Instant::now();
                        Instant::now()
                    });
                    self.link.report().enter(Phase::Stopping, now());
                    if self.drained(started) {
                        break;
                    }
                }
                Order::Pause => self.set_paused(true),
                Order::Run => self.set_paused(false),
            }
            self.poll(self.wait_time())?;
            if self.due() && !self.write()? {
                break;
            }
            if !self.tick()? {
                break;
            }
        }
        self.finish();
        Ok(())
    }

    /// How long the next poll may wait: until the batch or what a sink holds is old enough, or until it
    /// is time to look around.
    fn wait_time(&self) -> Duration {
        let slice = match self.link.ordered() {
            Order::Run | Order::Pause => LOOK_INTERVAL,
            Order::Drain | Order::Stop => SLICE,
        };
        let age = self.limits.2;
        let left = |since: Instant| age.saturating_sub(since.elapsed());
        let batch = self.batch.since.map_or(slice, left);
        let sinks = self
            .pipeline
            .deadline()
            .map_or(slice, |due| due.saturating_duration_since(Instant::now()));
        batch.min(sinks).min(slice)
    }

    fn due(&self) -> bool {
        let (records, bytes, age) = self.limits;
        let batch = &self.batch;
        batch.messages.len() >= records
            || batch.bytes >= bytes
            || batch.since.is_some_and(|since| since.elapsed() >= age)
    }

    /// Whether everything that was there when the drain began is written.
    fn drained(&self, started: Instant) -> bool {
        if !self.batch.messages.is_empty() {
            return started.elapsed() >= DRAIN_MAX;
        }
        let failing = self.link.report().fault.is_some();
        failing || self.last_message.elapsed() >= DRAIN_IDLE || started.elapsed() >= DRAIN_MAX
    }

    /// Writes what is in flight if that works at once, commits it, and looks whether Kafka has it.
    fn finish(&mut self) {
        self.link.report().enter(Phase::Stopping, now());
        let (failing, kafka) = {
            let report = self.link.report();
            let stage = report.fault.as_ref().map(|fault| fault.stage.clone());
            (stage.is_some(), stage.is_some_and(|stage| stage == KAFKA))
        };
        if !failing && let Err(stop) = self.write_once().and_then(|()| self.pipeline.flush()) {
            tracing::warn!(
                ?stop,
                "the last batch is not written; it is read again at the next start"
            );
        }
        self.store();
        if !kafka {
            self.commit_and_check();
        }
    }

    /// Lets go of what was left undone, so that the client can close.
    fn leave(&mut self) {
        self.batch.clear();
        let context = self.client.context();
        context.close();
        let changes = std::mem::take(&mut context.group().changes);
        for change in changes {
            self.abandon(&change);
        }
    }
}
