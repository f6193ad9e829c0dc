//! The clients that read further back than a topic's end: for viewers that catch up and for record
//! listings. There are few of them, each is borrowed for one piece of work at a time, and who waits is
//! served in turn, so that any number of viewers catches up side by side.

use super::chunk::{Builder, Chunk};
use super::cursor::Place;
use super::filter::Filter;
use super::reader::{assign, config, is_final};
use crate::app::kafka_problem;
use crate::batch::Entry;
use crate::clusters::{Cluster, Quiet, QuietConsumer};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sluice_model::problem::Problem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The longest that one poll waits.
const SLICE: Duration = Duration::from_millis(50);
/// Time that one piece of work may take while records come, and while none do.
const FETCH_TIME: Duration = Duration::from_millis(250);
const FETCH_TIME_EMPTY: Duration = Duration::from_secs(2);
/// Milliseconds that a broker waits for records at the end of a partition.
const FETCH_WAIT_MS: &str = "10";
/// Bytes of events that one piece of work answers.
const FETCH_BYTES: usize = 64 * 1024;
/// Bytes of records that one piece of work looks at.
const SCAN_BYTES: u64 = 4 * 1024 * 1024;
/// A client that nobody borrowed for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A client that is borrowed.
pub struct Client {
    consumer: QuietConsumer,
    at: Option<At>,
    used: Instant,
}

/// Where a client reads.
#[derive(Debug, PartialEq, Eq)]
struct At {
    topic: Arc<str>,
    next: Vec<i64>,
    /// The partitions whose end was seen since reading began.
    ended: Vec<bool>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Client {
    fn open(cluster: &Cluster) -> Result<Self, Problem> {
        let consumer = config(cluster)
            .map_err(kafka_problem)?
            .set("enable.partition.eof", "true")
            // A question that waits for new records holds up the next one, which may be of another topic.
            .set("fetch.wait.max.ms", FETCH_WAIT_MS)
            .create_with_context(Quiet)
            .map_err(|error| kafka_problem(error.to_string()))?;
        Ok(Self {
            consumer,
            at: None,
            used: Instant::now(),
        })
    }

    fn is_at(&self, topic: &str, next: &[i64]) -> bool {
        self.at
            .as_ref()
            .is_some_and(|at| &*at.topic == topic && at.next == next)
    }

    /// Reads some partitions from these offsets on, which nobody takes over.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn read(&mut self, list: &rdkafka::TopicPartitionList) -> Result<&QuietConsumer, Problem> {
        self.at = None;
        self.consumer
            .assign(list)
            .map_err(|error| kafka_problem(error.to_string()))?;
        Ok(&self.consumer)
    }

    /// Stops reading.
    pub fn rest(&mut self) {
        self.at = None;
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(error = %error, "a client goes on reading");
        }
    }
}

/// What a viewer that catches up wants next.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which topic.
    pub topic: Arc<str>,
    /// From where.
    pub place: Place,
    /// Which records.
    pub filter: Arc<Filter>,
    /// Whether the ends of partitions that were seen before count no more.
    pub fresh: bool,
}

/// What it gets.
#[derive(Debug)]
pub struct Fetched {
    /// The records that passed.
    pub chunk: Chunk,
    /// Whether the end of every partition was seen.
    pub at_end: bool,
    /// Whether the next records are gone from Kafka.
    pub lost: bool,
    /// Records that were looked at.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The clients. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    cluster: Arc<Cluster>,
    turns: Arc<Semaphore>,
    max: usize,
    idle: Arc<Mutex<Vec<Client>>>,
}

impl Pool {
    /// At most so many clients of a cluster.
    pub fn new(cluster: Arc<Cluster>, max: usize) -> Self {
        Self {
            cluster,
            turns: Arc::new(Semaphore::new(max)),
            max,
            idle: Arc::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something that blocks, when it is its turn.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_closed| kafka_problem("the service stops"))?;
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&this);
            drop(turn);
            outcome
        });
        done.await
            .map_err(|error| *sluice_service::http::problem::internal(&error).0)?
    }

    /// Runs something with a client, when it is its turn; best with one that stands at this place.
    ///
    /// # Errors
    /// What it fails with, or when there is no client.
    pub async fn with<T: Send + 'static>(
        &self,
        topic: Arc<str>,
        next: Vec<i64>,
        work: impl FnOnce(&mut Client) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.turn(move |this| {
            let mut client = this.borrow(&topic, &next)?;
            let outcome = work(&mut client);
            client.used = Instant::now();
            if outcome.is_err() {
                client.rest();
            }
            this.idle().push(client);
            outcome
        })
        .await
    }

    fn borrow(&self, topic: &str, next: &[i64]) -> Result<Client, Problem> {
        let mut idle = self.idle();
        let fits = idle.iter().position(|client| client.is_at(topic, next));
        let free = || idle.iter().position(|client| client.at.is_none());
        let all = idle.len() + self.max.saturating_sub(self.turns.available_permits());
        // Whoever has a turn holds no client yet: counting both keeps on the safe side.
        let oldest = || {
            let used = idle
                .iter()
                .enumerate()
                .min_by_key(|(_, client)| client.used);
            used.filter(|_| all > self.max).map(|(index, _)| index)
        };
        if let Some(index) = fits.or_else(free).or_else(oldest) {
            return Ok(idle.swap_remove(index));
        }
        drop(idle);
        Client::open(&self.cluster)
    }

    /// Reads on for a viewer.
    ///
    /// # Errors
    /// 503 when Kafka does not serve the topic now.
    pub async fn fetch(&self, ask: Ask) -> Result<Fetched, Problem> {
        let (topic, next) = (Arc::clone(&ask.topic), ask.place.next.clone());
        self.with(topic, next, move |client| fetch(client, ask))
            .await
    }

    /// Closes clients that nobody has borrowed for a while. Blocks.
    pub fn sweep(&self) {
        let old: Vec<Client> = self
            .idle()
            .extract_if(.., |client| client.used.elapsed() >= IDLE_MAX)
            .collect();
        drop(old);
    }
}

fn fetch(client: &mut Client, ask: Ask) -> Result<Fetched, Problem> {
    let text = |error: KafkaError| kafka_problem(error.to_string());
    if ask.fresh || !client.is_at(&ask.topic, &ask.place.next) {
        assign(&client.consumer, &ask.topic, &ask.place.next).map_err(text)?;
        client.at = None;
    }
    let partitions = ask.place.next.len();
    let at = client.at.take();
    let mut ended = at.map_or_else(|| vec![false; partitions], |at| at.ended);
    let mut builder = Builder::new(Arc::clone(&ask.topic), ask.place);
    let (started, mut records, mut bytes, mut lost) = (Instant::now(), 0_u64, 0_u64, false);
    let at_end = loop {
        match client.consumer.poll(SLICE) {
            Some(Ok(message)) => {
                let entry = Entry::of(&message);
                records += 1;
                bytes += entry.bytes() as u64;
                set(&mut ended, entry.partition, false);
                if ask.filter.passes(&entry) {
                    builder.push(&entry);
                } else {
                    builder.skip(entry.partition, entry.offset);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => set(&mut ended, partition, true),
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) => {
                lost = true;
                break false;
            }
            Some(Err(error)) if is_final(&error) => return Err(text(error)),
            // librdkafka connects again by itself.
            Some(Err(_)) | None => {}
        }
        if ended.iter().all(|ended| *ended) {
            break true;
        }
        let limit = if records == 0 {
            FETCH_TIME_EMPTY
        } else {
            FETCH_TIME
        };
        if builder.len() >= FETCH_BYTES || bytes >= SCAN_BYTES || started.elapsed() >= limit {
            break false;
        }
    };
    if at_end || lost {
        client.rest();
    } else {
        let next = builder.next().to_vec();
        client.at = Some(At {
            topic: ask.topic,
            next,
            ended,
        });
    }
    Ok(Fetched {
        chunk: builder.take(),
        at_end,
        lost,
        records,
        bytes,
    })
}

fn set(ended: &mut [bool], partition: i32, value: bool) {
    let place = usize::try_from(partition)
        .ok()
        .and_then(|index| ended.get_mut(index));
    if let Some(place) = place {
        *place = value;
    }
}
