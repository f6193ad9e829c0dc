//! Writing single records to the governed cluster: dead letters, and records that are sent again.
//! Only to topics that are active in the admin API, and only acknowledged by all replicas.

use crate::batch::Entry;
use crate::catalogue::Catalogue;
use crate::clusters::{Cluster, Quiet};
use crate::processors::SinkError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sluice_model::consumer::FailureClass;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Time until Kafka has acknowledged a record.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the largest record that is handed over: the broker decides, not the client.
const RECORD_BYTES_MAX: &str = "1000000000";
/// Records that may wait in the client.
const QUEUE_RECORDS_MAX: &str = "10000";

type Producer = FutureProducer<Quiet>;

/// The writer; its client is made by the first record and kept, for a fresh one costs half a second.
/// Clones share it.
#[derive(Clone)]
pub struct Writer {
    cluster: Arc<Cluster>,
    catalogue: Catalogue,
    runtime: Handle,
    producer: Arc<Mutex<Option<Producer>>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// A header to add to a record.
pub type Extra<'a> = (&'a str, String);

impl Writer {
    /// A writer to the governed cluster.
    pub fn new(cluster: Arc<Cluster>, catalogue: Catalogue, runtime: Handle) -> Self {
        Self {
            cluster,
            catalogue,
            runtime,
            producer: Arc::default(),
        }
    }

    /// Whether a topic may be written to now.
    pub fn takes(&self, topic: &str) -> bool {
        self.catalogue.now().is_active(topic)
    }

    /// Writes a record to a topic, with headers added after its own; answers partition and offset.
    /// Its topic, partition and offset are not looked at. Blocks, for a bounded time.
    ///
    /// # Errors
    /// Environment when the topic is not active, poison when Kafka does not take such a record, else
    /// transient; after a transient one the record may be there all the same.
    pub fn write(
        &self,
        topic: &str,
        entry: &Entry<'_>,
        extra: &[Extra<'_>],
    ) -> Result<(i32, i64), SinkError> {
        if let Some(problem) = self.catalogue.now().refusal(topic) {
            return Err(SinkError::environment(problem.detail));
        }
        let producer = self.producer()?;
        let mut headers = OwnedHeaders::new_with_capacity(entry.headers.len() + extra.len());
        for (key, value) in &entry.headers {
            headers = headers.insert(Header { key, value: *value });
        }
        for (key, value) in extra {
            let value = Some(value.as_str());
            headers = headers.insert(Header { key, value });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).headers(headers);
        record.key = entry.key;
        record.payload = entry.value;
        record.timestamp = entry.timestamp;
        let sent = self
            .runtime
            .block_on(async { producer.send(record, DELIVERY_TIMEOUT).await });
        match sent {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((error, _record)) => Err(refused(topic, &error)),
        }
    }

    fn producer(&self) -> Result<Producer, SinkError> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = slot.as_ref() {
            return Ok(producer.clone());
        }
        let mut config = self
            .cluster
            .client("sluice-writer")
            .map_err(|error| SinkError::environment(error.to_string()))?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set(
                "message.timeout.ms",
                DELIVERY_TIMEOUT.as_millis().to_string(),
            )
            .set("message.max.bytes", RECORD_BYTES_MAX)
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX);
        let producer: Producer = config
            .create_with_context(Quiet)
            .map_err(|error| SinkError::environment(error.to_string()))?;
        *slot = Some(producer.clone());
        Ok(producer)
    }
}

fn refused(topic: &str, error: &KafkaError) -> SinkError {
    let words = format!("Kafka does not take a record of {topic}: {error}");
    match error.rdkafka_error_code().map(class) {
        Some(FailureClass::Poison) => SinkError::poison(words),
        Some(FailureClass::Environment) => SinkError::environment(words),
        Some(FailureClass::Fenced) => SinkError::fenced(words),
        _ => SinkError::transient(words),
    }
}

/// What a producer's failure means for a record.
pub fn class(code: Code) -> FailureClass {
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp => FailureClass::Poison,
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::SSL
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::InvalidRequiredAcks
        | Code::PolicyViolation
        | Code::OffsetMetadataTooLarge => FailureClass::Environment,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => FailureClass::Fenced,
        _ => FailureClass::Transient,
    }
}
