//! Handing waiting records to librdkafka, in shares: no topic may keep the others waiting.
//!
//! Deficit round robin by cost: each turn a topic that has work gets one quantum, and a round ends when
//! it is used up. What a topic has in librdkafka is bounded by what is free there: a topic that gets no
//! acknowledgements comes to rest at that bound, and however many such topics there are, as much as each
//! of them has stays free for the others.

use super::Publisher;
use super::block::{Block, Run, TopicId, opaque};
use super::gear::Gear;
use super::kafka::{BATCH_RECORDS_MAX, Kafka, NotSent, classify};
use super::tide::Tide;
use super::topic::Room;
use crate::batch::Rec;
use rdkafka::error::RDKafkaErrorCode;
use sluice_model::producer::FlowState;
use std::ops::Range;
use std::time::Instant;

/// Records between two looks at the delivery reports while handing over.
const COLLECT_EVERY: u32 = 4_000;
/// What a topic may hand over in one turn, in bytes and [`RECORD_COST`]s. More than the largest record.
const QUANTUM: usize = 4 * 1024 * 1024;
/// Bytes that take as long as what each record takes besides its bytes.
const RECORD_COST: usize = 256;

/// What ended a run of sends.
enum Stop {
    Room,
    Share,
    Full,
    Stuck(RDKafkaErrorCode),
}

/// One call into librdkafka: the next record, what was taken, and why it goes on no further.
struct Step {
    next: u32,
    sent: u32,
    bytes: usize,
    stop: Option<Stop>,
}

/// What is free for a topic: all that librdkafka has, or the backlog's part of it.
fn room(kafka: &Kafka, tide: &Tide, state: FlowState, now: Instant) -> Room {
    match state {
        FlowState::Draining => tide.room(kafka.room(), now),
        FlowState::Unknown
        | FlowState::Pending
        | FlowState::Live
        | FlowState::Paused
        | FlowState::Inactive
        | FlowState::Rejected => kafka.room(),
    }
}

impl Publisher {
    /// What is free for a topic in this state.
    pub(super) fn room_for(&self, state: FlowState) -> Room {
        room(&self.kafka, &self.tide, state, Instant::now())
    }

    /// Hands waiting records to librdkafka as far as there is room, and as far as the topic's share goes.
    pub(super) fn pump(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        if topic.waiting.is_empty() {
            return;
        }
        if !topic.shift(Instant::now()) {
            // Its last reports bring it back here.
            return self.kafka.prepare(Gear::Bulk, (id, &topic.name));
        }
        let mut given_up = Vec::new();
        let mut since_collect = 0;
        let mut share = QUANTUM;
        let stop = loop {
            let Some(state) = self.topics.get(id).map(|topic| topic.state) else {
                return;
            };
            let room = self.room_for(state);
            let Some(topic) = self.topics.get_mut(id) else {
                return;
            };
            let Some(run) = topic.waiting.front().copied().filter(|_| topic.fits(room)) else {
                break Stop::Room;
            };
            if share == 0 {
                break Stop::Share;
            }
            let (sent, stop) = self.send_run(id, run, &mut share, &mut given_up);
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
        match stop {
            Stop::Stuck(code) => self.stuck(id, &format!("Kafka says {code}")),
            Stop::Share => self.hungry = true,
            Stop::Room | Stop::Full => {}
        }
    }

    /// Hands over what there is room for of the first waiting run.
    fn send_run(
        &mut self,
        id: TopicId,
        mut run: Run,
        share: &mut usize,
        given_up: &mut Vec<(u32, u32, RDKafkaErrorCode)>,
    ) -> (u32, Option<Stop>) {
        let Self {
            topics,
            blocks,
            kafka,
            tide,
            ..
        } = self;
        let (Some(topic), Some(block)) = (topics.get_mut(id), blocks.get_mut(run.slot)) else {
            return (0, Some(Stop::Room));
        };
        let first = run.start;
        let limit = run.end.min(first + COLLECT_EVERY);
        let mut stop = None;
        let now = Instant::now();
        let from_spool = block.is_from_spool();
        if !from_spool {
            tide.live(now);
        }
        while run.start < limit && *share > 0 && stop.is_none() {
            let room = room(kafka, tide, topic.state, now);
            if !topic.fits(room) {
                break;
            }
            let rest = run.start..limit.min(run.start + BATCH_RECORDS_MAX);
            let stretch = plain_stretch(block, rest, *share);
            let to = (topic.gear, id, &*topic.name, run.slot);
            let step = if stretch.is_empty() {
                send_one(kafka, block, to, run.start, given_up)
            } else {
                send_stretch(kafka, block, to, stretch, given_up)
            };
            block.flying += step.sent;
            topic.flying += step.sent;
            topic.flying_bytes += step.bytes;
            kafka.took(step.sent, step.bytes);
            if from_spool {
                tide.took(step.bytes);
            }
            *share = share.saturating_sub(step.bytes + step.sent as usize * RECORD_COST);
            run.start = step.next;
            stop = step.stop;
        }
        let sent = run.start - first;
        block.unsent = block.unsent.saturating_sub(sent);
        if block.in_spool(first).is_none() && sent > 0 {
            topic.flight.push_back(Run {
                end: run.start,
                start: first,
                ..run
            });
        }
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

/// The records at the beginning of a range that one call can take, within a share.
fn plain_stretch(block: &Block, range: Range<u32>, share: usize) -> Range<u32> {
    let mut cost = 0;
    let recs = block
        .records
        .recs
        .get(range.start as usize..range.end as usize);
    let fit = recs
        .unwrap_or_default()
        .iter()
        .zip(range.start..)
        .take_while(|(rec, index)| {
            let before = cost;
            cost += rec.size() + RECORD_COST;
            let plain = rec.headers.is_none() && rec.partition < 0 && rec.timestamp <= 0;
            plain && before < share && !(block.is_from_spool() && block.acked.get(*index))
        });
    range.start..range.start + fit.count() as u32
}

/// Hands plain records over in one call.
fn send_stretch(
    kafka: &mut Kafka,
    block: &Block,
    (gear, id, name, slot): (Gear, TopicId, &str, u32),
    stretch: Range<u32>,
    given_up: &mut Vec<(u32, u32, RDKafkaErrorCode)>,
) -> Step {
    let mut step = Step {
        next: stretch.end,
        sent: stretch.len() as u32,
        bytes: stretch
            .clone()
            .filter_map(|index| block.rec(index))
            .map(Rec::size)
            .sum(),
        stop: None,
    };
    let failures = kafka.send_many(gear, (id, name), &block.records, (slot, stretch.clone()));
    for (place, code) in failures {
        let index = stretch.start + *place as u32;
        step.sent -= 1;
        step.bytes -= block.rec(index).map_or(0, Rec::size);
        let stop = match classify(*code) {
            NotSent::Never(code) => {
                // Behind a record that must be sent again it is met again, too.
                if step.stop.is_none() {
                    given_up.push((slot, index, code));
                }
                continue;
            }
            NotSent::Full => Stop::Full,
            NotSent::NotNow(code) => Stop::Stuck(code),
        };
        if step.stop.is_none() {
            step.stop = Some(stop);
            step.next = index;
        }
    }
    step
}

/// Hands one record over, with all that it has; an acknowledged one is passed over.
fn send_one(
    kafka: &mut Kafka,
    block: &Block,
    (gear, _, name, slot): (Gear, TopicId, &str, u32),
    index: u32,
    given_up: &mut Vec<(u32, u32, RDKafkaErrorCode)>,
) -> Step {
    let mut step = Step {
        next: index + 1,
        sent: 0,
        bytes: 0,
        stop: None,
    };
    let Some(rec) = block.rec(index) else {
        return step;
    };
    if block.acked.get(index) {
        return step;
    }
    match kafka.send(gear, name, &block.records, (rec, opaque(slot, index))) {
        Ok(()) => {
            step.sent = 1;
            step.bytes = rec.size();
        }
        Err(code) => match classify(code) {
            NotSent::Never(code) => given_up.push((slot, index, code)),
            NotSent::Full => step.stop = Some(Stop::Full),
            NotSent::NotNow(code) => step.stop = Some(Stop::Stuck(code)),
        },
    }
    if step.stop.is_some() {
        step.next = index;
    }
    step
}
