//! One client of librdkafka: its topics' handles, its delivery reports, and the ways into it.

use super::{Client, Context};
use crate::batch::{Rec, Records};
use crate::headers;
use crate::publisher::block::{TopicId, opaque};
use crossbeam_channel::Sender;
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};
use sluice_service::kafka::produce::{Batch, Item, TopicHandle};
use sluice_service::kafka::reports::{Report, Reports, Word};
use sluice_service::kafka::wake::WakeOnEvents;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

/// Events that one look at the queue takes: each may carry thousands of reports.
const EVENTS_MAX: usize = 64;

/// Records that were not taken: their places in the call, and why.
pub(super) type Failures = Vec<(usize, RDKafkaErrorCode)>;

/// A client.
pub(super) struct Engine {
    // These go before the producer: they must be dropped first.
    _wake: WakeOnEvents,
    reports: Reports,
    handles: HashMap<TopicId, TopicHandle>,
    pub(super) producer: Arc<Client>,
}

impl Engine {
    /// Starts a client; `bell` rings when it has events.
    pub(super) fn start(config: &ClientConfig, bell: Sender<()>) -> anyhow::Result<Self> {
        let producer: Arc<Client> = Arc::new(config.create_with_context(Context)?);
        let wake = WakeOnEvents::new(producer.client(), move || {
            // Full means that the bell rings already.
            let _already_ringing = bell.try_send(());
        });
        Ok(Self {
            _wake: wake,
            reports: Reports::new(producer.client()),
            handles: HashMap::new(),
            producer,
        })
    }

    /// Takes what there is: delivery reports are appended to `into`.
    pub(super) fn collect(&self, into: &mut Vec<Report>, word: impl FnMut(Word)) {
        self.reports.take(EVENTS_MAX, into, word);
    }

    /// Why this client can do nothing any more, if so.
    pub(super) fn fatal(&self) -> Option<String> {
        let fatal = self.producer.client().fatal_error();
        fatal.map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// The handle of a topic; a new one asks the brokers for the topic's leaders.
    pub(super) fn handle(
        &mut self,
        id: TopicId,
        name: &str,
    ) -> Result<&TopicHandle, RDKafkaErrorCode> {
        match self.handles.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(TopicHandle::new(self.producer.client(), name)?))
            }
        }
    }

    /// Hands records of one block over in one call.
    pub(super) fn send_many(
        &mut self,
        (id, name): (TopicId, &str),
        records: &Records,
        (slot, indices): (u32, Range<u32>),
        (batch, failures): (&mut Batch, &mut Failures),
    ) {
        let handle = match self.handle(id, name) {
            Ok(handle) => handle,
            Err(code) => {
                failures.extend((0..indices.len()).map(|place| (place, code)));
                return;
            }
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
    }

    /// Hands one record over, with all that it can have.
    pub(super) fn send(
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
    pub(super) fn purge(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
    }
}

fn owned(encoded: &[u8]) -> OwnedHeaders {
    headers::read(encoded).fold(OwnedHeaders::new(), |all, (key, value)| {
        all.insert(Header { key, value })
    })
}
