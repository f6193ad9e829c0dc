//! Records on their way to the spool: gathered over a turn, written and synced in one go.
//!
//! Two kinds take this way: what may not flow yet, and what is journaled (see [`super::journal`]).

use super::Publisher;
use super::block::{Run, TopicId};
use super::topic::Gathering;
use crate::batch::{Fate, Refusal};
use crate::spool::Meta;
use crate::spool::frame::{self, RECORD_BYTES};
use crate::spool::log::Pos;
use sluice_model::problem::Code;
use sluice_model::producer::FlowState;
use std::sync::Arc;

/// A frame is written when it has so many bytes, even if more is to come.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

impl Publisher {
    /// Adds records to what is written to the topic's log this turn, as far as the bounds allow.
    pub(super) fn gather(&mut self, id: TopicId, run: &Run) {
        let all_held = self.held_bytes.unwrap_or_else(|| {
            self.topics
                .iter()
                .map(super::topic::Topic::held_bytes)
                .sum()
        });
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let Some(block) = self.blocks.get(run.slot) else {
            return;
        };
        let mut topic_held = topic.held_bytes();
        let gathering = topic.gathering.get_or_insert_with(Gathering::default);
        topic_held += gathering.writer.payload_bytes() as u64;
        let mut added = 0_u64;
        let mut index = run.start;
        while let Some(rec) = block.rec(index).filter(|_| index < run.end) {
            let size = (rec.size() + RECORD_BYTES) as u64;
            let topic_full = topic_held + added + size > self.limits.hold_topic_max;
            if topic_full || all_held + added + size > self.limits.hold_max {
                break;
            }
            gathering.writer.push(&block.records, rec);
            added += size;
            index += 1;
        }
        self.held_bytes = Some(all_held + added);
        let taken = Run { end: index, ..*run };
        if taken.end > taken.start {
            gathering.runs.push(taken);
            if gathering.runs.len() == 1 {
                self.gathering.push(id);
            }
        }
        let large = gathering.writer.payload_bytes() >= FRAME_BYTES;
        let name = Arc::clone(&topic.name);
        let live = topic.state == FlowState::Live;
        if live && index < run.end {
            self.write_gathered();
            self.send_unjournaled(
                id,
                Run {
                    start: index,
                    ..*run
                },
                "full",
            );
        } else if index < run.end {
            let detail = format!(
                "what is held of {name} has reached its bound; it flows when the topic is active"
            );
            self.refuse(
                &Run {
                    start: index,
                    ..*run
                },
                &Refusal::new(Code::HoldFull, detail),
            );
        }
        if large {
            self.write_gathered();
        }
    }

    /// Writes and syncs what was gathered; from then on it is held.
    pub(super) fn write_gathered(&mut self) {
        self.held_bytes = None;
        let ids = std::mem::take(&mut self.gathering);
        for id in ids {
            let Some(gathering) = self
                .topics
                .get_mut(id)
                .and_then(|topic| topic.gathering.take())
            else {
                continue;
            };
            if self.topics.get(id).map(|topic| topic.state) == Some(FlowState::Live) {
                self.journal(id, gathering);
            } else {
                self.hold(id, gathering);
            }
        }
    }

    fn hold(&mut self, id: TopicId, gathering: Gathering) {
        let count = u64::from(gathering.writer.count());
        let runs = gathering.runs;
        let frame = gathering.writer.finish(sluice_service::now().as_millis());
        match self.write_behind_flight(id, &frame) {
            Ok(_) => {
                self.totals.accepted += count;
                let topic = self.topics.get(id);
                let topic_state = topic.map_or("unknown", super::topic::Topic::status_word);
                for run in &runs {
                    for index in run.start..run.end {
                        self.settle(run.slot, index, Fate::Held { topic_state });
                    }
                    self.blocks.free_if_done(run.slot);
                }
                self.list(id);
            }
            Err(error) => {
                self.storage_failed(&error.to_string());
                let detail = format!("the spool takes nothing now: {error}");
                let refusal = Refusal::new(Code::StorageFull, detail);
                for run in &runs {
                    self.refuse(run, &refusal);
                    self.blocks.free_if_done(run.slot);
                }
            }
        }
    }

    /// Writes a frame behind what is still in flight without a copy: that came before.
    fn write_behind_flight(&mut self, id: TopicId, frame: &[u8]) -> std::io::Result<Pos> {
        let first = self.topics.get(id).is_some_and(|topic| topic.in_flight > 0);
        if first && !self.spill_flight(id) {
            return Err(std::io::Error::other(
                "earlier records of the topic cannot be written",
            ));
        }
        self.write_frame(id, frame)
    }

    /// Writes and syncs a frame; gives the place where it begins.
    pub(super) fn write_frame(&mut self, id: TopicId, frame: &[u8]) -> std::io::Result<Pos> {
        self.open_log(id)?;
        let Some(backlog) = self
            .topics
            .get_mut(id)
            .and_then(|topic| topic.backlog.as_mut())
        else {
            return Err(std::io::Error::other("the topic has no log"));
        };
        let log = &mut backlog.held.log;
        let start = log.next_pos()?;
        if let Err(error) = log.append(frame) {
            log.roll_back();
            return Err(error);
        }
        log.commit()?;
        let count = frame::header(frame).map_or(0, |header| header.count);
        log.held_records += u64::from(count);
        log.held_bytes += frame.len() as u64;
        Ok(start)
    }

    /// Makes sure that a topic has a log.
    pub(super) fn open_log(&mut self, id: TopicId) -> std::io::Result<()> {
        let Some(topic) = self.topics.get(id) else {
            return Ok(());
        };
        if topic.backlog.is_some() {
            return Ok(());
        }
        let meta = Meta {
            topic_name: topic.name.to_string(),
            topic_id: topic.topic_id,
        };
        let held = self.spool.create(meta)?;
        let backlog = self.numbered(held);
        if let Some(topic) = self.topics.get_mut(id) {
            topic.backlog = Some(backlog);
        }
        Ok(())
    }
}
