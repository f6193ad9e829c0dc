//! One processor of a consumer: what it was given, what of that is safe, and how a record that it
//! never takes is found and set aside.

use super::Link;
use super::breaker::Breaker;
use super::letters::{DeadLetters, Letter};
use crate::batch::{Entry, end, runs};
use crate::processors::{Processor, SinkError};
use crate::status::Fault;
use crate::watermark::Positions;
use sluice_model::consumer::FailureClass;
use sluice_service::now;
use std::collections::BTreeSet;
use std::time::Instant;

/// The stage of failures of the dead letters.
pub(super) const DEAD_LETTER: &str = "dead_letter";

/// Why a batch is not written.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something fails.
    Fault(Fault),
    /// The sink lost what it had not made safe yet: it must be read from Kafka again.
    Rewind,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a stage needs to bury a record.
pub(super) struct Undertaker<'u> {
    pub(super) letters: Option<&'u mut Box<dyn DeadLetters>>,
    pub(super) breaker: &'u mut Breaker,
    pub(super) link: &'u Link,
}

/// One processor.
pub(super) struct Stage<'j> {
    place: usize,
    name: &'j str,
    processor: &'j mut dyn Processor,
    /// What it holds or was given: it is not given again.
    written: Positions,
    /// The first offsets that it was given; nothing below is ours to wait for.
    base: Positions,
    /// Dead letters that what is safe has not passed yet.
    dead: BTreeSet<(String, i32, i64)>,
    open: bool,
    /// After a loss: every batch is made safe, so that the culprit can be found without another one.
    careful: bool,
}

impl<'j> Stage<'j> {
    pub(super) fn new(place: usize, name: &'j str, processor: &'j mut dyn Processor) -> Self {
        Self {
            place,
            name,
            processor,
            written: Positions::default(),
            base: Positions::default(),
            dead: BTreeSet::new(),
            open: false,
            careful: false,
        }
    }

    /// The most records that the sink wants in a batch.
    pub(super) fn batch_max(&self) -> usize {
        self.processor.batch_max()
    }

    /// Opens the sink if it is not open.
    pub(super) fn ready(&mut self) -> Result<(), Stop> {
        if self.open {
            return Ok(());
        }
        let opened = self.processor.open();
        let held = opened.map_err(|error| Fault::of(self.name, error))?;
        self.open = true;
        // Whoever has no say in it made everything safe that it was given.
        let lost = self.processor.durable().is_some()
            && self.written.iter().any(|(topic, partition, next)| {
                self.resume(topic, partition, held.get(topic, partition)) < Some(next)
            });
        if lost {
            metrics::counter!("consumer_rewinds_total", "processor" => self.name.to_owned())
                .increment(1);
            self.careful = true;
            self.written = held;
            return Err(Stop::Rewind);
        }
        for (topic, partition, next) in held.iter() {
            self.written.advance(topic, partition, next);
        }
        Ok(())
    }

    /// Where a partition goes on when this much of it is safe: behind the dead letters that follow.
    fn resume(&self, topic: &str, partition: i32, safe: Option<i64>) -> Option<i64> {
        let mut next = safe.max(self.base.get(topic, partition))?;
        while self.is_dead(topic, partition, next) {
            next += 1;
        }
        Some(next)
    }

    fn is_dead(&self, topic: &str, partition: i32, offset: i64) -> bool {
        !self.dead.is_empty() && self.dead.contains(&(topic.to_owned(), partition, offset))
    }

    /// The next offset that is not safe.
    pub(super) fn safe(&self, topic: &str, partition: i32) -> Option<i64> {
        if !self.open {
            return None;
        }
        match self.processor.durable() {
            None => self.written.get(topic, partition),
            Some(durable) => self.resume(topic, partition, durable.get(topic, partition)),
        }
    }

    /// Whether everything that it was given of a partition is safe.
    pub(super) fn settled(&self, topic: &str, partition: i32) -> bool {
        let given = self.written.get(topic, partition);
        self.open && given.is_none_or(|given| self.safe(topic, partition) >= Some(given))
    }

    /// Writes what of a batch it does not hold yet.
    pub(super) fn write(
        &mut self,
        batch: &[Entry<'_>],
        undertaker: &mut Undertaker<'_>,
    ) -> Result<(), Stop> {
        self.ready()?;
        self.note_base(batch);
        let skipped = batch.len() as u64;
        let lacking = self.lacking(batch);
        let todo = lacking.as_deref().unwrap_or(batch);
        metrics::counter!("consumer_records_skipped_total", "reason" => "held_already")
            .increment(skipped - todo.len() as u64);
        self.put(todo, 1, undertaker)?;
        if self.careful {
            self.flush()?;
            self.careful = false;
        }
        self.trim();
        Ok(())
    }

    /// What of a batch it does not hold; none: all of it.
    fn lacking<'b>(&self, batch: &[Entry<'b>]) -> Option<Vec<Entry<'b>>> {
        let lacks = |e: &Entry<'_>| {
            !self.written.holds(e.topic, e.partition, e.offset)
                && !self.is_dead(e.topic, e.partition, e.offset)
        };
        let lacks_all = |run: &[Entry<'_>]| {
            let first = run.iter().min_by_key(|entry| entry.offset);
            first.is_none_or(|e| !self.written.holds(e.topic, e.partition, e.offset))
        };
        if self.dead.is_empty() && runs(batch).all(lacks_all) {
            return None;
        }
        Some(batch.iter().filter(|entry| lacks(entry)).cloned().collect())
    }

    fn note_base(&mut self, batch: &[Entry<'_>]) {
        for entry in runs(batch).filter_map(<[Entry<'_>]>::first) {
            if self.base.get(entry.topic, entry.partition).is_none() {
                self.base.set(entry.topic, entry.partition, entry.offset);
            }
        }
    }

    /// Writes records; those that are refused for good are found by halving and buried.
    fn put(
        &mut self,
        todo: &[Entry<'_>],
        attempt: u32,
        undertaker: &mut Undertaker<'_>,
    ) -> Result<(), Stop> {
        if todo.is_empty() {
            return Ok(());
        }
        let Err(error) = self.attempt(todo, undertaker.link) else {
            undertaker.breaker.good(todo.len() as u64);
            return if self.careful { self.flush() } else { Ok(()) };
        };
        if error.class != FailureClass::Poison {
            return Err(Fault::of(self.name, error).into());
        }
        self.ready()?;
        let lacking = self.lacking(todo);
        let todo = lacking.as_deref().unwrap_or(todo);
        let culprit = error.culprit.as_ref().and_then(|(topic, partition, at)| {
            todo.iter()
                .position(|e| (e.topic, e.partition, e.offset) == (topic.as_str(), *partition, *at))
        });
        match (culprit, todo) {
            (_, []) => Ok(()),
            (_, [entry]) => self.bury(entry, &error, attempt, undertaker),
            (Some(at), _) => {
                self.put(&todo[..at], attempt + 1, undertaker)?;
                self.bury(&todo[at], &error, attempt, undertaker)?;
                self.put(&todo[at + 1..], attempt + 1, undertaker)
            }
            (None, _) => {
                let (first, second) = todo.split_at(todo.len() / 2);
                self.put(first, attempt + 1, undertaker)?;
                self.put(second, attempt + 1, undertaker)
            }
        }
    }

    /// One try.
    fn attempt(&mut self, todo: &[Entry<'_>], link: &Link) -> Result<(), SinkError> {
        link.report().busy = Some((self.name.to_owned(), Instant::now()));
        let started = Instant::now();
        let outcome = self.processor.write(todo);
        let took = started.elapsed();
        {
            let mut report = link.report();
            report.busy = None;
            report.wrote(self.place, todo.len() as u64, took, outcome.is_ok(), now());
        }
        metrics::histogram!("consumer_batch_duration_seconds", "processor" => self.name.to_owned())
            .record(took.as_secs_f64());
        if let Err(error) = outcome {
            self.open = false;
            return Err(error);
        }
        metrics::counter!("consumer_records_written_total", "processor" => self.name.to_owned())
            .increment(todo.len() as u64);
        for (topic, partition, next) in runs(todo).filter_map(end) {
            self.written.advance(topic, partition, next);
        }
        Ok(())
    }

    /// Writes a record to the dead letters, if the consumer wants that and not too many are there.
    fn bury(
        &mut self,
        entry: &Entry<'_>,
        error: &SinkError,
        attempts: u32,
        undertaker: &mut Undertaker<'_>,
    ) -> Result<(), Stop> {
        let place = format!(
            "{}/{} offset {}",
            entry.topic, entry.partition, entry.offset
        );
        let refused = |why: &str| Fault {
            message: format!("the record {place} is refused: {}; {why}", error.message),
            ..Fault::of(self.name, error.clone())
        };
        let Some(letters) = undertaker.letters.as_mut() else {
            return Err(refused("on_poison is stop").into());
        };
        if !undertaker.breaker.allows() {
            return Err(refused(&undertaker.breaker.rule()).into());
        }
        let letter = Letter {
            stage: self.name,
            error: &error.message,
            attempts,
        };
        let written = letters.write(entry, &letter);
        written.map_err(|error| Fault::of(DEAD_LETTER, error))?;
        undertaker.breaker.bad();
        tracing::warn!(
            stage = self.name,
            record = place,
            error = error.message,
            "a record became a dead letter"
        );
        undertaker.link.report().buried(
            self.place,
            Fault::of(self.name, error.clone()),
            &place,
            now(),
        );
        self.written
            .advance(entry.topic, entry.partition, entry.offset + 1);
        if self.processor.durable().is_some() {
            let key = (entry.topic.to_owned(), entry.partition, entry.offset);
            self.dead.insert(key);
        }
        Ok(())
    }

    /// When [`Stage::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.then(|| self.processor.deadline()).flatten()
    }

    /// Lets the sink make safe what is old enough.
    pub(super) fn tick(&mut self) -> Result<(), Stop> {
        if self.deadline().is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        let done = self.processor.tick();
        self.settle(done)
    }

    /// Makes everything written safe.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        if !self.open {
            return Ok(());
        }
        let done = self.processor.flush();
        self.settle(done)
    }

    fn settle(&mut self, done: Result<(), SinkError>) -> Result<(), Stop> {
        self.open = done.is_ok();
        let done = done.map_err(|error| Fault::of(self.name, error));
        self.trim();
        Ok(done?)
    }

    /// Forgets dead letters that what is safe has passed.
    fn trim(&mut self) {
        if self.dead.is_empty() || !self.open {
            return;
        }
        let dead = std::mem::take(&mut self.dead);
        let ahead = |(topic, partition, at): &(String, i32, i64)| {
            let durable = self.processor.durable();
            let durable = durable.and_then(|positions| positions.get(topic, *partition));
            durable.is_none_or(|next| next <= *at)
        };
        self.dead = dead.into_iter().filter(ahead).collect();
    }

    /// Gives partitions away: what is not safe of them is given up.
    pub(super) fn release(&mut self, partitions: &[(String, i32)]) {
        if !self.open {
            return;
        }
        if let Err(error) = self.processor.release(partitions) {
            tracing::debug!(stage = self.name, error = %error, "opened again after a release");
            self.open = false;
        }
        for (topic, partition) in partitions {
            if let Some(safe) = self.safe(topic, *partition) {
                self.written.set(topic, *partition, safe);
            }
            self.base.remove(topic, *partition);
            self.dead.retain(|(t, p, _)| (t, p) != (topic, partition));
        }
    }
}
