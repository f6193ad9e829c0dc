//! Records that wait a moment before they are refused or held. Somebody may have asked for their name
//! just now, and the table that says so is still on its way; or their topic is active and the first look
//! at its leaders is under way.

use super::Publisher;
use super::block::Run;
use std::time::{Duration, Instant};

/// How long a table or a look may be on its way.
const GRACE: Duration = Duration::from_millis(50);

/// Records that wait. They stay within the memory budget of their batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    run: Run,
    until: Instant,
}

impl Publisher {
    /// Lets records wait for the next table or look.
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
                    if now < doubt.until && self.inputs_open && self.looks_first(id) {
                        self.doubts.push(doubt);
                    } else {
                        self.admit(doubt.run);
                    }
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
