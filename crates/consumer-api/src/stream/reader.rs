//! One thread that reads one topic, without a group, for one viewer or for many.

use super::cursor::{Cursor, Place};
use super::viewer::{Event, Item, Viewer};
use crate::app::kafka_problem;
use crate::app::lag::ASK_TIMEOUT;
use crate::app::offsets::offset_at;
use crate::batch::Entry;
use crate::clusters::{Cluster, Quiet, QuietConsumer};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::problem::Problem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time that a reader gets to find the ends of its topic.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest a reader looks away from its viewers.
const SLICE: Duration = Duration::from_millis(100);
/// How long a shared reader waits for the next viewer.
const LINGER: Duration = Duration::from_secs(5);
/// Time between two looks for new partitions.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);
/// Kilobytes that a reader fetches ahead.
const PREFETCH_KIB: u32 = 2 * 1024;
/// A name that librdkafka wants for a reader, although it joins no group.
const GROUP: &str = "sluice-tail";

/// Where a reader starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// At the end.
    Latest,
    /// At the first record that is still there.
    Earliest,
    /// Where a cursor was.
    At(Place),
    /// At the first record of an instant (milliseconds since the epoch).
    Time(i64),
}

#[derive(Debug)]
enum Phase {
    Opening,
    Ready,
    Ended(String),
}

#[derive(Debug)]
struct State {
    phase: Phase,
    next: Vec<i64>,
    viewers: Vec<Arc<Viewer>>,
    alone_since: Instant,
}

/// A reader of one topic.
#[derive(Debug)]
pub struct Reader {
    topic: Arc<str>,
    /// A reader of one viewer waits for it; a shared one never waits.
    private: bool,
    state: Mutex<State>,
    opened: Condvar,
}

impl Reader {
    /// Starts a reader at the end of a topic, for any number of viewers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn shared(cluster: &Arc<Cluster>, topic: &str) -> Result<Arc<Self>, Problem> {
        Self::start(cluster, topic, Start::Latest, None)
    }

    /// Starts a reader for one viewer.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn private(
        cluster: &Arc<Cluster>,
        topic: &str,
        start: Start,
        viewer: &Arc<Viewer>,
    ) -> Result<Arc<Self>, Problem> {
        Self::start(cluster, topic, start, Some(viewer))
    }

    fn start(
        cluster: &Arc<Cluster>,
        topic: &str,
        start: Start,
        only: Option<&Arc<Viewer>>,
    ) -> Result<Arc<Self>, Problem> {
        let viewers = only.map(Arc::clone).into_iter().collect();
        let state = State {
            phase: Phase::Opening,
            next: Vec::new(),
            viewers,
            alone_since: Instant::now(),
        };
        let this = Arc::new(Self {
            topic: topic.into(),
            private: only.is_some(),
            state: Mutex::new(state),
            opened: Condvar::new(),
        });
        let (reader, cluster) = (Arc::clone(&this), Arc::clone(cluster));
        std::thread::Builder::new()
            .name("tail".into())
            .spawn(move || reader.run(&cluster, &start))
            .map_err(|error| kafka_problem(format!("no thread for a reader: {error}")))?;
        metrics::counter!("stream_readers_started_total").increment(1);
        Ok(this)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it reads no more.
    pub fn ended(&self) -> bool {
        matches!(self.state().phase, Phase::Ended(_))
    }

    /// Adds a viewer; the answer is where it starts. Blocks until the reader knows.
    ///
    /// # Errors
    /// When the reader cannot be opened in time.
    pub fn attach(&self, viewer: &Arc<Viewer>) -> Result<Cursor, Problem> {
        let opening = |state: &mut State| matches!(state.phase, Phase::Opening);
        let waited = self
            .opened
            .wait_timeout_while(self.state(), OPEN_TIMEOUT, opening);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.phase {
            Phase::Ready => {}
            Phase::Opening => return Err(kafka_problem("Kafka does not answer in time")),
            Phase::Ended(reason) => return Err(kafka_problem(reason.clone())),
        }
        if !self.private {
            state.viewers.push(Arc::clone(viewer));
        }
        let mut cursor = Cursor::default();
        cursor.put(
            &self.topic,
            Place {
                topic_id: 0,
                next: state.next.clone(),
            },
        );
        Ok(cursor)
    }

    /// Takes a viewer away.
    pub fn detach(&self, viewer: &Arc<Viewer>) {
        let mut state = self.state();
        state.viewers.retain(|known| !Arc::ptr_eq(known, viewer));
        if state.viewers.is_empty() {
            state.alone_since = Instant::now();
        }
    }

    fn end(&self, reason: &str) {
        let mut state = self.state();
        for viewer in std::mem::take(&mut state.viewers) {
            viewer.offer(Item::Broken(Arc::clone(&self.topic), reason.to_owned()));
        }
        state.phase = Phase::Ended(reason.to_owned());
        drop(state);
        self.opened.notify_all();
    }

    fn run(&self, cluster: &Cluster, start: &Start) {
        let outcome = self
            .open(cluster, start)
            .and_then(|client| self.read(&client));
        match outcome {
            Ok(()) => self.end("nobody looks"),
            Err(reason) => {
                tracing::warn!(topic.name = &*self.topic, reason, "a reader ends");
                self.end(&reason);
            }
        }
    }

    fn open(&self, cluster: &Cluster, start: &Start) -> Result<QuietConsumer, String> {
        let client: QuietConsumer = config(cluster)?
            .create_with_context(Quiet)
            .map_err(|error| error.to_string())?;
        let count = cluster.partitions(&self.topic, ASK_TIMEOUT)?;
        let mut list = TopicPartitionList::new();
        let mut next = Vec::new();
        for partition in 0..count {
            let (low, high) = client
                .fetch_watermarks(&self.topic, partition, ASK_TIMEOUT)
                .map_err(|error| {
                    format!("Kafka does not tell the ends of {}: {error}", self.topic)
                })?;
            let at = match start {
                Start::Time(ms) => offset_at(cluster, &self.topic, partition, *ms)
                    .map_err(|problem| problem.detail)?
                    .unwrap_or(high),
                other => first(other, partition, low, high),
            };
            if let Some((from, to)) = gap(start, partition, low, high) {
                let gap = Item::Gap(Arc::clone(&self.topic), partition, from, to);
                self.state().viewers.iter().for_each(|viewer| {
                    viewer.offer(gap.clone());
                });
            }
            list.add_partition_offset(&self.topic, partition, Offset::Offset(at))
                .map_err(|error| error.to_string())?;
            next.push(at);
        }
        client.assign(&list).map_err(|error| error.to_string())?;
        let mut state = self.state();
        state.next = next;
        state.phase = Phase::Ready;
        state.alone_since = Instant::now();
        drop(state);
        self.opened.notify_all();
        Ok(client)
    }

    fn read(&self, client: &QuietConsumer) -> Result<(), String> {
        let mut looked = Instant::now();
        loop {
            match client.poll(SLICE) {
                Some(Ok(message)) => {
                    let entry = Entry::of(&message);
                    let json = serde_json::to_string(&entry.record()).map_err(|e| e.to_string())?;
                    let event = Event {
                        topic: Arc::clone(&self.topic),
                        partition: entry.partition,
                        offset: entry.offset,
                        json,
                    };
                    self.dispatch(Arc::new(event));
                }
                Some(Err(error)) if is_final(&error) => return Err(error.to_string()),
                // librdkafka connects again by itself.
                Some(Err(error)) => tracing::debug!(error = %error, "a reader waits"),
                None => {}
            }
            if self.is_alone() {
                return Ok(());
            }
            if looked.elapsed() >= PARTITIONS_INTERVAL {
                looked = Instant::now();
                self.take_new_partitions(client);
            }
        }
    }

    fn is_alone(&self) -> bool {
        let mut state = self.state();
        let linger = if self.private { Duration::ZERO } else { LINGER };
        let alone = state.viewers.is_empty() && state.alone_since.elapsed() >= linger;
        if alone {
            // Under the same lock: nobody attaches to a reader that has decided to end.
            state.phase = Phase::Ended("nobody looks".to_owned());
        }
        alone
    }

    fn dispatch(&self, event: Arc<Event>) {
        let index = usize::try_from(event.partition).unwrap_or_default();
        let mut state = self.state();
        if state.next.len() <= index {
            state.next.resize(index + 1, 0);
        }
        state.next[index] = event.offset + 1;
        if !self.private {
            state
                .viewers
                .retain(|viewer| viewer.offer(Item::Record(Arc::clone(&event))));
            if state.viewers.is_empty() {
                state.alone_since = Instant::now();
            }
            return;
        }
        drop(state);
        let mut item = Some(Item::Record(event));
        while let Some(waiting) = item.take() {
            let Some(viewer) = self.state().viewers.first().cloned() else {
                return;
            };
            item = viewer.give(waiting, SLICE);
        }
    }

    /// Partitions that were added since are read from their first record.
    fn take_new_partitions(&self, client: &QuietConsumer) {
        let Ok(metadata) = client.fetch_metadata(Some(&self.topic), SLICE) else {
            return;
        };
        let found = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == &*self.topic);
        let count = found.map_or(0, |topic| topic.partitions().len());
        let known = self.state().next.len();
        if count <= known {
            return;
        }
        // What is read already goes on where it is.
        let mut next = self.state().next.clone();
        next.resize(count, 0);
        let mut list = TopicPartitionList::new();
        for (partition, at) in (0_i32..).zip(&next) {
            let _offset_is_legal =
                list.add_partition_offset(&self.topic, partition, Offset::Offset(*at));
        }
        match client.assign(&list) {
            Ok(()) => self.state().next = next,
            Err(error) => tracing::warn!(error = %error, "new partitions are not read yet"),
        }
    }
}

fn config(cluster: &Cluster) -> Result<ClientConfig, String> {
    let mut config = cluster
        .client("sluice-tail")
        .map_err(|error| error.to_string())?;
    config
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("fetch.max.bytes", (PREFETCH_KIB * 1024).to_string())
        .set("topic.metadata.refresh.interval.ms", "30000");
    Ok(config)
}

fn is_final(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
        )
}

/// The first offset to read of a partition.
fn first(start: &Start, partition: i32, low: i64, high: i64) -> i64 {
    match start {
        Start::Earliest => low,
        Start::Latest | Start::Time(_) => high,
        Start::At(place) => {
            let index = usize::try_from(partition).unwrap_or_default();
            match place.next.get(index).copied().filter(|next| *next >= 0) {
                // A partition that came after the cursor was written is new from its first record.
                None => low,
                Some(next) if next < low || next > high => low,
                Some(next) => next,
            }
        }
    }
}

/// The records between where a cursor was and what is still there.
fn gap(start: &Start, partition: i32, low: i64, high: i64) -> Option<(i64, i64)> {
    let Start::At(place) = start else { return None };
    let next = place.next.get(usize::try_from(partition).ok()?).copied()?;
    (next >= 0 && (next < low || next > high)).then_some((next, low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_start_where_they_should_and_say_what_is_gone() {
        let at = |next: Vec<i64>| Start::At(Place { topic_id: 1, next });
        for (start, want, want_gap) in [
            (Start::Latest, 90, None),
            (Start::Earliest, 10, None),
            (at(vec![50]), 50, None),
            (at(vec![90]), 90, None),
            (at(vec![3]), 10, Some((3, 10))),
            (at(vec![95]), 10, Some((95, 10))),
            (at(vec![-1]), 10, None),
            (at(vec![]), 10, None),
        ] {
            assert_eq!(first(&start, 0, 10, 90), want, "{start:?}");
            assert_eq!(gap(&start, 0, 10, 90), want_gap, "{start:?}");
        }
    }
}
