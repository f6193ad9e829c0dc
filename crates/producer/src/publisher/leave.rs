//! Records that leave the flow without Kafka, by the word of an admin (`on_stop`) or because they are too
//! old (`spool.max_age`): a chunk at a time, so that a large log keeps nobody waiting.

use super::Publisher;
use super::block::TopicId;
use super::reports::{STUCK_RETRY_FIRST, STUCK_RETRY_MAX};
use super::topic::Backlog;
use crate::spool::log::{Chunk, ReadFrame};
use sluice_model::producer::FlowState;
use sluice_model::topic::OnStop;
use std::io;
use std::time::Instant;

/// Why records leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Their topic ended.
    Stopped,
    /// They are older than they may become.
    TooOld,
}

impl Why {
    fn label(self) -> &'static str {
        match self {
            Self::Stopped => "on_stop",
            Self::TooOld => "max_age",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Stopped => "the topic ended",
            Self::TooOld => "it was held for longer than spool.max_age",
        }
    }
}

/// A log whose records leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    why: Why,
    discard: bool,
    /// Whether a chunk is on its way to the dead letters.
    busy: bool,
}

impl Backlog {
    /// Whether a part of it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }
}

impl Publisher {
    /// Has what is too old leave, topic by topic.
    pub(super) fn expire(&mut self) {
        if self.limits.max_age.is_zero() || self.limits.on_max_age == OnStop::Hold {
            return;
        }
        let leaving = Leaving {
            why: Why::TooOld,
            discard: self.limits.on_max_age == OnStop::Discard,
            busy: false,
        };
        for id in 0..self.topics.len() {
            let Self {
                topics,
                limits,
                clock,
                ..
            } = self;
            let Some(topic) = topics.get_mut(id) else {
                continue;
            };
            let may_flow = flows(topic.state);
            let now = topic.backlog.iter_mut().filter(|_| !may_flow);
            let mut old = false;
            for backlog in now.chain(&mut topic.retired) {
                let oldest = backlog.held.log.oldest_ms();
                let is_old = oldest.is_some_and(|born| clock.age(born) > limits.max_age);
                if is_old && backlog.leaving.is_none() {
                    backlog.leaving = Some(leaving);
                    old = true;
                }
            }
            if old {
                self.list(id);
            }
        }
    }

    /// Has a whole log leave; it is no longer the topic's present one.
    pub(super) fn leave(&mut self, id: TopicId, mut backlog: Backlog, on_stop: OnStop) {
        if on_stop != OnStop::Hold {
            backlog.leaving = Some(Leaving {
                why: Why::Stopped,
                discard: on_stop == OnStop::Discard,
                busy: backlog.leaving.is_some_and(|leaving| leaving.busy),
            });
        }
        if let Some(topic) = self.topics.get_mut(id) {
            topic.retired.push(backlog);
        }
        self.list(id);
    }

    /// Works on the logs of a topic whose records leave; tells whether there are any.
    pub(super) fn work_leaving(&mut self, id: TopicId, now: Instant) -> bool {
        let Some(topic) = self.topics.get(id) else {
            return false;
        };
        let logs = topic.backlog.iter().chain(&topic.retired);
        let leaving = |backlog: &&Backlog| backlog.is_leaving();
        let Some((number, leaving)) = logs
            .filter(leaving)
            .find_map(|backlog| Some((backlog.number, backlog.leaving?)))
        else {
            return false;
        };
        let present = topic.backlog.as_ref().map(|backlog| backlog.number) == Some(number);
        if leaving.busy || now < topic.retry_at {
            return true;
        }
        if present && flows(topic.state) {
            // Kafka takes it now.
            self.stay((id, number));
            return false;
        }
        let unrest = topic.flying > 0 || topic.in_flight > 0;
        if present && unrest {
            return true;
        }
        if leaving.discard && leaving.why == Why::Stopped {
            self.discard_log(id, number);
        } else if let Err(error) = self.leave_chunk((id, number), leaving) {
            self.storage_failed(&error.to_string());
            self.try_again((id, number), now);
        }
        true
    }

    /// Takes the next chunk of a log out of the flow.
    fn leave_chunk(&mut self, of: (TopicId, u64), leaving: Leaving) -> io::Result<()> {
        let Some(backlog) = self.backlog_of(of) else {
            return Ok(());
        };
        let meta = backlog.held.meta.clone();
        let dir = backlog.held.log.dir().to_path_buf();
        let Some(mut chunk) = backlog.held.log.read_chunk()? else {
            self.left(of);
            return Ok(());
        };
        self.note_damage(&meta, &dir, std::mem::take(&mut chunk.damage));
        if leaving.why == Why::TooOld {
            let Self { clock, limits, .. } = &*self;
            let old = |frame: &ReadFrame| clock.age(frame.header.born_ms) > limits.max_age;
            let young = chunk.frames.iter().position(|frame| !old(frame));
            if young == Some(0) {
                self.stay(of);
                return Ok(());
            }
            chunk.frames.truncate(young.unwrap_or(chunk.frames.len()));
        }
        if leaving.discard {
            self.settled(of, &chunk.frames);
            return Ok(());
        }
        if chunk.frames.is_empty() {
            return Ok(());
        }
        self.send_letters(of, &meta.topic_name, chunk, leaving.why);
        Ok(())
    }

    fn send_letters(&mut self, of: (TopicId, u64), name: &str, chunk: Chunk, why: Why) {
        let sent = self.write_letters(of, name.to_owned(), chunk, why.words());
        let Some(backlog) = self.backlog_of(of) else {
            return;
        };
        if let (true, Some(leaving)) = (sent, &mut backlog.leaving) {
            leaving.busy = true;
        } else {
            backlog.held.log.rewind();
        }
    }

    /// The letters of some frames are durable, or not.
    pub(super) fn lettered(
        &mut self,
        of: (TopicId, u64),
        frames: &[ReadFrame],
        written: io::Result<()>,
    ) {
        if let Some(Leaving { busy, .. }) = self
            .backlog_of(of)
            .and_then(|backlog| backlog.leaving.as_mut())
        {
            *busy = false;
        }
        match written {
            Ok(()) => self.settled(of, frames),
            Err(error) => {
                self.storage_failed(&error.to_string());
                self.try_again(of, Instant::now());
            }
        }
        self.list(of.0);
    }

    /// Frames are out of the flow: they are counted where they went.
    fn settled(&mut self, of: (TopicId, u64), frames: &[ReadFrame]) {
        let Some(backlog) = self.backlog_of(of) else {
            return;
        };
        let Some(leaving) = backlog.leaving else {
            return;
        };
        let log = &mut backlog.held.log;
        let mut records = 0;
        for frame in frames {
            for index in 0..frame.header.count {
                records += u64::from(log.resolve(frame.number, index));
            }
        }
        if leaving.why == Why::TooOld {
            // What is younger is read again when its time comes.
            log.rewind();
        }
        self.count_left(of.0, records, leaving.discard, leaving.why.label());
    }

    fn count_left(&mut self, id: TopicId, records: u64, discard: bool, reason: &'static str) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let (way, total, ledger) = if discard {
            let ledger = &mut topic.ledger.discarded;
            ("discard", &mut self.totals.discarded, ledger)
        } else {
            let ledger = &mut topic.ledger.dead_lettered;
            ("dead_letter", &mut self.totals.dead_lettered, ledger)
        };
        *total += records;
        *ledger += records;
        let labels = [("reason", reason), ("way", way)];
        metrics::counter!("producer_spool_left_records_total", &labels).increment(records);
    }

    /// A log is not to be emptied any further.
    fn stay(&mut self, of: (TopicId, u64)) {
        if let Some(backlog) = self.backlog_of(of) {
            backlog.leaving = None;
            backlog.held.log.rewind();
        }
    }

    fn try_again(&mut self, of: (TopicId, u64), now: Instant) {
        if let Some(backlog) = self.backlog_of(of) {
            backlog.held.log.rewind();
        }
        if let Some(topic) = self.topics.get_mut(of.0) {
            topic.back_off(now, STUCK_RETRY_FIRST, STUCK_RETRY_MAX);
        }
    }

    /// Everything of a log was read: it is removed, unless it is the present one and in use.
    fn left(&mut self, of: (TopicId, u64)) {
        let Some(topic) = self.topics.get_mut(of.0) else {
            return;
        };
        let present = topic.backlog.as_ref().map(|backlog| backlog.number) == Some(of.1);
        if present {
            let busy = !topic.gathering.is_empty() || !topic.syncing.is_empty();
            if busy
                || topic
                    .backlog
                    .as_ref()
                    .is_some_and(|b| !b.held.log.is_empty())
            {
                return self.stay(of);
            }
        }
        let at = topic
            .retired
            .iter()
            .position(|backlog| backlog.number == of.1);
        let gone = match at {
            Some(at) => Some(topic.retired.remove(at)),
            None => topic.backlog.take_if(|backlog| backlog.number == of.1),
        };
        if let Some(backlog) = gone {
            self.let_go(of.0, backlog);
        }
    }

    /// Removes a log. What it still counts was damaged: nobody can read it any more.
    pub(super) fn let_go(&mut self, id: TopicId, backlog: Backlog) {
        let lost = backlog.held.log.held_records;
        if lost > 0 {
            tracing::error!(
                topic.name = backlog.held.meta.topic_name,
                records = lost,
                "held records were damaged on disk and are lost; see the quarantine"
            );
            self.count_left(id, lost, true, "damaged");
        }
        self.remove_log(backlog.held);
    }

    fn discard_log(&mut self, id: TopicId, number: u64) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let Some(at) = topic.retired.iter().position(|b| b.number == number) else {
            return;
        };
        let backlog = topic.retired.remove(at);
        let records = backlog.held.log.held_records;
        tracing::info!(
            topic.name = backlog.held.meta.topic_name,
            records,
            "held records of an ended topic are discarded"
        );
        self.count_left(id, records, true, Why::Stopped.label());
        self.remove_log(backlog.held);
    }

    fn backlog_of(&mut self, (id, number): (TopicId, u64)) -> Option<&mut Backlog> {
        let topic = self.topics.get_mut(id)?;
        let mut logs = topic.backlog.iter_mut().chain(&mut topic.retired);
        logs.find(|backlog| backlog.number == number)
    }
}

/// Whether what is held in a state is on its way to Kafka, or will be without anybody's decision.
fn flows(state: FlowState) -> bool {
    match state {
        FlowState::Draining | FlowState::Live | FlowState::Paused => true,
        FlowState::Unknown | FlowState::Pending | FlowState::Inactive | FlowState::Rejected => {
            false
        }
    }
}
