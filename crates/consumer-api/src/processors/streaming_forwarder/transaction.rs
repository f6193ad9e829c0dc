//! A transactional producer and the group whose offsets' metadata keeps positions.

use crate::batch::Entry;
use crate::clusters::{Cluster, Quiet, QuietConsumer, log_quietly};
use crate::governed::class;
use crate::processors::SinkError;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::Offset;
use sluice_model::consumer::FailureClass;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After this time the broker ends a transaction by itself.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to settle what older owners left open.
const INIT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for the end of a transaction, what it still has to send included.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time to undo one.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to read positions.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a full queue may stand still.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// A slice of waiting for reports: short, for rdkafka uses the whole of it.
const POLL: Duration = Duration::from_millis(1);
/// Records and kilobytes that wait in the client.
const QUEUE_RECORDS_MAX: &str = "100000";
const QUEUE_KIB_MAX: &str = "32768";
/// Bytes of a request's batch, unless the destination takes less.
const BATCH_BYTES: usize = 1_000_000;
/// Bytes that a batch has beside its records, with room to spare.
const BATCH_OVERHEAD: usize = 1_000;
/// Bytes of the largest record that is handed over: the broker decides, not the client.
const RECORD_BYTES_MAX: &str = "1000000000";

/// Why a step failed, and what is left of the producer.
pub(super) struct Failure {
    pub(super) error: SinkError,
    /// Whether an abort makes the producer good again.
    pub(super) usable: bool,
    /// Whether a batch was larger than the destination takes, which says nothing about its records.
    pub(super) too_large: bool,
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self {
            error,
            usable: true,
            too_large: false,
        }
    }
}

impl Failure {
    fn of(doing: &str, error: &KafkaError) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let transaction = match error {
            KafkaError::Transaction(error) => Some(error),
            _ => None,
        };
        let words = match transaction {
            Some(error) => format!("{doing}: {}", error.string()),
            None => format!("{doing}: {error}"),
        };
        Self {
            error: SinkError {
                class: class(code),
                ..SinkError::transient(words)
            },
            usable: transaction.is_some_and(rdkafka::error::RDKafkaError::txn_requires_abort),
            too_large: code == Code::MessageSizeTooLarge,
        }
    }

    /// Says that an abort helps.
    pub(super) fn usable(mut self) -> Self {
        self.usable = true;
        self
    }

    /// The error. A transaction that the broker gave up for its age looks like being fenced, and is not.
    pub(super) fn explain(self, age: Option<Duration>) -> SinkError {
        let old = age.is_some_and(|age| age >= TRANSACTION_TIMEOUT);
        if self.error.class == FailureClass::Fenced && old {
            return SinkError::transient("the transaction took too long and was given up by Kafka");
        }
        self.error
    }
}

/// Remembers the first record that was not delivered.
#[derive(Debug, Default)]
pub(super) struct Reports {
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Reports {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_quietly(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", error = %error, reason, "client error");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            // What an abort throws away says nothing.
            if !matches!(
                error.rdkafka_error_code(),
                Some(Code::PurgeQueue | Code::PurgeInflight)
            ) {
                failed.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// An open transactional producer.
pub(super) struct Transactions {
    producer: BaseProducer<Reports>,
    positions: QuietConsumer,
    group: ConsumerGroupMetadata,
}

impl Transactions {
    /// Fences older owners of the name and settles what they left.
    pub(super) fn begin(
        cluster: &Cluster,
        name: &str,
        limit: Option<usize>,
    ) -> Result<Self, SinkError> {
        let config = |error: String| SinkError::environment(error);
        let base = cluster
            .client(name)
            .map_err(|error| config(error.to_string()))?;
        let mut settings = base.clone();
        let batch = limit.map_or(BATCH_BYTES, |limit| BATCH_BYTES.min(limit));
        settings
            .set("transactional.id", name)
            .set(
                "transaction.timeout.ms",
                TRANSACTION_TIMEOUT.as_millis().to_string(),
            )
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set(
                "batch.size",
                batch.saturating_sub(BATCH_OVERHEAD).max(1).to_string(),
            )
            .set("message.max.bytes", RECORD_BYTES_MAX)
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX)
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX);
        let producer: BaseProducer<Reports> = settings
            .create_with_context(Reports::default())
            .map_err(|error| config(error.to_string()))?;
        let mut settings = base;
        settings
            .set("group.id", name)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        let positions: QuietConsumer = settings
            .create_with_context(Quiet)
            .map_err(|error| config(error.to_string()))?;
        let group = positions
            .group_metadata()
            .ok_or_else(|| config("the group has no metadata".to_owned()))?;
        let this = Self {
            producer,
            positions,
            group,
        };
        this.init().map_err(|failure| failure.error)?;
        Ok(this)
    }

    fn init(&self) -> Result<(), Failure> {
        let until = Instant::now() + INIT_TIMEOUT;
        let step = |limit| self.producer.init_transactions(limit);
        self.retry(until, "a transactional producer is not opened", step)
    }

    /// Repeats a step that says that it may be repeated, serving reports in between.
    fn retry(
        &self,
        until: Instant,
        doing: &str,
        step: impl Fn(Duration) -> Result<(), KafkaError>,
    ) -> Result<(), Failure> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let error = match step(left.max(POLL)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let again = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !again || Instant::now() >= until {
                return Err(self.failure(doing, &error));
            }
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(PAUSE);
        }
    }

    /// A failure; a record that was not delivered says more than what it made fail.
    fn failure(&self, doing: &str, error: &KafkaError) -> Failure {
        let failure = Failure::of(doing, error);
        if failure.error.class == FailureClass::Fenced {
            return failure;
        }
        match self.undelivered() {
            Some(cause) => Failure {
                usable: failure.usable,
                ..Failure::of("a record is not taken", &cause)
            },
            None => failure,
        }
    }

    fn undelivered(&self) -> Option<KafkaError> {
        let reports = self.producer.context();
        reports
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The texts that are kept for a topic, one a partition.
    pub(super) fn read(&self, topic: &str, partitions: i32) -> Result<Vec<String>, SinkError> {
        let until = Instant::now() + READ_TIMEOUT;
        loop {
            let words = match self.read_once(topic, partitions) {
                Ok(texts) => return Ok(texts),
                Err(words) => words,
            };
            if Instant::now() >= until {
                return Err(SinkError::transient(format!(
                    "the positions that are kept for {topic} are not read: {words}"
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn read_once(&self, topic: &str, partitions: i32) -> Result<Vec<String>, String> {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition(topic, partition);
        }
        let _no_records = self.positions.poll(Duration::ZERO);
        let found = self
            .positions
            .committed_offsets(list, READ_TIMEOUT)
            .map_err(|error| error.to_string())?;
        let mut texts = vec![String::new(); usize::try_from(partitions).unwrap_or_default()];
        for element in found.elements() {
            element.error().map_err(|error| error.to_string())?;
            let place = usize::try_from(element.partition()).ok();
            if let Some(text) = place.and_then(|place| texts.get_mut(place)) {
                element.metadata().clone_into(text);
            }
        }
        Ok(texts)
    }

    /// Begins a transaction.
    pub(super) fn start(&self) -> Result<(), Failure> {
        self.producer
            .begin_transaction()
            .map_err(|error| self.failure("a transaction is not begun", &error))
    }

    /// Hands a record over.
    pub(super) fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        entry: &Entry<'_>,
    ) -> Result<(), Failure> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        record.key = entry.key;
        record.payload = entry.value;
        record.timestamp = entry.timestamp;
        record.partition = partition;
        if !entry.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(entry.headers.len());
            for (key, value) in &entry.headers {
                headers = headers.insert(Header { key, value: *value });
            }
            record.headers = Some(headers);
        }
        let mut stuck: Option<Instant> = None;
        loop {
            let (error, back) = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let full = error.rdkafka_error_code() == Some(Code::QueueFull);
            let since = *stuck.get_or_insert_with(Instant::now);
            if !full || since.elapsed() >= QUEUE_TIMEOUT {
                let mut failure = self.failure("a record is not taken", &error).usable();
                if failure.error.class == FailureClass::Poison && !failure.too_large {
                    failure.error = failure.error.of(entry);
                }
                return Err(failure);
            }
            record = back;
            self.producer.poll(POLL);
            self.check()?;
        }
    }

    /// Serves reports; a record that was not delivered is a failure.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.producer.poll(Duration::ZERO);
        match self.undelivered() {
            Some(cause) => Err(Failure::of("a record is not taken", &cause).usable()),
            None => Ok(()),
        }
    }

    /// Ends the transaction with texts for a topic's first partitions.
    pub(super) fn commit(&self, topic: &str, texts: &[String]) -> Result<(), Failure> {
        let until = Instant::now() + COMMIT_TIMEOUT;
        // rdkafka's own flush sleeps in slices of 100 ms.
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(POLL);
        }
        self.check()?;
        let mut list = TopicPartitionList::new();
        for (partition, text) in texts.iter().enumerate() {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let mut place = list.add_partition(topic, partition);
            let offset = Offset::Offset(i64::try_from(texts.len()).unwrap_or_default());
            let _legal = place.set_offset(offset);
            place.set_metadata(text);
        }
        let offsets = |limit| {
            self.producer
                .send_offsets_to_transaction(&list, &self.group, limit)
        };
        self.retry(until, "the positions are not taken", offsets)?;
        let commit = |limit| self.producer.commit_transaction(limit);
        self.retry(until, "a transaction is not committed", commit)
    }

    /// Undoes the transaction. False: the producer is of no more use.
    pub(super) fn abort(&self) -> bool {
        let until = Instant::now() + ABORT_TIMEOUT;
        // Not purged: the broker would miss their sequence numbers.
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(POLL);
        }
        let step = |limit| self.producer.abort_transaction(limit);
        let done = self
            .retry(until, "a transaction is not aborted", step)
            .is_ok();
        self.producer
            .context()
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        done && self.producer.client().fatal_error().is_none()
    }
}
