//! MySQL and MariaDB: inserts of many rows in the transaction that moves the offsets.

use super::super::{SinkError, Site, failpoint};
use super::dsn::Server;
use super::layout::{Cell, Layout, instant};
use super::{Backend, PositionRow, Rows, Trust};
use crate::batch::Entry;
use crate::batch::text::Instants;
use mysql::prelude::Queryable as _;
use mysql::{Conn, OptsBuilder, SslOpts, Transaction, TxOpts, Value};
use std::time::Duration;

/// Time for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that the server may be silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The most rows of one statement. Fewer go in powers of two, so that few statements are prepared.
const STATEMENT_ROWS_MAX: usize = 256;
/// The most values of one statement, which the protocol bounds at 65,535.
const STATEMENT_VALUES_MAX: usize = 8192;
/// Bytes of one statement, below what servers accept in a packet.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;
/// Statements that stay prepared.
const STATEMENTS: usize = 32;

const RAW: &str = "(topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, `partition` INT NOT NULL,
     `offset` BIGINT NOT NULL, `timestamp` DATETIME(3), `key` LONGTEXT, `value` LONGTEXT, headers LONGTEXT NOT NULL,
     key_encoding VARCHAR(8) NOT NULL, value_encoding VARCHAR(8) NOT NULL, topic_id BIGINT NOT NULL,
     PRIMARY KEY (topic, topic_id, `partition`, `offset`)) ENGINE=InnoDB CHARACTER SET utf8mb4";
const OFFSETS: &str = "CREATE TABLE IF NOT EXISTS sluice_offsets (
     processor_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
     topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, `partition` INT NOT NULL,
     topic_id BIGINT NOT NULL, next_offset BIGINT NOT NULL, epoch BIGINT NOT NULL,
     PRIMARY KEY (processor_id, topic, `partition`, topic_id)) ENGINE=InnoDB";
const OWNERS: &str = "CREATE TABLE IF NOT EXISTS sluice_owners (
     processor_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, epoch BIGINT NOT NULL) ENGINE=InnoDB";
const SESSION: &str = "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 10,
     sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

/// Whether text may hold NUL.
const TAKES_NUL: bool = true;

/// A server.
pub(super) struct Mysql {
    server: Server,
    trust: Trust,
    layout: Layout,
    site: Site,
    open: Option<Conn>,
}

impl From<mysql::Error> for SinkError {
    fn from(error: mysql::Error) -> Self {
        let mysql::Error::MySqlError(told) = &error else {
            return Self::transient(format!("MySQL: {error}"));
        };
        let message = format!("MySQL: {} ({})", told.message, told.code);
        match told.code {
            // NULL, duplicates, ranges, truncation, dates, types, length, references, checks, JSON, packets.
            1048 | 1062 | 1153 | 1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 1451 | 1452 | 1690
            | 3140 | 3819 | 4025 => Self::poison(message),
            // Access, database, column, table, default value, read-only.
            1044 | 1045 | 1049 | 1054 | 1142 | 1143 | 1146 | 1227 | 1290 | 1364 | 1698 | 1836 => {
                Self::environment(message)
            }
            _ => Self::transient(message),
        }
    }
}

impl Mysql {
    pub(super) const fn new(server: Server, trust: Trust, layout: Layout, site: Site) -> Self {
        Self {
            server,
            trust,
            layout,
            site,
            open: None,
        }
    }

    fn connection(&self) -> Result<Conn, SinkError> {
        let server = &self.server;
        let addresses = server.addresses(&self.site)?;
        let password = server.password(&self.site, self.trust.password.as_ref())?;
        let options = |host: String| {
            OptsBuilder::new()
                .ip_or_hostname(Some(host))
                .tcp_port(server.port)
                .prefer_socket(false)
                .user(Some(server.user.clone()))
                .pass(password.as_ref().map(|secret| secret.expose().to_owned()))
                .db_name(Some(server.database.clone()))
                .tcp_connect_timeout(Some(CONNECT_TIMEOUT))
                .read_timeout(Some(ANSWER_TIMEOUT))
                .write_timeout(Some(ANSWER_TIMEOUT))
                .stmt_cache_size(STATEMENTS)
                .init(vec![SESSION])
        };
        if server.tls {
            // The driver resolves the name again, but goes on only with a server that proves to have it.
            let options = options(server.host.clone()).ssl_opts(self.ssl()?);
            return Ok(Conn::new(options)?);
        }
        let mut last = SinkError::transient("MySQL: the name leads to no address");
        for address in addresses {
            match Conn::new(options(address.ip().to_string())) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn ssl(&self) -> Result<SslOpts, SinkError> {
        let options = SslOpts::default();
        Ok(match self.trust.authorities_file(&self.site)? {
            Some(path) => options.with_root_cert_path(Some(path)),
            None => options,
        })
    }

    fn connect(&self) -> Result<Conn, SinkError> {
        let mut connection = self.connection()?;
        let missing = |connection: &mut Conn, table: &str| {
            let look = format!("SELECT 1 FROM {table} LIMIT 0");
            match connection.query_drop(look) {
                Err(mysql::Error::MySqlError(told)) if told.code == 1146 => Ok(true),
                Ok(()) => Ok(false),
                Err(error) => Err(SinkError::from(error)),
            }
        };
        // Only what is missing is made: who may write need not be allowed to create.
        for (table, create) in [("sluice_offsets", OFFSETS), ("sluice_owners", OWNERS)] {
            if missing(&mut connection, table)? {
                connection.query_drop(create)?;
            }
        }
        let table = self.layout.quoted_table('`');
        if self.layout.raw && missing(&mut connection, &table)? {
            connection.query_drop(format!("CREATE TABLE IF NOT EXISTS {table} {RAW}"))?;
        }
        connection.query_drop(self.look())?;
        self.transactional(&mut connection)?;
        let (id, epoch) = (&self.site.processor_id, self.site.epoch);
        let take = "INSERT INTO sluice_owners (processor_id, epoch) VALUES (?, ?)
                    ON DUPLICATE KEY UPDATE epoch = GREATEST(epoch, VALUES(epoch))";
        connection.exec_drop(take, (id, epoch))?;
        let found = "SELECT epoch FROM sluice_owners WHERE processor_id = ?";
        super::unfenced(connection.exec_first(found, (id,))? == Some(epoch))?;
        Ok(connection)
    }

    /// A query that fails unless the table and its columns are there.
    fn look(&self) -> String {
        let table = self.layout.quoted_table('`');
        let columns = self.layout.quoted_columns('`');
        format!("SELECT {columns} FROM {table} LIMIT 0")
    }

    /// Refuses a table whose rows would stay when the transaction is rolled back.
    fn transactional(&self, connection: &mut Conn) -> Result<(), SinkError> {
        let schema = match self.layout.table.as_slice() {
            [schema, _] => schema,
            _ => &self.server.database,
        };
        let sql = "SELECT engine FROM information_schema.tables WHERE table_schema = ? AND table_name = ?";
        let engine: Option<Option<String>> =
            connection.exec_first(sql, (schema, self.layout.table.last()))?;
        match engine.flatten() {
            Some(engine) if !engine.eq_ignore_ascii_case("innodb") => {
                Err(SinkError::environment(format!(
                    "the table is of the engine {engine}, which has no transactions; InnoDB has"
                )))
            }
            _ => Ok(()),
        }
    }

    fn insert(&self, rows: usize) -> String {
        let marks = format!("({})", vec!["?"; self.layout.columns.len()].join(","));
        // In our own table a record that is there already is the same one.
        let repeats = if self.layout.raw {
            " ON DUPLICATE KEY UPDATE topic = topic"
        } else {
            ""
        };
        format!(
            "INSERT INTO {} ({}) VALUES {}{repeats}",
            self.layout.quoted_table('`'),
            self.layout.quoted_columns('`'),
            vec![marks; rows].join(",")
        )
    }

    fn write_in(
        &self,
        transaction: &mut Transaction<'_>,
        rows: &Rows<'_>,
        moves: &[PositionRow],
    ) -> Result<(), SinkError> {
        let owner = "SELECT epoch FROM sluice_owners WHERE processor_id = ? FOR UPDATE";
        let found: Option<i64> = transaction.exec_first(owner, (&self.site.processor_id,))?;
        super::unfenced(found == Some(self.site.epoch))?;
        failpoint::pass("database_sync.begun")?;
        let width = self.layout.columns.len();
        let most = (STATEMENT_VALUES_MAX / width).clamp(1, STATEMENT_ROWS_MAX);
        let mut instants = Instants::default();
        let mut left = rows.cells();
        while !left.is_empty() {
            let count = chunk(left, width, most);
            let (now, later) = left.split_at(count * width);
            let values: Vec<Value> = now.iter().map(|cell| value(cell, &mut instants)).collect();
            transaction.exec_drop(self.insert(count), values)?;
            left = later;
        }
        failpoint::pass("database_sync.rows")?;
        put(transaction, &self.site, moves)?;
        failpoint::pass("database_sync.offsets")
    }
}

/// How many rows the next statement takes: a power of two.
fn chunk(cells: &[Cell<'_>], width: usize, most: usize) -> usize {
    let mut bytes = 0;
    let fits = cells
        .chunks(width)
        .take(most)
        .take_while(|row| {
            bytes += row.iter().map(Cell::bytes).sum::<usize>();
            bytes <= STATEMENT_BYTES_MAX
        })
        .count()
        .max(1);
    1 << fits.ilog2()
}

fn value(cell: &Cell<'_>, instants: &mut Instants) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Flag(flag) => Value::Int((*flag).into()),
        Cell::Integer(number) => Value::Int(*number),
        Cell::Number(number) => Value::Double(*number),
        Cell::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        Cell::Instant(ms) => {
            let text = instant(instants, *ms).replace('T', " ").replace('Z', "");
            Value::Bytes(text.into_bytes())
        }
    }
}

fn put(
    transaction: &mut Transaction<'_>,
    site: &Site,
    moves: &[PositionRow],
) -> Result<(), SinkError> {
    let sql = "INSERT INTO sluice_offsets (processor_id, topic, `partition`, topic_id, next_offset, epoch)
               VALUES (?, ?, ?, ?, ?, ?)
               ON DUPLICATE KEY UPDATE next_offset = VALUES(next_offset), epoch = VALUES(epoch)";
    for (topic, partition, topic_id, next) in moves {
        let row = (
            &site.processor_id,
            topic,
            partition,
            topic_id,
            next,
            site.epoch,
        );
        transaction.exec_drop(sql, row)?;
    }
    Ok(())
}

impl Backend for Mysql {
    fn open(&mut self) -> Result<Vec<PositionRow>, SinkError> {
        self.open = None;
        let mut open = self.connect()?;
        let sql = "SELECT topic, `partition`, topic_id, next_offset FROM sluice_offsets WHERE processor_id = ?";
        let rows = open.exec(sql, (&self.site.processor_id,))?;
        self.open = Some(open);
        Ok(rows)
    }

    fn write(&mut self, batch: &[Entry<'_>], moves: &[PositionRow]) -> Result<(), SinkError> {
        let rows = &Rows::of(&self.layout, batch, &self.site, TAKES_NUL)?;
        let mut open = self.open.take().ok_or_else(super::not_open)?;
        let mut transaction = open.start_transaction(TxOpts::default())?;
        self.write_in(&mut transaction, rows, moves)?;
        transaction.commit()?;
        self.open = Some(open);
        failpoint::pass("database_sync.committed")
    }

    fn probe(&self) -> Result<(), SinkError> {
        let (false, Ok(mut connection)) = (self.layout.raw, self.connection()) else {
            return Ok(());
        };
        connection.query_drop(self.look())?;
        self.transactional(&mut connection)
    }

    fn rewind(&mut self, moves: &[PositionRow]) -> Result<(), SinkError> {
        self.open = None;
        let mut open = self.connect()?;
        let mut transaction = open.start_transaction(TxOpts::default())?;
        put(&mut transaction, &self.site, moves)?;
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_take_powers_of_two_and_no_more_than_a_packet() {
        let row = || Cell::Text("x".repeat(1000).into());
        let cells = |count: usize| (0..count).map(|_| row()).collect::<Vec<_>>();
        assert_eq!(chunk(&cells(1000), 1, 256), 256);
        assert_eq!(chunk(&cells(100), 1, 256), 64);
        assert_eq!(chunk(&cells(1), 1, 256), 1);
        assert_eq!(
            chunk(
                &[Cell::Text("x".repeat(STATEMENT_BYTES_MAX + 1).into())],
                1,
                256
            ),
            1
        );
        assert_eq!(
            value(
                &Cell::Instant(-99_999_999_999_999),
                &mut Instants::default()
            ),
            Value::Bytes(b"1000-01-01 00:00:00.000".to_vec())
        );
    }
}
