//! Handing records to Kafka: live ones as they come, held ones from the head of their log.

use super::Publisher;
use super::block::{InSpool, TopicId};
use super::reports::{STUCK_RETRY_FIRST, STUCK_RETRY_MAX};
use super::topic::{Backlog, Room, Topic};
use crate::batch::Records;
use crate::flow::{FlowEvent, step};
use crate::spool::bits::Bits;
use crate::spool::frame;
use crate::spool::log::Chunk;
use sluice_model::producer::FlowState;
use std::time::Instant;

/// Chunks of one backlog that one turn reads: live topics have their turn in between.
const TURN_CHUNKS: usize = 4;

/// When a listed topic needs the next turn, if it is a matter of time and not of delivery reports.
pub(super) fn next_try(topic: &Topic, room: Room) -> Option<Instant> {
    match topic.state {
        FlowState::Draining if !topic.has_leaders => {
            topic.looking.is_none().then_some(topic.retry_at)
        }
        FlowState::Draining if topic.waiting.is_empty() && topic.fits(room) => {
            // More to read, unless it waits for the last reports of an earlier try.
            (!topic.rewind || topic.flying == 0).then_some(topic.retry_at)
        }
        FlowState::Paused | FlowState::Rejected if topic.flying == 0 => Some(topic.retry_at),
        FlowState::Unknown
        | FlowState::Pending
        | FlowState::Draining
        | FlowState::Live
        | FlowState::Paused
        | FlowState::Inactive
        | FlowState::Rejected => None,
    }
}

impl Publisher {
    /// Does what a listed topic needs now; tells whether it needs more later.
    pub(super) fn work(&mut self, id: TopicId) -> bool {
        let now = Instant::now();
        self.wind_back(id);
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if topic.state == FlowState::Paused {
            if topic.flying > 0 || topic.in_flight > 0 || now < topic.retry_at {
                return true;
            }
            topic.state = step(topic.state, FlowEvent::Returned);
        }
        let state = topic.state;
        let leaving = self.work_leaving(id, now);
        leaving
            | match state {
                FlowState::Live => self.work_live(id, now),
                FlowState::Draining => {
                    self.drain(id, now);
                    true
                }
                FlowState::Paused => true,
                FlowState::Rejected => self.work_stopped(id, now),
                FlowState::Unknown | FlowState::Pending | FlowState::Inactive => self.work_held(id),
            }
    }

    /// Once nothing of a topic flies any more, what came back unanswered is next to be sent again.
    fn wind_back(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.get_mut(id)
            && topic.rewind
            && topic.flying == 0
        {
            topic.rewind = false;
            if let Some(backlog) = &mut topic.backlog {
                backlog.held.log.rewind();
            }
        }
    }

    fn work_live(&mut self, id: TopicId, now: Instant) -> bool {
        self.pump(id);
        self.trim_flight(id);
        self.close_log(id, now);
        self.topics.get(id).is_some_and(|topic| {
            topic.state != FlowState::Live || !topic.waiting.is_empty() || topic.backlog.is_some()
        })
    }

    /// Removes a log of which nothing is held any more.
    fn close_log(&mut self, id: TopicId, now: Instant) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let empty = topic
            .backlog
            .as_ref()
            .is_some_and(|backlog| backlog.held.log.is_empty())
            && topic.journal_until.is_none_or(|until| now >= until);
        if empty && let Some(backlog) = topic.backlog.take() {
            self.let_go(id, backlog);
        }
    }

    /// A fenced topic: tells the watcher as soon as nothing is in flight.
    pub(super) fn work_held(&mut self, id: TopicId) -> bool {
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if topic.flying > 0 || topic.in_flight > 0 {
            return true;
        }
        if topic.fence_open {
            topic.fence_open = false;
            self.heartbeat_due = true;
        }
        false
    }

    fn drain(&mut self, id: TopicId, now: Instant) {
        let Some(topic) = self.topics.get(id) else {
            return;
        };
        if topic.in_flight > 0 && !self.spill(id) {
            self.later(id, now);
            return;
        }
        let Some(topic) = self.topics.get(id) else {
            return;
        };
        if topic.rewind || topic.backlog.as_ref().is_some_and(Backlog::is_leaving) {
            return;
        }
        if !topic.has_leaders {
            return self.look(id, now);
        }
        self.pump(id);
        for _ in 0..TURN_CHUNKS {
            if self.stop_at.is_some() || !self.hand_out_chunk(id, now) {
                break;
            }
        }
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let drained = topic
            .backlog
            .as_ref()
            .is_none_or(|backlog| backlog.held.log.all_read());
        if drained && topic.waiting.is_empty() && topic.gathering.is_empty() {
            topic.state = step(topic.state, FlowEvent::HeadMetTail);
            if topic.state == FlowState::Live {
                tracing::info!(topic.name = &*topic.name, "topic is live");
            }
        }
    }

    fn later(&mut self, id: TopicId, now: Instant) {
        if let Some(topic) = self.topics.get_mut(id) {
            topic.back_off(now, STUCK_RETRY_FIRST, STUCK_RETRY_MAX);
        }
    }

    /// Reads the next frames of a backlog and hands them over; `false` when it is enough for now.
    fn hand_out_chunk(&mut self, id: TopicId, now: Instant) -> bool {
        let room = self.room_for(FlowState::Draining);
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if topic.state != FlowState::Draining || !topic.waiting.is_empty() || !topic.fits(room) {
            return false;
        }
        let Some(backlog) = topic.backlog.as_mut() else {
            return false;
        };
        let number = backlog.number;
        match backlog.held.log.read_chunk() {
            Ok(Some(mut chunk)) => {
                if !chunk.damage.is_empty() {
                    let meta = backlog.held.meta.clone();
                    let dir = backlog.held.log.dir().to_path_buf();
                    self.note_damage(&meta, &dir, std::mem::take(&mut chunk.damage));
                }
                self.add_chunk(id, number, &chunk);
                self.pump(id);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.storage_failed(&error.to_string());
                self.later(id, now);
                false
            }
        }
    }

    fn add_chunk(&mut self, id: TopicId, log: u64, chunk: &Chunk) {
        let mut recs = Vec::new();
        let mut in_spool = Vec::with_capacity(chunk.frames.len());
        let mut done = Vec::new();
        for read in &chunk.frames {
            let start = recs.len() as u32;
            recs.extend(frame::records(
                &chunk.bytes,
                read.payload,
                read.header.length,
            ));
            let end = recs.len() as u32;
            in_spool.push(InSpool {
                start,
                end,
                log,
                frame: read.number,
                at: 0,
                answered: true,
            });
            done.extend((start..end).filter(|index| read.resolved.get(index - start)));
        }
        let count = recs.len() as u32;
        let mut acked = Bits::new(recs.len());
        for index in done {
            acked.set(index);
        }
        let records = Records {
            block: chunk.bytes.clone(),
            recs,
            ..Records::default()
        };
        let slot = self.blocks.add_from_spool(records, id, in_spool, acked);
        let run = self.blocks.run(slot, 0, count);
        if let Some(block) = self.blocks.get_mut(slot) {
            block.unsent = count;
        }
        if let Some(topic) = self.topics.get_mut(id) {
            topic.waiting.push_back(run);
        }
    }
}
