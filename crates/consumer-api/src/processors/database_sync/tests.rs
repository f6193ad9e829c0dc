//! What configurations are taken, and the embedded database. Servers are in the conformance suite.

use super::*;
use crate::processors::conformance::{Bench, entries};
use rusqlite::Connection;

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
            "SELECT topic, key, value, headers, key_encoding, timestamp FROM records WHERE offset = 1",
            [],
            |r| {
                Ok((
                    r.get::<_, String>(0)?,
                    r.get::<_, String>(1)?,
                    r.get::<_, Option<String>>(2)?,
                    r.get::<_, String>(3)?,
                    r.get::<_, String>(4)?,
                    r.get::<_, String>(5)?,
                ))
            },
        )
        .unwrap();
    let wanted = (
        "t",
        "/w==",
        None,
        "[[\"h\",\"v\"]]",
        "base64",
        "2023-11-14T22:13:20.001Z",
    );
    assert_eq!(
        (
            &*row.0,
            &*row.1,
            row.2.as_deref(),
            &*row.3,
            &*row.4,
            &*row.5
        ),
        wanted
    );
    drop(sink);
    let mut again = bench.build("database_sync", &json!({}));
    assert_eq!(again.open().unwrap().get("t", 0), Some(2));
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let bench = Bench::new();
    let faults = |config: Value| bench.faults("database_sync", config.as_object().unwrap());
    for right in [
        json!({}),
        json!({"dsn": "x.db", "table": "order", "columns": {"id": "/id", "select": "$key"}}),
        json!({"db_dsn": "sqlite:x.db"}),
    ] {
        assert_eq!(faults(right.clone()), None, "{right}");
    }
    for wrong in [
        json!({"dsn": "a.db", "db_dsn": "b.db"}),
        json!({"dsn": "/etc/x.db"}),
        json!({"dsn": "oracle://h/d"}),
        json!({"dsn": "postgres://10.0.0.1/d"}),
        json!({"table": "a\"b"}),
        json!({"table": "a.b.c"}),
        json!({"table": "sqlite_master"}),
        json!({"table": "sluice_offsets"}),
        json!({"columns": {}}),
        json!({"columns": {"a": "id"}}),
        json!({"columns": {"a\"": "/id"}}),
        json!({"columns": {"a": 5}}),
        json!({"stream": "s"}),
        json!({"password_file": "p"}),
        json!({"dsn": "redis://127.0.0.1/0", "table": "t"}),
        json!({"dsn": "redis://127.0.0.1/0", "stream": "s", "key_pattern": "k"}),
        json!({"dsn": "redis://127.0.0.1/0", "key_pattern": "{x}"}),
    ] {
        assert_eq!(faults(wrong.clone()), Some(422), "{wrong}");
    }
}

#[test]
fn a_link_in_the_place_of_the_database_is_not_followed() {
    let bench = Bench::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let root = bench.roots.first();
    std::os::unix::fs::symlink(elsewhere.path().join("x.db"), root.join("x.db")).unwrap();
    let mut sink = bench.build("database_sync", &json!({"dsn": "x.db"}));
    sink.open().unwrap_err();
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
