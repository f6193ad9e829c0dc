//! Syncing off the publisher's thread: a disk that takes 100 ms for a sync must not keep back topics that
//! need no disk. One round is under way at a time; what is gathered meanwhile is the next one, so that a
//! slow disk makes rounds larger, not later.

use super::Publisher;
use super::block::TopicId;
use crate::spool::log::{CursorJob, SyncJob};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Logs that are synced side by side: a journaling file system makes one commit of them (measured on
/// ext4: 100 small files take 15 ms this way, 350 to 570 ms one after the other).
const SIDE_BY_SIDE: usize = 8;

/// Names a log: its topic, and its number in the publisher.
pub(super) type LogName = (TopicId, u64);

/// What one round makes durable.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) logs: Vec<(LogName, SyncJob)>,
    pub(super) cursors: Vec<(LogName, CursorJob)>,
}

/// What became of a round.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) logs: Vec<(LogName, SyncJob, io::Result<()>)>,
    pub(super) cursors: Vec<(LogName, CursorJob, io::Result<()>)>,
}

/// The helper thread's ends. It ends when these are dropped.
#[derive(Debug)]
pub(super) struct Syncer {
    rounds: Sender<Round>,
    pub(super) done: Receiver<Done>,
    pub(super) busy: bool,
}

impl Syncer {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (rounds, todo) = bounded::<Round>(1);
        let (tell, done) = bounded(1);
        std::thread::Builder::new()
            .name("spool-sync".into())
            .spawn(move || {
                for round in todo {
                    if tell.send(run(round)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            rounds,
            done,
            busy: false,
        })
    }
}

fn run(round: Round) -> Done {
    let begun = Instant::now();
    let logs = side_by_side(round.logs, SyncJob::run);
    if !logs.is_empty() {
        metrics::histogram!("producer_spool_sync_seconds").record(begun.elapsed().as_secs_f64());
    }
    Done {
        logs,
        cursors: side_by_side(round.cursors, CursorJob::run),
    }
}

/// Does all jobs on a few threads.
pub(super) fn side_by_side<J: Send + Sync>(
    jobs: Vec<(LogName, J)>,
    work: impl Fn(&J) -> io::Result<()> + Sync,
) -> Vec<(LogName, J, io::Result<()>)> {
    if let [(_, only)] = jobs.as_slice() {
        let outcome = work(only);
        return jobs
            .into_iter()
            .zip([outcome])
            .map(|((name, job), outcome)| (name, job, outcome))
            .collect();
    }
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, io::Result<()>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.len().min(SIDE_BY_SIDE) {
            scope.spawn(|| {
                while let Some((at, (_, job))) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(at).map(|job| (at, job))
                } {
                    let outcome = work(job);
                    let mut all = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push((at, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    jobs.into_iter()
        .zip(outcomes)
        .map(|((name, job), (_, outcome))| (name, job, outcome))
        .collect()
}

impl Publisher {
    /// Starts a round with what was gathered, unless one is under way.
    pub(super) fn start_round(&mut self) {
        if self.syncer.busy || (self.gathering.is_empty() && !self.checkpoint_due) {
            return;
        }
        let mut round = Round::default();
        for id in self.append_gathered() {
            let Some(topic) = self.topics.get_mut(id) else {
                continue;
            };
            let job = topic.backlog.as_mut().and_then(|backlog| {
                let job = backlog.held.log.begin_sync()?;
                Some(((id, backlog.number), job))
            });
            match job {
                Some(job) => round.logs.push(job),
                // A spill has synced it meanwhile.
                None => self.written(id),
            }
        }
        if std::mem::take(&mut self.checkpoint_due) {
            for (id, topic) in self.topics.iter_mut().enumerate() {
                for backlog in topic.backlog.iter_mut().chain(&mut topic.retired) {
                    if let Some(job) = backlog.held.log.begin_checkpoint() {
                        round.cursors.push(((id, backlog.number), job));
                    }
                }
            }
        }
        if round.logs.is_empty() && round.cursors.is_empty() {
            return;
        }
        self.syncer.busy = true;
        if let Err(lost) = self.syncer.rounds.send(round) {
            // The thread is gone: the same is done here.
            let done = run(lost.into_inner());
            self.end_round(done);
        }
    }

    /// Takes in what became of a round.
    pub(super) fn end_round(&mut self, done: Done) {
        self.syncer.busy = false;
        let mut failed = None;
        for ((id, number), job, outcome) in done.logs {
            if let Err(error) = &outcome {
                failed = Some(error.to_string());
            }
            let log = self.log_of((id, number));
            match (log, outcome) {
                (Some(log), Ok(())) => {
                    log.synced(job.upto);
                    self.written(id);
                }
                (_, Err(_)) => self.write_again(id),
                (None, Ok(())) => {}
            }
        }
        for (name, job, outcome) in done.cursors {
            let Some(log) = self.log_of(name) else {
                continue;
            };
            let outcome = match outcome {
                Ok(()) => log.checkpointed(job.pos()),
                Err(error) => {
                    log.checkpoint_failed();
                    Err(error)
                }
            };
            if let Err(error) = outcome {
                failed = Some(error.to_string());
            }
        }
        match failed {
            Some(error) => self.storage_failed(&error),
            None if !self.no_room => self.storage_works(),
            None => (),
        }
    }

    /// Waits for the round that is under way, then makes durable here and now what was gathered.
    pub(super) fn write_gathered(&mut self) {
        self.await_round();
        for id in self.append_gathered() {
            let Some(log) = self.log_now(id) else {
                continue;
            };
            match log.commit() {
                Ok(()) => self.written(id),
                Err(error) => {
                    self.storage_failed(&error.to_string());
                    self.write_again(id);
                }
            }
        }
    }

    /// Waits for the round that is under way.
    pub(super) fn await_round(&mut self) {
        if self.syncer.busy {
            let done = self.syncer.done.recv().unwrap_or_default();
            self.end_round(done);
        }
    }

    fn log_of(&mut self, (id, number): LogName) -> Option<&mut crate::spool::log::Log> {
        let topic = self.topics.get_mut(id)?;
        let mut logs = topic.backlog.iter_mut().chain(&mut topic.retired);
        let found = logs.find(|backlog| backlog.number == number)?;
        Some(&mut found.held.log)
    }

    /// The log that a topic writes to.
    pub(super) fn log_now(&mut self, id: TopicId) -> Option<&mut crate::spool::log::Log> {
        let backlog = self.topics.get_mut(id)?.backlog.as_mut()?;
        Some(&mut backlog.held.log)
    }

    /// Looks whether the disk has room beside its reserve.
    pub(super) fn look_at_disk(&mut self) {
        let free = self.spool.disk().free_bytes(self.spool.dir());
        let no_room = free.is_ok_and(|free| free < self.limits.reserve);
        if no_room {
            self.storage_failed("the disk has no bytes left beside the reserve");
        } else {
            self.storage_works();
        }
        self.no_room = no_room;
    }

    /// Saves all cursors here and now.
    pub(super) fn checkpoint(&mut self) {
        let mut failed = None;
        for topic in &mut self.topics {
            for backlog in topic.backlog.iter_mut().chain(&mut topic.retired) {
                if let Err(error) = backlog.held.log.checkpoint() {
                    failed = Some(error.to_string());
                }
            }
        }
        match failed {
            Some(error) => self.storage_failed(&error),
            None => self.storage_works(),
        }
    }

    pub(super) fn storage_failed(&mut self, error: &str) {
        metrics::counter!("producer_spool_errors_total").increment(1);
        self.health.degraded("spool", error);
        self.storage_problem = Some(error.to_owned());
    }

    pub(super) fn storage_works(&mut self) {
        if self.storage_problem.take().is_some() {
            self.health.ok("spool");
        }
    }
}
