//! Handing records to Kafka: live ones as they come, held ones from the head of their log.

use super::Publisher;
use super::block::{InSpool, Run, TopicId, opaque};
use super::kafka::NotSent;
use super::reports::{STUCK_RETRY_FIRST, STUCK_RETRY_MAX};
use super::topic::Topic;
use crate::batch::Records;
use crate::flow::{FlowEvent, step};
use crate::spool::bits::Bits;
use crate::spool::frame;
use crate::spool::log::Chunk;
use rdkafka::error::RDKafkaErrorCode;
use sluice_model::producer::FlowState;
use std::time::{Duration, Instant};

/// Records between two looks at the delivery reports while handing over.
const COLLECT_EVERY: u32 = 4_000;
/// Chunks of one backlog that one turn reads: live topics have their turn in between.
const TURN_CHUNKS: usize = 4;
/// Time that one look at a topic's metadata may take; the publisher stands still meanwhile.
const LOOK_WAIT: Duration = Duration::from_millis(100);
/// Delays between looks while a topic has no leaders.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// When a listed topic needs the next turn, if it is a matter of time and not of delivery reports.
pub(super) fn next_try(topic: &Topic) -> Option<Instant> {
    match topic.state {
        FlowState::Draining if !topic.has_leaders => Some(topic.retry_at),
        FlowState::Draining if topic.waiting.is_empty() && topic.has_room() => {
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

/// What ended a run of sends.
enum Stop {
    Room,
    Full,
    Stuck(RDKafkaErrorCode),
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
        match topic.state {
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
        if empty
            && let Some(backlog) = topic.backlog.take()
            && let Err(error) = backlog.held.remove()
        {
            self.storage_failed(&error.to_string());
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
        if topic.rewind || (!topic.has_leaders && !self.look(id, now)) {
            return;
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
        if drained && topic.waiting.is_empty() && topic.gathering.is_none() {
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

    /// Looks whether Kafka's metadata shows all leaders of a topic.
    fn look(&mut self, id: TopicId, now: Instant) -> bool {
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if now < topic.retry_at {
            return false;
        }
        if self.kafka_down {
            topic.retry_at = self.probe_at;
            return false;
        }
        match self.kafka.has_leaders(&topic.name, LOOK_WAIT) {
            Ok(true) => {
                topic.has_leaders = true;
                topic.fresh(now);
                true
            }
            Ok(false) => {
                topic.back_off(Instant::now(), LOOK_FIRST, LOOK_MAX);
                false
            }
            Err(error) => {
                topic.back_off(Instant::now(), LOOK_FIRST, LOOK_MAX);
                self.kafka_is_down(&format!("no broker answers: {error}"));
                false
            }
        }
    }

    /// Reads the next frames of a backlog and hands them over; `false` when it is enough for now.
    fn hand_out_chunk(&mut self, id: TopicId, now: Instant) -> bool {
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if topic.state != FlowState::Draining || !topic.waiting.is_empty() || !topic.has_room() {
            return false;
        }
        let Some(backlog) = topic.backlog.as_mut() else {
            return false;
        };
        let number = backlog.number;
        match backlog.held.log.read_chunk() {
            Ok(Some(chunk)) => {
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

    /// Hands waiting records to librdkafka as far as there is room.
    fn pump(&mut self, id: TopicId) {
        let mut given_up = Vec::new();
        let mut since_collect = 0;
        let stop = loop {
            let Some(topic) = self.topics.get_mut(id) else {
                return;
            };
            let Some(run) = topic.waiting.front().copied().filter(|_| topic.has_room()) else {
                break Stop::Room;
            };
            let (sent, stop) = self.send_run(id, run, &mut given_up);
            since_collect += sent;
            if since_collect >= COLLECT_EVERY || matches!(stop, Some(Stop::Full)) {
                since_collect = 0;
                self.kafka.collect(&mut self.reports);
            }
            if let Some(stop) = stop {
                break stop;
            }
        };
        for (slot, index, code) in given_up {
            self.give_up(id, slot, index, code);
            self.blocks.free_if_done(slot);
        }
        if let Stop::Stuck(code) = stop {
            self.stuck(id, &format!("Kafka says {code}"));
        }
    }

    /// Hands over what there is room for of the first waiting run.
    fn send_run(
        &mut self,
        id: TopicId,
        mut run: Run,
        given_up: &mut Vec<(u32, u32, RDKafkaErrorCode)>,
    ) -> (u32, Option<Stop>) {
        let Self {
            topics,
            blocks,
            kafka,
            ..
        } = self;
        let (Some(topic), Some(block)) = (topics.get_mut(id), blocks.get_mut(run.slot)) else {
            return (0, Some(Stop::Room));
        };
        let first = run.start;
        let limit = run.end.min(first + COLLECT_EVERY);
        let mut stop = None;
        while run.start < limit && topic.has_room() {
            let index = run.start;
            let Some(rec) = block.records.recs.get(index as usize) else {
                break;
            };
            if !block.acked.get(index) {
                match kafka.send(&topic.name, &block.records, rec, opaque(run.slot, index)) {
                    Ok(()) => {
                        block.flying += 1;
                        topic.flying += 1;
                        topic.flying_bytes += rec.size();
                    }
                    Err(NotSent::Full) => stop = Some(Stop::Full),
                    Err(NotSent::NotNow(code)) => stop = Some(Stop::Stuck(code)),
                    Err(NotSent::Never(code)) => given_up.push((run.slot, index, code)),
                }
                if stop.is_some() {
                    break;
                }
            }
            block.unsent = block.unsent.saturating_sub(1);
            run.start += 1;
        }
        let from_spool = block.is_from_spool();
        if block.in_spool(first).is_none() && run.start > first {
            topic.flight.push_back(Run {
                end: run.start,
                start: first,
                ..run
            });
        }
        let sent = run.start - first;
        if run.start >= run.end {
            topic.waiting.pop_front();
            if from_spool {
                blocks.free_if_done(run.slot);
            }
        } else if let Some(front) = topic.waiting.front_mut() {
            *front = run;
        }
        (sent, stop)
    }
}
