//! New batches: a verdict for each run of records, and one write and sync for all that is held.

use super::Publisher;
use super::block::{InSpool, Run, TopicId};
use super::topic::Gathering;
use crate::batch::{Batch, Fate, Refusal};
use crate::channels::{Note, Reply};
use crate::flow::{Verdict, verdict};
use crate::spool::Meta;
use crate::spool::frame::RECORD_BYTES;
use sluice_model::problem::Code;
use sluice_model::producer::FlowState;
use std::sync::Arc;

/// A frame is written when it has so many bytes, even if more is to come.
const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Stands for a name that no topic is made for.
const NOWHERE: TopicId = usize::MAX;

impl Publisher {
    /// Takes in a batch.
    pub(super) fn take(&mut self, batch: Batch) {
        let names = batch.records.topics.clone();
        let mut refusals = Vec::new();
        let mut ids = Vec::with_capacity(names.len());
        for name in &names {
            match self.place(name) {
                Ok(id) => {
                    ids.push(id);
                    refusals.push(None);
                }
                Err(refusal) => {
                    ids.push(NOWHERE);
                    refusals.push(Some(refusal));
                }
            }
        }
        let slot = self.blocks.add_batch(batch, ids);
        let mut start = 0;
        while let Some((topic, end)) = self.next_run(slot, start) {
            let run = self.blocks.run(slot, start, end);
            start = end;
            match refusals.get(topic as usize).cloned().flatten() {
                Some(refusal) if refusal.code == Code::UnknownTopic => self.doubt(run),
                Some(refusal) => self.refuse(&run, &refusal),
                None => self.admit(run),
            }
        }
        if let Some(outcome) = self.blocks.finished(slot) {
            self.reply(Reply::Outcome(outcome));
        }
        self.blocks.free_if_done(slot);
    }

    fn next_run(&self, slot: u32, start: u32) -> Option<(u32, u32)> {
        let recs = &self.blocks.get(slot)?.records.recs;
        let rest = recs.get(start as usize..)?;
        let topic = rest.first()?.topic;
        let length = rest.iter().take_while(|rec| rec.topic == topic).count();
        Some((topic, start + length as u32))
    }

    /// The topic of a name, if its records may be taken at all.
    pub(super) fn place(&mut self, name: &str) -> Result<TopicId, Refusal> {
        let known = self.by_name.get(name).copied();
        if let Some(id) = known
            && self
                .topics
                .get(id)
                .is_some_and(|topic| topic.state != FlowState::Unknown)
        {
            return Ok(id);
        }
        if let Some(route) = self.routes.get(name).cloned() {
            let id = self.topic(name);
            self.apply_route(id, &route);
            // An active topic that was not met before is looked at right now, so that even its first
            // record goes straight to Kafka.
            self.work(id);
            return Ok(id);
        }
        if !self.hold_unknown() {
            let detail =
                format!("nobody has asked for the topic {name:?}; ask the admin API for it");
            return Err(Refusal::new(Code::UnknownTopic, detail));
        }
        if let Some(id) = known {
            return Ok(id);
        }
        let unknown = self
            .topics
            .iter()
            .filter(|topic| topic.state == FlowState::Unknown)
            .count();
        if unknown >= self.limits.names_max {
            let detail = format!("{unknown} unknown names wait for their first request already");
            return Err(Refusal::new(Code::Busy, detail));
        }
        self.tell_unknown(name);
        Ok(self.topic(name))
    }

    /// Whether records of names that nobody has asked for are kept: when they become requests, and
    /// while it is not known what was asked for.
    pub(super) fn hold_unknown(&self) -> bool {
        self.limits.auto_request || !self.table_known
    }

    pub(super) fn tell_unknown(&mut self, name: &str) {
        if self.limits.auto_request
            && self
                .ends
                .notes
                .try_send(Note::Unknown(name.into()))
                .is_err()
        {
            tracing::debug!(topic.name = name, "the request waits for the next table");
        }
    }

    pub(super) fn admit(&mut self, run: Run) {
        let Some(id) = self
            .blocks
            .get(run.slot)
            .and_then(|block| block.topic_of(run.start))
        else {
            return;
        };
        let hold_unknown = self.hold_unknown();
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        match verdict(topic.state, topic.status, hold_unknown) {
            Verdict::Send => {
                let count = run.end - run.start;
                topic.in_flight += u64::from(count);
                topic.waiting.push_back(run);
                if let Some(block) = self.blocks.get_mut(run.slot) {
                    block.unsent += count;
                }
                self.totals.accepted += u64::from(count);
                self.list(id);
            }
            Verdict::Hold => self.gather(id, &run),
            Verdict::Refuse(code) => {
                let detail = format!("topic {} is {}", topic.name, topic.status_word());
                self.refuse(&run, &Refusal::new(code, detail));
            }
        }
    }

    pub(super) fn refuse(&mut self, run: &Run, refusal: &Refusal) {
        for index in run.start..run.end {
            self.settle(run.slot, index, Fate::Refused(refusal.clone()));
        }
        let count = u64::from(run.end - run.start);
        self.totals.refused += count;
        metrics::counter!("producer_refused_records_total", "reason" => refusal.code.as_str())
            .increment(count);
    }

    /// Says what became of a record, and answers its batch when that is complete.
    pub(super) fn settle(&mut self, slot: u32, index: u32, fate: Fate) {
        if let Some(outcome) = self.blocks.settle(slot, index, fate) {
            self.reply(Reply::Outcome(outcome));
        }
    }

    /// Adds records to what is written to the topic's log this turn, as far as the bounds allow.
    fn gather(&mut self, id: TopicId, run: &Run) {
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
        if index < run.end {
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
            let count = u64::from(gathering.writer.count());
            let runs = gathering.runs;
            let frame = gathering.writer.finish(sluice_service::now().as_millis());
            match self.write_frame(id, &frame, count) {
                Ok(()) => {
                    self.totals.accepted += count;
                    let topic_state = self
                        .topics
                        .get(id)
                        .map_or("unknown", super::topic::Topic::status_word);
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
    }

    fn write_frame(&mut self, id: TopicId, frame: &[u8], count: u64) -> std::io::Result<()> {
        // What is still in flight without a copy came before.
        let first = self.topics.get(id).is_some_and(|topic| topic.in_flight > 0);
        if first && !self.spill_flight(id) {
            return Err(std::io::Error::other(
                "earlier records of the topic cannot be written",
            ));
        }
        self.open_log(id)?;
        let Some(backlog) = self
            .topics
            .get_mut(id)
            .and_then(|topic| topic.backlog.as_mut())
        else {
            return Err(std::io::Error::other("the topic has no log"));
        };
        let log = &mut backlog.held.log;
        if let Err(error) = log.append(frame) {
            log.roll_back();
            return Err(error);
        }
        log.commit()?;
        log.held_records += count;
        log.held_bytes += frame.len() as u64;
        Ok(())
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

    /// Says that records of a block stand in the spool.
    pub(super) fn note_in_spool(&mut self, run: &Run, log: u64, frame: u64) {
        if let Some(block) = self.blocks.get_mut(run.slot) {
            block.add_in_spool(InSpool {
                start: run.start,
                end: run.end,
                log,
                frame,
            });
        }
    }
}
