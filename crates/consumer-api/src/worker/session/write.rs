//! Writing batches, again and again if it must be.

use super::super::stage::Stop;
use super::super::{Order, after};
use super::{LOOK_INTERVAL, Session};
use crate::status::Fault;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::consumer::FailureClass;
use sluice_service::now;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time that going back in Kafka may take.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

impl Session<'_, '_> {
    /// Writes the batch, again and again if it must be. False: an order came meanwhile and the records
    /// stay in Kafka.
    pub(super) fn write(&mut self) -> Result<bool, Fault> {
        self.insist(Self::write_once)
    }

    /// Lets sinks make safe what is old enough.
    pub(super) fn tick(&mut self) -> Result<bool, Fault> {
        let due = self.pipeline.deadline();
        if due.is_none_or(|due| due > Instant::now()) {
            return Ok(true);
        }
        let mut first = true;
        self.insist(|this| {
            // What failed is opened again, and its records are read again: there is no second tick.
            let done = if std::mem::take(&mut first) {
                this.pipeline.tick()
            } else {
                this.pipeline.ready()
            };
            done.map(|()| this.store())
        })
    }

    fn insist(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<(), Stop>,
    ) -> Result<bool, Fault> {
        loop {
            match work(self) {
                Ok(()) => return Ok(true),
                Err(Stop::Rewind) => {
                    self.rewind();
                    return Ok(true);
                }
                Err(Stop::Fault(fault)) => {
                    if !self.fail(fault)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Tells of a failure and waits for the next try. False: an order ends the session.
    fn fail(&mut self, fault: Fault) -> Result<bool, Fault> {
        if fault.class == FailureClass::Fenced {
            return Err(fault);
        }
        let delay = self.backoff.delay_of(&fault);
        let millis = delay.as_millis() as u64;
        tracing::warn!(
            stage = fault.stage,
            class = fault.class.as_str(),
            error = fault.message,
            retry_ms = millis,
            "a batch fails"
        );
        metrics::counter!("consumer_failures_total", "stage" => fault.stage.clone()).increment(1);
        self.link.report().fail(fault, now(), Some(after(delay)));
        self.hold(delay)
    }

    /// Stays in the group without reading until the next try is due. False: an order ends the session.
    fn hold(&mut self, delay: Duration) -> Result<bool, Fault> {
        let (until, kicks) = (Instant::now() + delay, self.link.kicked());
        while Instant::now() < until {
            if !matches!(self.link.ordered(), Order::Run | Order::Pause) {
                return Ok(false);
            }
            if self.link.kicked() != kicks {
                self.backoff.reset();
                self.pipeline.forgive();
                break;
            }
            self.set_paused(true);
            // A record that was on its way when reading stopped joins the batch's end.
            let left = until.saturating_duration_since(Instant::now());
            self.poll(left.min(LOOK_INTERVAL))?;
        }
        Ok(true)
    }

    pub(super) fn write_once(&mut self) -> Result<(), Stop> {
        if self.batch.messages.is_empty() {
            self.pipeline.ready()?;
        } else {
            let count = self.batch.messages.len() as u64;
            let (pipeline, link) = (&mut self.pipeline, self.link);
            let bytes = self.views.of(&self.batch.messages, |views, bytes| {
                pipeline.write(views, link).map(|()| bytes)
            })?;
            self.link.report().read(count, bytes as u64, now());
            self.batch.clear();
            self.store();
        }
        self.watch.progress();
        self.backoff.healthy();
        self.link.report().sinks_recovered(now());
        Ok(())
    }

    /// Goes back in Kafka to what is safe: a sink lost what it had not made safe yet.
    pub(super) fn rewind(&mut self) {
        let mut targets = BTreeMap::new();
        for message in &self.batch.messages {
            let key = (message.topic().to_owned(), message.partition());
            targets
                .entry(key)
                .or_insert(Offset::Offset(message.offset()));
        }
        for (key, stored) in &self.stored {
            // The seek goes to what was stored: nothing above it is safe in every sink.
            let safe = self.pipeline.committable(&key.0, key.1).or(*stored);
            match safe {
                Some(safe) => targets.insert(key.clone(), Offset::Offset(safe)),
                // It was never read, or nothing of it is safe: from its first record, or that of the batch.
                None => Some(*targets.entry(key.clone()).or_insert(Offset::Beginning)),
            };
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &targets {
            let _legal = list.add_partition_offset(topic, *partition, *offset);
        }
        self.misled = false;
        self.batch.clear();
        if list.count() == 0 {
            return;
        }
        let outcome = self.client.seek_partitions(list, SEEK_TIMEOUT);
        let failed = match &outcome {
            Ok(done) => done.elements().iter().any(|e| e.error().is_err()),
            Err(_) => true,
        };
        if failed {
            tracing::warn!("going back in Kafka failed; the client is started again");
            self.watch.restart("going back in Kafka failed");
        }
    }
}
