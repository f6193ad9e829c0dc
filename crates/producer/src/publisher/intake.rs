//! New batches: a verdict for each run of records.

use super::Publisher;
use super::block::{Run, TopicId};
use crate::batch::{Batch, Fate, Refusal};
use crate::channels::Reply;
use crate::flow::{Verdict, verdict};
use sluice_model::problem::Code;
use sluice_model::producer::FlowState;

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
                None => match self.blocks.get(slot).and_then(|b| b.topic_of(run.start)) {
                    Some(id) if self.looks_first(id) => self.doubt(run),
                    _ => self.admit(run),
                },
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
        // It is asked for when some of it was seen: see `measure`.
        Ok(self.topic(name))
    }

    /// Whether records of names that nobody has asked for are kept: when they become requests, and
    /// while it is not known what was asked for.
    pub(super) fn hold_unknown(&self) -> bool {
        self.limits.auto_request || !self.table_known
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
        let journaled = self.is_journaled(&run);
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        match verdict(topic.state, topic.status, hold_unknown) {
            // What must be journaled takes the same way to the disk as what is held.
            Verdict::Send if journaled => self.gather(id, &run),
            Verdict::Send => self.send_live(id, run),
            Verdict::Hold => {
                if topic.state == FlowState::Unknown && topic.shape.is_none() {
                    topic.shape = self.blocks.get(run.slot).and_then(|block| {
                        let rec = block.rec(run.start)?;
                        Some(crate::shape::of(block.records.part(rec.value)))
                    });
                }
                self.gather(id, &run);
            }
            Verdict::Refuse(code) => {
                let detail = format!("topic {} is {}", topic.name, topic.status_word());
                self.refuse(&run, &Refusal::new(code, detail));
            }
        }
    }

    /// Queues records of a live topic for Kafka, without a copy on disk.
    pub(super) fn send_live(&mut self, id: TopicId, run: Run) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let count = run.end - run.start;
        topic.in_flight += u64::from(count);
        topic.waiting.push_back(run);
        if let Some(block) = self.blocks.get_mut(run.slot) {
            block.unsent += count;
        }
        self.totals.accepted += u64::from(count);
        self.list(id);
    }

    pub(super) fn refuse(&mut self, run: &Run, refusal: &Refusal) {
        for index in run.start..run.end {
            self.settle(run.slot, index, Fate::Refused(refusal.clone()));
        }
        let count = u64::from(run.end - run.start);
        self.totals.refused += count;
        let block = self.blocks.get(run.slot);
        let topic = block.and_then(|block| block.topic_of(run.start));
        if let Some(topic) = topic.and_then(|id| self.topics.get_mut(id)) {
            topic.ledger.refused += count;
        }
        metrics::counter!("producer_refused_records_total", "reason" => refusal.code.as_str())
            .increment(count);
    }

    /// Says what became of a record, and answers its batch when that is complete.
    pub(super) fn settle(&mut self, slot: u32, index: u32, fate: Fate) {
        if let Some(outcome) = self.blocks.settle(slot, index, fate) {
            self.reply(Reply::Outcome(outcome));
        }
    }
}
