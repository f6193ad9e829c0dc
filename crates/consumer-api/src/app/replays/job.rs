//! The thread of a replay.

use super::super::range::Reader;
use super::{Replay, ReplayState};
use crate::batch::Entry;
use crate::clusters::Cluster;
use crate::context::Context;
use crate::processors::Processor;
use crate::status::Fault;
use crate::worker::breaker::Breaker;
use crate::worker::letters::{DeadLetters, Kept};
use crate::worker::replay::{Writer, with_writer};
use sluice_model::consumer::{OnPoison, Policies};
use sluice_service::now;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records of one batch.
const BATCH_RECORDS: usize = 1000;
/// The longest wait for a batch.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// Time between two reports to the registry.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// Kafka delivers nothing for this long: the replay gives up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What the thread works on.
pub(super) struct Job {
    pub(super) context: Context,
    pub(super) cluster: Arc<Cluster>,
    pub(super) policies: Policies,
    pub(super) processors: Vec<(String, Box<dyn Processor>)>,
    pub(super) replay: Arc<Mutex<Replay>>,
    pub(super) cancel: Arc<AtomicBool>,
    /// Which run of the replay this is; the registry refuses what an older one says.
    pub(super) epoch: i64,
}

impl Job {
    /// Starts the thread.
    pub(super) fn start(mut self) -> std::io::Result<()> {
        let short: String = self.replay().replay_id.chars().take(8).collect();
        let work = move || {
            let outcome = self.run();
            self.end(outcome);
        };
        // Not joined: it ends soon after a cancellation or a stop, and holds nothing of the consumer.
        std::thread::Builder::new()
            .name(format!("replay-{short}"))
            .spawn(work)
            .map(drop)
    }

    fn replay(&self) -> MutexGuard<'_, Replay> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&mut self) -> Result<(), Fault> {
        let (consumer_id, topics, before) = {
            let replay = self.replay();
            let topics: BTreeSet<String> = replay
                .partitions
                .iter()
                .map(|part| part.topic.clone())
                .collect();
            (replay.consumer_id.clone(), topics, replay.dead_letters)
        };
        let parts = self.context.manager.parts();
        let letters = (self.policies.on_poison == OnPoison::DeadLetter).then(|| {
            Box::new(Kept::new(&parts.dead_letters, &consumer_id)) as Box<dyn DeadLetters>
        });
        let breaker = Breaker::new(self.policies.poison_max, self.policies.poison_window);
        let mut processors = std::mem::take(&mut self.processors);
        with_writer(&mut processors, letters, breaker, |writer| {
            topics
                .iter()
                .try_for_each(|topic| self.deliver(topic, writer, before))
        })
    }

    fn stopped(&self) -> bool {
        self.cancel.load(Ordering::Acquire) || self.context.shutdown.requested()
    }

    /// Delivers a topic; `before` are the dead letters of earlier runs.
    fn deliver(&self, topic: &str, writer: &mut Writer<'_>, before: u64) -> Result<(), Fault> {
        let spans: Vec<_> = {
            let replay = self.replay();
            let of_topic = replay.partitions.iter().filter(|part| part.topic == topic);
            of_topic.map(super::ReplayPart::span).collect()
        };
        let kafka = |problem: sluice_model::problem::Problem| Fault::kafka(problem.detail);
        let mut reader =
            Reader::open(&self.cluster, "sluice-replay", topic, &spans).map_err(kafka)?;
        let (mut saved, mut heard) = (Instant::now(), Instant::now());
        while let Some(messages) = reader.next(BATCH_RECORDS, BATCH_WAIT).map_err(kafka)? {
            if self.stopped() {
                return Ok(());
            }
            if !messages.is_empty() {
                heard = Instant::now();
                let entries: Vec<Entry<'_>> = messages.iter().map(Entry::of).collect();
                writer.write(&entries, &|| self.stopped())?;
                self.count(&entries, before + writer.dead_letters());
            }
            if heard.elapsed() >= SILENCE_MAX {
                let message = format!("Kafka delivers nothing of {topic}");
                return Err(Fault::kafka(message));
            }
            if saved.elapsed() >= SAVE_INTERVAL {
                self.save();
                saved = Instant::now();
            }
        }
        // What is left of a partition is no record: markers, or compacted away.
        let mut replay = self.replay();
        let of_topic = replay
            .partitions
            .iter_mut()
            .filter(|part| part.topic == topic);
        of_topic.for_each(|part| part.next = part.to);
        Ok(())
    }

    fn count(&self, entries: &[Entry<'_>], dead_letters: u64) {
        let mut replay = self.replay();
        replay.records += entries.len() as u64;
        replay.dead_letters = dead_letters;
        for entry in entries {
            let same = |part: &&mut super::ReplayPart| {
                part.topic == entry.topic && part.partition == entry.partition
            };
            if let Some(part) = replay.partitions.iter_mut().find(same) {
                part.next = entry.offset + 1;
            }
        }
    }

    fn save(&self) {
        let replay = {
            let mut replay = self.replay();
            replay.updated_at = now();
            replay.clone()
        };
        let runtime = &self.context.manager.parts().runtime;
        match runtime.block_on(self.context.store.save_replay(replay, self.epoch)) {
            Ok(true) => {}
            // Deleted with its consumer, cancelled elsewhere, or taken over.
            Ok(false) => self.cancel.store(true, Ordering::Release),
            // The registry is busy: the next report may work.
            Err(error) => tracing::debug!(error = %error, "a replay's state is not saved"),
        }
    }

    /// Whether the service stops before the replay is through.
    fn unfinished(&self, replay: &Replay) -> bool {
        let lacks = |part: &super::ReplayPart| part.next < part.to;
        self.context.shutdown.requested() && replay.partitions.iter().any(lacks)
    }

    fn end(&self, outcome: Result<(), Fault>) {
        let id = {
            let mut replay = self.replay();
            let cancelled = self.cancel.load(Ordering::Acquire);
            (replay.state, replay.error) = match outcome {
                _ if cancelled => (ReplayState::Cancelled, None),
                // Every batch that counts is safe; the next process goes on behind it.
                _ if self.unfinished(&replay) => (ReplayState::Running, None),
                Ok(()) => (ReplayState::Done, None),
                Err(fault) => {
                    let message = format!("{}: {}", fault.stage, fault.message);
                    (ReplayState::Failed, Some(message))
                }
            };
            replay.waiting = replay.state == ReplayState::Running;
            if replay.waiting {
                tracing::info!(
                    replay.id = replay.replay_id,
                    "replay interrupted by the stop"
                );
            } else {
                replay.ended_at = Some(now());
                tracing::info!(
                    replay.id = replay.replay_id,
                    state = replay.state.as_str(),
                    "replay ended"
                );
                metrics::counter!("consumer_replays_total", "state" => replay.state.as_str())
                    .increment(1);
            }
            replay.replay_id.clone()
        };
        self.save();
        self.context.replays.running().remove(&id);
    }
}
