//! Records that were taken out of the flow: one JSON line each, in a file of their topic.

use super::files;
use crate::batch::{Rec, Records};
use crate::headers;
use serde::Serialize;
use sluice_model::record::{Header, Record, text};
use sluice_model::time::Timestamp;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
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
    file: BufWriter<File>,
}

impl DeadLetters {
    /// Opens the file of a topic.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn open(spool: &Path, topic: &str) -> io::Result<Self> {
        let dir = spool.join("dead-letter");
        files::create_dir(&dir)?;
        let file = files::append(&dir.join(format!("{topic}.jsonl")))?;
        Ok(Self {
            file: BufWriter::new(file),
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
        serde_json::to_writer(&mut self.file, &letter)?;
        self.file.write_all(b"\n")
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_data()
    }
}
