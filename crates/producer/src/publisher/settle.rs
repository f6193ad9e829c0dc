//! What becomes of held records when their topic ends: the admin's word (`on_stop`) is carried out.

use super::Publisher;
use super::block::TopicId;
use crate::spool::dead_letter::DeadLetters;
use sluice_model::topic::OnStop;
use std::io;
use std::time::Instant;

impl Publisher {
    /// Works on a topic that ended; tells whether more is to do later.
    pub(super) fn work_stopped(&mut self, id: TopicId, now: Instant) -> bool {
        if self.work_held(id) {
            return true;
        }
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if now < topic.retry_at || !topic.syncing.is_empty() {
            return true;
        }
        let on_stop = topic.on_stop;
        if on_stop == OnStop::Hold {
            return false;
        }
        let Some(backlog) = topic.backlog.take() else {
            return false;
        };
        self.leave(id, backlog, on_stop);
        true
    }

    /// Writes records of a block to the dead-letter file of their topic.
    pub(super) fn dead_letter(
        &self,
        id: TopicId,
        slot: u32,
        indices: &[u32],
        reason: &str,
    ) -> io::Result<()> {
        let (Some(topic), Some(block)) = (self.topics.get(id), self.blocks.get(slot)) else {
            return Ok(());
        };
        let mut letters = DeadLetters::open(&**self.spool.disk(), self.spool.dir(), &topic.name)?;
        for rec in indices.iter().filter_map(|index| block.rec(*index)) {
            letters.push(&topic.name, &block.records, rec, reason)?;
        }
        letters.finish()
    }
}
