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
pub mod files;
pub mod frame;
pub mod log;
pub mod recover;

use self::log::Log;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

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
    /// Whose it is.
    pub meta: Meta,
    /// The records.
    pub log: Log,
}

/// The spool's directory, locked.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    _lock: File,
    next_log: u64,
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
}

impl Spool {
    /// Opens and locks the spool's directory and recovers its logs.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process has it.
    pub fn open(dir: &Path) -> io::Result<(Self, Found)> {
        files::create_dir(&dir.join("topics"))?;
        let lock = files::append(&dir.join("lock"))?;
        lock.try_lock().map_err(|_| {
            io::Error::other(format!("another process has the spool {}", dir.display()))
        })?;
        let mut spool = Self {
            dir: dir.to_path_buf(),
            _lock: lock,
            next_log: 1,
        };
        let found = spool.recover()?;
        Ok((spool, found))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new log.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn create(&mut self, meta: Meta) -> io::Result<Held> {
        let topics = self.dir.join("topics");
        let dir = topics.join(format!("{:08}", self.next_log));
        files::create_dir(&dir)?;
        write_meta(&dir, &meta)?;
        files::sync_dir(&topics)?;
        self.next_log += 1;
        Ok(Held {
            meta,
            log: Log::new(dir, cursor::Cursor::default(), 1),
        })
    }

    fn recover(&mut self) -> io::Result<Found> {
        let mut numbers: Vec<u64> = Vec::new();
        for entry in fs_err::read_dir(self.dir.join("topics"))? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        self.next_log = numbers.last().map_or(1, |last| last + 1);
        let mut found = Found::default();
        for number in numbers {
            let dir = self.dir.join("topics").join(format!("{number:08}"));
            if let Err(error) = self.recover_one(&dir, &mut found) {
                tracing::error!(%error, dir = %dir.display(), "a log of the spool is left alone");
            }
        }
        Ok(found)
    }

    fn recover_one(&self, dir: &Path, found: &mut Found) -> io::Result<()> {
        let text = match fs_err::read_to_string(dir.join("meta.json")) {
            Ok(text) => text,
            // The crash came before anything was answered for this log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return remove(dir),
            Err(error) => return Err(error),
        };
        let meta: Meta = serde_json::from_str(&text)?;
        let one = recover::recover(dir.to_path_buf(), &self.dir.join("quarantine"))?;
        found.quarantined += one.quarantined;
        found.torn_bytes += one.torn_bytes;
        if one.log.held_records == 0 {
            return remove(dir);
        }
        found.held.push(Held { meta, log: one.log });
        Ok(())
    }
}

impl Held {
    /// Says whose the log is from now on.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn set_topic_id(&mut self, topic_id: i64) -> io::Result<()> {
        let meta = Meta {
            topic_id: Some(topic_id),
            ..self.meta.clone()
        };
        write_meta(self.log.dir(), &meta)?;
        self.meta = meta;
        Ok(())
    }

    /// Removes the log from disk.
    ///
    /// # Errors
    /// When the disk does not let it go.
    pub fn remove(self) -> io::Result<()> {
        let dir = self.log.dir().to_path_buf();
        drop(self);
        remove(&dir)
    }
}

fn write_meta(dir: &Path, meta: &Meta) -> io::Result<()> {
    cursor::replace(dir, "meta.json", serde_json::to_string(meta)?.as_bytes())
}

/// Removes a log's directory; the meta file goes last, so that a crash in between leaves a log that is
/// either whole or recognised as removed.
fn remove(dir: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs_err::remove_file(path)?;
        }
    }
    fs_err::remove_dir_all(dir)
}

#[cfg(test)]
mod tests;
