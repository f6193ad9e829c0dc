//! What every database must do, run against SQLite, PostgreSQL, MariaDB and Redis as they really are.

use super::case::{Back, Case, fresh};
use super::entries;
use crate::batch::Entry;
use crate::processors::SinkError;
use crate::processors::failpoint;
use serde_json::json;
use sluice_model::consumer::FailureClass;

fn class(outcome: Result<(), SinkError>) -> FailureClass {
    outcome.unwrap_err().class
}

fn positions_and_repeats(case: &Case) {
    let (id, table) = (fresh("p"), fresh("t"));
    let mut sink = case.sink(&id, 1, &table);
    assert_eq!(sink.open().unwrap().get("t", 0), None);
    sink.write(&entries(0..5)).unwrap();
    assert_eq!(
        sink.open().unwrap().get("t", 0),
        Some(5),
        "the same worker again"
    );
    sink.write(&entries(5..6)).unwrap();
    drop(sink);
    assert_eq!(
        case.sink(&id, 2, &table).open().unwrap().get("t", 0),
        Some(6)
    );
    case.sink(&id, 3, &table)
        .rewind(&[("t".to_owned(), 0, 2)])
        .unwrap();
    let mut sink = case.sink(&id, 4, &table);
    assert_eq!(sink.open().unwrap().get("t", 0), Some(2));
    if case.name != "redis" {
        // Streams get what a user asks for again; tables know what they have.
        sink.write(&entries(2..8)).unwrap();
        sink.write(&entries(8..9)).unwrap();
        assert_eq!(
            case.offsets(&table),
            (0..9).collect::<Vec<_>>(),
            "repeats are ignored"
        );
    }
}

fn odd_records_come_back_as_they_were(case: &Case) {
    let (id, table) = (fresh("p"), fresh("t"));
    let mut sink = case.sink(&id, 1, &table);
    sink.open().unwrap();
    let mut batch = entries(0..7);
    batch[0].key = None;
    batch[0].value = None;
    batch[1].key = Some(b"");
    batch[1].value = Some(b"");
    batch[2].key = Some(&[0xff, 0x00, 0x80]);
    batch[2].value = Some(&[0xde, 0xad]);
    batch[3].value = Some(b"a\0b");
    batch[4].value = Some("Grüße \u{1F600} \\N \\. \t\r\n 'q' \"d\" `b` \u{2028}".as_bytes());
    batch[5].headers = vec![
        ("h", Some(b"1")),
        ("h", Some(b"2")),
        ("", None),
        ("b\0", Some(&[0xff])),
    ];
    batch[5].timestamp = None;
    batch[6].timestamp = Some(-62_135_596_800_001);
    sink.write(&batch).unwrap();
    let headers = |entry: &Entry<'_>| serde_json::to_value(entry.record().headers).unwrap();
    let wanted: Vec<Back> = batch
        .iter()
        .map(|e| {
            (
                e.offset,
                e.key.map(<[u8]>::to_vec),
                e.value.map(<[u8]>::to_vec),
                headers(e),
            )
        })
        .collect();
    assert_eq!(case.back(&table), wanted, "{}", case.name);
}

fn large_batches_and_reserved_words(case: &Case) {
    for table in ["select", &fresh("Mixed Case")] {
        let id = fresh("p");
        let mut sink = case.sink(&id, 1, table);
        sink.open().unwrap();
        let value = "x".repeat(700);
        let before = case.offsets(table).len();
        // Another run may have left rows of its own in a table that is shared.
        let first = i64::try_from(before).unwrap() + 1_000_000;
        let mut batch = entries(first..first + 3001);
        for entry in &mut batch {
            entry.value = Some(value.as_bytes());
        }
        sink.write(&batch).unwrap();
        assert_eq!(case.offsets(table).len(), before + 3001, "{table}");
    }
}

fn a_writer_whose_place_was_taken_is_fenced(case: &Case) {
    let (id, table) = (fresh("p"), fresh("t"));
    let mut old = case.sink(&id, 1, &table);
    old.open().unwrap();
    old.write(&entries(0..2)).unwrap();
    let mut new = case.sink(&id, 2, &table);
    assert_eq!(new.open().unwrap().get("t", 0), Some(2));
    assert_eq!(class(old.write(&entries(2..4))), FailureClass::Fenced);
    assert_eq!(
        old.open().unwrap_err().class,
        FailureClass::Fenced,
        "it does not take it back"
    );
    new.write(&entries(2..3)).unwrap();
    assert_eq!(case.offsets(&table), [0, 1, 2]);
}

fn every_step_may_be_the_last_one(case: &Case) {
    let mut steps = vec!["begun", "committed"];
    if case.name != "redis" {
        // In Redis rows and offsets travel in one message.
        steps.extend(["rows", "offsets"]);
    }
    for step in steps {
        let (id, table) = (fresh("p"), fresh("t"));
        let (mut next, mut crashes) = (0, 0);
        while next < 12 {
            let mut sink = case.sink(&id, 1, &table);
            next = sink.open().unwrap().get("t", 0).unwrap_or(0);
            if crashes < 3 {
                failpoint::unit::arm(&format!("database_sync.{step}"));
            }
            match sink.write(&entries(next..next + 4)) {
                Ok(()) => next += 4,
                Err(_) => crashes += 1,
            }
            failpoint::unit::disarm();
        }
        assert_eq!(crashes, 3, "{step} is passed");
        let found = case.offsets(&table);
        let whole: Vec<_> = (0..i64::try_from(found.len()).unwrap()).collect();
        assert_eq!(found, whole, "{} {step}: no gap, none twice", case.name);
    }
}

fn a_topic_that_was_made_again_starts_anew(case: &Case) {
    let table = fresh("t");
    let mut sink = case.sink(&fresh("p"), 1, &table);
    sink.open().unwrap();
    sink.write(&entries(0..2)).unwrap();
    let config = case.config(&table);
    let mut sink = case.bench.build_for("database_sync", &config, 8);
    let held = sink.open().unwrap().get("t", 0);
    if held.is_none() {
        sink.write(&entries(0..2)).unwrap();
        assert_eq!(case.offsets(&table), [0, 1, 0, 1], "the rows of both");
    }
}

fn mapped_columns_are_the_databases_to_judge(case: &Case) {
    let table = fresh("m");
    case.sql(&format!(
        "CREATE TABLE \"{table}\" (\"order\" BIGINT PRIMARY KEY, name VARCHAR(5) NOT NULL, paid BOOLEAN,
         at_offset INTEGER, CHECK (length(name) < 6))"
    ));
    let columns =
        json!({"order": "/id", "name": "/who/name", "paid": "/paid", "at_offset": "$offset"});
    let config = json!({"dsn": case.dsn, "table": table, "columns": columns});
    let mut sink = case.bench.build_as(&fresh("p"), 1, &config);
    sink.open().unwrap();
    let with = |offset: i64, value: &'static str| Entry {
        value: Some(value.as_bytes()),
        ..entries(offset..offset + 1).remove(0)
    };
    sink.write(&[
        with(0, r#"{"id": 7, "who": {"name": "Ada"}, "paid": true}"#),
        with(1, r#"{"id": 8, "who": {"name": "Bob"}}"#),
    ])
    .unwrap();
    for poison in [
        r#"{"id": 7, "who": {"name": "twice"}}"#,
        r#"{"id": 9}"#,
        r#"{"id": 9, "who": {"name": "too long for it"}}"#,
        "no json",
    ] {
        sink.open().unwrap();
        assert_eq!(
            class(sink.write(&[with(2, poison)])),
            FailureClass::Poison,
            "{poison}"
        );
    }
    assert_eq!(
        sink.open().unwrap().get("t", 0),
        Some(2),
        "nothing of a failed batch counts"
    );
    let rows = case.sql(&format!(
        "SELECT \"order\", name, at_offset FROM \"{table}\" ORDER BY 1"
    ));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [
            [text("7"), text("Ada"), text("0")],
            [text("8"), text("Bob"), text("1")]
        ]
    );
    for (table, columns) in [
        (fresh("none"), json!({"a": "/a"})),
        (table, json!({"none": "/a"})),
    ] {
        let config = json!({"dsn": case.dsn, "table": table, "columns": columns});
        let error = case
            .bench
            .build_as(&fresh("p"), 1, &config)
            .open()
            .unwrap_err();
        assert_eq!(error.class, FailureClass::Environment, "{error}");
    }
}

fn passwords_and_addresses_that_are_wrong_are_told_apart(case: &Case) {
    let mut url = url::Url::parse(&case.dsn).unwrap();
    let open = |url: &url::Url| {
        let config = json!({"dsn": url.as_str()});
        case.bench
            .build_as(&fresh("p"), 1, &config)
            .open()
            .unwrap_err()
    };
    let secret = url.password().unwrap().to_owned();
    url.set_password(Some("wr0ng")).unwrap();
    let error = open(&url);
    assert_eq!(error.class, FailureClass::Environment, "{error}");
    assert!(
        !error.message.contains("wr0ng") && !error.message.contains(&secret),
        "{error}"
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    url.set_port(Some(closed.port())).unwrap();
    assert_eq!(open(&url).class, FailureClass::Transient);
    url.set_host(Some("10.0.0.1")).unwrap();
    assert_eq!(
        open(&url).class,
        FailureClass::Environment,
        "not in the destinations"
    );
    // A password by reference.
    std::fs::write(
        case.bench.roots.first().join("../secrets/pw"),
        format!("{secret}\n"),
    )
    .unwrap();
    let mut url = url::Url::parse(&case.dsn).unwrap();
    url.set_password(None).unwrap();
    let config = json!({"dsn": url.as_str(), "password_file": "pw"});
    case.bench.build_as(&fresh("p"), 1, &config).open().unwrap();
}

/// A server that takes connections and never answers is given up on.
fn silence_is_bounded(case: &Case) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut url = url::Url::parse(&case.dsn).unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port()))
        .unwrap();
    let config = json!({"dsn": url.as_str()});
    let error = case
        .bench
        .build_as(&fresh("p"), 1, &config)
        .open()
        .unwrap_err();
    assert_eq!(error.class, FailureClass::Transient, "{error}");
}

fn all(name: &'static str) {
    let Some(case) = Case::of(name) else {
        return;
    };
    positions_and_repeats(&case);
    odd_records_come_back_as_they_were(&case);
    large_batches_and_reserved_words(&case);
    a_writer_whose_place_was_taken_is_fenced(&case);
    every_step_may_be_the_last_one(&case);
    a_topic_that_was_made_again_starts_anew(&case);
    if name != "redis" {
        mapped_columns_are_the_databases_to_judge(&case);
    }
    if name != "sqlite" {
        passwords_and_addresses_that_are_wrong_are_told_apart(&case);
        silence_is_bounded(&case);
    }
}

#[test]
fn sqlite_conforms() {
    all("sqlite");
}

#[test]
fn postgres_conforms() {
    all("postgres");
}

#[test]
fn mariadb_conforms() {
    all("mariadb");
}

#[test]
fn redis_conforms() {
    all("redis");
}

#[test]
fn redis_keys_hold_the_last_value_and_tombstones_delete_them() {
    let Some(case) = Case::of("redis") else {
        return;
    };
    let prefix = fresh("k");
    let config = json!({"dsn": case.dsn, "key_pattern": format!("{prefix}:{{key}}")});
    let mut sink = case.bench.build_as(&fresh("p"), 1, &config);
    sink.open().unwrap();
    let mut batch = entries(0..4);
    batch[0].key = Some(&[0xff]);
    batch[1].value = Some(b"first");
    batch[2].value = Some(&[0, 0xff]);
    batch[3].key = Some(&[0xff]);
    batch[3].value = None;
    sink.write(&batch).unwrap();
    let get = |key: &[u8]| -> Option<Vec<u8>> {
        let name = [prefix.as_bytes(), b":", key].concat();
        redis::cmd("GET")
            .arg(name)
            .query(&mut case.redis())
            .unwrap()
    };
    assert_eq!(get(b"k").as_deref(), Some([0, 0xff].as_slice()));
    assert_eq!(get(&[0xff]), None);
}
