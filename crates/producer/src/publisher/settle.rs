//! What becomes of held records when their topic ends: the admin's word (`on_stop`) is carried out.

use super::Publisher;
use super::block::TopicId;
use super::reports::{STUCK_RETRY_FIRST, STUCK_RETRY_MAX};
use super::topic::Backlog;
use crate::batch::Records;
use crate::spool::dead_letter::DeadLetters;
use crate::spool::frame;
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
        self.settle_log(id, backlog, on_stop);
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        // A disk that takes no dead letters gives the log back.
        if topic.backlog.is_none() {
            topic.backlog = topic
                .retired
                .pop_if(|backlog| backlog.held.log.held_records > 0);
        }
        let again = topic.backlog.is_some();
        if again {
            topic.back_off(now, STUCK_RETRY_FIRST, STUCK_RETRY_MAX);
        }
        again
    }

    /// Carries out what the admin decided about a log whose topic ended.
    pub(super) fn settle_log(&mut self, id: TopicId, mut backlog: Backlog, on_stop: OnStop) {
        let records = backlog.held.log.held_records;
        let name = backlog.held.meta.topic_name.clone();
        let moved = match on_stop {
            OnStop::Hold => None,
            OnStop::Discard => Some(Ok(())),
            OnStop::DeadLetter => Some(self.move_to_dead_letters(&name, &mut backlog)),
        };
        match moved {
            Some(Ok(())) => {
                let discarded = on_stop == OnStop::Discard;
                let counter = if discarded {
                    &mut self.totals.discarded
                } else {
                    &mut self.totals.dead_lettered
                };
                *counter += records;
                if let Some(topic) = self.topics.get_mut(id) {
                    let ledger = &mut topic.ledger;
                    let counter = if discarded {
                        &mut ledger.discarded
                    } else {
                        &mut ledger.dead_lettered
                    };
                    *counter += records;
                }
                tracing::info!(
                    topic.name = name,
                    records,
                    on_stop = on_stop.as_str(),
                    "held records of an ended topic left the spool"
                );
                if let Err(error) = backlog.held.remove() {
                    self.storage_failed(&error.to_string());
                }
            }
            Some(Err(error)) => {
                self.storage_failed(&error.to_string());
                backlog.held.log.rewind();
                self.retire(id, backlog);
            }
            None => self.retire(id, backlog),
        }
    }

    fn retire(&mut self, id: TopicId, backlog: Backlog) {
        if let Some(topic) = self.topics.get_mut(id) {
            topic.retired.push(backlog);
        }
    }

    fn move_to_dead_letters(&self, name: &str, backlog: &mut Backlog) -> io::Result<()> {
        let mut letters = DeadLetters::open(&**self.spool.disk(), self.spool.dir(), name)?;
        while let Some(chunk) = backlog.held.log.read_chunk()? {
            for read in &chunk.frames {
                let recs = frame::records(&chunk.bytes, read.payload, read.header.length);
                let records = Records {
                    block: chunk.bytes.clone(),
                    ..Records::default()
                };
                for (index, rec) in recs.iter().enumerate() {
                    if !read.resolved.get(index as u32) {
                        letters.push(name, &records, rec, "the topic ended")?;
                    }
                }
            }
        }
        letters.finish()
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
