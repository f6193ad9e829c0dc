//! A topic to a table: a managed consumer with `database_sync`, offsets in the transaction, beside a bare
//! loop that inserts the same rows into the same table in transactions of the same size, without Kafka.

use super::bare::filled;
use super::files::fresh;
use super::managed::{Managed, until};
use crate::bench::{Bench, row};
use crate::figures::{median, per_second};
use postgres::{Client, NoTls};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sluice_e2e::Outcome;
use sluice_e2e::stack::script;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Rows of a transaction: a managed consumer's default.
const TRANSACTION_ROWS: usize = 20_000;
/// Bytes of values of a transaction, likewise.
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// What is read per size.
const READS: [(usize, usize); 2] = [(100, 1_200_000), (1024, 300_000)];
/// The instant of the bare loop's rows.
const AT: &str = "2026-01-01T00:00:00.000Z";

pub(crate) fn sqlite(bench: &Bench) -> Outcome {
    for (size, count) in READS {
        let topic = filled(bench, size, count)?;
        let (mut ours, mut bares) = (vec![], vec![]);
        for _ in 0..bench.rounds {
            bares.push(bare_sqlite(size, count)?);
            let path = PathBuf::from(bench.fact("/consumer_api/files")).join(fresh("sqlite"));
            let config = json!({"dsn": format!("sqlite://{}", path.display())});
            ours.push(managed(bench, &topic, &config, count)?);
            remove(&path);
        }
        tell(
            "SQLite",
            size,
            median(ours),
            "prepared inserts",
            median(bares),
        );
    }
    Ok(())
}

pub(crate) fn postgres(bench: &Bench) -> Outcome {
    let dir = std::env::temp_dir().join(fresh("databases"));
    let dir = dir.display().to_string();
    let outcome = script("databases", &["start", "--dir", &dir, "postgres"])
        .and_then(|path| with_postgres(bench, Path::new(path.trim())));
    script("databases", &["stop", "--purge", "--dir", &dir]).ok();
    outcome
}

fn with_postgres(bench: &Bench, facts: &Path) -> Outcome {
    let facts: Value = serde_json::from_str(&std::fs::read_to_string(facts)?)?;
    let dsn = facts["postgres"]["dsn"]
        .as_str()
        .ok_or("no dsn of PostgreSQL")?;
    for (size, count) in READS {
        let topic = filled(bench, size, count)?;
        let (mut ours, mut bares) = (vec![], vec![]);
        for round in 0..bench.rounds {
            bares.push(bare_postgres(dsn, size, count)?);
            let config = json!({"dsn": dsn, "table": format!("ours_{size}_{round}")});
            ours.push(managed(bench, &topic, &config, count)?);
        }
        tell("PostgreSQL", size, median(ours), "COPY", median(bares));
    }
    Ok(())
}

fn tell(database: &str, size: usize, ours: f64, how: &str, bare: f64) {
    row(
        &format!("topic to {database}, {size} B, exactly once"),
        &per_second(ours),
        &format!("bare loop of {how}, {}", per_second(bare)),
        Some(ours / bare),
    );
}

/// Records per second from the start of the consumer to its `count`th row. The topic may hold more.
fn managed(bench: &Bench, topic: &str, config: &Value, count: usize) -> Outcome<f64> {
    let consumer = Managed::create(bench, topic, &fresh("rows"), "database_sync", config)?;
    let started = Instant::now();
    consumer.tell("start")?;
    let mut written = 0;
    until("the rows are there", || {
        written = consumer.written()?;
        Ok(written >= count as u64)
    })?;
    let rate = written as f64 / started.elapsed().as_secs_f64();
    consumer.tell("stop")?;
    consumer.reaches("INACTIVE")?;
    Ok(rate)
}

fn per_transaction(size: usize) -> usize {
    TRANSACTION_ROWS.min(TRANSACTION_BYTES / size)
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", path.display())).ok();
    }
}

fn bare_sqlite(size: usize, count: usize) -> Outcome<f64> {
    let path = std::env::temp_dir().join(fresh("bare-sqlite"));
    let mut connection = Connection::open(&path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE records (topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
           timestamp TEXT, key TEXT, value TEXT, headers TEXT NOT NULL, key_encoding TEXT NOT NULL,
           value_encoding TEXT NOT NULL, topic_id INTEGER NOT NULL,
           PRIMARY KEY (topic, topic_id, partition, offset))",
    )?;
    let (value, started) = ("x".repeat(size), Instant::now());
    let mut offset = 0;
    while offset < count {
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT OR IGNORE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for _ in 0..per_transaction(size).min(count - offset) {
            let key: Option<&str> = None;
            insert.execute(params![
                "bench",
                0,
                offset as i64,
                AT,
                key,
                value,
                "[]",
                "utf8",
                "utf8",
                1
            ])?;
            offset += 1;
        }
        drop(insert);
        transaction.commit()?;
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    drop(connection);
    remove(&path);
    Ok(rate)
}

fn bare_postgres(dsn: &str, size: usize, count: usize) -> Outcome<f64> {
    let mut client = Client::connect(dsn, NoTls)?;
    client.batch_execute(
        "DROP TABLE IF EXISTS bare;
         CREATE TABLE bare (topic text NOT NULL, partition integer NOT NULL, \"offset\" bigint NOT NULL,
           \"timestamp\" timestamptz, key text, value text, headers json NOT NULL, key_encoding text NOT NULL,
           value_encoding text NOT NULL, topic_id bigint NOT NULL,
           PRIMARY KEY (topic, topic_id, partition, \"offset\"))",
    )?;
    let (value, started) = ("x".repeat(size), Instant::now());
    let mut offset = 0;
    while offset < count {
        let mut transaction = client.transaction()?;
        let mut copy = transaction.copy_in("COPY bare FROM STDIN")?;
        let mut lines = Vec::new();
        for _ in 0..per_transaction(size).min(count - offset) {
            writeln!(
                lines,
                "bench\t0\t{offset}\t{AT}\t\\N\t{value}\t[]\tutf8\tutf8\t1"
            )?;
            offset += 1;
        }
        copy.write_all(&lines)?;
        copy.finish()?;
        transaction.commit()?;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
