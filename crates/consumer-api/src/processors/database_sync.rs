//! `database_sync`: a row a record in an embedded SQLite file, exactly once: rows and offsets are
//! written in one transaction, and the offsets there are the truth.

use super::{Kind, Outside, Processor, SinkError, Site, ends, path_fault};
use crate::batch::Entry;
use crate::watermark::Positions;
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_model::problem::Code;
use std::time::Duration;

/// The registry line.
pub(super) const KIND: Kind = Kind {
    name: "database_sync",
    schema,
    check,
    build,
};

/// The table when the configuration names none.
const TABLE: &str = "records";
/// The longest name of a table.
const TABLE_BYTES_MAX: usize = 63;
/// How long a statement waits for a reader or writer of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "dsn": {
                "type": "string",
                "description": "sqlite:PATH, under a directory of files.roots; a file named after the \
                                consumer under the first one when absent. db_dsn is another name of it."
            },
            "db_dsn": {"type": "string", "description": "The same as dsn."},
            "table": {
                "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,62}$", "default": TABLE,
                "description": "The table; created when it is missing, a column for each member of a record."
            }
        }
    })
}

/// The path that a DSN names.
fn sqlite_path(dsn: &str) -> Result<&str, String> {
    let path = match dsn.split_once(':') {
        Some(("sqlite" | "sqlite3" | "file", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some((scheme, _)) => {
            let scheme = scheme.split('+').next().unwrap_or_default();
            return Err(format!(
                "databases of the kind {scheme:?} are not supported yet; sqlite:PATH is"
            ));
        }
        None => dsn,
    };
    // A query part would be options of the driver, and none is allowed.
    if path.contains('?') {
        Err("takes no options after the path".to_owned())
    } else {
        Ok(path)
    }
}

fn check(body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
    if let Some(table) = body.text("table").filter(|table| !is_identifier(table)) {
        let rule =
            "is letters, digits and _, not starting with a digit, and no name of SQLite's own";
        body.invalid("table", format!("{rule}; {table:?} is not"));
    }
    let dsn = body.text("dsn").map(|dsn| ("dsn", dsn));
    let alias = body.text("db_dsn").map(|dsn| ("db_dsn", dsn));
    if dsn.is_some() && alias.is_some() {
        body.invalid("db_dsn", "is another name of dsn; give one of them");
    }
    let (name, dsn) = dsn.or(alias)?;
    match sqlite_path(&dsn) {
        Ok(path) => outside
            .roots
            .resolve(path)
            .err()
            .map(|fault| path_fault(body, name, fault)),
        Err(message) => {
            body.invalid(name, message);
            None
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let starts = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let lower = name.to_ascii_lowercase();
    let own = lower.starts_with("sqlite_") || lower == "sluice_offsets";
    plain && starts && !own && name.len() <= TABLE_BYTES_MAX
}

fn build(config: &Map<String, Value>, site: Site) -> Result<Box<dyn Processor>, SinkError> {
    let text = |name: &str| config.get(name).and_then(Value::as_str);
    let path = match text("dsn").or_else(|| text("db_dsn")) {
        Some(dsn) => sqlite_path(dsn).map_err(SinkError::environment)?.to_owned(),
        None => format!("{}.db", site.consumer_id),
    };
    let table = text("table").unwrap_or(TABLE).to_owned();
    Ok(Box::new(DatabaseSync {
        path,
        table,
        site,
        connection: None,
    }))
}

struct DatabaseSync {
    path: String,
    table: String,
    site: Site,
    connection: Option<Connection>,
}

impl DatabaseSync {
    fn connect(&self) -> Result<Connection, SinkError> {
        let (file, path) = self.site.roots.open_file(&self.path)?;
        drop(file);
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS \"{}\" (
                 topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
                 timestamp TEXT, key TEXT, value TEXT, headers TEXT NOT NULL,
                 key_encoding TEXT NOT NULL, value_encoding TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS sluice_offsets (
                 processor_id TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
                 topic_id INTEGER NOT NULL, next_offset INTEGER NOT NULL,
                 PRIMARY KEY (processor_id, topic, partition)) WITHOUT ROWID;",
            self.table
        ))?;
        Ok(connection)
    }

    fn held(&self, connection: &Connection) -> Result<Positions, SinkError> {
        let mut held = Positions::default();
        let mut query = connection.prepare(
            "SELECT topic, partition, topic_id, next_offset FROM sluice_offsets WHERE processor_id = ?1",
        )?;
        let mut rows = query.query([&self.site.processor_id])?;
        while let Some(row) = rows.next()? {
            let topic: String = row.get(0)?;
            // A topic that was deleted and made again starts anew.
            if self.site.topic_id(&topic) == row.get::<_, i64>(2)? {
                held.set(&topic, row.get(1)?, row.get(3)?);
            }
        }
        Ok(held)
    }
}

impl Processor for DatabaseSync {
    fn open(&mut self) -> Result<Positions, SinkError> {
        self.connection = None;
        let connection = self.connect()?;
        let held = self.held(&connection)?;
        self.connection = Some(connection);
        Ok(held)
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(SinkError::transient("the database is not open"));
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(&format!(
                "INSERT INTO \"{}\" (topic, partition, offset, timestamp, key, value, headers,
                 key_encoding, value_encoding) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                self.table
            ))?;
            for entry in batch {
                let record = entry.record();
                insert.execute(params![
                    record.topic,
                    record.partition,
                    record.offset,
                    record.timestamp.map(|at| at.to_string()),
                    record.key,
                    record.value,
                    json!(record.headers).to_string(),
                    json!(record.key_encoding).as_str(),
                    json!(record.value_encoding).as_str(),
                ])?;
            }
            for (topic, partition, next) in ends(batch).iter() {
                upsert(&transaction, &self.site, topic, partition, next)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        let mut connection = self.connect()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (topic, partition, next) in targets {
            upsert(&transaction, &self.site, topic, *partition, *next)?;
        }
        Ok(transaction.commit()?)
    }
}

fn upsert(
    connection: &Connection,
    site: &Site,
    topic: &str,
    partition: i32,
    next: i64,
) -> Result<(), SinkError> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO sluice_offsets (processor_id, topic, partition, topic_id, next_offset)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (processor_id, topic, partition)
         DO UPDATE SET topic_id = excluded.topic_id, next_offset = excluded.next_offset",
    )?;
    upsert.execute(params![
        site.processor_id,
        topic,
        partition,
        site.topic_id(topic),
        next
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::conformance::{Bench, entries};

    #[test]
    fn an_empty_configuration_writes_a_column_per_member_to_a_file_named_after_the_consumer() {
        let bench = Bench::new();
        let mut sink = bench.build("database_sync", &json!({}));
        assert_eq!(sink.open().unwrap(), Positions::default());
        let mut batch = entries(0..2);
        batch[1].key = Some(&[0xff]);
        batch[1].value = None;
        sink.write(&batch).unwrap();
        let path = bench
            .roots
            .first()
            .join(format!("{}.db", bench.consumer_id));
        let db = Connection::open(path).unwrap();
        let row = db
            .query_row(
                "SELECT topic, key, value, headers, key_encoding FROM records WHERE offset = 1",
                [],
                |r| {
                    Ok((
                        r.get::<_, String>(0)?,
                        r.get::<_, String>(1)?,
                        r.get::<_, Option<String>>(2)?,
                        r.get::<_, String>(3)?,
                        r.get::<_, String>(4)?,
                    ))
                },
            )
            .unwrap();
        assert_eq!(
            row,
            (
                "t".into(),
                "/w==".into(),
                None,
                "[[\"h\",\"v\"]]".into(),
                "base64".into()
            )
        );
        drop(sink);
        let mut again = bench.build("database_sync", &json!({}));
        assert_eq!(again.open().unwrap().get("t", 0), Some(2));
    }

    #[test]
    fn only_sqlite_is_spoken_and_the_others_are_named() {
        assert_eq!(sqlite_path("sqlite:x.db"), Ok("x.db"));
        assert_eq!(sqlite_path("sqlite:///a/x.db"), Ok("/a/x.db"));
        assert_eq!(sqlite_path("x.db"), Ok("x.db"));
        assert!(
            sqlite_path("postgresql://u:p@h/db")
                .unwrap_err()
                .contains("postgresql")
        );
        assert!(
            !sqlite_path("mysql+aiomysql://u:secret@h/db")
                .unwrap_err()
                .contains("secret")
        );
        for (table, good) in [
            ("records", true),
            ("a\"b", false),
            ("1a", false),
            ("sqlite_x", false),
            ("", false),
        ] {
            assert_eq!(is_identifier(table), good, "{table}");
        }
    }
}
