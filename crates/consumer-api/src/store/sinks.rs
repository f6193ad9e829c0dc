//! What sinks hold: lengths of files and positions, written from the consumers' own threads.

use crate::watermark::Positions;
use rusqlite::{Connection, OptionalExtension as _, params};
use sluice_service::sqlite::{Database, StoreError};
use std::collections::HashMap;
use std::path::Path;
use tokio::runtime::Handle;

/// `(topic, partition, topic id, next offset)`.
pub type PositionRow = (String, i32, i64, i64);

/// The blocking side of the registry, for threads that are not the runtime's.
#[derive(Clone, Debug)]
pub struct Sinks {
    db: Database,
    runtime: Handle,
}

impl Sinks {
    pub(super) fn new(db: Database, runtime: Handle) -> Self {
        Self { db, runtime }
    }

    /// The committed length of a file, if it was ever written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn length(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        let path = path.display().to_string();
        let sql = "SELECT length FROM sink_files WHERE path = ?1";
        let read = self.db.read(move |c| {
            let length = c
                .query_row(sql, [path], |row| row.get::<_, i64>(0))
                .optional()?;
            Ok(length.map(i64::cast_unsigned))
        });
        self.runtime.block_on(read)
    }

    /// Commits the length of a file that was found as it is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn set_length(&self, path: &Path, length: u64) -> Result<(), StoreError> {
        let path = path.display().to_string();
        self.runtime
            .block_on(self.db.write(move |c| put_length(c, &path, length)))
    }

    /// What a processor holds of the topics as they are now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn positions(
        &self,
        processor_id: &str,
        topic_ids: &HashMap<String, i64>,
    ) -> Result<Positions, StoreError> {
        let processor_id = processor_id.to_owned();
        let read = self.db.read(move |c| {
            let mut query = c.prepare_cached(
                "SELECT topic, partition, topic_id, next_offset FROM sink_positions WHERE processor_id = ?1",
            )?;
            let rows = query.query_map([processor_id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            Ok::<_, StoreError>(rows.collect::<Result<Vec<PositionRow>, _>>()?)
        });
        let mut held = Positions::default();
        for (topic, partition, topic_id, next) in self.runtime.block_on(read)? {
            // A topic that was deleted and made again starts anew.
            if topic_ids.get(&topic).copied().unwrap_or_default() == topic_id {
                held.set(&topic, partition, next);
            }
        }
        Ok(held)
    }

    /// Commits the length of a file together with what the processor holds then.
    ///
    /// # Errors
    /// When it is not committed.
    pub fn save(
        &self,
        path: &Path,
        length: u64,
        processor_id: &str,
        rows: Vec<PositionRow>,
    ) -> Result<(), StoreError> {
        let (path, processor_id) = (path.display().to_string(), processor_id.to_owned());
        self.runtime.block_on(self.db.write(move |c| {
            put_length(c, &path, length)?;
            put_positions(c, &processor_id, &rows)
        }))
    }

    /// Moves what a processor holds, because a user moved the consumer.
    ///
    /// # Errors
    /// When it is not committed.
    pub fn rewind(&self, processor_id: &str, rows: Vec<PositionRow>) -> Result<(), StoreError> {
        let processor_id = processor_id.to_owned();
        self.runtime.block_on(
            self.db
                .write(move |c| put_positions(c, &processor_id, &rows)),
        )
    }
}

fn put_length(c: &Connection, path: &str, length: u64) -> Result<(), StoreError> {
    let mut put = c.prepare_cached(
        "INSERT INTO sink_files (path, length) VALUES (?1, ?2)
         ON CONFLICT (path) DO UPDATE SET length = excluded.length",
    )?;
    put.execute(params![path, length.cast_signed()])?;
    Ok(())
}

fn put_positions(
    c: &Connection,
    processor_id: &str,
    rows: &[PositionRow],
) -> Result<(), StoreError> {
    let mut put = c.prepare_cached(
        "INSERT INTO sink_positions (processor_id, topic, partition, topic_id, next_offset)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (processor_id, topic, partition)
         DO UPDATE SET topic_id = excluded.topic_id, next_offset = excluded.next_offset",
    )?;
    for (topic, partition, topic_id, next) in rows {
        put.execute(params![processor_id, topic, partition, topic_id, next])?;
    }
    Ok(())
}
