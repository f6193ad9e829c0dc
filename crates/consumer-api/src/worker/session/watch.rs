//! The watchdog: a consumer lives while it makes progress, not while its thread does. It also finds
//! records that Kafka deleted before they were read.

use super::super::Order;
use super::super::context::{give, take};
use super::super::start::{Resume, resume};
use super::Session;
use crate::status::Fault;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::consumer::{AutoOffsetReset, FailureClass};
use std::time::{Duration, Instant};

/// Markers are passed when no record came for this long.
const QUIET: Duration = Duration::from_secs(1);
/// Partitions whose ends one look asks for.
const LOOK_PARTITIONS: usize = 32;
/// Time that one such question may take.
const ENDS_TIMEOUT: Duration = Duration::from_millis(500);
/// Time that the question for the bounds of a lost position may take.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the watchdog remembers.
#[derive(Debug)]
pub(super) struct Watch {
    progress: Instant,
    asked: bool,
    restart: Option<&'static str>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            progress: Instant::now(),
            asked: false,
            restart: None,
        }
    }

    /// Something was written, or there is a good reason why not.
    pub(super) fn progress(&mut self) {
        self.progress = Instant::now();
        self.asked = false;
    }

    /// The client must be made again.
    pub(super) fn restart(&mut self, why: &'static str) {
        self.restart = Some(why);
    }
}

impl Session<'_, '_> {
    /// Looks whether there is progress, about once a second.
    pub(super) fn watch(&mut self) -> Result<(), Fault> {
        if let Some(why) = self.watch.restart.take() {
            return Err(Fault::kafka(why));
        }
        self.pass_markers();
        let failing = self.link.report().fault.is_some();
        // What was read waits for the age of its batch, which may be long.
        let waiting = !self.batch.messages.is_empty();
        if failing || waiting || self.link.ordered() != Order::Run {
            self.watch.progress();
            return Ok(());
        }
        let idle = self.watch.progress.elapsed();
        if idle >= self.stall_after / 2 && !self.watch.asked {
            self.watch.asked = true;
            self.ask_ends()?;
        }
        if idle < self.stall_after {
            return Ok(());
        }
        self.watch.progress();
        let reason = if !self.client.context().group().joined {
            "the group was not joined".to_owned()
        } else if let Some(behind) = self.behind() {
            format!("{behind} records wait and none was written")
        } else {
            return Ok(());
        };
        metrics::counter!("consumer_stalls_total").increment(1);
        Err(Fault::kafka(format!(
            "no progress for {} s: {reason}; the client is started again",
            idle.as_secs()
        )))
    }

    /// Records that wait, if any.
    fn behind(&self) -> Option<i64> {
        let report = self.link.report();
        let behind = self.stored.keys().filter_map(|key| {
            let at = report.positions.get(key)?;
            Some((report.ends.get(key)? - at).max(0))
        });
        Some(behind.sum()).filter(|behind: &i64| *behind > 0)
    }

    /// Asks Kafka itself for the ends: a client that fetches nothing does not know them.
    fn ask_ends(&mut self) -> Result<(), Fault> {
        let keys: Vec<_> = self.stored.keys().take(LOOK_PARTITIONS).cloned().collect();
        let mut gone = false;
        for key in keys {
            let Ok((low, high)) = self.client.fetch_watermarks(&key.0, key.1, ENDS_TIMEOUT) else {
                return Ok(());
            };
            let mut report = self.link.report();
            let at = *report.positions.entry(key.clone()).or_insert(low);
            gone |= at < low && self.batch.messages.is_empty();
            report.ends.insert(key, high);
        }
        if gone { self.find_gaps() } else { Ok(()) }
    }

    /// Finds the partitions whose position Kafka has no record at, and goes on as the consumer says.
    pub(super) fn find_gaps(&mut self) -> Result<(), Fault> {
        let keys: Vec<_> = self.stored.keys().cloned().collect();
        for key in keys {
            let Some(at) = self.link.report().positions.get(&key).copied() else {
                continue;
            };
            let bounds = self.client.fetch_watermarks(&key.0, key.1, SEEK_TIMEOUT);
            let bounds = bounds.map_err(|error| {
                Fault::kafka(format!("the ends of {}/{}: {error}", key.0, key.1))
            })?;
            match resume((&key.0, key.1), at, bounds, self.reset) {
                Resume::Here => {}
                Resume::At(next, gap) => {
                    let then = match self.reset {
                        AutoOffsetReset::Latest => format!("goes on with new records, at {next}"),
                        _ => format!("goes on at {next}"),
                    };
                    self.note_gap(gap, &then);
                    self.go_on_at(key, next)?;
                }
                Resume::Stop(gap) => {
                    let message = "auto_offset_reset is none: move the offsets, or change it";
                    self.note_gap(gap.clone(), message);
                    return Err(Fault {
                        class: FailureClass::Environment,
                        ..Fault::kafka(format!(
                            "{}; {message}",
                            super::super::start::describe(&gap)
                        ))
                    });
                }
            }
        }
        Ok(())
    }

    fn go_on_at(&mut self, key: (String, i32), next: i64) -> Result<(), Fault> {
        self.forget(std::slice::from_ref(&key));
        // librdkafka does not seek where it gave up; what is assigned anew starts anew.
        let mut list = TopicPartitionList::new();
        let fault = |error: KafkaError| Fault::kafka(format!("cannot go on behind a gap: {error}"));
        list.add_partition_offset(&key.0, key.1, Offset::Offset(next))
            .map_err(fault)?;
        give(self.client, &list).map_err(fault)?;
        self.lead([&key]);
        take(self.client, &list).map_err(fault)?;
        self.client.context().group().epoch += 1;
        self.link.report().positions.insert(key.clone(), next);
        // One below: the place itself is stored once fetching stands there.
        self.stored.insert(key, Some(next - 1));
        self.watch.progress();
        Ok(())
    }

    /// Moves past markers of transactions, which never come as records: everything that came is written,
    /// so there is nothing to read below where the client stands.
    fn pass_markers(&mut self) {
        if self.misled || !self.batch.messages.is_empty() || self.last_message.elapsed() < QUIET {
            return;
        }
        let Ok(positions) = self.client.position() else {
            return;
        };
        let mut ends = Vec::new();
        for element in positions.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            if let Offset::Offset(next) = element.offset()
                && self.pipeline.settled(topic, partition)
            {
                ends.push(((topic.to_owned(), partition), next));
            }
        }
        self.store_ends(ends);
    }

    /// Tells where the partitions end, as far as the client knows.
    pub(super) fn note_ends(&self) {
        let mut report = self.link.report();
        for key in self.stored.keys() {
            if let Some(end) = self.records.end(&key.0, key.1) {
                report.ends.insert(key.clone(), end);
            }
        }
    }
}
