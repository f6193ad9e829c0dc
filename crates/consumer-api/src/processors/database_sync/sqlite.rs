//! SQLite: a file of this machine, under one of the roots.

use super::super::{SinkError, Site, failpoint};
use super::layout::{Cell, Layout, instant};
use super::{Backend, PositionRow};
use crate::batch::text::Instants;
use crate::batch::{Entry, runs};
use rusqlite::types::Null;
use rusqlite::{Connection, OpenFlags, Statement, Transaction, TransactionBehavior, params};
use std::time::Duration;

/// How long a statement waits for a reader or writer of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A row a record with a rowid and an index: three to four times as fast as `WITHOUT ROWID` at 1 KiB.
const RAW: &str = "(topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, timestamp TEXT,
     key TEXT, value TEXT, headers TEXT NOT NULL, key_encoding TEXT NOT NULL, value_encoding TEXT NOT NULL,
     topic_id INTEGER NOT NULL, PRIMARY KEY (topic, topic_id, partition, offset))";
const OURS: &str = "CREATE TABLE IF NOT EXISTS sluice_offsets (
         processor_id TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
         topic_id INTEGER NOT NULL, next_offset INTEGER NOT NULL, epoch INTEGER NOT NULL,
         PRIMARY KEY (processor_id, topic, partition, topic_id)) WITHOUT ROWID;
     CREATE TABLE IF NOT EXISTS sluice_owners (
         processor_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;";

/// Whether text may hold NUL.
const TAKES_NUL: bool = true;

/// A file.
pub(super) struct Sqlite {
    path: String,
    layout: Layout,
    site: Site,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    insert: String,
}

/// Hands the values of a row to a statement.
fn bind(
    insert: &mut Statement<'_>,
    row: &[Cell<'_>],
    instants: &mut Instants,
) -> rusqlite::Result<()> {
    for (place, cell) in (1_usize..).zip(row) {
        match cell {
            Cell::Null => insert.raw_bind_parameter(place, Null)?,
            Cell::Flag(flag) => insert.raw_bind_parameter(place, flag)?,
            Cell::Integer(number) => insert.raw_bind_parameter(place, number)?,
            Cell::Number(number) => insert.raw_bind_parameter(place, number)?,
            Cell::Text(text) => insert.raw_bind_parameter(place, text.as_ref())?,
            Cell::Instant(ms) => insert.raw_bind_parameter(place, instant(instants, *ms))?,
        }
    }
    Ok(())
}

impl Sqlite {
    pub(super) const fn new(path: String, layout: Layout, site: Site) -> Self {
        Self {
            path,
            layout,
            site,
            open: None,
        }
    }

    fn connect(&self) -> Result<Open, SinkError> {
        let (file, path) = self.site.roots.open_file(&self.path)?;
        drop(file);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(OURS)?;
        let table = self.layout.quoted_table('"');
        if self.layout.raw {
            transaction.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {table} {RAW}"))?;
        }
        let take = "INSERT INTO sluice_owners (processor_id, epoch) VALUES (?1, ?2)
                    ON CONFLICT (processor_id) DO UPDATE SET epoch = max(epoch, excluded.epoch) RETURNING epoch";
        let owner = params![self.site.processor_id, self.site.epoch];
        let epoch: i64 = transaction.query_row(take, owner, |row| row.get(0))?;
        super::unfenced(epoch == self.site.epoch)?;
        let insert = self.insert(&table);
        transaction.prepare(&insert)?;
        transaction.commit()?;
        Ok(Open { connection, insert })
    }

    fn insert(&self, table: &str) -> String {
        let columns = self.layout.quoted_columns('"');
        let marks = vec!["?"; self.layout.columns.len()].join(", ");
        // In our own table a record that is there already is the same one.
        let repeats = if self.layout.raw {
            " ON CONFLICT DO NOTHING"
        } else {
            ""
        };
        format!("INSERT INTO {table} ({columns}) VALUES ({marks}){repeats}")
    }
}

impl Backend for Sqlite {
    fn open(&mut self) -> Result<Vec<PositionRow>, SinkError> {
        self.open = None;
        let open = self.connect()?;
        let sql = "SELECT topic, partition, topic_id, next_offset FROM sluice_offsets WHERE processor_id = ?1";
        let mut query = open.connection.prepare(sql)?;
        let rows = query.query_map([&self.site.processor_id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        let rows = rows.collect::<Result<_, _>>()?;
        drop(query);
        self.open = Some(open);
        Ok(rows)
    }

    fn write(&mut self, batch: &[Entry<'_>], moves: &[PositionRow]) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(super::not_open)?;
        let begin = TransactionBehavior::Immediate;
        let transaction = open.connection.transaction_with_behavior(begin)?;
        let owner = "SELECT epoch FROM sluice_owners WHERE processor_id = ?1";
        let epoch: i64 = transaction
            .prepare_cached(owner)?
            .query_row([&self.site.processor_id], |row| row.get(0))?;
        super::unfenced(epoch == self.site.epoch)?;
        failpoint::pass("database_sync.begun")?;
        let mut insert = transaction.prepare_cached(&open.insert)?;
        let (mut row, mut instants) = (Vec::new(), Instants::default());
        for run in runs(batch) {
            let topic_id = run.first().map_or(0, |e| self.site.topic_id(e.topic));
            for entry in run {
                row.clear();
                self.layout.row(entry, topic_id, TAKES_NUL, &mut row)?;
                let written = bind(&mut insert, &row, &mut instants);
                let written = written.and_then(|()| insert.raw_execute());
                written.map_err(|error| SinkError::from(error).of(entry))?;
            }
        }
        drop(insert);
        failpoint::pass("database_sync.rows")?;
        put(&transaction, &self.site, moves)?;
        failpoint::pass("database_sync.offsets")?;
        transaction.commit()?;
        failpoint::pass("database_sync.committed")
    }

    fn probe(&self) -> Result<(), SinkError> {
        if self.layout.raw {
            return Ok(());
        }
        let table = self.layout.quoted_table('"');
        let Ok(path) = self.site.roots.resolve(&self.path) else {
            return Ok(());
        };
        if !path.exists() {
            return Err(SinkError::environment(format!(
                "SQLite: no such file as {}",
                self.path
            )));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.prepare(&self.insert(&table))?;
        Ok(())
    }

    fn rewind(&mut self, moves: &[PositionRow]) -> Result<(), SinkError> {
        self.open = None;
        let mut open = self.connect()?;
        let begin = TransactionBehavior::Immediate;
        let transaction = open.connection.transaction_with_behavior(begin)?;
        put(&transaction, &self.site, moves)?;
        Ok(transaction.commit()?)
    }
}

fn put(transaction: &Transaction<'_>, site: &Site, moves: &[PositionRow]) -> Result<(), SinkError> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO sluice_offsets (processor_id, topic, partition, topic_id, next_offset, epoch)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (processor_id, topic, partition, topic_id)
         DO UPDATE SET next_offset = excluded.next_offset, epoch = excluded.epoch",
    )?;
    for (topic, partition, topic_id, next) in moves {
        put.execute(params![
            site.processor_id,
            topic,
            partition,
            topic_id,
            next,
            site.epoch
        ])?;
    }
    Ok(())
}
