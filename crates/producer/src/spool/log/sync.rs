//! Making a log durable. A sync may run on another thread: it covers what was written before it began,
//! and what is written meanwhile waits for the next one.

use super::super::cursor::{self, Cursor};
use super::super::disk::{self, Disk, SharedFile};
use super::{Log, Pos, segment_path};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Files and directories to be synced, and what is durable then.
#[derive(Debug)]
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The owner of a log that is not durable itself.
    fresh: Option<Vec<u8>>,
    files: Vec<SharedFile>,
    new_entries: bool,
    /// Everything before it is durable once the job has succeeded.
    pub upto: Pos,
}

impl SyncJob {
    /// Syncs.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn run(&self) -> io::Result<()> {
        if let Some(meta) = &self.fresh {
            disk::replace(&*self.disk, &self.dir, super::super::META, meta)?;
            if let Some(parent) = self.dir.parent() {
                self.disk.sync_dir(parent)?;
            }
        }
        self.files.iter().try_for_each(|file| file.sync())?;
        if self.new_entries {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

/// A cursor on its way to the disk.
#[derive(Debug)]
pub struct CursorJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cursor: Cursor,
}

impl CursorJob {
    /// Saves the cursor, synced.
    ///
    /// # Errors
    /// When the disk does not take it; the old one stays then.
    pub fn run(&self) -> io::Result<()> {
        cursor::save(&*self.disk, &self.dir, &self.cursor)
    }

    /// Where everything before is dealt with.
    pub fn pos(&self) -> Pos {
        self.cursor.pos
    }
}

impl Log {
    /// What must be synced for everything that was written until now, if anything.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        if !self.dirty {
            return None;
        }
        self.dirty = false;
        let mut files = std::mem::take(&mut self.unsynced);
        files.extend(self.writer.clone());
        Some(SyncJob {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            fresh: self.fresh.clone(),
            files,
            new_entries: std::mem::take(&mut self.new_entries),
            upto: self.end,
        })
    }

    /// A sync has succeeded.
    pub fn synced(&mut self, upto: Pos) {
        self.committed = self.committed.max(upto);
        self.fresh = None;
    }

    /// Makes everything written durable, here and now. No other sync of this log may be under way.
    ///
    /// # Errors
    /// When the disk does not take it: nothing since the last commit counts then.
    pub fn commit(&mut self) -> io::Result<()> {
        let Some(job) = self.begin_sync() else {
            return Ok(());
        };
        match job.run() {
            Ok(()) => {
                self.synced(job.upto);
                Ok(())
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// Forgets what was written since the last commit. The segment is not written to again: after a
    /// failed sync nobody knows what the disk has.
    pub fn roll_back(&mut self) {
        let writer = self.writer.take();
        while let Some(last) = self.segments.back_mut() {
            if last.number < self.committed.segment {
                break;
            }
            let path = segment_path(&self.dir, last.number);
            if last.number > self.committed.segment {
                if let Err(error) = self.disk.remove_file(&path) {
                    tracing::warn!(%error, "an uncommitted spool file stays");
                }
                self.segments.pop_back();
                continue;
            }
            if last.len > self.committed.offset {
                last.len = self.committed.offset;
                let file = writer.map_or_else(|| self.disk.append(&path), Ok);
                if let Err(error) = file.and_then(|file| file.cut(last.len)) {
                    tracing::warn!(%error, "the uncommitted end of a spool file stays");
                }
            }
            break;
        }
        self.unsynced.clear();
        self.new_entries = true;
        self.end = self.committed;
        self.dirty = false;
    }

    /// The cursor, when it moved since it was last asked for.
    pub fn begin_checkpoint(&mut self) -> Option<CursorJob> {
        if !self.cursor_dirty {
            return None;
        }
        self.cursor_dirty = false;
        Some(CursorJob {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            cursor: self.cursor(),
        })
    }

    /// A cursor is on disk: the segments before it can go.
    ///
    /// # Errors
    /// When the disk does not let one go; it is tried again after the next cursor.
    pub fn checkpointed(&mut self, pos: Pos) -> io::Result<()> {
        while let Some(first) = self.segments.front() {
            if first.number >= pos.segment {
                break;
            }
            self.disk
                .remove_file(&segment_path(&self.dir, first.number))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// A cursor could not be saved: the next checkpoint tries again.
    pub fn checkpoint_failed(&mut self) {
        self.cursor_dirty = true;
    }

    /// Saves the cursor when it moved, here and now, then removes segments that are dealt with.
    ///
    /// # Errors
    /// When the disk does not take it; no file is removed then.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        let Some(job) = self.begin_checkpoint() else {
            return Ok(());
        };
        if let Err(error) = job.run() {
            self.checkpoint_failed();
            return Err(error);
        }
        self.checkpointed(job.pos())
    }
}
