//! A batch through the processors, in turn. Each gets what it does not hold yet.

use super::Link;
use super::breaker::Breaker;
use super::letters::DeadLetters;
use super::stage::{Stage, Stop, Undertaker};
use crate::batch::Entry;
use crate::processors::Processor;
use std::time::Instant;

/// What becomes of records that a processor never takes.
pub(super) struct Burial<'j> {
    /// Where they go; none: the consumer stops at them.
    pub(super) letters: Option<&'j mut Box<dyn DeadLetters>>,
    /// How many there may be.
    pub(super) breaker: &'j mut Breaker,
}

/// The processors of a consumer and what each of them holds.
pub(super) struct Pipeline<'j> {
    stages: Vec<Stage<'j>>,
    burial: Burial<'j>,
}

impl<'j> Pipeline<'j> {
    /// Opens every processor.
    pub(super) fn open(
        processors: &'j mut [(String, Box<dyn Processor>)],
        burial: Burial<'j>,
        link: &Link,
    ) -> Result<Self, Stop> {
        link.report()
            .has_processors(processors.iter().map(|(name, _)| name.as_str()));
        let stages = processors.iter_mut().enumerate();
        let stages = stages.map(|(place, (name, processor))| {
            let name: &'j str = name;
            Stage::new(place, name, processor.as_mut())
        });
        let mut this = Self {
            stages: stages.collect(),
            burial,
        };
        this.ready()?;
        Ok(this)
    }

    /// Writes a batch through every processor. After an error it may be called again with the same
    /// records: nobody gets twice what it holds.
    pub(super) fn write(&mut self, batch: &[Entry<'_>], link: &Link) -> Result<(), Stop> {
        // All of them first: one that lost something means another batch.
        self.ready()?;
        let mut undertaker = Undertaker {
            letters: self.burial.letters.as_deref_mut(),
            breaker: self.burial.breaker,
            link,
        };
        for stage in &mut self.stages {
            stage.write(batch, &mut undertaker)?;
        }
        Ok(())
    }

    /// The most records that every sink takes in a batch.
    pub(super) fn batch_max(&self) -> usize {
        let stages = self.stages.iter().map(Stage::batch_max);
        stages.min().unwrap_or(usize::MAX).max(1)
    }

    /// Opens what is not open.
    pub(super) fn ready(&mut self) -> Result<(), Stop> {
        self.stages.iter_mut().try_for_each(Stage::ready)
    }

    /// Whether everything that was given of a partition is safe.
    pub(super) fn settled(&self, topic: &str, partition: i32) -> bool {
        let mut stages = self.stages.iter();
        stages.all(|stage| stage.settled(topic, partition))
    }

    /// What may be committed for a partition: the least of what is safe. A processor that knows nothing
    /// about the partition holds nothing of it.
    pub(super) fn committable(&self, topic: &str, partition: i32) -> Option<i64> {
        let mut least = None;
        for stage in &self.stages {
            let next = stage.safe(topic, partition)?;
            least = Some(least.map_or(next, |least: i64| least.min(next)));
        }
        least
    }

    /// When [`Pipeline::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.stages.iter().filter_map(Stage::deadline).min()
    }

    /// Lets the processors make safe what is old enough.
    pub(super) fn tick(&mut self) -> Result<(), Stop> {
        self.stages.iter_mut().try_for_each(Stage::tick)
    }

    /// Makes everything written safe.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        self.stages.iter_mut().try_for_each(Stage::flush)
    }

    /// Gives partitions away.
    pub(super) fn release(&mut self, partitions: &[(String, i32)]) {
        for stage in &mut self.stages {
            stage.release(partitions);
        }
    }

    /// Lets dead letters be written again, because a user said so.
    pub(super) fn forgive(&mut self) {
        self.burial.breaker.reset();
    }
}

#[cfg(test)]
mod tests;
