//! Names that the table does not know. Somebody may have asked for one a moment ago, and the table that
//! says so is still on its way: their records wait that long before they are refused.

use super::Publisher;
use super::block::Run;
use std::time::{Duration, Instant};

/// How long a table may be on its way.
const GRACE: Duration = Duration::from_millis(50);

/// Records of an unknown name. They stay within the memory budget of their batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    run: Run,
    until: Instant,
}

impl Publisher {
    /// Lets records wait for the next table.
    pub(super) fn doubt(&mut self, run: Run) {
        let until = Instant::now() + GRACE;
        self.doubts.push(Doubt { run, until });
    }

    /// When the first doubt ends.
    pub(super) fn doubt_ends(&self) -> Option<Instant> {
        self.doubts.first().map(|doubt| doubt.until)
    }

    /// Looks again, in the order of arrival: takes what is known by now, refuses what waited too long.
    pub(super) fn settle_doubts(&mut self, now: Instant) {
        for doubt in std::mem::take(&mut self.doubts) {
            let Some((place, name)) = self.name_of(&doubt.run) else {
                continue;
            };
            match self.place(&name) {
                Ok(id) => {
                    let topics = self
                        .blocks
                        .get_mut(doubt.run.slot)
                        .map(|block| &mut block.topics);
                    if let Some(topic) = topics.and_then(|topics| topics.get_mut(place)) {
                        *topic = id;
                    }
                    self.admit(doubt.run);
                }
                Err(refusal) if now >= doubt.until || !self.inputs_open => {
                    self.refuse(&doubt.run, &refusal);
                }
                Err(_) => self.doubts.push(doubt),
            }
            self.blocks.free_if_done(doubt.run.slot);
        }
    }

    fn name_of(&self, run: &Run) -> Option<(usize, String)> {
        let block = self.blocks.of(run)?;
        let place = block.rec(run.start)?.topic as usize;
        Some((place, block.records.topics.get(place)?.to_string()))
    }
}
