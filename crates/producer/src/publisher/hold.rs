//! Records on their way to the spool: gathered while a sync is under way, written and synced in one go.
//!
//! Two kinds take this way: what may not flow yet, and what is journaled (see [`super::journal`]).

use super::Publisher;
use super::block::{Run, TopicId};
use super::topic::{Frame, Gathering};
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
                .map(|topic| topic.held_bytes() + topic.gathered_bytes())
                .sum()
        });
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let Some(block) = self.blocks.get(run.slot) else {
            return;
        };
        let topic_held = topic.held_bytes() + topic.gathered_bytes();
        let first = topic.gathering.is_empty();
        if topic
            .gathering
            .back()
            .is_none_or(|last| last.writer.payload_bytes() >= FRAME_BYTES)
        {
            topic.gathering.push_back(Gathering::default());
        }
        let Some(gathering) = topic.gathering.back_mut() else {
            return;
        };
        let room = !self.no_room;
        let mut added = 0_u64;
        let mut index = run.start;
        while let Some(rec) = block.rec(index).filter(|_| room && index < run.end) {
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
        } else if gathering.runs.is_empty() {
            topic.gathering.pop_back();
        }
        if first && !topic.gathering.is_empty() {
            self.gathering.push(id);
        }
        if index < run.end {
            let rest = Run {
                start: index,
                ..*run
            };
            self.not_gathered(id, rest);
        }
    }

    /// What the bounds do not allow to be held: Kafka takes it, or nobody.
    fn not_gathered(&mut self, id: TopicId, rest: Run) {
        let Some(topic) = self.topics.get(id) else {
            return;
        };
        if topic.state == FlowState::Live {
            // What was gathered before goes first.
            self.write_gathered();
            self.send_unjournaled(id, rest, if self.no_room { "reserve" } else { "full" });
            return;
        }
        let name = Arc::clone(&topic.name);
        let refusal = if self.no_room {
            let detail = "the disk of the spool has no bytes left beside its reserve";
            Refusal::new(Code::StorageFull, detail)
        } else {
            let detail = format!(
                "what is held of {name} has reached its bound; it flows when the topic is active"
            );
            Refusal::new(Code::HoldFull, detail)
        };
        self.refuse(&rest, &refusal);
    }

    /// Writes what was gathered behind the logs; gives the topics whose logs must be synced.
    pub(super) fn append_gathered(&mut self) -> Vec<TopicId> {
        self.held_bytes = None;
        let mut written = Vec::new();
        for id in std::mem::take(&mut self.gathering) {
            let gathered = self
                .topics
                .get_mut(id)
                .map(|topic| std::mem::take(&mut topic.gathering))
                .unwrap_or_default();
            for gathering in gathered {
                let born_ms = sluice_service::now().as_millis();
                let frame = Frame {
                    bytes: gathering.writer.finish(born_ms),
                    runs: gathering.runs,
                    start: Pos::default(),
                };
                match self.append_frame(id, &frame.bytes) {
                    Ok(start) => {
                        if let Some(topic) = self.topics.get_mut(id) {
                            topic.syncing.push_back(Frame { start, ..frame });
                        }
                    }
                    Err(error) => self.not_written(id, frame, &error),
                }
            }
            if self
                .topics
                .get(id)
                .is_some_and(|topic| !topic.syncing.is_empty())
            {
                written.push(id);
            }
        }
        written
    }

    /// What was written last of a topic is durable.
    pub(super) fn written(&mut self, id: TopicId) {
        while let Some(frame) = self
            .topics
            .get_mut(id)
            .and_then(|topic| topic.syncing.pop_front())
        {
            let Some(header) = frame::header(&frame.bytes) else {
                continue;
            };
            let Some(topic) = self.topics.get_mut(id) else {
                return;
            };
            if let Some(backlog) = topic.backlog.as_mut() {
                let log = &mut backlog.held.log;
                log.held_records += u64::from(header.count);
                log.held_bytes += frame.bytes.len() as u64;
            }
            self.totals.accepted += u64::from(header.count);
            if topic.state == FlowState::Live {
                self.journaled(id, &frame, header);
            } else {
                let topic_state = topic.status_word();
                for run in &frame.runs {
                    for index in run.start..run.end {
                        self.settle(run.slot, index, Fate::Held { topic_state });
                    }
                    self.blocks.free_if_done(run.slot);
                }
            }
            self.list(id);
        }
    }

    /// A sync has failed: nobody knows what the disk has of the segment. What was not durable before is
    /// written once more, to a new segment, here and now; if that fails too, it is not taken.
    pub(super) fn write_again(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let frames = std::mem::take(&mut topic.syncing);
        if let Some(log) = self.log_now(id) {
            log.roll_back();
        }
        metrics::counter!("producer_spool_rewrites_total").increment(1);
        for frame in frames {
            let again = self.append_frame(id, &frame.bytes).and_then(|start| {
                if let Some(log) = self.log_now(id) {
                    log.commit()?;
                }
                Ok(start)
            });
            match again {
                Ok(start) => {
                    if let Some(topic) = self.topics.get_mut(id) {
                        topic.syncing.push_back(Frame { start, ..frame });
                    }
                    self.written(id);
                }
                Err(error) => self.not_written(id, frame, &error),
            }
        }
    }

    /// The disk does not take a frame: what Kafka can take goes there, the rest is refused.
    fn not_written(&mut self, id: TopicId, frame: Frame, error: &std::io::Error) {
        self.storage_failed(&error.to_string());
        if self.topics.get(id).map(|topic| topic.state) == Some(FlowState::Live) {
            for run in frame.runs {
                self.send_unjournaled(id, run, "error");
            }
            return;
        }
        let detail = format!("the spool takes nothing now: {error}");
        let refusal = Refusal::new(Code::StorageFull, detail);
        for run in &frame.runs {
            self.refuse(run, &refusal);
            self.blocks.free_if_done(run.slot);
        }
    }

    /// Writes a frame; what is still in flight without a copy came before, and goes first.
    fn append_frame(&mut self, id: TopicId, frame: &[u8]) -> std::io::Result<Pos> {
        let topic = self.topics.get(id);
        let first = topic.is_some_and(|t| t.in_flight > 0 && t.state != FlowState::Live);
        if first && !self.spill_flight(id) {
            return Err(std::io::Error::other(
                "earlier records of the topic cannot be written",
            ));
        }
        self.open_log(id)?;
        let Some(log) = self.log_now(id) else {
            return Err(std::io::Error::other("the topic has no log"));
        };
        let start = log.next_pos()?;
        // A part of it that was written is cut off; what stands before it is whole.
        log.append(frame)?;
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
