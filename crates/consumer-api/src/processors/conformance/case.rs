//! One database under test, and what it holds as its own client reads it.

use super::Bench;
use super::servers::Database;
use crate::processors::Processor;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mysql::prelude::Queryable as _;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Offset, key, value and headers as they were read back.
pub(super) type Back = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Value);
type Texts = Vec<Option<String>>;

/// One database under test.
pub(super) struct Case {
    pub(super) bench: Bench,
    pub(super) name: &'static str,
    pub(super) dsn: String,
    _database: Option<Database>,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A name that no other run has used in a database that is shared.
pub(super) fn fresh(what: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{what}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Case {
    pub(super) fn of(name: &'static str) -> Option<Self> {
        let bench = Bench::new();
        if name == "sqlite" {
            let dsn = "sqlite:conform.db".to_owned();
            return Some(Self {
                bench,
                name,
                dsn,
                _database: None,
            });
        }
        let database = Database::of(name)?;
        let dsn = database.dsn.clone();
        Some(Self {
            bench,
            name,
            dsn,
            _database: Some(database),
        })
    }

    /// The configuration that writes to a table, or to a stream where there are none.
    pub(super) fn config(&self, table: &str) -> Value {
        let member = if self.name == "redis" {
            "stream"
        } else {
            "table"
        };
        json!({"dsn": self.dsn, member: table})
    }

    pub(super) fn sink(&self, id: &str, epoch: i64, table: &str) -> Box<dyn Processor> {
        self.bench.build_as(id, epoch, &self.config(table))
    }

    fn mysql(&self) -> mysql::Conn {
        mysql::Conn::new(mysql::Opts::from_url(&self.dsn).unwrap()).unwrap()
    }

    fn postgres(&self) -> tokio_postgres::Client {
        self.bench.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.dsn, tokio_postgres::NoTls)
                .await
                .unwrap();
            tokio::spawn(connection);
            client
        })
    }

    /// Runs SQL and answers the rows as text. `"` quotes names.
    pub(super) fn sql(&self, sql: &str) -> Vec<Texts> {
        match self.name {
            "sqlite" => {
                let db = rusqlite::Connection::open(self.bench.roots.first().join("conform.db"))
                    .unwrap();
                let mut query = db.prepare(sql).unwrap();
                let width = query.column_count();
                let text = |value: rusqlite::types::Value| match value {
                    rusqlite::types::Value::Null => None,
                    rusqlite::types::Value::Integer(number) => Some(number.to_string()),
                    rusqlite::types::Value::Text(text) => Some(text),
                    other => panic!("{other:?}"),
                };
                let rows = query.query_map([], |row| {
                    (0..width).map(|i| Ok(text(row.get(i)?))).collect()
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            "postgres" => {
                let client = self.postgres();
                let messages = self
                    .bench
                    .runtime
                    .block_on(client.simple_query(sql))
                    .unwrap();
                let row = |message: &tokio_postgres::SimpleQueryMessage| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => Some(
                        (0..row.len())
                            .map(|i| row.get(i).map(str::to_owned))
                            .collect(),
                    ),
                    _ => None,
                };
                messages.iter().filter_map(row).collect()
            }
            _ => {
                let rows: Vec<mysql::Row> = self.mysql().query(sql.replace('"', "`")).unwrap();
                let text = |value: mysql::Value| mysql::from_value::<Option<String>>(value);
                rows.into_iter()
                    .map(|row| row.unwrap().into_iter().map(text).collect())
                    .collect()
            }
        }
    }

    /// What a raw table or a stream holds, in the order of offsets.
    pub(super) fn back(&self, table: &str) -> Vec<Back> {
        if self.name == "redis" {
            return self.stream(table);
        }
        let sql = format!(
            "SELECT \"offset\", \"key\", key_encoding, \"value\", value_encoding, headers FROM \"{table}\"
             ORDER BY topic_id, \"offset\""
        );
        let bytes = |text: &Option<String>, encoding: &Option<String>| {
            text.as_ref().map(|text| match encoding.as_deref() {
                Some("base64") => STANDARD.decode(text).unwrap(),
                _ => text.clone().into_bytes(),
            })
        };
        let row = |row: &Texts| {
            (
                row[0].as_ref().unwrap().parse().unwrap(),
                bytes(&row[1], &row[2]),
                bytes(&row[3], &row[4]),
                serde_json::from_str(row[5].as_ref().unwrap()).unwrap(),
            )
        };
        self.sql(&sql).iter().map(row).collect()
    }

    pub(super) fn redis(&self) -> redis::Connection {
        redis::Client::open(&*self.dsn)
            .unwrap()
            .get_connection()
            .unwrap()
    }

    fn stream(&self, name: &str) -> Vec<Back> {
        type Pairs = Vec<Vec<u8>>;
        let found: Vec<(String, Pairs)> = redis::cmd("XRANGE")
            .arg(name)
            .arg("-")
            .arg("+")
            .query(&mut self.redis())
            .unwrap();
        let entry = |(_, pairs): (String, Pairs)| {
            let of = |name: &str| {
                let mut pairs = pairs.chunks(2).filter(|pair| pair[0] == name.as_bytes());
                pairs.next().map(|pair| pair[1].clone())
            };
            let text = |name: &str| String::from_utf8(of(name).unwrap()).unwrap();
            let headers = serde_json::from_str(&text("headers")).unwrap();
            (
                text("offset").parse().unwrap(),
                of("key"),
                of("value"),
                headers,
            )
        };
        found.into_iter().map(entry).collect()
    }

    pub(super) fn offsets(&self, table: &str) -> Vec<i64> {
        self.back(table).iter().map(|row| row.0).collect()
    }
}
