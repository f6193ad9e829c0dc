//! `file_path`: one file that grows.
//!
//! A batch is appended and synced, then its length and offsets are committed together in the registry.
//! Opening cuts the file back to the committed length, so a batch that a crash interrupted is gone from
//! the file and is read from Kafka again.

use super::super::{Processor, SinkError, Site, ends, failpoint};
use super::format::Lines;
use super::{Shape, partition};
use crate::batch::Entry;
use crate::watermark::Positions;
use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

/// The sink.
#[derive(Debug)]
pub(super) struct Append {
    path: String,
    shape: Shape,
    site: Site,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    length: u64,
    lines: Lines,
}

impl Append {
    pub(super) const fn new(path: String, shape: Shape, site: Site) -> Self {
        Self {
            path,
            shape,
            site,
            open: None,
        }
    }
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
        });
        Ok(held)
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let Some(open) = self.open.as_mut() else {
            return Err(SinkError::transient("the file is not open"));
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
        open.file.sync_data()?;
        failpoint::pass("file_sink.synced")?;
        if !same_file(open) {
            return Err(SinkError::transient(format!(
                "{} was moved or removed",
                self.path
            )));
        }
        let length = open.length + open.lines.bytes.len() as u64;
        let site = &self.site;
        let ends = ends(batch);
        let ends = ends.iter().map(|(topic, partition, next)| {
            (topic.to_owned(), partition, site.topic_id(topic), next)
        });
        site.sinks
            .save(&open.path, length, &site.processor_id, ends.collect())?;
        failpoint::pass("file_sink.saved")?;
        open.length = length;
        Ok(())
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
