//! What the publisher knows of one topic.

use super::block::Run;
use super::clock::Clock;
use super::gear::{self, Gear, Load, QUICK_RECORDS_MAX, Shift};
use super::leave::Leaving;
use super::ledger::Ledger;
use crate::spool::Held;
use crate::spool::frame::FrameWriter;
use crate::spool::log::Pos;
use sluice_model::lifecycle::State;
use sluice_model::producer::FlowState;
use sluice_model::topic::OnStop;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records of one topic in librdkafka at one time, however much is free.
pub const FLYING_RECORDS_MAX: u32 = 100_000;
/// Their bytes.
pub const FLYING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is free in librdkafka.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Records.
    pub records: u32,
    /// Bytes.
    pub bytes: usize,
}

/// A held log with the number that blocks know it by.
#[derive(Debug)]
pub struct Backlog {
    /// Names it in this process.
    pub number: u64,
    /// The log.
    pub held: Held,
    /// Whether its records leave without Kafka.
    pub leaving: Option<Leaving>,
}

/// New records on their way to the log: one frame for what came while the last sync was under way.
#[derive(Debug, Default)]
pub struct Gathering {
    /// The frame.
    pub writer: FrameWriter,
    /// Its records, in order.
    pub runs: Vec<Run>,
}

/// A frame that is written to the log and not durable yet.
#[derive(Debug)]
pub struct Frame {
    /// The whole frame, in case that it must be written once more.
    pub bytes: Vec<u8>,
    /// Its records, in order.
    pub runs: Vec<Run>,
    /// Where it begins.
    pub start: Pos,
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands here.
    pub state: FlowState,
    /// Where it stands in governance, as last heard.
    pub status: Option<State>,
    /// Its identity, as last heard.
    pub topic_id: Option<i64>,
    /// What becomes of held records when it ends.
    pub on_stop: OnStop,
    /// Live records that wait for room in librdkafka, or drained ones.
    pub waiting: VecDeque<Run>,
    /// Live records in librdkafka that have no copy in the spool, in order.
    pub flight: VecDeque<Run>,
    /// Live records that have a copy in the spool and wait for Kafka's answer, in order.
    pub journaled: VecDeque<Run>,
    /// Until when its log stays although nothing is in it.
    pub journal_until: Option<Instant>,
    /// All records in librdkafka.
    pub flying: u32,
    /// Their bytes.
    pub flying_bytes: usize,
    /// Which client it uses; changes only while `flying` is 0.
    pub gear: Gear,
    /// When it last had much to send.
    pub busy: Instant,
    /// Live records without an answer: `flight` that is not acknowledged, and `waiting`.
    pub in_flight: u64,
    /// Records that Kafka acknowledged.
    pub delivered: u64,
    /// What people want to know of it.
    pub ledger: Ledger,
    /// Whether the request for its name is filed.
    pub told: bool,
    /// What its first record looked like, while nobody has asked for it.
    pub shape: Option<String>,
    /// When Kafka last acknowledged one.
    pub progress: Instant,
    /// What is held.
    pub backlog: Option<Backlog>,
    /// Logs of the same name's earlier lives.
    pub retired: Vec<Backlog>,
    /// New records on their way to the log.
    pub gathering: VecDeque<Gathering>,
    /// Frames that are written and not durable yet, in order.
    pub syncing: VecDeque<Frame>,
    /// Whether Kafka's metadata showed every leader since it became active.
    pub has_leaders: bool,
    /// The look that is under way.
    pub looking: Option<u64>,
    /// When the next try makes sense (metadata, stuck topics).
    pub retry_at: Instant,
    /// Failed tries in a row.
    pub tries: u32,
    /// Whether frames that were handed out must be handed out again once nothing flies any more.
    pub rewind: bool,
    /// Whether it is on the list of topics that need work.
    pub listed: bool,
    /// Whether an admin fence awaits its confirmation: nothing in flight.
    pub fence_open: bool,
}

impl Topic {
    /// A topic of which nothing is known.
    pub fn new(name: Arc<str>, now: Instant) -> Self {
        Self {
            name,
            state: FlowState::Unknown,
            status: None,
            topic_id: None,
            on_stop: OnStop::Hold,
            waiting: VecDeque::new(),
            flight: VecDeque::new(),
            journaled: VecDeque::new(),
            journal_until: None,
            flying: 0,
            flying_bytes: 0,
            gear: Gear::Quick,
            busy: now,
            in_flight: 0,
            delivered: 0,
            ledger: Ledger::new(now),
            told: false,
            shape: None,
            progress: now,
            backlog: None,
            retired: Vec::new(),
            gathering: VecDeque::new(),
            syncing: VecDeque::new(),
            has_leaders: false,
            looking: None,
            retry_at: now,
            tries: 0,
            rewind: false,
            listed: false,
            fence_open: false,
        }
    }

    /// The word for answers to senders.
    pub fn status_word(&self) -> &'static str {
        self.status.map_or("unknown", State::as_str)
    }

    /// Whether senders wait for Kafka's answer.
    pub fn is_awaited(&self) -> bool {
        self.in_flight > 0 || !self.journaled.is_empty()
    }

    /// Whether librdkafka may be given more of it, when so much is free there: no topic takes more than
    /// it leaves free.
    pub fn fits(&self, room: Room) -> bool {
        self.flying < FLYING_RECORDS_MAX.min(room.records)
            && self.flying_bytes < FLYING_BYTES_MAX.min(room.bytes)
    }

    /// Takes the gear that its load asks for. `false` when it must come to rest first: then nothing more
    /// of it may be handed over.
    pub fn shift(&mut self, now: Instant) -> bool {
        let load = self.load();
        if load.is_heavy() {
            self.busy = now;
        }
        let calm = now.saturating_duration_since(self.busy);
        match gear::shift(self.gear, load, self.flying, calm) {
            Shift::Stay => true,
            Shift::Rest => false,
            Shift::Now(gear) => {
                self.gear = gear;
                metrics::counter!("producer_gear_shifts_total", "gear" => gear.as_str())
                    .increment(1);
                true
            }
        }
    }

    /// What it has to send, counted as far as it matters.
    fn load(&self) -> Load {
        let mut records = self.flying as usize;
        for run in &self.waiting {
            if records > QUICK_RECORDS_MAX {
                break;
            }
            records += (run.end - run.start) as usize;
        }
        Load {
            records,
            bytes: self.flying_bytes,
        }
    }

    /// Records held, in all lives.
    pub fn held_records(&self) -> u64 {
        self.logs()
            .map(|backlog| backlog.held.log.held_records)
            .sum()
    }

    /// Bytes held, in all lives.
    pub fn held_bytes(&self) -> u64 {
        self.logs().map(|backlog| backlog.held.log.held_bytes).sum()
    }

    /// Bytes on their way to the log.
    pub fn gathered_bytes(&self) -> u64 {
        let gathered = self.gathering.iter().map(|g| g.writer.payload_bytes());
        let written = self.syncing.iter().map(|frame| frame.bytes.len());
        gathered.chain(written).sum::<usize>() as u64
    }

    /// Bytes on disk, in all lives.
    pub fn disk_bytes(&self) -> u64 {
        self.logs()
            .map(|backlog| backlog.held.log.disk_bytes())
            .sum()
    }

    fn logs(&self) -> impl Iterator<Item = &Backlog> {
        self.backlog.iter().chain(&self.retired)
    }

    /// Age of the oldest held record.
    pub(super) fn oldest_held_ms(&mut self, clock: &Clock) -> u64 {
        let logs = self.backlog.iter_mut().chain(&mut self.retired);
        let oldest = logs
            .filter_map(|backlog| backlog.held.log.oldest_ms())
            .map(|born| clock.age(born))
            .max();
        oldest.map_or(0, |age| age.as_millis() as u64)
    }

    /// Sets the next try, later each time.
    pub fn back_off(&mut self, now: Instant, first: Duration, max: Duration) {
        self.tries = self.tries.saturating_add(1);
        self.retry_at = now + sluice_service::backoff::delay(self.tries, first, max);
    }

    /// Forgets failed tries.
    pub fn fresh(&mut self, now: Instant) {
        self.tries = 0;
        self.retry_at = now;
    }
}
