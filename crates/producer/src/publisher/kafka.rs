//! Kafka: the two long-lived clients and their settings, their delivery reports, and looks at metadata.

mod engine;

use super::block::TopicId;
use super::gear::Gear;
use super::look::Looker;
use super::topic::Room;
use crate::batch::{Rec, Records};
use crossbeam_channel::{Receiver, bounded};
use engine::{Engine, Failures};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, DeliveryResult, NoCustomPartitioner, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use sluice_service::kafka::KafkaSettings;
use sluice_service::kafka::produce::Batch;
pub use sluice_service::kafka::reports::Report;
use sluice_service::kafka::reports::Word;
use std::ops::Range;
use std::sync::Arc;

/// Time that a record waits for company in librdkafka, in each gear (see [`super::gear`]). librdkafka's
/// timer has whole milliseconds.
const LINGER: &str = "linger.ms";
const LINGER_QUICK_MS: &str = "0";
const LINGER_BULK_MS: &str = "0.5";
/// Delays before librdkafka tries a request again. A leader that was elected a moment ago may not know
/// it yet; the default of 100 ms would be most of an approval's time.
const RETRY_FIRST_MS: &str = "5";
const RETRY_MAX_MS: &str = "1000";
/// Time between two looks of librdkafka at the leaders of its topics. It looks by itself only when a
/// connection breaks, and then the brokers do not know the next leader yet: with the default of five
/// minutes, what it has of the partitions of a dead broker waits that long for a leader that is there.
const METADATA_MS: &str = "3000";
/// Records in librdkafka at one time, of all topics.
const QUEUE_RECORDS_MAX: u32 = 500_000;
/// The setting for their kilobytes, and its bounds.
const QUEUE_KILOBYTES: &str = "queue.buffering.max.kbytes";
const QUEUE_KB_MIN: usize = 65_536;
const QUEUE_KB_MAX: usize = 2_000_000;
/// Bytes that a record's own framing may take beside its parts.
const RECORD_SLACK_BYTES: usize = 40_000;

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
    quick: Engine,
    bulk: Engine,
    batch: Batch,
    failures: Failures,
    down: bool,
    flying: u32,
    flying_bytes: usize,
    bytes_max: usize,
    /// Looks at the metadata.
    pub(super) looks: Looker,
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
        .set("retry.backoff.ms", RETRY_FIRST_MS)
        .set("retry.backoff.max.ms", RETRY_MAX_MS)
        .set("topic.metadata.refresh.interval.ms", METADATA_MS)
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
    /// Starts the clients; they connect by themselves, now or later.
    ///
    /// # Errors
    /// When librdkafka does not accept the settings, or there is no thread for the looks.
    pub fn start(config: &ClientConfig) -> anyhow::Result<Self> {
        let kilobytes = config
            .get(QUEUE_KILOBYTES)
            .and_then(|text| text.parse().ok());
        let bytes_max = kilobytes.unwrap_or(QUEUE_KB_MIN) * 1024;
        let (bell, events) = bounded(1);
        let start = |linger| Engine::start(config.clone().set(LINGER, linger), bell.clone());
        let quick = start(LINGER_QUICK_MS)?;
        let bulk = start(LINGER_BULK_MS)?;
        let looks = Looker::start(Arc::clone(&quick.producer), bell.clone())?;
        Ok(Self {
            quick,
            bulk,
            batch: Batch::default(),
            failures: Failures::new(),
            down: false,
            flying: 0,
            flying_bytes: 0,
            bytes_max,
            looks,
            events,
        })
    }

    fn engine(&mut self, gear: Gear) -> &mut Engine {
        match gear {
            Gear::Quick => &mut self.quick,
            Gear::Bulk => &mut self.bulk,
        }
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
        let Self {
            quick, bulk, down, ..
        } = self;
        for engine in [quick, bulk] {
            engine.collect(into, |word| match word {
                // Outages show as health and as metrics; librdkafka repeats them for every connection.
                Word::Log(facility, words) => tracing::debug!(facility, words, "librdkafka"),
                Word::Error(code, words) => {
                    *down |= code == RDKafkaErrorCode::AllBrokersDown;
                    tracing::debug!(%code, words, "librdkafka reports an error");
                }
            });
        }
    }

    /// Whether librdkafka said, since the last look, that it reaches no broker.
    pub fn went_down(&mut self) -> bool {
        std::mem::take(&mut self.down)
    }

    /// Why one of the clients can do nothing any more, if so.
    pub fn fatal(&self) -> Option<String> {
        self.quick.fatal().or_else(|| self.bulk.fatal())
    }

    /// Has a client learn a topic's leaders before its first record.
    pub fn prepare(&mut self, gear: Gear, (id, name): (TopicId, &str)) {
        // What is wrong with the name is told when its first record is handed over.
        let _told_then = self.engine(gear).handle(id, name).is_ok();
    }

    /// Hands records of one block over: those whose partition librdkafka finds and whose time is now.
    /// Answers which of them it did not take, by their places in `indices`, in order.
    pub fn send_many(
        &mut self,
        gear: Gear,
        topic: (TopicId, &str),
        records: &Records,
        of_block: (u32, Range<u32>),
    ) -> &[(usize, RDKafkaErrorCode)] {
        self.failures.clear();
        let Self {
            quick,
            bulk,
            batch,
            failures,
            ..
        } = self;
        let engine = match gear {
            Gear::Quick => quick,
            Gear::Bulk => bulk,
        };
        engine.send_many(topic, records, of_block, (batch, failures));
        &self.failures
    }

    /// Hands one record over, with all that it can have.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn send(
        &mut self,
        gear: Gear,
        topic: &str,
        records: &Records,
        (rec, opaque): (&Rec, usize),
    ) -> Result<(), RDKafkaErrorCode> {
        self.engine(gear).send(topic, records, rec, opaque)
    }

    /// Lets go of everything that was handed over; reports about it follow.
    pub fn purge(&self) {
        self.quick.purge();
        self.bulk.purge();
    }
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
