//! Records to a topic of a configured cluster, exactly once for whoever reads it with `read_committed`.
//!
//! Records and the positions that they were read from are one transaction on the destination. The
//! positions are the metadata of offsets that the group `sluice.<consumer>.<processor>` commits for the
//! destination's own partitions, because those are sure to exist there, on whatever cluster that is.
//! Opening fences older owners of the same transactional id, which settles what they left open, and
//! reads the positions back. A transaction spans many batches; [`Processor::durable`] tells how far the
//! last one reached.

use super::places::{Places, decode, encode};
use super::transaction::{Failure, Transactions};
use crate::batch::Entry;
use crate::clusters::{Cluster, METADATA_TIMEOUT};
use crate::processors::{Processor, SinkError, Site};
use crate::watermark::Positions;
use rdkafka::consumer::Consumer as _;
use serde_json::{Map, Value};
use sluice_model::consumer::FailureClass;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The age at which a transaction ends: so many times what the last end cost, so that ends take a small
/// part of the time, within these limits.
const AGE_TO_COST: u32 = 8;
const AGE_MIN: Duration = Duration::from_millis(100);
const AGE_MAX: Duration = Duration::from_secs(1);
/// Records and bytes of one transaction.
const TRANSACTION_RECORDS_MAX: usize = 200_000;
const TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Batches that are committed one by one after a record was refused, so that it can be found.
const CAREFUL_BATCHES: u32 = 64;
/// Positions are committed again after this time without records: brokers forget old ones (a week).
const REFRESH: Duration = Duration::from_secs(24 * 3600);

/// How records choose their partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partitioning {
    /// By their key, as Java clients do; without one anywhere.
    Key,
    /// The one that they come from.
    Same,
}

/// Where records go.
pub(super) struct Target {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topic: String,
    pub(super) partitioning: Partitioning,
}

impl Target {
    /// Reads a configuration that was checked.
    pub(super) fn read(config: &Map<String, Value>, site: &Site) -> Result<Self, SinkError> {
        let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = text("cluster");
        let Some(cluster) = site.clusters.by_name(name) else {
            let words = format!("the cluster {name} is not configured any more");
            return Err(SinkError::environment(words));
        };
        let partitioning = match text("partitioning") {
            "same" => Partitioning::Same,
            _ => Partitioning::Key,
        };
        Ok(Self {
            cluster: Arc::clone(cluster),
            topic: text("topic").to_owned(),
            partitioning,
        })
    }
}

pub(super) struct Forwarder {
    target: Target,
    site: Site,
    live: Option<Live>,
    /// The largest record that the destination takes, once it has refused one.
    limit: Option<usize>,
    careful: u32,
}

/// An open destination.
struct Live {
    transactions: Transactions,
    partitions: i32,
    /// What the last transaction reached.
    durable: Positions,
    /// What the open one will have reached.
    written: Positions,
    /// Positions of topics that are not read now, such as inactive ones.
    others: Places,
    /// Texts that the last commit wrote: fewer ones now must not leave old ones behind.
    texts: usize,
    committed_at: Instant,
    /// The age at which a transaction ends.
    age: Duration,
    open: Option<Open>,
}

/// What is in the open transaction.
struct Open {
    since: Instant,
    records: usize,
    bytes: usize,
}

impl Live {
    /// Whether the open transaction should end now.
    fn full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.records >= TRANSACTION_RECORDS_MAX
                || open.bytes >= TRANSACTION_BYTES_MAX
                || open.since.elapsed() >= self.age
        })
    }
}

impl Forwarder {
    pub(super) fn new(target: Target, site: Site) -> Self {
        Self {
            target,
            site,
            live: None,
            limit: None,
            careful: 0,
        }
    }

    /// The same for ever: a new owner of the name fences the one before.
    fn name(&self) -> String {
        format!(
            "sluice.{}.{}",
            self.site.consumer_id, self.site.processor_id
        )
    }

    /// Refuses a destination that must not be written to now.
    fn permit(&self) -> Result<(), SinkError> {
        let Target { cluster, topic, .. } = &self.target;
        if cluster.governed() {
            return match self.site.catalogue.now().refusal(topic) {
                None => Ok(()),
                Some(problem) => Err(SinkError::environment(format!(
                    "the destination: {}",
                    problem.detail
                ))),
            };
        }
        if cluster.writable(topic) {
            return Ok(());
        }
        let words = format!(
            "the configuration does not let topic {topic} of {} be written",
            cluster.name
        );
        Err(SinkError::environment(words))
    }

    /// Refuses to write into the topic that is read, under whatever name its cluster goes.
    fn no_loop(&self) -> Result<(), SinkError> {
        let Target { cluster, topic, .. } = &self.target;
        let Some(source) = self.site.clusters.by_name(&self.site.cluster) else {
            return Ok(());
        };
        if !self.site.topic_ids.contains_key(topic) {
            return Ok(());
        }
        let same = source.name == cluster.name || {
            let id = |cluster: &Cluster| {
                let inspector = cluster.inspector().ok()?;
                inspector.client().fetch_cluster_id(METADATA_TIMEOUT)
            };
            id(source).is_some_and(|source| id(cluster) == Some(source))
        };
        if same {
            let words =
                format!("the destination is {topic} itself: its records would go round for ever");
            return Err(SinkError::environment(words));
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<Live, SinkError> {
        let Target { cluster, topic, .. } = &self.target;
        let partitions = cluster
            .partitions(topic, METADATA_TIMEOUT)
            .map_err(|error| SinkError::transient(format!("the destination: {error}")))?;
        let transactions = Transactions::begin(cluster, &self.name(), self.limit)?;
        let texts = transactions.read(topic, partitions)?;
        let used = texts.iter().rposition(|text| !text.is_empty());
        let places = decode(texts.iter().map(String::as_str)).map_err(|fault| {
            let group = self.name();
            SinkError::environment(format!(
                "the positions that group {group} keeps for {topic}: one {fault}"
            ))
        })?;
        let (durable, others) = self.sort(places);
        Ok(Live {
            transactions,
            partitions,
            written: durable.clone(),
            durable,
            others,
            texts: used.map_or(0, |last| last + 1),
            committed_at: Instant::now(),
            age: AGE_MIN,
            open: None,
        })
    }

    /// Parts what is read now from what is not; a topic that was made again starts anew.
    fn sort(&self, places: Places) -> (Positions, Places) {
        let (mut ours, mut others) = (Positions::default(), Places::new());
        for ((topic, id), partitions) in places {
            match self.site.topic_ids.get(&topic) {
                Some(now) if *now == id => {
                    for (partition, next) in partitions {
                        ours.set(&topic, partition, next);
                    }
                }
                Some(_) => {}
                None => {
                    others.insert((topic, id), partitions);
                }
            }
        }
        (ours, others)
    }

    fn send(&mut self, batch: &[Entry<'_>]) -> Result<(), Failure> {
        let Some(live) = self.live.as_mut() else {
            return Err(SinkError::transient("the destination is not open").into());
        };
        if live.open.is_none() {
            live.transactions.start()?;
            live.open = Some(Open {
                since: Instant::now(),
                records: 0,
                bytes: 0,
            });
        }
        let Target {
            topic,
            partitioning,
            ..
        } = &self.target;
        for entry in batch {
            let partition = match partitioning {
                Partitioning::Key => None,
                Partitioning::Same if entry.partition < live.partitions => Some(entry.partition),
                Partitioning::Same => {
                    let error = SinkError::environment(format!(
                        "{topic} has {} partitions, and a record comes from partition {} (partitioning is \"same\")",
                        live.partitions, entry.partition
                    ));
                    // Opened anew next time: it may have got more of them.
                    return Err(Failure {
                        usable: false,
                        ..Failure::from(error)
                    });
                }
            };
            let bytes = entry.bytes();
            if self.limit.is_some_and(|limit| bytes > limit) {
                let words = format!("a record of {bytes} bytes is too large for {topic}");
                return Err(SinkError::poison(words).of(entry).into());
            }
            live.transactions.send(topic, partition, entry)?;
            if let Some(open) = live.open.as_mut() {
                open.records += 1;
                open.bytes += bytes;
            }
            live.written
                .advance(entry.topic, entry.partition, entry.offset + 1);
        }
        live.transactions.check()
    }

    /// Ends the open transaction, if there is one.
    fn commit(&mut self) -> Result<(), SinkError> {
        let outcome = self.try_commit();
        self.settle(outcome)
    }

    fn try_commit(&mut self) -> Result<(), Failure> {
        let Some(live) = self.live.as_mut().filter(|live| live.open.is_some()) else {
            return Ok(());
        };
        let mut places = live.others.clone();
        for (topic, partition, next) in live.written.iter() {
            let id = self.site.topic_id(topic);
            let partitions = places.entry((topic.to_owned(), id)).or_default();
            partitions.insert(partition, next);
        }
        let mut texts = encode(&places);
        let used = texts.len();
        if used > usize::try_from(live.partitions).unwrap_or_default() {
            return Err(SinkError::environment(format!(
                "the positions of so many partitions do not fit into {} partitions of {}; give it more of them",
                live.partitions, self.target.topic
            ))
            .into());
        }
        texts.resize(used.max(live.texts), String::new());
        let begun = Instant::now();
        live.transactions.commit(&self.target.topic, &texts)?;
        let took = begun.elapsed();
        metrics::histogram!("consumer_transaction_end_seconds").record(took.as_secs_f64());
        live.age = (took * AGE_TO_COST).clamp(AGE_MIN, AGE_MAX);
        live.open = None;
        live.texts = used;
        live.committed_at = Instant::now();
        live.durable = live.written.clone();
        Ok(())
    }

    /// Undoes what a failure leaves, and says what it means.
    fn settle(&mut self, outcome: Result<(), Failure>) -> Result<(), SinkError> {
        let Err(failure) = outcome else {
            return Ok(());
        };
        let Some(mut live) = self.live.take() else {
            return Err(failure.error);
        };
        let age = live.open.take().map(|open| open.since.elapsed());
        if failure.too_large && self.limit.is_none() {
            self.limit = self
                .target
                .cluster
                .record_limit(&self.target.topic, &self.site.runtime);
            self.careful = CAREFUL_BATCHES;
            return Err(SinkError::transient(failure.error.message));
        }
        if failure.error.class == FailureClass::Poison {
            self.careful = CAREFUL_BATCHES;
        }
        // One that was aborted for certain can go on: a fresh client costs half a second.
        if failure.usable && live.transactions.abort() {
            live.written = live.durable.clone();
            self.live = Some(live);
        }
        Err(failure.explain(age))
    }
}

impl Processor for Forwarder {
    fn open(&mut self) -> Result<Positions, SinkError> {
        self.permit()?;
        self.no_loop()?;
        if self.live.as_ref().is_some_and(|live| live.open.is_some()) {
            // Written, but not committed: it is read again.
            let unused = Failure::from(SinkError::transient("opened again"));
            let _said = self.settle(Err(unused.usable()));
        }
        if self.live.is_none() {
            self.live = Some(self.connect()?);
        }
        Ok(self
            .live
            .as_ref()
            .map(|live| live.durable.clone())
            .unwrap_or_default())
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        if let Err(error) = self.permit() {
            // Nothing reaches a topic that was stopped meanwhile.
            let failure = Failure::from(error).usable();
            return self.settle(Err(failure));
        }
        let outcome = self.send(batch);
        self.settle(outcome)?;
        let full = self.live.as_ref().is_some_and(Live::full);
        if self.careful > 0 {
            self.commit()?;
            self.careful -= 1;
        } else if full {
            self.commit()?;
        }
        Ok(())
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        self.live = None;
        let mut live = self.connect()?;
        for (topic, partition, next) in targets {
            live.written.set(topic, *partition, *next);
        }
        let started = live.transactions.start();
        live.open = Some(Open {
            since: Instant::now(),
            records: 0,
            bytes: 0,
        });
        self.live = Some(live);
        self.settle(started)?;
        self.commit()?;
        self.live = None;
        Ok(())
    }

    fn durable(&self) -> Option<&Positions> {
        self.live.as_ref().map(|live| &live.durable)
    }

    fn deadline(&self) -> Option<Instant> {
        let live = self.live.as_ref()?;
        Some(match &live.open {
            Some(open) => open.since + live.age,
            None => live.committed_at + REFRESH,
        })
    }

    fn tick(&mut self) -> Result<(), SinkError> {
        self.permit()?;
        let idle = |live: &&mut Live| live.open.is_none() && live.committed_at.elapsed() >= REFRESH;
        if let Some(live) = self.live.as_mut().filter(idle) {
            let started = live.transactions.start();
            live.open = Some(Open {
                since: Instant::now(),
                records: 0,
                bytes: 0,
            });
            self.settle(started)?;
        }
        self.commit_late()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.commit_late()
    }

    fn release(&mut self, partitions: &[(String, i32)]) -> Result<(), SinkError> {
        let touched = |live: &Live| {
            live.open.is_some()
                && partitions.iter().any(|(topic, partition)| {
                    live.written.get(topic, *partition) != live.durable.get(topic, *partition)
                })
        };
        if self.live.as_ref().is_some_and(touched) {
            let words = "partitions went to another member before their transaction ended";
            return self.settle(Err(Failure::from(SinkError::transient(words)).usable()));
        }
        Ok(())
    }
}

impl Forwarder {
    /// Commits outside of a write. A refused record is looked for by writing again, carefully.
    fn commit_late(&mut self) -> Result<(), SinkError> {
        self.commit().map_err(|error| match error.class {
            FailureClass::Poison => SinkError {
                class: FailureClass::Transient,
                ..error
            },
            _ => error,
        })
    }
}
