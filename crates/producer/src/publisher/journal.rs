//! Journaled records: those of senders that are told nothing and will not send again. They are written
//! and synced to the log of their topic before Kafka gets them, so that a daemon that is killed finds
//! them again; the copy is dealt with by the acknowledgement that every record in flight has.
//!
//! Their batch is answered by that acknowledgement too, not by the sync: until then it counts in the
//! memory budget, and an input that is faster than Kafka is slowed down instead of filling the disk. A
//! topic that does not get on is spilled like any other, only that its journaled records have their copy.

use super::Publisher;
use super::block::{InSpool, Run, TopicId};
use super::topic::Frame;
use crate::batch::Fate;
use crate::spool::bits::Bits;
use crate::spool::frame::Header;
use crate::spool::log::Pos;
use std::time::{Duration, Instant};

/// Time for which the empty log of a journaled topic stays: the next record needs it again.
const LOG_LINGER: Duration = Duration::from_secs(30);

impl Publisher {
    /// Whether records of a live topic are written to the spool first.
    pub(super) fn is_journaled(&self, run: &Run) -> bool {
        let block = self.blocks.get(run.slot);
        block.is_some_and(super::block::Block::is_journaled)
    }

    /// Queues records of a live topic for Kafka that are on disk now.
    pub(super) fn journaled(&mut self, id: TopicId, written: &Frame, header: Header) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        topic.journal_until = Some(Instant::now() + LOG_LINGER);
        let Some(backlog) = topic.backlog.as_mut() else {
            return;
        };
        let start = written.start;
        let end = Pos {
            offset: start.offset + written.bytes.len() as u64,
            ..start
        };
        let log = &mut backlog.held.log;
        let frame = log.mark_sent(start, end, header, Bits::new(header.count as usize));
        let mut at = 0;
        for run in written.runs.iter().copied() {
            let count = run.end - run.start;
            if let Some(block) = self.blocks.get_mut(run.slot) {
                block.add_in_spool(InSpool {
                    start: run.start,
                    end: run.end,
                    log: backlog.number,
                    frame,
                    at,
                    answered: false,
                });
                block.unsent += count;
            }
            at += count;
            topic.waiting.push_back(run);
            topic.journaled.push_back(run);
        }
    }

    /// Sends records that should have been journaled without a copy: Kafka takes them, the disk does not.
    pub(super) fn send_unjournaled(&mut self, id: TopicId, run: Run, reason: &'static str) {
        metrics::counter!("producer_unjournaled_records_total", "reason" => reason)
            .increment(u64::from(run.end - run.start));
        self.send_live(id, run);
    }

    /// Answers the journaled records of a topic that does not get on: they are held already. What is
    /// not handed over yet is read from the log when the topic drains.
    pub(super) fn release_journaled(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let runs = std::mem::take(&mut topic.journaled);
        if runs.is_empty() {
            return;
        }
        topic.rewind = true;
        let topic_state = topic.status_word();
        let Self { topics, blocks, .. } = self;
        if let Some(topic) = topics.get_mut(id) {
            topic.waiting.retain(|run| {
                let Some(block) = blocks.get_mut(run.slot) else {
                    return false;
                };
                let has_copy = block.in_spool(run.start).is_some();
                if has_copy {
                    block.unsent = block.unsent.saturating_sub(run.end - run.start);
                }
                !has_copy
            });
        }
        for run in runs {
            if let Some(block) = self.blocks.get_mut(run.slot) {
                block.answer_held(&run);
            }
            for index in run.start..run.end {
                let open = self
                    .blocks
                    .of(&run)
                    .is_some_and(|block| !block.acked.get(index));
                if open {
                    self.settle(run.slot, index, Fate::Held { topic_state });
                }
            }
            self.blocks.free_if_done(run.slot);
        }
    }
}
