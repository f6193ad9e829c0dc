//! The one long-lived Kafka producer: its settings, its delivery reports, and looks at metadata.

use crate::batch::{Rec, Records};
use crate::headers;
use crossbeam_channel::{Receiver, bounded};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    PurgeConfig,
};
use rdkafka::{ClientConfig, Message as _};
use sluice_service::kafka::KafkaSettings;
use sluice_service::kafka::wake::WakeOnEvents;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time that a record waits for company in librdkafka. More does not raise the throughput (measured:
/// 0.5, 1, 5 and 20 ms are the same within noise), and each quiet record pays it.
const LINGER_MS: &str = "0.5";
/// Records in librdkafka at one time, of all topics.
const QUEUE_RECORDS_MAX: usize = 500_000;
/// Bytes that a record's own framing may take beside its parts.
const RECORD_SLACK_BYTES: usize = 40_000;
/// Events that one look at the queue takes: each may carry thousands of reports.
const EVENTS_MAX: usize = 64;

/// One delivery report.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Which record.
    pub opaque: usize,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Why it failed, if so.
    pub error: Option<RDKafkaErrorCode>,
}

/// Where librdkafka's callbacks leave what they have; they run inside of `poll`, on the publisher.
#[derive(Debug, Default)]
pub struct Context {
    reports: Mutex<Vec<Report>>,
    events: AtomicU64,
    down: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        // Outages show as health and as metrics; librdkafka repeats them for every connection.
        tracing::debug!(?level, fac, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.down.store(true, Ordering::Relaxed);
        }
        tracing::debug!(%error, reason, "librdkafka reports an error");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (
                message,
                Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
            ),
        };
        let report = Report {
            opaque,
            partition: message.partition(),
            offset: message.offset(),
            error,
        };
        self.events.fetch_add(1, Ordering::Relaxed);
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(report);
    }
}

/// Why a record could not be handed over.
#[derive(Debug)]
pub enum NotSent {
    /// There is no room now.
    Full,
    /// This record will never be taken.
    Never(RDKafkaErrorCode),
    /// The topic cannot take records now.
    NotNow(RDKafkaErrorCode),
}

/// The producer.
pub struct Kafka {
    // Before the producer: it must be dropped first.
    _wake: WakeOnEvents,
    producer: BaseProducer<Context, NoCustomPartitioner>,
    /// Rings when there are events.
    pub events: Receiver<()>,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kafka")
    }
}

/// The settings of the producer.
///
/// # Errors
/// When the password file cannot be read.
pub fn config(
    settings: &KafkaSettings,
    record_max_bytes: usize,
    memory_max_bytes: usize,
) -> std::io::Result<ClientConfig> {
    let mut config = settings.client("sluice-producer")?;
    let memory_kb = (memory_max_bytes / 1024)
        .saturating_mul(2)
        .clamp(65_536, 2_000_000);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // Expiry is the spool's decision, not librdkafka's.
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", LINGER_MS)
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set(
            "message.max.bytes",
            (record_max_bytes + RECORD_SLACK_BYTES).to_string(),
        )
        .set(
            "queue.buffering.max.messages",
            QUEUE_RECORDS_MAX.to_string(),
        )
        .set("queue.buffering.max.kbytes", memory_kb.to_string());
    Ok(config)
}

impl Kafka {
    /// Starts the producer; it connects by itself, now or later.
    ///
    /// # Errors
    /// When librdkafka does not accept the settings.
    pub fn start(config: &ClientConfig) -> Result<Self, KafkaError> {
        let producer: BaseProducer<Context> = config.create_with_context(Context::default())?;
        let (bell, events) = bounded(1);
        let wake = WakeOnEvents::new(producer.client(), move || {
            // Full means that the bell rings already.
            let _already_ringing = bell.try_send(());
        });
        Ok(Self {
            _wake: wake,
            producer,
            events,
        })
    }

    /// Takes what librdkafka has: delivery reports are appended to `into`.
    pub fn collect(&self, into: &mut Vec<Report>) {
        let context = self.producer.client().context();
        for _ in 0..EVENTS_MAX {
            let before = context.events.load(Ordering::Relaxed);
            self.producer.poll(Duration::ZERO);
            if context.events.load(Ordering::Relaxed) == before {
                break;
            }
        }
        let mut reports = context
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        into.append(&mut reports);
    }

    /// Whether librdkafka said, since the last look, that it reaches no broker.
    pub fn went_down(&self) -> bool {
        self.producer
            .client()
            .context()
            .down
            .swap(false, Ordering::Relaxed)
    }

    /// Why this producer can do nothing any more, if so.
    pub fn fatal(&self) -> Option<String> {
        self.producer
            .client()
            .fatal_error()
            .map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Hands a record over.
    ///
    /// # Errors
    /// When it is not taken, and whether that can change.
    pub fn send(
        &self,
        topic: &str,
        records: &Records,
        rec: &Rec,
        opaque: usize,
    ) -> Result<(), NotSent> {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, opaque);
        record.payload = records.part(rec.value);
        record.key = records.part(rec.key);
        record.partition = (rec.partition >= 0).then_some(rec.partition);
        record.timestamp = (rec.timestamp > 0).then_some(rec.timestamp);
        record.headers = rec.headers.map(|span| owned(records.bytes(span)));
        match self.producer.send(record) {
            Ok(()) => Ok(()),
            Err((error, _)) => Err(classify(&error)),
        }
    }

    /// Lets go of everything that was handed over; reports about it follow.
    pub fn purge(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
    }

    /// Whether Kafka's metadata shows the topic with a leader for every partition. Blocks for at most
    /// `wait`.
    ///
    /// # Errors
    /// When no broker answers in that time.
    pub fn has_leaders(&self, topic: &str, wait: Duration) -> Result<bool, KafkaError> {
        let metadata = self.producer.client().fetch_metadata(Some(topic), wait)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        Ok(found.is_some_and(|found| {
            found.error().is_none()
                && !found.partitions().is_empty()
                && found
                    .partitions()
                    .iter()
                    .all(|partition| partition.leader() >= 0)
        }))
    }

    /// Whether any broker answers. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When none does in that time.
    pub fn probe(&self, wait: Duration) -> Result<(), KafkaError> {
        self.producer
            .client()
            .fetch_metadata(None, wait)
            .map(|_| ())
    }
}

fn owned(encoded: &[u8]) -> OwnedHeaders {
    headers::read(encoded).fold(OwnedHeaders::new(), |all, (key, value)| {
        all.insert(Header { key, value })
    })
}

fn classify(error: &KafkaError) -> NotSent {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => NotSent::Full,
        Some(code) if is_permanent(code) => NotSent::Never(code),
        Some(code) => NotSent::NotNow(code),
        None => NotSent::Never(RDKafkaErrorCode::InvalidArgument),
    }
}

/// Whether an error is about the record itself, so that no later try can succeed.
pub fn is_permanent(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::InvalidArgument
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::BadMessage
    )
}
