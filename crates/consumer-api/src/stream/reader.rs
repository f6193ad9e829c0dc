//! One thread that reads one topic at its end, without a group, for any number of viewers. It never
//! waits for a viewer: what it reads goes to the topic's log, and each viewer is rung.

use super::PREFETCH_KIB;
use super::chunk::Builder;
use super::log::{Found, Log};
use super::start::{Start, resolve};
use crate::app::kafka_problem;
use crate::batch::Entry;
use crate::clusters::{Cluster, Quiet, QuietConsumer};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::problem::Problem;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Time that a reader gets to find the end of its topic.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a reader looks away from its viewers.
const SLICE: Duration = Duration::from_millis(100);
/// How long a reader waits for the next viewer.
const LINGER: Duration = Duration::from_secs(5);
/// Time between two looks for new partitions.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes of one chunk, if records come faster than they are shown.
const CHUNK_BYTES: usize = 64 * 1024;
/// Waking a viewer and writing to it costs about so much: with many of them records are shown less
/// often, several at a time.
const SHOW_COST: Duration = Duration::from_micros(25);
/// The longest that a record waits for others.
const SHOW_INTERVAL_MAX: Duration = Duration::from_millis(60);
/// A name that librdkafka wants for a reader, although it joins no group.
pub(super) const GROUP: &str = "sluice-tail";

#[derive(Debug)]
enum Phase {
    Opening,
    Ready,
    Ended(String),
}

#[derive(Debug)]
struct State {
    phase: Phase,
    log: Log,
    viewers: HashMap<u64, Arc<Notify>>,
    numbers: u64,
    alone_since: Instant,
}

/// A reader of one topic.
#[derive(Debug)]
pub struct Reader {
    topic: Arc<str>,
    topic_id: i64,
    log_bytes: usize,
    state: Mutex<State>,
    opened: watch::Sender<bool>,
}

/// What a viewer sees of a topic's end.
#[derive(Clone, Debug)]
pub enum Seen {
    /// What is in the log.
    Found(Found),
    /// The reader cannot go on, and why.
    Ended(String),
}

impl Reader {
    /// Starts a reader at the end of a topic.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        cluster: &Arc<Cluster>,
        topic: &str,
        topic_id: i64,
        log_bytes: usize,
    ) -> Result<Arc<Self>, Problem> {
        let state = State {
            phase: Phase::Opening,
            log: Log::default(),
            viewers: HashMap::new(),
            numbers: 0,
            alone_since: Instant::now(),
        };
        let this = Arc::new(Self {
            topic: topic.into(),
            topic_id,
            log_bytes,
            state: Mutex::new(state),
            opened: watch::Sender::new(false),
        });
        let (reader, cluster) = (Arc::clone(&this), Arc::clone(cluster));
        std::thread::Builder::new()
            .name("tail".into())
            .spawn(move || reader.run(&cluster))
            .map_err(|error| kafka_problem(format!("no thread for a reader: {error}")))?;
        metrics::counter!("stream_readers_started_total").increment(1);
        Ok(this)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it reads this topic, and not an earlier one of the same name, and has not ended.
    pub fn serves(&self, topic_id: i64) -> bool {
        self.topic_id == topic_id && !matches!(self.state().phase, Phase::Ended(_))
    }

    /// Adds a viewer, who is rung whenever there is something new. None when the reader has ended.
    pub fn attach(self: &Arc<Self>, bell: &Arc<Notify>) -> Option<Feed> {
        let mut state = self.state();
        if matches!(state.phase, Phase::Ended(_)) {
            return None;
        }
        state.numbers += 1;
        let number = state.numbers;
        state.viewers.insert(number, Arc::clone(bell));
        drop(state);
        Some(Feed {
            reader: Arc::clone(self),
            number,
        })
    }

    fn end(&self, reason: &str) {
        let mut state = self.state();
        state.phase = Phase::Ended(reason.to_owned());
        state.log = Log::default();
        ring(&state);
        drop(state);
        self.opened.send_replace(true);
    }

    fn run(&self, cluster: &Cluster) {
        let outcome = self
            .open(cluster)
            .and_then(|(client, builder)| self.read(&client, builder));
        match outcome {
            Ok(()) => self.end("nobody looks"),
            Err(reason) => {
                tracing::warn!(topic.name = &*self.topic, reason, "a reader ends");
                self.end(&reason);
            }
        }
    }

    fn open(&self, cluster: &Cluster) -> Result<(QuietConsumer, Builder), String> {
        let (place, _) = resolve(cluster, &self.topic, self.topic_id, &Start::Latest)
            .map_err(|problem| problem.detail)?;
        let client: QuietConsumer = config(cluster)?
            .create_with_context(Quiet)
            .map_err(|error| error.to_string())?;
        assign(&client, &self.topic, &place.next).map_err(|error| error.to_string())?;
        let builder = Builder::new(Arc::clone(&self.topic), place.clone());
        let mut state = self.state();
        state.log = Log::new(self.log_bytes, place.next);
        state.phase = Phase::Ready;
        state.alone_since = Instant::now();
        drop(state);
        self.opened.send_replace(true);
        Ok((client, builder))
    }

    fn read(&self, client: &QuietConsumer, mut builder: Builder) -> Result<(), String> {
        let (mut looked, mut shown) = (Instant::now(), Instant::now());
        let mut interval = Duration::ZERO;
        loop {
            let wait = if builder.is_empty() {
                SLICE
            } else {
                interval.saturating_sub(shown.elapsed())
            };
            let quiet = match client.poll(wait) {
                Some(Ok(message)) => {
                    builder.push(&Entry::of(&message));
                    false
                }
                Some(Err(error)) if is_final(&error) => return Err(error.to_string()),
                // librdkafka connects again by itself.
                Some(Err(error)) => {
                    tracing::debug!(error = %error, "a reader waits");
                    true
                }
                None => true,
            };
            let due = builder.len() >= CHUNK_BYTES || shown.elapsed() >= interval;
            if !builder.is_empty() && due {
                interval = self.show(&mut builder);
                shown = Instant::now();
            } else if quiet && self.is_alone() {
                return Ok(());
            }
            if looked.elapsed() >= PARTITIONS_INTERVAL {
                looked = Instant::now();
                self.take_new_partitions(client, &mut builder);
                if self.is_alone() {
                    return Ok(());
                }
            }
        }
    }

    /// Shows what was read; the answer is how long to wait before the next time.
    fn show(&self, builder: &mut Builder) -> Duration {
        let chunk = builder.take();
        let mut state = self.state();
        state.log.push(chunk);
        ring(&state);
        let viewers = u32::try_from(state.viewers.len()).unwrap_or(u32::MAX);
        SHOW_COST
            .saturating_mul(viewers.saturating_sub(1))
            .min(SHOW_INTERVAL_MAX)
    }

    fn is_alone(&self) -> bool {
        let mut state = self.state();
        let alone = state.viewers.is_empty() && state.alone_since.elapsed() >= LINGER;
        if alone {
            // Under the same lock: nobody attaches to a reader that has decided to end.
            state.phase = Phase::Ended("nobody looks".to_owned());
        }
        alone
    }

    /// Partitions that were added since are read from their first record.
    fn take_new_partitions(&self, client: &QuietConsumer, builder: &mut Builder) {
        let Ok(metadata) = client.fetch_metadata(Some(&self.topic), SLICE) else {
            return;
        };
        let found = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == &*self.topic);
        let count = found.map_or(0, |topic| topic.partitions().len());
        if count <= builder.next().len() {
            return;
        }
        builder.widen(count);
        // What is read already goes on where it is; the builder leaves out what comes twice.
        if let Err(error) = assign(client, &self.topic, builder.next()) {
            tracing::warn!(error = %error, "new partitions are not read yet");
        }
    }
}

fn ring(state: &State) {
    for bell in state.viewers.values() {
        bell.notify_one();
    }
}

/// Reads from these offsets on, by partition.
pub(super) fn assign(client: &QuietConsumer, topic: &str, next: &[i64]) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, at) in (0_i32..).zip(next) {
        list.add_partition_offset(topic, partition, Offset::Offset((*at).max(0)))?;
    }
    client.assign(&list)
}

/// A client that reads without a group.
pub(super) fn config(cluster: &Cluster) -> Result<ClientConfig, String> {
    let mut config = cluster
        .client("sluice-tail")
        .map_err(|error| error.to_string())?;
    config
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Records that are gone are told to the viewer, not skipped.
        .set("auto.offset.reset", "error")
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("fetch.max.bytes", (PREFETCH_KIB * 1024).to_string())
        .set("topic.metadata.refresh.interval.ms", "30000");
    Ok(config)
}

/// Whether a reader cannot go on after this.
pub(super) fn is_final(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::UnknownPartition
                    | Code::AutoOffsetReset
            )
        )
}

/// A viewer's place at a reader; dropping it takes the viewer away.
#[derive(Debug)]
pub struct Feed {
    reader: Arc<Reader>,
    number: u64,
}

impl Feed {
    /// Waits until the reader has found the end of its topic.
    ///
    /// # Errors
    /// 503 when that takes too long or fails.
    pub async fn ready(&self) -> Result<(), Problem> {
        let mut opened = self.reader.opened.subscribe();
        // The sender lives in the reader, so the channel cannot close meanwhile.
        let waited = tokio::time::timeout(OPEN_TIMEOUT, opened.wait_for(|opened| *opened)).await;
        match &self.reader.state().phase {
            Phase::Ended(reason) => Err(kafka_problem(reason.clone())),
            Phase::Ready if waited.is_ok() => Ok(()),
            _ => Err(kafka_problem("Kafka does not answer in time")),
        }
    }

    /// What is at a place of the log.
    pub fn get(&self, place: u64) -> Seen {
        let state = self.reader.state();
        match &state.phase {
            Phase::Ended(reason) => Seen::Ended(reason.clone()),
            Phase::Opening => Seen::Found(Found::End),
            Phase::Ready => Seen::Found(state.log.get(place)),
        }
    }

    /// The end of the log and the offsets that come there.
    pub fn end(&self) -> (u64, Vec<i64>) {
        let state = self.reader.state();
        (state.log.end(), state.log.next().to_vec())
    }

    /// The offsets of the oldest records that are kept.
    pub fn oldest(&self) -> Vec<i64> {
        self.reader.state().log.oldest().to_vec()
    }

    /// The place from which somebody misses nothing who has read up to these offsets. None when some of
    /// it is not kept, or the reader is not there yet.
    pub fn find(&self, next: &[i64]) -> Option<u64> {
        let state = self.reader.state();
        matches!(state.phase, Phase::Ready)
            .then(|| state.log.find(next))
            .flatten()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.reader.state();
        state.viewers.remove(&self.number);
        if state.viewers.is_empty() {
            state.alone_since = Instant::now();
        }
    }
}
