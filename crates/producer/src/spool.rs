//! The spool: what cannot go to Kafka now, in order, on disk, one log for each topic.
//!
//! ```text
//! DIR/lock                    held by the one process that owns the spool
//! DIR/routes.json             the last routes that the admin API gave
//! DIR/topics/NNNNNNNN/        one log: meta.json (whose it is), cursor, NNNNNNNNNN.seg
//! DIR/dead-letter/TOPIC.jsonl what an admin's decision or Kafka's refusal took out of the flow
//! DIR/quarantine/             damaged blocks, as they were found
//! ```
//!
//! A name that is asked for again after its end is another topic, so logs are numbered and say in
//! `meta.json` which name and which topic id they belong to.

pub mod bits;
pub mod cursor;
pub mod dead_letter;
pub mod disk;
pub mod files;
pub mod frame;
pub mod log;
pub mod quarantine;
pub mod recover;
pub mod scan;

use self::disk::{Disk, RealDisk, SharedFile};
use self::log::Log;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that says whose a log is.
const META: &str = "meta.json";

/// Whose a log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The topic's name.
    pub topic_name: String,
    /// Its identity; none when nobody had asked for the name yet.
    pub topic_id: Option<i64>,
}

/// A log with its owner.
#[derive(Debug)]
pub struct Held {
    disk: Arc<dyn Disk>,
    /// Whose it is.
    pub meta: Meta,
    /// The records.
    pub log: Log,
}

/// The spool's directory, locked.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _lock: SharedFile,
    next_log: u64,
    segment_bytes: u64,
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Found {
    /// Logs that hold records, oldest first.
    pub held: Vec<Held>,
    /// Damaged blocks that were put aside.
    pub quarantined: u64,
    /// Bytes that were cut off torn ends.
    pub torn_bytes: u64,
    /// Logs that cannot be read; they stay as they are.
    pub left_alone: u64,
}

impl Spool {
    /// Opens and locks the spool's directory and recovers its logs.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process has it.
    pub fn open(dir: &Path) -> io::Result<(Self, Found)> {
        Self::open_on(Arc::new(RealDisk), dir)
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process has it.
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<(Self, Found)> {
        Self::open_with(disk, dir, log::SEGMENT_BYTES)
    }

    fn open_with(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> io::Result<(Self, Found)> {
        let topics = dir.join("topics");
        if let Err(error) = disk.create_dir(&topics)
            && error.kind() != io::ErrorKind::ReadOnlyFilesystem
        {
            return Err(error);
        }
        let lock = disk.lock(&dir.join("lock"))?;
        // The directories themselves must outlive a power cut, or they would take the logs with them.
        for made in [Some(dir), dir.parent()].into_iter().flatten() {
            if let Err(error) = disk.sync_dir(made) {
                tracing::debug!(%error, dir = %made.display(), "a directory cannot be synced");
            }
        }
        let mut spool = Self {
            disk,
            dir: dir.to_path_buf(),
            _lock: lock,
            next_log: 1,
            segment_bytes,
        };
        let found = spool.recover()?;
        Ok((spool, found))
    }

    /// The disk under it.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new log. Its name and owner become durable with the first sync of its records.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn create(&mut self, meta: Meta) -> io::Result<Held> {
        let dir = self
            .dir
            .join("topics")
            .join(format!("{:08}", self.next_log));
        self.disk.create_dir(&dir)?;
        let text = serde_json::to_vec(&meta)?;
        // The first sync writes it durably; this one is for a process that is killed before.
        let file = self.disk.append(&dir.join(META))?;
        file.cut(0)?;
        file.append(&text)?;
        self.next_log += 1;
        let mut log = Log::new(Arc::clone(&self.disk), dir, cursor::Cursor::default(), 1);
        log.is_fresh(text);
        log.set_segment_bytes(self.segment_bytes);
        Ok(Held {
            disk: Arc::clone(&self.disk),
            meta,
            log,
        })
    }

    fn recover(&mut self) -> io::Result<Found> {
        let names = self.disk.list(&self.dir.join("topics"))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        self.next_log = numbers.last().map_or(1, |last| last + 1);
        let mut found = Found::default();
        for number in numbers {
            let dir = self.dir.join("topics").join(format!("{number:08}"));
            if let Err(error) = self.recover_one(&dir, &mut found) {
                found.left_alone += 1;
                tracing::error!(%error, dir = %dir.display(), "a log of the spool is left alone");
            }
        }
        Ok(found)
    }

    fn recover_one(&self, dir: &Path, found: &mut Found) -> io::Result<()> {
        let meta = match read_meta(&*self.disk, dir) {
            Ok(meta) => meta,
            // The crash came before anything was answered for this log.
            Err(_) if self.is_bare(dir) => return remove(&*self.disk, dir),
            Err(error) => return Err(error),
        };
        let mut one =
            recover::recover(&self.disk, dir.to_path_buf(), &self.dir.join("quarantine"))?;
        one.log.set_segment_bytes(self.segment_bytes);
        found.quarantined += one.quarantined;
        found.torn_bytes += one.torn_bytes;
        if one.log.held_records == 0 {
            return remove(&*self.disk, dir);
        }
        found.held.push(Held {
            disk: Arc::clone(&self.disk),
            meta,
            log: one.log,
        });
        Ok(())
    }

    /// Whether a log without an owner holds not one whole frame.
    fn is_bare(&self, dir: &Path) -> bool {
        let Ok(numbers) = recover::segment_numbers(&*self.disk, dir) else {
            return false;
        };
        numbers.iter().all(|number| {
            let path = log::segment_path(dir, *number);
            let Ok(file) = self.disk.open(&path) else {
                return false;
            };
            let Ok(length) = file.length() else {
                return false;
            };
            let mut scan = scan::Scan::new(&*file, 0, length);
            loop {
                match scan.next_piece() {
                    Ok(None) => return true,
                    Ok(Some(scan::Piece::Damage { .. })) => {}
                    Ok(Some(scan::Piece::Frame { .. })) | Err(_) => return false,
                }
            }
        })
    }
}

impl Held {
    /// Says whose the log is from now on; no sync of the log may be under way.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn set_topic_id(&mut self, topic_id: i64) -> io::Result<()> {
        let meta = Meta {
            topic_id: Some(topic_id),
            ..self.meta.clone()
        };
        let text = serde_json::to_vec(&meta)?;
        if self.log.is_being_made() {
            // The first sync writes it: an older owner must not come behind it.
            self.log.is_fresh(text);
        } else {
            disk::replace(&*self.disk, self.log.dir(), META, &text)?;
        }
        self.meta = meta;
        Ok(())
    }

    /// Removes the log from disk.
    ///
    /// # Errors
    /// When the disk does not let it go.
    pub fn remove(self) -> io::Result<()> {
        let (disk, dir) = (Arc::clone(&self.disk), self.log.dir().to_path_buf());
        drop(self);
        remove(&*disk, &dir)
    }
}

/// Whose the log in a directory is.
///
/// # Errors
/// When it does not say.
pub fn read_meta(disk: &dyn Disk, dir: &Path) -> io::Result<Meta> {
    Ok(serde_json::from_slice(&disk::read(disk, &dir.join(META))?)?)
}

/// Removes a log's directory; the segments go first, and for good, so that a crash in between leaves a
/// log that is either whole or recognised as removed: segments without their cursor would be sent again.
fn remove(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = disk.list(dir)?;
    let (segments, others): (Vec<_>, Vec<_>) = names
        .iter()
        .partition(|name| name.strip_suffix(".seg").is_some());
    for name in &segments {
        disk.remove_file(&dir.join(name))?;
    }
    disk.sync_dir(dir)?;
    for name in &others {
        disk.remove_file(&dir.join(name))?;
    }
    disk.remove_dir(dir)
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;
