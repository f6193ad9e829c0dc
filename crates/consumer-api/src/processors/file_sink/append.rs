//! `file_path`: one file that grows.
//!
//! Batches are appended; now and then the file is synced, and its length and offsets are committed together
//! in the registry. Opening cuts the file back to the committed length, so what a crash interrupted is
//! gone from the file and is read from Kafka again.

use super::super::{Processor, SinkError, Site, failpoint};
use super::format::Lines;
use super::{Shape, partition};
use crate::batch::{Entry, end, runs};
use crate::watermark::Positions;
use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What was written is made safe when it is this much, or this old: two syncs cost more than thousands of
/// records do. It is no longer than the time between two commits to Kafka.
const UNSAFE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const UNSAFE_AGE_MAX: Duration = Duration::from_millis(250);

/// Room for lines that is kept when they are safe: many consumers are idle after a burst.
const LINES_KEPT: usize = 64 * 1024;

/// The sink.
#[derive(Debug)]
pub(super) struct Append {
    path: String,
    shape: Shape,
    site: Site,
    open: Option<Open>,
    /// What is durable: lines behind it are cut off when the file is opened again.
    held: Positions,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// With what is not safe yet.
    length: u64,
    lines: Lines,
    /// What is not safe yet: where it ends, and since when.
    written: Positions,
    saved_length: u64,
    since: Option<Instant>,
}

impl Append {
    pub(super) fn new(path: String, shape: Shape, site: Site) -> Self {
        Self {
            path,
            shape,
            site,
            open: None,
            held: Positions::default(),
        }
    }

    /// Makes everything written safe: first the lines, then the length and offsets that vouch for them.
    fn save(&mut self) -> Result<(), SinkError> {
        let Some(open) = self.open.as_mut() else {
            return Err(not_open());
        };
        if open.since.is_none() {
            return Ok(());
        }
        open.file.sync_data()?;
        failpoint::pass("file_sink.synced")?;
        if !same_file(open) {
            return Err(SinkError::transient(format!(
                "{} was moved or removed",
                self.path
            )));
        }
        let site = &self.site;
        let ends = open.written.iter().map(|(topic, partition, next)| {
            (topic.to_owned(), partition, site.topic_id(topic), next)
        });
        let processor = &site.processor_id;
        site.sinks
            .save(&open.path, open.length, processor, ends.collect())?;
        failpoint::pass("file_sink.saved")?;
        for (topic, partition, next) in open.written.iter() {
            self.held.advance(topic, partition, next);
        }
        open.written = Positions::default();
        open.lines.bytes.clear();
        open.lines.bytes.shrink_to(LINES_KEPT);
        open.saved_length = open.length;
        open.since = None;
        Ok(())
    }
}

fn not_open() -> SinkError {
    SinkError::transient("the file is not open")
}

impl Processor for Append {
    fn open(&mut self) -> Result<Positions, SinkError> {
        // The lock is the file's: it must be given back before it can be taken again.
        self.open = None;
        let (file, path) = self.site.roots.open_file(&self.path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SinkError::environment(format!(
                    "{} is in use by another consumer",
                    self.path
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let found = file.metadata()?.len();
        let recorded = self.site.sinks.length(&path)?;
        let length = match recorded {
            Some(recorded) if found > recorded => {
                tracing::info!(
                    consumer.id = self.site.consumer_id,
                    cut = found - recorded,
                    "an interrupted write is undone"
                );
                file.set_len(recorded)?;
                file.sync_data()?;
                recorded
            }
            // Shorter: somebody took lines away, which only they can know the reason of.
            Some(_) | None => found,
        };
        if recorded != Some(length) {
            self.site.sinks.set_length(&path, length)?;
        }
        let held = self
            .site
            .sinks
            .positions(&self.site.processor_id, &self.site.topic_ids)?;
        self.open = Some(Open {
            file,
            path,
            length,
            lines: Lines::default(),
            written: Positions::default(),
            saved_length: length,
            since: None,
        });
        self.held = held;
        Ok(self.held.clone())
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let Some(open) = self.open.as_mut() else {
            return Err(not_open());
        };
        let lines = &mut open.lines;
        lines.bytes.clear();
        if open.length == 0 {
            lines.header(self.shape.format);
        }
        lines.encode(self.shape.format, batch)?;
        if self.shape.zstd {
            lines.bytes = partition::frame(&lines.bytes)?;
        }
        open.file.write_all_at(&lines.bytes, open.length)?;
        failpoint::pass("file_sink.written")?;
        open.length += open.lines.bytes.len() as u64;
        for (topic, partition, next) in runs(batch).filter_map(end) {
            open.written.advance(topic, partition, next);
        }
        let since = *open.since.get_or_insert_with(Instant::now);
        if open.length - open.saved_length >= UNSAFE_BYTES_MAX || since.elapsed() >= UNSAFE_AGE_MAX
        {
            return self.save();
        }
        Ok(())
    }

    fn durable(&self) -> Option<&Positions> {
        Some(&self.held)
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.open.as_ref()?.since? + UNSAFE_AGE_MAX)
    }

    fn tick(&mut self) -> Result<(), SinkError> {
        self.save()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.save()
    }

    /// Lines of all partitions stand in turn: what is not safe is cut off as a whole.
    fn release(&mut self, _partitions: &[(String, i32)]) -> Result<(), SinkError> {
        match self.open.take_if(|open| open.since.is_some()) {
            Some(_unsafe) => Err(SinkError::transient("lines that are not safe are cut off")),
            None => Ok(()),
        }
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        let site = &self.site;
        let rows = targets.iter().map(|(topic, partition, next)| {
            (topic.clone(), *partition, site.topic_id(topic), *next)
        });
        Ok(site.sinks.rewind(&site.processor_id, rows.collect())?)
    }
}

/// Whether the path still leads to the file that is open.
fn same_file(open: &Open) -> bool {
    let (Ok(here), Ok(there)) = (open.file.metadata(), fs_err::symlink_metadata(&open.path)) else {
        return false;
    };
    (here.dev(), here.ino()) == (there.dev(), there.ino())
}
