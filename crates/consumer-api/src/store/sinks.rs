//! What sinks hold: lengths of files and positions, written from the consumers' own threads.

use super::sql::{Cells, Db, Sql, values};
use crate::watermark::Positions;
use sluice_service::sqlite::StoreError;
use std::collections::HashMap;
use std::path::Path;
use tokio::runtime::Handle;

/// `(topic, partition, topic id, next offset)`.
pub type PositionRow = (String, i32, i64, i64);

/// A position, and the plan that a sink made for what follows it.
pub type PlanRow = (PositionRow, String);

/// A position of a topic as it is now, `(topic, partition, next offset)`, and the plan there.
pub type HeldPlan = ((String, i32, i64), String);

/// The blocking side of the registry, for threads that are not the runtime's.
#[derive(Clone, Debug)]
pub struct Sinks {
    db: Db,
    runtime: Handle,
    /// Who may write, unless nothing is at stake.
    fence: Option<Fence>,
    /// Remembers nothing: for processors that are no consumer's own.
    detached: bool,
}

/// The newest of its kind writes; an older one is refused.
#[derive(Clone, Debug)]
enum Fence {
    /// The worker of a consumer.
    Worker { consumer_id: String, epoch: i64 },
    /// The run of a replay.
    Run { replay_id: String, epoch: i64 },
}

impl Fence {
    fn check(&self, c: &mut dyn Sql) -> Result<(), StoreError> {
        let (table, id, epoch, of) = match self {
            Self::Worker { consumer_id, epoch } => (
                "consumers",
                consumer_id,
                *epoch,
                "worker has taken this consumer",
            ),
            Self::Run { replay_id, epoch } => (
                "replays",
                replay_id,
                *epoch,
                "process has taken this replay",
            ),
        };
        let sql = format!("SELECT epoch FROM {table} WHERE id = ?1{}", c.lock());
        let newest = c.first(&sql, values![id])?.map(|row| row.int(0));
        if newest == Some(epoch) {
            return Ok(());
        }
        Err(StoreError::Fenced(format!("another {of} over")))
    }
}

impl Sinks {
    pub(super) fn new(db: Db, runtime: Handle) -> Self {
        Self {
            db,
            runtime,
            fence: None,
            detached: false,
        }
    }

    /// The same for processors beside those of a consumer: nothing is known, and nothing is kept.
    #[must_use]
    pub fn detached(self) -> Self {
        Self {
            detached: true,
            ..self
        }
    }

    /// The same for one worker: it writes nothing once a later one has begun.
    #[must_use]
    pub fn fenced(self, consumer_id: &str, epoch: i64) -> Self {
        Self {
            fence: Some(Fence::Worker {
                consumer_id: consumer_id.to_owned(),
                epoch,
            }),
            ..self
        }
    }

    /// The same for one run of a replay: what its processors hold is kept with it.
    #[must_use]
    pub fn of_replay(self, replay_id: &str, epoch: i64) -> Self {
        Self {
            fence: Some(Fence::Run {
                replay_id: replay_id.to_owned(),
                epoch,
            }),
            ..self
        }
    }

    /// The replay that the processors belong to, if it is one.
    fn replay(&self) -> Option<String> {
        match &self.fence {
            Some(Fence::Run { replay_id, .. }) => Some(replay_id.clone()),
            _ => None,
        }
    }

    /// Runs a command that only the newest worker of the consumer may run.
    fn write(
        &self,
        command: impl FnOnce(&mut dyn Sql) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        if self.detached {
            return Ok(());
        }
        let fence = self.fence.clone();
        self.runtime.block_on(self.db.write(move |c| {
            if let Some(fence) = fence {
                fence.check(c)?;
            }
            command(c)
        }))
    }

    /// The committed length of a file, if it was ever written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn length(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        if self.detached {
            return Ok(None);
        }
        let path = path.display().to_string();
        let sql = "SELECT length FROM sink_files WHERE path = ?1";
        let read = self.db.read(move |c| {
            let found = c.first(sql, values![path])?;
            Ok(found.map(|row| row.int(0).cast_unsigned()))
        });
        self.runtime.block_on(read)
    }

    /// Commits the length of a file that was found as it is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn set_length(&self, path: &Path, length: u64) -> Result<(), StoreError> {
        let path = path.display().to_string();
        self.write(move |c| put_length(c, &path, length))
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
        let mut held = Positions::default();
        for ((topic, partition, next), _) in self.plans(processor_id, topic_ids)? {
            held.set(&topic, partition, next);
        }
        Ok(held)
    }

    /// The same with what the processor planned.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn plans(
        &self,
        processor_id: &str,
        topic_ids: &HashMap<String, i64>,
    ) -> Result<Vec<HeldPlan>, StoreError> {
        if self.detached {
            return Ok(Vec::new());
        }
        let processor_id = processor_id.to_owned();
        let table = match self.fence {
            Some(Fence::Run { .. }) => "replay_positions",
            _ => "sink_positions",
        };
        let sql = format!(
            "SELECT topic, partition, topic_id, next_offset, plan FROM {table} WHERE processor_id = ?1"
        );
        let read = self.db.read(move |c| c.query(&sql, values![processor_id]));
        let rows: Vec<Cells> = self.runtime.block_on(read)?;
        // A topic that was deleted and made again starts anew.
        let now = |topic: &str| topic_ids.get(topic).copied().unwrap_or_default();
        let current = rows.iter().filter(|row| now(&row.text(0)) == row.int(2));
        let held = current.map(|row| {
            let partition = i32::try_from(row.int(1)).unwrap_or(i32::MAX);
            ((row.text(0), partition, row.int(3)), row.text(4))
        });
        Ok(held.collect())
    }

    /// Commits what a processor holds, and what it is about to send.
    ///
    /// # Errors
    /// When it is not committed.
    pub fn plan(&self, processor_id: &str, rows: Vec<PlanRow>) -> Result<(), StoreError> {
        let processor_id = processor_id.to_owned();
        let replay = self.replay();
        self.write(move |c| put_plans(c, &processor_id, replay.as_deref(), &rows))
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
        let replay = self.replay();
        self.write(move |c| {
            put_length(c, &path, length)?;
            put_positions(c, &processor_id, replay.as_deref(), &rows)
        })
    }

    /// Moves what a processor holds, because a user moved the consumer.
    ///
    /// # Errors
    /// When it is not committed.
    pub fn rewind(&self, processor_id: &str, rows: Vec<PositionRow>) -> Result<(), StoreError> {
        let processor_id = processor_id.to_owned();
        let replay = self.replay();
        self.write(move |c| put_positions(c, &processor_id, replay.as_deref(), &rows))
    }
}

fn put_length(c: &mut dyn Sql, path: &str, length: u64) -> Result<(), StoreError> {
    c.execute(
        "INSERT INTO sink_files (path, length) VALUES (?1, ?2)
         ON CONFLICT (path) DO UPDATE SET length = excluded.length",
        values![path, length.cast_signed()],
    )?;
    Ok(())
}

/// Positions without a plan: an earlier one belonged to another place.
fn put_positions(
    c: &mut dyn Sql,
    processor_id: &str,
    replay: Option<&str>,
    rows: &[PositionRow],
) -> Result<(), StoreError> {
    let rows: Vec<PlanRow> = rows
        .iter()
        .map(|row| (row.clone(), String::new()))
        .collect();
    put_plans(c, processor_id, replay, &rows)
}

fn put_plans(
    c: &mut dyn Sql,
    processor_id: &str,
    replay: Option<&str>,
    rows: &[PlanRow],
) -> Result<(), StoreError> {
    for ((topic, partition, topic_id, next), plan) in rows {
        let place = values![processor_id, topic, *partition, *topic_id, *next, plan];
        match replay {
            None => c.execute(
                "INSERT INTO sink_positions
                 (processor_id, topic, partition, topic_id, next_offset, plan)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (processor_id, topic, partition) DO UPDATE SET
                 topic_id = excluded.topic_id, next_offset = excluded.next_offset, plan = excluded.plan",
                place,
            )?,
            Some(replay) => {
                let mut values = place.to_vec();
                values.push(replay.into());
                c.execute(
                    "INSERT INTO replay_positions
                     (processor_id, topic, partition, topic_id, next_offset, plan, replay_id)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (processor_id, topic, partition) DO UPDATE SET
                     topic_id = excluded.topic_id, next_offset = excluded.next_offset,
                     plan = excluded.plan",
                    &values,
                )?
            }
        };
    }
    Ok(())
}
