use super::*;
use crate::store::{audit, migrations};
use sluice_model::audit::{AuditRow, Source};
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use std::fs;
use std::path::PathBuf;

const ROWS: i64 = 9;

fn row(number: i64) -> AuditRow {
    AuditRow {
        seq: 0,
        at: Timestamp::from_millis(number * 1000),
        action: if number % 2 == 0 {
            "approve"
        } else {
            "request"
        }
        .to_owned(),
        kind: Some("create".to_owned()),
        topic_id: Some(number),
        topic_name: Some(format!("orders.n{number}")),
        requested_by: Some("ana".to_owned()),
        actor: "ben".to_owned(),
        reason: (number == 4).then(|| "with sluice_0123456789abcdefghij".to_owned()),
        before: None,
        after: Some(serde_json::json!({"n": number, "sasl_password": "hunter2"})),
        request_id: None,
        on_behalf_of: (number == 5).then(|| "eva".to_owned()),
        source: Some(Source {
            interface: "api".to_owned(),
            ..Source::default()
        }),
    }
}

/// A chain of some rows, with the head noted after each.
fn chained() -> (tempfile::TempDir, Connection, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let heads = directory.path().join("heads");
    let mut connection = Connection::open_in_memory().unwrap();
    migrations().run(&mut connection).unwrap();
    let mut noted = String::new();
    for number in 1..=ROWS {
        audit::append(&connection, row(number)).unwrap();
        let (seq, hash) = audit::head(&connection).unwrap();
        noted.extend([seq.to_string(), format!(" {hash}\n")]);
    }
    fs::write(&heads, noted).unwrap();
    (directory, connection, heads)
}

fn tampered(sql: &str) -> Vec<(i64, String)> {
    let (_directory, connection, heads) = chained();
    connection
        .execute_batch("DROP TRIGGER audit_is_not_edited; DROP TRIGGER audit_is_not_cut;")
        .unwrap();
    connection.execute_batch(sql).unwrap();
    found(&connection, &heads)
}

fn found(connection: &Connection, heads: &Path) -> Vec<(i64, String)> {
    let (head, _) = audit::head(connection).unwrap();
    let middle = head / 2;
    let parts = vec![
        verify(connection, heads, 1, middle).unwrap(),
        verify(connection, heads, middle + 1, head).unwrap(),
        verify_tail(heads, head).unwrap(),
    ];
    let whole = verification(parts);
    assert_eq!(whole.ok, whole.problems.is_empty());
    whole
        .problems
        .into_iter()
        .map(|p| (p.seq, p.kind))
        .collect()
}

#[test]
fn an_untouched_chain_holds_in_whatever_parts_it_is_checked() {
    let (_directory, connection, heads) = chained();
    assert_eq!(found(&connection, &heads), []);
    let whole = verify(&connection, &heads, 1, ROWS).unwrap();
    assert_eq!((whole.rows, whole.problems), (ROWS, vec![]));
}

#[test]
fn every_edited_or_missing_row_is_found_the_newest_included() {
    for seq in 1..=ROWS {
        let edited = tampered(&format!("UPDATE audit SET actor = 'eve' WHERE seq = {seq}"));
        assert_eq!(edited, [(seq, "edited".to_owned())]);
        let moved = tampered(&format!("UPDATE audit SET source = NULL WHERE seq = {seq}"));
        assert_eq!(moved, [(seq, "edited".to_owned())]);
        let cut = tampered(&format!("DELETE FROM audit WHERE seq = {seq}"));
        let kind = if seq == ROWS { "tail" } else { "missing" };
        assert_eq!(cut, [(seq, kind.to_owned())]);
    }
    assert_eq!(
        tampered("DELETE FROM audit WHERE seq > 6"),
        [(ROWS, "tail".to_owned())]
    );
}

#[test]
fn a_tail_that_was_cut_and_written_anew_is_found() {
    let (_directory, connection, heads) = chained();
    connection
        .execute_batch("DROP TRIGGER audit_is_not_cut; DELETE FROM audit WHERE seq > 7;")
        .unwrap();
    for number in 20..25 {
        audit::append(&connection, row(number)).unwrap();
    }
    let expected = [(8, "edited".to_owned()), (9, "edited".to_owned())];
    assert_eq!(found(&connection, &heads), expected);
    fs::remove_file(&heads).unwrap();
    assert_eq!(
        found(&connection, &heads),
        [(12, "tail".to_owned())],
        "nobody vouches"
    );
}

#[test]
fn secrets_never_enter_the_audit() {
    let (_directory, connection, _heads) = chained();
    let all: String = connection
        .query_row(
            "SELECT group_concat(after || coalesce(reason, '')) FROM audit",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(
        !all.contains("hunter2") && !all.contains("sluice_0123"),
        "{all}"
    );
    let page = Page {
        limit: 9,
        before: None,
    };
    let words = audit::Filter {
        text: Some("0123456789abcdefghij".to_owned()),
        ..audit::Filter::default()
    };
    assert_eq!(audit::list(&connection, &words, page).unwrap(), []);
}

#[test]
fn rows_are_found_by_words_actor_action_topic_and_time() {
    let (_directory, connection, _heads) = chained();
    let find = |filter: audit::Filter| -> Vec<i64> {
        let page = Page {
            limit: 3,
            before: None,
        };
        let rows = audit::list(&connection, &filter, page).unwrap();
        rows.iter().map(|row| row.seq).collect()
    };
    let text = |text: &str| audit::Filter {
        text: Some(text.to_owned()),
        ..audit::Filter::default()
    };
    assert_eq!(find(audit::Filter::default()), [9, 8, 7]);
    assert_eq!(find(text("ORD appr")), [8, 6, 4]);
    assert_eq!(find(text("orders.n3")), [3]);
    assert_eq!(find(text("eva")), [5]);
    assert_eq!(find(text("\"*()")), [0_i64; 0]);
    assert_eq!(find(audit::Filter::of_topic("orders.n2")), [2]);
    let both = audit::Filter {
        action: Some("request".to_owned()),
        actor: Some("ben".to_owned()),
        from: Some(Timestamp::from_millis(3000)),
        to: Some(Timestamp::from_millis(7000)),
        text: Some("create".to_owned()),
        topic: None,
    };
    assert_eq!(find(both), [5, 3]);
    let exported = audit::export(&connection, &text("approve"), (4, 9), 10).unwrap();
    let places: Vec<i64> = exported.iter().map(|(row, _)| row.seq).collect();
    assert_eq!(places, [6, 8], "oldest first, between the two places");
}
