//! Records that were taken out of the flow: one JSON line each, in a file of their topic.

use super::disk::{Disk, SharedFile};
use crate::batch::{Rec, Records};
use crate::headers;
use serde::Serialize;
use sluice_model::record::{Header, Record, text};
use sluice_model::time::Timestamp;
use std::io::{self, Write as _};
use std::path::Path;

/// One line of a dead-letter file.
#[derive(Debug, Serialize)]
struct Letter<'a> {
    #[serde(flatten)]
    record: Record,
    reason: &'a str,
    at: Timestamp,
}

/// Appends records to the dead-letter file of a topic, synced when the writer is finished.
#[derive(Debug)]
pub struct DeadLetters {
    file: SharedFile,
    lines: Vec<u8>,
}

/// Lines are written when there are so many bytes of them.
const WRITE_BYTES: usize = 64 * 1024;

impl DeadLetters {
    /// Opens the file of a topic.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn open(disk: &dyn Disk, spool: &Path, topic: &str) -> io::Result<Self> {
        let dir = spool.join("dead-letter");
        disk.create_dir(&dir)?;
        let file = disk.append(&dir.join(format!("{topic}.jsonl")))?;
        // A name that is not durable would take the lines with it.
        disk.sync_dir(&dir)?;
        Ok(Self {
            file,
            lines: Vec::new(),
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn push(
        &mut self,
        topic: &str,
        records: &Records,
        rec: &Rec,
        reason: &str,
    ) -> io::Result<()> {
        let (key, key_encoding) = text(records.part(rec.key));
        let (value, value_encoding) = text(records.part(rec.value));
        let encoded = records.part(rec.headers).unwrap_or_default();
        let record = Record {
            topic: topic.to_owned(),
            partition: rec.partition,
            offset: -1,
            timestamp: (rec.timestamp > 0).then(|| Timestamp::from_millis(rec.timestamp)),
            key,
            value,
            headers: headers::read(encoded)
                .map(|(name, value)| Header::new(name, value))
                .collect(),
            key_encoding,
            value_encoding,
        };
        let letter = Letter {
            record,
            reason,
            at: sluice_service::now(),
        };
        serde_json::to_writer(&mut self.lines, &letter)?;
        self.lines.write_all(b"\n")?;
        if self.lines.len() >= WRITE_BYTES {
            self.file.append(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.append(&self.lines)?;
        self.lines.clear();
        self.file.sync()
    }
}
