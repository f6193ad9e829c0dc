//! Slow work on logs that nobody waits for, off the publisher's thread: dead letters are written and
//! synced, logs without records are removed, damaged blocks are put aside. Jobs are small (a chunk of a
//! log), done in order, and nothing is settled before its answer came.

use super::Publisher;
use super::block::TopicId;
use crate::batch::Records;
use crate::spool::dead_letter::DeadLetters;
use crate::spool::disk::Disk;
use crate::spool::log::{Chunk, Damage, ReadFrame};
use crate::spool::{Held, Meta, frame, quarantine};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Jobs that may wait; what does not fit is done here, or tried again.
const JOBS_MAX: usize = 256;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Write a chunk's open records to the dead-letter file of their topic.
    Letters {
        /// Whose they are.
        of: (TopicId, u64),
        /// The topic's name.
        name: String,
        /// The records.
        chunk: Chunk,
        /// Why.
        reason: &'static str,
    },
    /// Remove a log.
    Remove(Box<Held>),
    /// Put damaged blocks of a log aside.
    PutAside {
        /// Whose log it is.
        meta: Meta,
        /// Its directory's name.
        log: String,
        /// The blocks.
        damage: Vec<Damage>,
    },
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Moved {
    /// The letters of these frames are durable, or not.
    Letters((TopicId, u64), Vec<ReadFrame>, io::Result<()>),
    /// Something was removed or put aside, or not.
    Other(io::Result<()>),
}

/// The helper thread's ends.
#[derive(Debug)]
pub(super) struct Mover {
    jobs: Option<Sender<Job>>,
    pub(super) done: Receiver<Moved>,
    thread: Option<JoinHandle<()>>,
}

impl Mover {
    /// Starts the thread for the spool in `dir`.
    pub(super) fn start(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        let (jobs, todo) = bounded::<Job>(JOBS_MAX);
        // Room for every answer: the thread never waits for the publisher.
        let (tell, done) = bounded(2 * JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("spool-move".into())
            .spawn(move || {
                for job in todo {
                    if tell.send(run(&disk, &dir, job)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// Hands a job over, or gives it back.
    fn give(&self, job: Job) -> Result<(), Box<Job>> {
        match &self.jobs {
            Some(jobs) => jobs.try_send(job).map_err(|full| match full {
                TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
            }),
            None => Err(Box::new(job)),
        }
    }

    /// Waits until everything that was handed over is done; takes nothing more.
    pub(super) fn finish(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _died = thread.join();
        }
    }
}

fn run(disk: &Arc<dyn Disk>, dir: &std::path::Path, job: Job) -> Moved {
    match job {
        Job::Letters {
            of,
            name,
            chunk,
            reason,
        } => {
            let written = DeadLetters::open(&**disk, dir, &name)
                .and_then(|letters| write(letters, &name, &chunk, reason));
            Moved::Letters(of, chunk.frames, written)
        }
        Job::Remove(held) => Moved::Other((*held).remove()),
        Job::PutAside { meta, log, damage } => {
            let kept = damage.iter().try_for_each(|damage| {
                let name = quarantine::name(&log, damage.at.segment, damage.at.offset);
                quarantine::keep(
                    &**disk,
                    &dir.join("quarantine"),
                    &name,
                    &meta,
                    &damage.bytes,
                )
            });
            Moved::Other(kept)
        }
    }
}

fn write(mut letters: DeadLetters, name: &str, chunk: &Chunk, reason: &str) -> io::Result<()> {
    let records = Records {
        block: chunk.bytes.clone(),
        ..Records::default()
    };
    for read in &chunk.frames {
        let recs = frame::records(&chunk.bytes, read.payload, read.header.length);
        for (index, rec) in (0..).zip(&recs) {
            if !read.resolved.get(index) {
                letters.push(name, &records, rec, reason)?;
            }
        }
    }
    letters.finish()
}

impl Publisher {
    /// Has a log removed of which nothing is held any more.
    pub(super) fn remove_log(&mut self, held: Held) {
        if let Err(job) = self.mover.give(Job::Remove(Box::new(held))) {
            let moved = run(self.spool.disk(), self.spool.dir(), *job);
            self.moved(moved);
        }
    }

    /// Has letters written; `false` when too much waits already.
    pub(super) fn write_letters(
        &mut self,
        of: (TopicId, u64),
        name: String,
        chunk: Chunk,
        reason: &'static str,
    ) -> bool {
        let job = Job::Letters {
            of,
            name,
            chunk,
            reason,
        };
        self.mover.give(job).is_ok()
    }

    /// Counts what a running daemon found damaged in a log, and has it put aside.
    pub(super) fn note_damage(&mut self, meta: &Meta, log: &std::path::Path, damage: Vec<Damage>) {
        if damage.is_empty() {
            return;
        }
        let blocks = damage.len() as u64;
        self.totals.quarantined_blocks += blocks;
        metrics::counter!("producer_spool_damaged_blocks_total").increment(blocks);
        tracing::error!(
            topic.name = meta.topic_name,
            log = %log.display(),
            blocks,
            "damaged blocks of the spool are stepped over and put aside"
        );
        let log = log.file_name().unwrap_or_default().to_string_lossy();
        let job = Job::PutAside {
            meta: meta.clone(),
            log: log.into_owned(),
            damage,
        };
        if let Err(job) = self.mover.give(job) {
            let moved = run(self.spool.disk(), self.spool.dir(), *job);
            self.moved(moved);
        }
    }

    /// Takes in what became of a job.
    pub(super) fn moved(&mut self, moved: Moved) {
        match moved {
            Moved::Letters(of, frames, written) => self.lettered(of, &frames, written),
            Moved::Other(Ok(())) => {}
            Moved::Other(Err(error)) => self.storage_failed(&error.to_string()),
        }
    }

    /// Takes in all answers that are there.
    pub(super) fn take_moved(&mut self) {
        while let Ok(moved) = self.mover.done.try_recv() {
            self.moved(moved);
        }
    }
}
