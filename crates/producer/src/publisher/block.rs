//! Blocks of records between their arrival (or their reading from the spool) and the last report about
//! them. A record is named by one integer: the block's slot and its index in it.

use crate::batch::{Batch, Fate, Outcome, Rec, Records, Refusal, Ticket};
use crate::budget::Charge;
use crate::spool::bits::Bits;
use std::time::Instant;

/// Names a topic in the publisher.
pub type TopicId = usize;

/// Consecutive records of one topic in one block.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The block's slot.
    pub slot: u32,
    /// The block's generation: a slot is used again.
    pub generation: u32,
    /// First record.
    pub start: u32,
    /// Behind the last record.
    pub end: u32,
}

/// Which records of a block stand in which frame of the spool.
#[derive(Clone, Copy, Debug)]
pub struct InSpool {
    /// First record.
    pub start: u32,
    /// Behind the last record.
    pub end: u32,
    /// Which log.
    pub log: u64,
    /// Which frame of it.
    pub frame: u64,
    /// Where the first record stands in the frame.
    pub at: u32,
    /// Whether the senders were told that the records are held; journaled ones are answered later.
    pub answered: bool,
}

/// Where one record stands in the spool.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which log.
    pub log: u64,
    /// Which frame of it.
    pub frame: u64,
    /// Which record of the frame.
    pub index: u32,
    /// Whether the sender was told that it is held.
    pub answered: bool,
}

/// A block.
#[derive(Debug)]
pub struct Block {
    generation: u32,
    /// The records.
    pub records: Records,
    /// The publisher's topics for [`Records::topics`].
    pub topics: Vec<TopicId>,
    /// When it came.
    pub born: Instant,
    /// Records in librdkafka.
    pub flying: u32,
    /// Records that wait for room in librdkafka.
    pub unsent: u32,
    /// Records that Kafka acknowledged.
    pub acked: Bits,
    in_spool: Vec<InSpool>,
    answer: Option<Answer>,
    from_spool: bool,
    journal: bool,
}

#[derive(Debug)]
struct Answer {
    ticket: Ticket,
    left: u32,
    fates: Option<Vec<Option<Fate>>>,
    refused: Vec<(u32, Refusal)>,
    _charge: Charge,
}

impl Block {
    /// Record `index`.
    pub fn rec(&self, index: u32) -> Option<&Rec> {
        self.records.recs.get(index as usize)
    }

    /// The publisher's topic of record `index`.
    pub fn topic_of(&self, index: u32) -> Option<TopicId> {
        self.topics.get(self.rec(index)?.topic as usize).copied()
    }

    /// Whether it was read from the spool.
    pub fn is_from_spool(&self) -> bool {
        self.from_spool
    }

    /// Whether its records are written to the spool before Kafka gets them.
    pub fn is_journaled(&self) -> bool {
        self.journal
    }

    /// Where record `index` stands in the spool, if it does.
    pub fn in_spool(&self, index: u32) -> Option<Place> {
        let after = self.in_spool.partition_point(|part| part.start <= index);
        let part = self.in_spool.get(after.checked_sub(1)?)?;
        (index < part.end).then(|| Place {
            log: part.log,
            frame: part.frame,
            index: part.at + index - part.start,
            answered: part.answered,
        })
    }

    /// Says that records stand in the spool.
    pub fn add_in_spool(&mut self, part: InSpool) {
        let at = self
            .in_spool
            .partition_point(|other| other.start < part.start);
        self.in_spool.insert(at, part);
    }

    /// Says that the senders of journaled records were told that they are held.
    pub fn answer_held(&mut self, run: &Run) {
        for part in &mut self.in_spool {
            part.answered |= part.start < run.end && run.start < part.end;
        }
    }
}

/// The blocks, in slots that are used again.
#[derive(Debug, Default)]
pub struct Blocks {
    slots: Vec<Option<Block>>,
    free: Vec<u32>,
    generation: u32,
}

impl Blocks {
    /// Takes in a batch; `topics` maps its names.
    pub fn add_batch(&mut self, batch: Batch, topics: Vec<TopicId>) -> u32 {
        let count = batch.records.recs.len();
        let answer = Answer {
            ticket: batch.ticket,
            left: count as u32,
            fates: batch.detailed.then(|| vec![None; count]),
            refused: Vec::new(),
            _charge: batch.charge,
        };
        let slot = self.add(batch.records, topics, Some(answer), Vec::new());
        if let Some(block) = self.get_mut(slot) {
            block.journal = batch.journal;
        }
        slot
    }

    /// Takes in records that were read from the spool.
    pub fn add_from_spool(
        &mut self,
        records: Records,
        topic: TopicId,
        in_spool: Vec<InSpool>,
        acked: Bits,
    ) -> u32 {
        let slot = self.add(records, vec![topic], None, in_spool);
        if let Some(block) = self.get_mut(slot) {
            block.acked = acked;
        }
        slot
    }

    fn add(
        &mut self,
        records: Records,
        topics: Vec<TopicId>,
        answer: Option<Answer>,
        in_spool: Vec<InSpool>,
    ) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let block = Block {
            generation: self.generation,
            acked: Bits::new(records.recs.len()),
            records,
            topics,
            born: Instant::now(),
            flying: 0,
            unsent: 0,
            from_spool: answer.is_none(),
            journal: false,
            in_spool,
            answer,
        };
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            *place = Some(block);
            return slot;
        }
        self.slots.push(Some(block));
        (self.slots.len() - 1) as u32
    }

    /// The block in a slot.
    pub fn get(&self, slot: u32) -> Option<&Block> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The block in a slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Block> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The block of a run, unless it is gone.
    pub fn of(&self, run: &Run) -> Option<&Block> {
        self.get(run.slot)
            .filter(|block| block.generation == run.generation)
    }

    /// A run of a block.
    pub fn run(&self, slot: u32, start: u32, end: u32) -> Run {
        let generation = self.get(slot).map_or(0, |block| block.generation);
        Run {
            slot,
            generation,
            start,
            end,
        }
    }

    /// Says what became of a record; gives the answer to the whole batch when it is complete.
    pub fn settle(&mut self, slot: u32, index: u32, fate: Fate) -> Option<Outcome> {
        let answer = self.get_mut(slot)?.answer.as_mut()?;
        answer.left = answer.left.saturating_sub(1);
        match &mut answer.fates {
            Some(fates) => {
                if let Some(place) = fates.get_mut(index as usize) {
                    *place = Some(fate);
                }
            }
            None => {
                if let Fate::Refused(refusal) = fate {
                    answer.refused.push((index, refusal));
                }
            }
        }
        self.finished(slot)
    }

    /// The answer to a batch, when every record has its fate. The batch's budget is given back.
    pub fn finished(&mut self, slot: u32) -> Option<Outcome> {
        let block = self.get_mut(slot)?;
        if block.answer.as_ref()?.left > 0 {
            return None;
        }
        let answer = block.answer.take()?;
        if block.flying > 0 || block.unsent > 0 {
            // What flies on has its copy in the spool and in librdkafka.
            block.records.block = bytes::Bytes::new();
            block.records.side = bytes::Bytes::new();
        }
        let mut refused = answer.refused;
        refused.sort_by_key(|(index, _)| *index);
        let fates = answer
            .fates
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .collect();
        Some(Outcome {
            ticket: answer.ticket,
            fates,
            refused,
        })
    }

    /// Frees a slot when nothing is left to be heard about it.
    pub fn free_if_done(&mut self, slot: u32) {
        let done = self
            .get(slot)
            .is_some_and(|block| block.flying == 0 && block.unsent == 0 && block.answer.is_none());
        if done && let Some(place) = self.slots.get_mut(slot as usize) {
            *place = None;
            self.free.push(slot);
        }
    }

    /// Forgets what flies: a producer that is gone will not report any more.
    pub fn ground(&mut self) {
        for slot in 0..self.slots.len() as u32 {
            if let Some(block) = self.get_mut(slot) {
                block.flying = 0;
            }
            self.free_if_done(slot);
        }
    }

    /// Batches that wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.slots
            .iter()
            .flatten()
            .filter(|block| block.answer.is_some())
            .count()
    }
}

/// The name of a record for librdkafka.
pub fn opaque(slot: u32, index: u32) -> usize {
    (slot as usize) << 32 | index as usize
}

/// The slot and the index of a name.
pub fn of_opaque(opaque: usize) -> (u32, u32) {
    ((opaque >> 32) as u32, opaque as u32)
}
