//! One session of a worker: from opened sinks to a closed client.

use super::context::Context;
use super::pipeline::Pipeline;
use super::{Backoff, Job, Link, Order, SLICE, after};
use crate::batch::Entry;
use crate::status::{Fault, Phase};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_service::now;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kilobytes that librdkafka may fetch ahead for one consumer.
const PREFETCH_KIB: u32 = 8 * 1024;
/// Records that it fetches ahead if they are small.
const PREFETCH_RECORDS: u32 = 20_000;
/// A member that is silent for this long (a killed process) gives its partitions away.
const SESSION_TIMEOUT: Duration = Duration::from_secs(8);
/// Time between two looks at Kafka while it is in trouble.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
/// Time between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// A drain is over when nothing came for this long, or after the longer time.
const DRAIN_IDLE: Duration = Duration::from_secs(2);
const DRAIN_MAX: Duration = Duration::from_secs(30);

type Client = BaseConsumer<Context>;

fn config(job: &Job) -> std::io::Result<ClientConfig> {
    let mut config = job.cluster.client(&job.client_id)?;
    config
        .set("group.id", &job.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        // The runtime stores an offset once it is durable; librdkafka commits what is stored now and then,
        // and when partitions are taken away or the client closes.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set(
            "auto.commit.interval.ms",
            COMMIT_INTERVAL.as_millis().to_string(),
        )
        .set("auto.offset.reset", "earliest")
        .set(
            "session.timeout.ms",
            SESSION_TIMEOUT.as_millis().to_string(),
        )
        .set(
            "heartbeat.interval.ms",
            (SESSION_TIMEOUT.as_millis() / 4).to_string(),
        )
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.min.messages", PREFETCH_RECORDS.to_string())
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("fetch.max.bytes", (PREFETCH_KIB * 1024).to_string())
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("statistics.interval.ms", "2000");
    Ok(config)
}

/// Runs until an order ends it or something fails that needs a new start.
pub(super) fn run(job: &mut Job, link: &Arc<Link>, backoff: &mut Backoff) -> Result<(), Fault> {
    link.report().enter(Phase::Starting, now());
    let config = config(job).map_err(|error| Fault::kafka(error.to_string()))?;
    let pipeline = Pipeline::open(&mut job.processors, link)?;
    {
        let mut report = link.report();
        if report
            .fault
            .as_ref()
            .is_some_and(|fault| fault.stage != "kafka")
        {
            report.recovered(now());
        }
    }
    let context = Context::new(Arc::clone(link), &job.consumer_id);
    let client: Client = config
        .create_with_context(context)
        .map_err(|error| Fault::kafka(error.to_string()))?;
    let topics: Vec<&str> = job.topics.iter().map(String::as_str).collect();
    client
        .subscribe(&topics)
        .map_err(|error| Fault::kafka(error.to_string()))?;
    let mut session = Session {
        client: &client,
        link,
        pipeline,
        backoff,
        topics: &job.topics,
        limits: (
            job.settings.batch_records,
            job.settings.batch_bytes,
            job.settings.batch_age,
        ),
        batch: Batch::default(),
        paused: None,
        looked: Instant::now(),
        empty_checked: 0,
        last_message: Instant::now(),
    };
    let outcome = session.run();
    drop(session);
    // Leaves the group. This may hang inside librdkafka; the manager waits for a bounded time only.
    drop(client);
    outcome
}

/// Records that are read and not yet written.
#[derive(Default)]
struct Batch<'c> {
    messages: Vec<BorrowedMessage<'c>>,
    bytes: usize,
    since: Option<Instant>,
}

impl<'c> Batch<'c> {
    fn push(&mut self, message: BorrowedMessage<'c>) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += message.payload_len() + message.key_len();
        self.messages.push(message);
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
        self.since = None;
    }
}

struct Session<'a, 'j> {
    client: &'a Client,
    link: &'a Link,
    pipeline: Pipeline<'j>,
    backoff: &'a mut Backoff,
    topics: &'a [String],
    limits: (usize, usize, Duration),
    batch: Batch<'a>,
    /// For which assignment reading was stopped or allowed last.
    paused: Option<(u64, bool)>,
    looked: Instant,
    /// The assignment whose emptiness was explained.
    empty_checked: u64,
    last_message: Instant,
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
        }
        self.finish();
        Ok(())
    }

    /// How long the next poll may wait: until the batch is old enough, or a slice.
    fn wait_time(&self) -> Duration {
        let age = self.limits.2;
        self.batch.since.map_or(SLICE, |since| {
            age.saturating_sub(since.elapsed()).min(SLICE)
        })
    }

    fn due(&self) -> bool {
        let (records, bytes, age) = self.limits;
        let batch = &self.batch;
        batch.messages.len() >= records
            || batch.bytes >= bytes
            || batch.since.is_some_and(|since| since.elapsed() >= age)
    }

    fn poll(&mut self, wait: Duration) -> Result<(), Fault> {
        match self.client.poll(wait) {
            Some(Ok(message)) => {
                self.last_message = Instant::now();
                self.batch.push(message);
                return Ok(());
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                return Err(Fault::kafka(format!("the client cannot go on: {code}")));
            }
            Some(Err(error)) => self.note(&error),
            None => {}
        }
        self.after_events();
        Ok(())
    }

    /// Errors that come in a record's place.
    fn note(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        let lasting = matches!(
            code,
            Some(
                Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
            )
        );
        if lasting {
            self.client.context().group().trouble = Some(error.to_string());
        }
    }

    /// Takes in what happened inside `poll`: a changed assignment, trouble.
    fn after_events(&mut self) {
        let (joined, revoked, epoch, empty) = {
            let mut group = self.client.context().group();
            let revoked = std::mem::take(&mut group.revoked);
            (group.joined, revoked, group.epoch, group.owned.is_empty())
        };
        if !revoked.is_empty() {
            self.forget(&revoked);
        }
        if self.looked.elapsed() >= LOOK_INTERVAL {
            let trouble = self.client.context().group().trouble.is_some();
            let unexplained = joined && empty && self.empty_checked != epoch;
            if joined && (trouble || unexplained) {
                self.look(epoch);
            }
            self.looked = Instant::now();
        }
        self.tell(joined);
    }

    fn forget(&mut self, revoked: &[(String, i32)]) {
        let gone = |topic: &str, partition: i32| {
            revoked.iter().any(|(t, p)| t == topic && *p == partition)
        };
        let before = self.batch.messages.len();
        self.batch
            .messages
            .retain(|m| !gone(m.topic(), m.partition()));
        let dropped = (before - self.batch.messages.len()) as u64;
        metrics::counter!("consumer_records_skipped_total", "reason" => "revoked")
            .increment(dropped);
        if self.batch.messages.is_empty() {
            self.batch.clear();
        }
        let mut report = self.link.report();
        report
            .positions
            .retain(|(topic, partition), _| !gone(topic, *partition));
    }

    /// Looks at Kafka: whether it answers again, and whether the topics are there.
    fn look(&mut self, epoch: u64) {
        let mut trouble = None;
        for topic in self.topics {
            match self.client.fetch_metadata(Some(topic), LOOK_TIMEOUT) {
                Ok(metadata) => {
                    let missing = metadata.topics().iter().all(|t| t.partitions().is_empty());
                    if missing {
                        trouble = Some(format!("the topic {topic} does not exist in Kafka"));
                    } else {
                        self.empty_checked = epoch;
                    }
                }
                // What is known already says more than a timeout.
                Err(_) if self.client.context().group().trouble.is_some() => return,
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        self.client.context().group().trouble = trouble;
    }

    /// Brings the report in line with the group.
    fn tell(&self, joined: bool) {
        let trouble = self.client.context().group().trouble.clone();
        let order = self.link.ordered();
        let mut report = self.link.report();
        if matches!(order, Order::Run | Order::Pause) {
            let phase = match (joined, order) {
                (false, _) => Phase::Starting,
                (true, Order::Pause) => Phase::Paused,
                (true, _) => Phase::Running,
            };
            report.enter(phase, now());
        }
        let kafka = report.fault.as_ref().filter(|fault| fault.stage == "kafka");
        let (known, same) = (
            kafka.is_some(),
            kafka.map(|fault| &fault.message) == trouble.as_ref(),
        );
        match trouble {
            Some(_) if same => report.next_retry_at = Some(after(LOOK_INTERVAL)),
            Some(message) => {
                tracing::warn!(error = message, "Kafka does not serve a consumer");
                report.fail(Fault::kafka(message), now(), Some(after(LOOK_INTERVAL)));
            }
            // A sink's failure ends with a batch that is written, not here.
            None if joined && known => report.recovered(now()),
            None => {}
        }
    }

    fn set_paused(&mut self, pause: bool) {
        let epoch = self.client.context().group().epoch;
        if self.paused == Some((epoch, pause)) || (self.paused.is_none() && !pause) {
            return;
        }
        let Ok(assignment) = self.client.assignment() else {
            return;
        };
        let done = if pause {
            self.client.pause(&assignment)
        } else {
            self.client.resume(&assignment)
        };
        match done {
            Ok(()) => self.paused = Some((epoch, pause)),
            Err(error) => tracing::warn!(error = %error, pause, "partitions not paused or resumed"),
        }
        let joined = self.client.context().group().joined;
        self.tell(joined);
    }

    /// Writes the batch, again and again if it must be. False: an order came meanwhile and the records
    /// stay in Kafka.
    fn write(&mut self) -> Result<bool, Fault> {
        while let Err(fault) = self.write_once() {
            let delay = self.backoff.delay();
            let millis = delay.as_millis() as u64;
            tracing::warn!(
                stage = fault.stage,
                error = fault.message,
                retry_ms = millis,
                "a batch fails"
            );
            metrics::counter!("consumer_failures_total", "stage" => fault.stage.clone())
                .increment(1);
            self.link.report().fail(fault, now(), Some(after(delay)));
            if !self.hold(delay)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stays in the group without reading until the next try is due. False: an order ends the session.
    fn hold(&mut self, delay: Duration) -> Result<bool, Fault> {
        let (until, kicks) = (Instant::now() + delay, self.link.kicked());
        while Instant::now() < until {
            if !matches!(self.link.ordered(), Order::Run | Order::Pause) {
                return Ok(false);
            }
            if self.link.kicked() != kicks {
                self.backoff.reset();
                break;
            }
            self.set_paused(true);
            // A record that was on its way when reading stopped joins the batch's end.
            match self.client.poll(SLICE) {
                Some(Ok(message)) => self.batch.push(message),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(Fault::kafka(format!("the client cannot go on: {code}")));
                }
                Some(Err(error)) => self.note(&error),
                None => {}
            }
            let revoked = std::mem::take(&mut self.client.context().group().revoked);
            if !revoked.is_empty() {
                self.forget(&revoked);
            }
        }
        Ok(true)
    }

    fn write_once(&mut self) -> Result<(), Fault> {
        if !self.batch.messages.is_empty() {
            let entries: Vec<Entry<'_>> = self.batch.messages.iter().map(Entry::of).collect();
            self.pipeline.write(&entries, self.link)?;
            let bytes: usize = entries.iter().map(Entry::bytes).sum();
            let mut touched = BTreeSet::new();
            let mut last = None;
            for entry in &entries {
                // Most records follow one of their partition.
                let place = (entry.topic, entry.partition);
                if last.replace(place) != Some(place) {
                    touched.insert(place);
                }
            }
            self.store(&touched);
            let mut report = self.link.report();
            report.read(entries.len() as u64, bytes as u64, now());
            for (topic, partition) in touched {
                if let Some(next) = self.pipeline.committable(topic, partition) {
                    let key = (topic.to_owned(), partition);
                    let end = report.ends.entry(key.clone()).or_insert(next);
                    *end = (*end).max(next);
                    report.positions.insert(key, next);
                }
            }
        }
        self.batch.clear();
        self.backoff.healthy();
        let mut report = self.link.report();
        if report
            .fault
            .as_ref()
            .is_some_and(|fault| fault.stage != "kafka")
        {
            report.recovered(now());
        }
        Ok(())
    }

    /// Lets librdkafka commit what every processor holds.
    fn store(&self, touched: &BTreeSet<(&str, i32)>) {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in touched {
            if let Some(next) = self.pipeline.committable(topic, *partition) {
                let _legal = list.add_partition_offset(topic, *partition, Offset::Offset(next));
            }
        }
        if let Err(error) = self.client.store_offsets(&list) {
            // A partition that was taken away meanwhile: its next owner reads the records again.
            tracing::debug!(error = %error, "offsets not stored");
            metrics::counter!("consumer_commit_failures_total", "reason" => "not_owned")
                .increment(1);
        }
    }

    /// Whether everything that was there when the drain began is written.
    fn drained(&self, started: Instant) -> bool {
        if !self.batch.messages.is_empty() {
            return started.elapsed() >= DRAIN_MAX;
        }
        let failing = self.link.report().fault.is_some();
        failing || self.last_message.elapsed() >= DRAIN_IDLE || started.elapsed() >= DRAIN_MAX
    }

    /// Writes what is in flight if that works at once. Closing the client commits it.
    fn finish(&mut self) {
        self.link.report().enter(Phase::Stopping, now());
        let failing = self.link.report().fault.is_some();
        if !failing && let Err(fault) = self.write_once() {
            tracing::warn!(
                stage = fault.stage,
                error = fault.message,
                "the last batch is not written; it is read again at the next start"
            );
        }
    }
}
