//! Where records go. A processor is one file here and one line in [`KINDS`]: it only knows how to
//! write a batch so that it is safe. Batching, order, retries and commits are the runtime's.

mod database_sync;
mod failpoint;
mod fault;
mod file_sink;
mod streaming_forwarder;

use crate::batch::{Entry, end, runs};
use crate::catalogue::Catalogue;
use crate::clusters::Clusters;
use crate::confine::Roots;
use crate::destinations::Destinations;
use crate::outgoing::Outgoing;
use crate::secrets::Secrets;
use crate::store::sinks::Sinks;
use crate::watermark::Positions;
use serde_json::{Map, Value};
use sluice_model::body::{Body, nearest};
use sluice_model::problem::Code;
use std::collections::HashMap;
use std::time::Instant;
use tokio::runtime::Handle;

pub use fault::SinkError;

/// Every processor that there is.
pub const KINDS: &[Kind] = &[
    file_sink::KIND,
    database_sync::KIND,
    streaming_forwarder::KIND,
];

type Build = fn(&Map<String, Value>, Site) -> Result<Box<dyn Processor>, SinkError>;

/// One kind of processor.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name on the wire.
    pub name: &'static str,
    /// The JSON Schema of its configuration.
    pub schema: fn() -> Value,
    /// Reads a configuration and records every fault of it.
    check: fn(&mut Body, &Outside<'_>) -> Option<Code>,
    /// Makes the processor of a configuration that was checked.
    build: Build,
}

/// A sink that batches are written to, on one thread.
///
/// The plain kind implements `open`, `write` and `rewind`, and everything is safe when `write` returns.
/// A sink that is faster with longer units (a file that is not rotated yet, a transaction over many
/// batches) says in `durable` how far it is safe; only that is committed. Then it also has `deadline`
/// and `tick`, so that a unit ends without traffic, and `flush`, so that a stop or a rebalance ends it.
pub trait Processor: Send {
    /// The most records that it wants in a batch.
    fn batch_max(&self) -> usize {
        usize::MAX
    }

    /// Opens the sink, or opens it again after a failure, and says what it holds durably. What an
    /// interrupted write left behind is undone: the runtime reads what is not held from Kafka again.
    ///
    /// # Errors
    /// When the sink cannot be used now.
    fn open(&mut self) -> Result<Positions, SinkError>;

    /// Writes a batch. On return it is safe, unless `durable` says otherwise. After an error nothing
    /// is assumed: the runtime opens the sink again and writes what it does not hold then.
    ///
    /// Offsets of a partition grow, but have gaps: transaction markers, compaction, dead letters.
    ///
    /// # Errors
    /// When the batch is not safe; the class of the error decides what happens next.
    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError>;

    /// Forgets or moves what it holds of some partitions, because a user moved the consumer's offsets:
    /// `(topic, partition, next offset)`. The sink is not open.
    ///
    /// # Errors
    /// When the sink cannot be used now.
    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError>;

    /// Looks, before a consumer is stored, whether what the configuration names is there, as far as it can
    /// be reached now. Changes nothing.
    ///
    /// # Errors
    /// When it is reached, and what the user must make first is missing.
    fn probe(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// How far it is safe, when that is less than what was written: the next offset that is not, of
    /// every partition that it holds something of. None: everything written is safe.
    fn durable(&self) -> Option<&Positions> {
        None
    }

    /// When [`Processor::tick`] should be called next, records or not. Asked after every call.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed: what is old enough is made safe.
    ///
    /// # Errors
    /// As [`Processor::write`].
    fn tick(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Makes everything written safe now: a stop, a pause, a drain, or partitions that are taken away.
    ///
    /// # Errors
    /// As [`Processor::write`].
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// These partitions belong to another one from now on. What is not safe of them must never become
    /// so; it comes after a [`Processor::flush`] if there was time for one.
    ///
    /// # Errors
    /// When that cannot be guaranteed without opening the sink again.
    fn release(&mut self, _partitions: &[(String, i32)]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What configurations are checked against: the outside that processors may touch.
#[derive(Clone, Copy, Debug)]
pub struct Outside<'a> {
    /// Directories of files.
    pub roots: &'a Roots,
    /// Network destinations.
    pub destinations: &'a Destinations,
    /// Secrets that configurations refer to.
    pub secrets: &'a Secrets,
    /// The clusters.
    pub clusters: &'a Clusters,
}

/// What a processor is built from.
#[derive(Clone, Debug)]
pub struct Site {
    /// The consumer that it belongs to.
    pub consumer_id: String,
    /// Its own identity.
    pub processor_id: String,
    /// The cluster that is read.
    pub cluster: String,
    /// Directories of files.
    pub roots: Roots,
    /// Network destinations.
    pub destinations: Destinations,
    /// Grows with every worker of the consumer: what a sink keeps beside its data carries it, and a
    /// write with an older one is refused.
    pub epoch: i64,
    /// Positions and lengths in the registry, for the worker of this epoch.
    pub sinks: Sinks,
    /// Which topic each name stands for now.
    pub topic_ids: HashMap<String, i64>,
    /// HTTP out.
    pub http: Outgoing,
    /// Secrets that configurations refer to.
    pub secrets: Secrets,
    /// The clusters.
    pub clusters: Clusters,
    /// Where topics of the governed cluster stand.
    pub catalogue: Catalogue,
    /// The runtime that drives it.
    pub runtime: Handle,
}

impl Site {
    /// The id of a topic; 0 where nobody governs topics.
    fn topic_id(&self, topic: &str) -> i64 {
        self.topic_ids.get(topic).copied().unwrap_or_default()
    }
}

/// The kind of a name.
///
/// # Errors
/// When there is none; says what there is.
pub fn kind(name: &str) -> Result<&'static Kind, String> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        match nearest(name, &names) {
            Some(near) => format!("{name:?} is no processor; did you mean {near:?}?"),
            None => format!("{name:?} is no processor; there are {}", names.join(", ")),
        }
    })
}

impl Kind {
    /// Checks a configuration; faults are recorded in `body`. The code answered names the worst.
    pub fn check(&self, body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
        (self.check)(body, outside)
    }

    /// Makes a processor.
    ///
    /// # Errors
    /// When the configuration does not fit what is allowed now.
    pub fn build(
        &self,
        config: &Map<String, Value>,
        site: Site,
    ) -> Result<Box<dyn Processor>, SinkError> {
        (self.build)(config, site)
    }
}

/// The cluster and topic that a processor writes to, if it writes to Kafka.
pub fn target<'c>(
    processor_type: &str,
    config: &'c Map<String, Value>,
) -> Option<(&'c str, &'c str)> {
    let forwards = processor_type == streaming_forwarder::KIND.name;
    forwards
        .then(|| streaming_forwarder::target(config))
        .flatten()
}

/// Records a path's fault in a body; the code says which rule it was.
fn path_fault(body: &mut Body, name: &str, fault: crate::confine::Fault) -> Code {
    match fault {
        crate::confine::Fault::Invalid(message) => {
            body.invalid(name, message);
            Code::Invalid
        }
        crate::confine::Fault::Outside(message) => {
            body.invalid(name, message);
            Code::PathOutsideRoot
        }
    }
}

/// The last offset of each partition in a batch, as the next one that is lacking.
fn ends(batch: &[Entry<'_>]) -> Positions {
    let mut ends = Positions::default();
    for (topic, partition, next) in runs(batch).filter_map(end) {
        ends.advance(topic, partition, next);
    }
    ends
}

#[cfg(test)]
pub(crate) mod conformance;
