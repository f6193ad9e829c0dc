//! Records that wait too long for Kafka go to the spool as well, and are answered "held".

use super::Publisher;
use super::block::{InSpool, Run, TopicId};
use super::syncer::side_by_side;
use super::topic::Topic;
use crate::batch::Fate;
use crate::spool::bits::Bits;
use crate::spool::frame::{self, FrameWriter, Header};
use crate::spool::log::{Log, Pos, SyncJob};
use std::collections::VecDeque;
use std::time::Instant;

/// A topic that makes progress is spilled only after so many times the usual wait: then a part of it
/// is stuck.
const PATIENCE: u32 = 4;

/// A frame that was written for records in flight.
struct Written {
    run: Run,
    start: Pos,
    end: Pos,
    header: Header,
    resolved: Bits,
}

/// What was handed over, and what was not.
type Flight = (Vec<Written>, Vec<Written>);

impl Publisher {
    /// Spills the topics whose oldest record waits too long.
    pub(super) fn spill_overdue(&mut self, now: Instant) {
        let mut overdue = Vec::new();
        for id in 0..self.topics.len() {
            if self.topics.get(id).is_some_and(Topic::is_awaited) {
                self.trim_flight(id);
                if self.is_overdue(id, now) {
                    overdue.push(id);
                }
            }
        }
        if !overdue.is_empty() {
            self.suspect_kafka();
            self.all_stuck(&overdue, "Kafka does not acknowledge in time");
        }
    }

    fn is_overdue(&self, id: TopicId, now: Instant) -> bool {
        let Some(topic) = self.topics.get(id) else {
            return false;
        };
        let first = [&topic.flight, &topic.journaled, &topic.waiting].map(VecDeque::front);
        let blocks = first.iter().flatten().filter_map(|run| self.blocks.of(run));
        let Some(born) = blocks.map(|block| block.born).min() else {
            return false;
        };
        let age = now.saturating_duration_since(born);
        let quiet = now.saturating_duration_since(topic.progress);
        let after = self.limits.spill_after;
        (age >= after && quiet >= after) || age >= after * PATIENCE
    }

    /// Drops the acknowledged beginning of a topic's flight.
    pub(super) fn trim_flight(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        for flight in [&mut topic.flight, &mut topic.journaled] {
            while let Some(run) = flight.front_mut() {
                let Some(block) = self.blocks.of(run) else {
                    flight.pop_front();
                    continue;
                };
                while run.start < run.end && block.acked.get(run.start) {
                    run.start += 1;
                }
                if run.start < run.end {
                    break;
                }
                flight.pop_front();
            }
        }
    }

    /// Spills everything that is not answered yet.
    pub(super) fn spill_everything(&mut self) {
        let awaited = self.topics.iter().enumerate();
        let awaited = awaited.filter(|(_, topic)| topic.is_awaited());
        let ids: Vec<TopicId> = awaited.map(|(id, _)| id).collect();
        self.all_stuck(&ids, "the daemon stops");
    }

    /// Writes what a topic has in flight to its log, in order, and answers it "held". `false` when the
    /// disk does not take it: then everything stays as it was.
    pub(super) fn spill(&mut self, id: TopicId) -> bool {
        self.spill_all(&[id]).contains(&id)
    }

    /// The same for many topics, whose logs are synced side by side: a slow disk must not make a queue of
    /// them, in which the other topics wait. Gives those that the disk took.
    pub(super) fn spill_all(&mut self, ids: &[TopicId]) -> Vec<TopicId> {
        if ids.is_empty() {
            return Vec::new();
        }
        self.write_gathered();
        self.spill_flights(ids)
    }

    /// The same for one, without writing first what other topics gathered.
    pub(super) fn spill_flight(&mut self, id: TopicId) -> bool {
        self.spill_flights(&[id]).contains(&id)
    }

    fn spill_flights(&mut self, ids: &[TopicId]) -> Vec<TopicId> {
        let mut done = Vec::new();
        let (mut written, mut jobs) = (Vec::new(), Vec::new());
        for id in ids.iter().copied() {
            self.trim_flight(id);
            let open = self.topics.get(id).map_or(0, |topic| topic.in_flight);
            if open == 0 {
                self.release_journaled(id);
                self.drop_waiting(id);
                done.push(id);
                continue;
            }
            match self.write_flight(id) {
                Ok(flight) => {
                    let job = self.log_now(id).and_then(Log::begin_sync);
                    match job {
                        Some(job) => {
                            jobs.push(((id, 0), job));
                            written.push(Some(flight));
                        }
                        None => self.flight_written(id, flight, &mut done),
                    }
                }
                Err(error) => self.flight_not_written(id, &error),
            }
        }
        let synced = side_by_side(jobs, SyncJob::run);
        for (((id, _), job, outcome), flight) in synced.into_iter().zip(&mut written) {
            match (outcome, flight.take()) {
                (Ok(()), Some(flight)) => {
                    if let Some(log) = self.log_now(id) {
                        log.synced(job.upto);
                    }
                    self.flight_written(id, flight, &mut done);
                }
                (Err(error), _) => self.flight_not_written(id, &error),
                (Ok(()), None) => {}
            }
        }
        done
    }

    fn flight_written(&mut self, id: TopicId, (sent, unsent): Flight, done: &mut Vec<TopicId>) {
        self.release_journaled(id);
        self.spilled(id, sent, unsent);
        done.push(id);
    }

    fn flight_not_written(&mut self, id: TopicId, error: &std::io::Error) {
        if let Some(log) = self.log_now(id) {
            log.roll_back();
        }
        self.storage_failed(&error.to_string());
    }

    /// Writes the frames; they are not synced yet.
    fn write_flight(&mut self, id: TopicId) -> std::io::Result<Flight> {
        self.open_log(id)?;
        let now_ms = sluice_service::now().as_millis();
        let Some(topic) = self.topics.get_mut(id) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let Topic {
            flight,
            waiting,
            backlog,
            ..
        } = topic;
        let Some(backlog) = backlog else {
            return Err(std::io::Error::other("no log"));
        };
        let log = &mut backlog.held.log;
        let mut write = |runs: &mut dyn Iterator<Item = &Run>| -> std::io::Result<Vec<Written>> {
            let mut written = Vec::new();
            for run in runs {
                let Some(block) = self.blocks.of(run) else {
                    continue;
                };
                let mut writer = FrameWriter::default();
                let mut resolved = Bits::new((run.end - run.start) as usize);
                for index in run.start..run.end {
                    let Some(rec) = block.rec(index) else { break };
                    writer.push(&block.records, rec);
                    if block.acked.get(index) {
                        resolved.set(index - run.start);
                    }
                }
                let bytes = writer.finish(now_ms);
                let Some(header) = frame::header(&bytes) else {
                    continue;
                };
                let start = log.next_pos()?;
                log.append(&bytes)?;
                written.push(Written {
                    run: *run,
                    start,
                    end: log.end(),
                    header,
                    resolved,
                });
            }
            Ok(written)
        };
        let sent = write(&mut flight.iter())?;
        let no_copy = |run: &&Run| {
            let block = self.blocks.of(run);
            block.is_some_and(|block| block.in_spool(run.start).is_none())
        };
        let unsent = write(&mut waiting.iter().filter(no_copy))?;
        Ok((sent, unsent))
    }

    fn spilled(&mut self, id: TopicId, sent: Vec<Written>, unsent: Vec<Written>) {
        metrics::counter!("producer_spills_total").increment(1);
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        topic.flight.clear();
        topic.waiting.clear();
        let topic_state = topic.status_word();
        for (written, flies) in sent
            .iter()
            .map(|w| (w, true))
            .chain(unsent.iter().map(|w| (w, false)))
        {
            let Some(topic) = self.topics.get_mut(id) else {
                return;
            };
            let Some(backlog) = topic.backlog.as_mut() else {
                return;
            };
            let open = u64::from(
                written
                    .header
                    .count
                    .saturating_sub(written.resolved.count()),
            );
            let log = &mut backlog.held.log;
            log.held_records += open;
            log.held_bytes += (frame::HEADER_BYTES + written.header.length) as u64;
            topic.in_flight = topic.in_flight.saturating_sub(open);
            let run = written.run;
            if flies {
                let resolved = written.resolved.clone();
                let frame = log.mark_sent(written.start, written.end, written.header, resolved);
                let log = backlog.number;
                if let Some(block) = self.blocks.get_mut(run.slot) {
                    block.add_in_spool(InSpool {
                        start: run.start,
                        end: run.end,
                        log,
                        frame,
                        at: 0,
                        answered: true,
                    });
                }
            } else if let Some(block) = self.blocks.get_mut(run.slot) {
                block.unsent = block.unsent.saturating_sub(run.end - run.start);
            }
            for index in run.start..run.end {
                if !written.resolved.get(index - run.start) {
                    self.settle(run.slot, index, Fate::Held { topic_state });
                }
            }
            self.blocks.free_if_done(run.slot);
        }
    }

    /// Lets go of drained records that are not handed over yet: they are read again later.
    pub(super) fn drop_waiting(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let waiting = std::mem::take(&mut topic.waiting);
        topic.rewind |= !waiting.is_empty();
        for run in waiting {
            if let Some(block) = self.blocks.get_mut(run.slot) {
                block.unsent = block.unsent.saturating_sub(run.end - run.start);
            }
            self.blocks.free_if_done(run.slot);
        }
    }
}
