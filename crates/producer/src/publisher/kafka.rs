//! The one long-lived Kafka producer: its settings, its delivery reports, and looks at metadata.

use super::block::{TopicId, opaque};
use super::look::Looker;
use super::topic::Room;
use crate::batch::{Rec, Records};
use crate::headers;
use crossbeam_channel::{Receiver, bounded};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    PurgeConfig,
};
use rdkafka::{ClientConfig, ClientContext};
use sluice_service::kafka::KafkaSettings;
use sluice_service::kafka::produce::{Batch, Item, TopicHandle};
pub use sluice_service::kafka::reports::Report;
use sluice_service::kafka::reports::{Reports, Word};
use sluice_service::kafka::wake::WakeOnEvents;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

/// Time that a record waits for company in librdkafka. With 0 a quiet record is acknowledged in 0.2 ms
/// instead of 1.4 ms (librdkafka's timer has whole milliseconds), but bulk costs twice the processor
/// time: its threads send what little is there at once. More than 0.5 does not raise the throughput.
const LINGER_MS: &str = "0.5";
/// Delays before librdkafka tries a request again. A leader that was elected a moment ago may not know
/// it yet; the default of 100 ms would be most of an approval's time.
const RETRY_FIRST_MS: &str = "5";
const RETRY_MAX_MS: &str = "1000";
/// Records in librdkafka at one time, of all topics.
const QUEUE_RECORDS_MAX: u32 = 500_000;
/// The setting for their kilobytes, and its bounds.
const QUEUE_KILOBYTES: &str = "queue.buffering.max.kbytes";
const QUEUE_KB_MIN: usize = 65_536;
const QUEUE_KB_MAX: usize = 2_000_000;
/// Bytes that a record's own framing may take beside its parts.
const RECORD_SLACK_BYTES: usize = 40_000;
/// Events that one look at the queue takes: each may carry thousands of reports.
const EVENTS_MAX: usize = 64;

/// Records of one call into librdkafka.
pub const BATCH_RECORDS_MAX: u32 = 1_000;

/// Delivery reports are taken as events (see [`Reports`]), so nothing is left to do here.
#[derive(Debug)]
pub struct Context;

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
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

/// What rust-rdkafka calls a producer.
pub(super) type Client = BaseProducer<Context, NoCustomPartitioner>;

/// The producer.
pub struct Kafka {
    // These go before the producer: they must be dropped first.
    _wake: WakeOnEvents,
    reports: Reports,
    handles: HashMap<TopicId, TopicHandle>,
    batch: Batch,
    failures: Vec<(usize, RDKafkaErrorCode)>,
    down: bool,
    flying: u32,
    flying_bytes: usize,
    bytes_max: usize,
    /// Looks at the metadata.
    pub(super) looks: Looker,
    producer: Arc<Client>,
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
        .clamp(QUEUE_KB_MIN, QUEUE_KB_MAX);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // Expiry is the spool's decision, not librdkafka's.
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", LINGER_MS)
        .set("retry.backoff.ms", RETRY_FIRST_MS)
        .set("retry.backoff.max.ms", RETRY_MAX_MS)
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
        .set(QUEUE_KILOBYTES, memory_kb.to_string());
    Ok(config)
}

impl Kafka {
    /// Starts the producer; it connects by itself, now or later.
    ///
    /// # Errors
    /// When librdkafka does not accept the settings, or there is no thread for the looks.
    pub fn start(config: &ClientConfig) -> anyhow::Result<Self> {
        let kilobytes = config
            .get(QUEUE_KILOBYTES)
            .and_then(|text| text.parse().ok());
        let bytes_max = kilobytes.unwrap_or(QUEUE_KB_MIN) * 1024;
        let producer: Arc<Client> = Arc::new(config.create_with_context(Context)?);
        let (bell, events) = bounded(1);
        let looks = Looker::start(Arc::clone(&producer), bell.clone())?;
        let wake = WakeOnEvents::new(producer.client(), move || {
            // Full means that the bell rings already.
            let _already_ringing = bell.try_send(());
        });
        Ok(Self {
            _wake: wake,
            reports: Reports::new(producer.client()),
            handles: HashMap::new(),
            batch: Batch::default(),
            failures: Vec::new(),
            down: false,
            flying: 0,
            flying_bytes: 0,
            bytes_max,
            looks,
            producer,
            events,
        })
    }

    /// What is free.
    pub fn room(&self) -> Room {
        Room {
            records: QUEUE_RECORDS_MAX.saturating_sub(self.flying),
            bytes: self.bytes_max.saturating_sub(self.flying_bytes),
        }
    }

    /// Counts what was handed over.
    pub fn took(&mut self, records: u32, bytes: usize) {
        self.flying += records;
        self.flying_bytes += bytes;
    }

    /// Counts a record that came back.
    pub fn gave_back(&mut self, bytes: usize) {
        self.flying = self.flying.saturating_sub(1);
        self.flying_bytes = self.flying_bytes.saturating_sub(bytes);
    }

    /// Takes what librdkafka has: delivery reports are appended to `into`.
    pub fn collect(&mut self, into: &mut Vec<Report>) {
        let Self { reports, down, .. } = self;
        reports.take(EVENTS_MAX, into, |word| match word {
            // Outages show as health and as metrics; librdkafka repeats them for every connection.
            Word::Log(facility, words) => tracing::debug!(facility, words, "librdkafka"),
            Word::Error(code, words) => {
                *down |= code == RDKafkaErrorCode::AllBrokersDown;
                tracing::debug!(%code, words, "librdkafka reports an error");
            }
        });
    }

    /// Whether librdkafka said, since the last look, that it reaches no broker.
    pub fn went_down(&mut self) -> bool {
        std::mem::take(&mut self.down)
    }

    /// Why this producer can do nothing any more, if so.
    pub fn fatal(&self) -> Option<String> {
        self.producer
            .client()
            .fatal_error()
            .map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Hands records of one block over: those whose partition librdkafka finds and whose time is now.
    /// Answers which of them it did not take, by their places in `indices`, in order.
    pub fn send_many(
        &mut self,
        (id, name): (TopicId, &str),
        records: &Records,
        (slot, indices): (u32, Range<u32>),
    ) -> &[(usize, RDKafkaErrorCode)] {
        let Self {
            handles,
            batch,
            failures,
            producer,
            ..
        } = self;
        failures.clear();
        let handle = match handles.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match TopicHandle::new(producer.client(), name) {
                Ok(handle) => place.insert(handle),
                Err(code) => {
                    failures.extend((0..indices.len()).map(|place| (place, code)));
                    return failures;
                }
            },
        };
        let recs = records
            .recs
            .get(indices.start as usize..indices.end as usize);
        let items = indices
            .zip(recs.unwrap_or_default())
            .map(|(index, rec)| Item {
                key: records.part(rec.key),
                value: records.part(rec.value),
                opaque: opaque(slot, index),
            });
        batch.produce(handle, items, |place, code| failures.push((place, code)));
        failures
    }

    /// Hands one record over, with all that it can have.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn send(
        &self,
        topic: &str,
        records: &Records,
        rec: &Rec,
        opaque: usize,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, opaque);
        record.payload = records.part(rec.value);
        record.key = records.part(rec.key);
        record.partition = (rec.partition >= 0).then_some(rec.partition);
        record.timestamp = (rec.timestamp > 0).then_some(rec.timestamp);
        record.headers = rec.headers.map(|span| owned(records.bytes(span)));
        self.producer.send(record).map_err(|(error, _)| {
            error
                .rdkafka_error_code()
                .unwrap_or(RDKafkaErrorCode::InvalidArgument)
        })
    }

    /// Lets go of everything that was handed over; reports about it follow.
    pub fn purge(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
    }
}

fn owned(encoded: &[u8]) -> OwnedHeaders {
    headers::read(encoded).fold(OwnedHeaders::new(), |all, (key, value)| {
        all.insert(Header { key, value })
    })
}

/// What an error at the handing over means.
pub fn classify(code: RDKafkaErrorCode) -> NotSent {
    match code {
        RDKafkaErrorCode::QueueFull => NotSent::Full,
        code if is_permanent(code) => NotSent::Never(code),
        code => NotSent::NotNow(code),
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
