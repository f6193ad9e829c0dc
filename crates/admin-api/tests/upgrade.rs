//! A database of an older version that is in use: everything is there after the migrations, points where it
//! pointed, and the audit's chain holds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Answer, by, get, open, post_json, run_on};
use refinery::Target;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sluice_admin_api::state::State;
use sluice_admin_api::store;
use sluice_model::audit::{GENESIS, RawRow, chain};
use sluice_model::time::Timestamp;
use std::path::Path;

/// The version whose database is upgraded.
const OLD: i32 = 4;
/// Topics in the old database; every fourth one is pending, has a change that is on its way, or is ended.
const TOPICS: i64 = 40;
/// When everything happened.
const AT_MS: i64 = 1_700_000_000_000;

/// What a topic of the old database is.
fn status(id: i64) -> &'static str {
    ["active", "pending", "active", "rejected"][usize::try_from(id % 4).unwrap()]
}

/// Writes the old database, as its version did.
fn fill(path: &Path) {
    let mut connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "foreign_keys", true)
        .unwrap();
    let runner = store::migrations().set_target(Target::Version(OLD));
    runner.run(&mut connection).unwrap();
    let mut previous = GENESIS.to_owned();
    for id in 1..=TOPICS {
        previous = write_topic(&connection, id, &previous);
    }
    connection
        .execute(
            "INSERT INTO policies (at, author, body) VALUES (?1, 'ada', ?2)",
            params![AT_MS, old_policy().to_string()],
        )
        .unwrap();
}

/// The policy document of that time: what came later is not in it.
fn old_policy() -> Value {
    json!({
        "name_pattern": "topic\\.[0-9]+", "partitions": {"min": 1, "max": 12, "default": 2},
        "replication_factor": {"min": 1, "max": 3, "default": 1}, "configs": ["retention.ms"],
        "require_owner": false, "allow_self_approval": false, "open_requests_per_account": 100,
        "approvals": [{"name_pattern": "prod.*", "approvals": "two"}]
    })
}

fn write_topic(connection: &Connection, id: i64, previous: &str) -> String {
    let name = format!("topic.{id}");
    let spec =
        json!({"partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "1000"}});
    connection
        .execute(
            "INSERT INTO topics (topic_id, topic_name, collision_key, status, partitions, replication_factor, configs,
               created_by, requested_by, owner, description, on_stop, created_at, version)
             VALUES (?1, ?2, ?3, ?4, 3, 1, '{\"retention.ms\":\"1000\"}', 'ben', 'ben', 'red', 'old', 'hold', ?5, 1)",
            params![id, name, name.replace('.', "_"), status(id), AT_MS],
        )
        .unwrap();
    let decided = match status(id) {
        "pending" => "pending",
        "rejected" => "rejected",
        _ => "approved",
    };
    let insert = "INSERT INTO requests (kind, status, topic_id, requested_by, spec, base, reason, created_at, decided_by,
        approvals_needed, approved_by, version) VALUES (?1, ?2, ?3, 'ben', ?4, ?5, 'why', ?6, ?7, 2, '[\"ana\"]', 2)";
    let by = (decided != "pending").then_some("ana");
    let create = params![
        "create",
        decided,
        id,
        spec.to_string(),
        None::<String>,
        AT_MS,
        by
    ];
    connection.execute(insert, create).unwrap();
    let request = connection.last_insert_rowid();
    if id % 4 == 2 {
        // An approved change that Kafka does not show yet: the topic points at it.
        let change = params![
            "change",
            "approved",
            id,
            spec.to_string(),
            spec.to_string(),
            AT_MS,
            by
        ];
        connection.execute(insert, change).unwrap();
        let point = "UPDATE topics SET change_request_id = ?1 WHERE topic_id = ?2";
        let change = connection.last_insert_rowid();
        connection.execute(point, params![change, id]).unwrap();
    }
    connection
        .execute(
            "INSERT INTO subscriptions (user_id, topic_id, subscribed_at) VALUES ('cas', ?1, ?2)",
            params![id, AT_MS],
        )
        .unwrap();
    append(connection, id, &name, request, previous)
}

/// An audit row as it was hashed then: without what newer versions say beside it.
fn append(connection: &Connection, seq: i64, name: &str, request: i64, previous: &str) -> String {
    let after = json!({"topic_name": name, "status": status(seq)}).to_string();
    let raw = RawRow {
        seq,
        at: Timestamp::from_millis(AT_MS),
        action: "request",
        kind: Some("create"),
        topic_id: Some(seq),
        topic_name: Some(name),
        requested_by: Some("ben"),
        actor: "ben",
        reason: None,
        before: None,
        after: Some(&after),
        request_id: Some(request),
        on_behalf_of: None,
        source: None,
    };
    let hash = chain(previous, &raw, &mut Vec::new()).unwrap();
    connection
        .execute(
            "INSERT INTO audit (seq, at, action, kind, topic_id, topic_name, requested_by, actor, after, request_id, hash)
             VALUES (?1, ?2, 'request', 'create', ?1, ?3, 'ben', 'ben', ?4, ?5, ?6)",
            params![seq, AT_MS, name, after, request, hash],
        )
        .unwrap();
    hash
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

/// The services go on with what was there.
fn check_over_http(state: State) {
    let answers = run_on(
        state,
        vec![
            Box::new(|_| by("ana", get("/api/audit/verify"))),
            Box::new(|_| by("ana", get("/api/requests?status=pending&limit=100"))),
            Box::new(|_| by("ana", get("/api/policy"))),
            Box::new(|_| by("ana", get("/api/audit?q=topic.7"))),
            Box::new(|_| by("eva", post_json("/api/requests/1/approve", "{}"))),
            Box::new(|_| by("ben", post_json("/api/topics", r#"{"name": "topic.77"}"#))),
            Box::new(|_| by("ana", get("/api/topics/2"))),
            Box::new(|_| by("ana", get("/api/audit/verify"))),
        ],
    );
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(
        statuses,
        [200, 200, 200, 200, 200, 201, 200, 200],
        "{} {}",
        answers[4].body,
        answers[5].body
    );
    assert_eq!(
        (&body(&answers[0])["ok"], &body(&answers[0])["rows"]),
        (&json!(true), &json!(TOPICS)),
        "{}",
        answers[0].body
    );
    let pending = body(&answers[1]);
    assert_eq!(pending.as_array().map(Vec::len), Some(10), "{pending}");
    assert_eq!(pending[0]["approved_by"], json!(["ana"]), "{pending}");
    assert_eq!(pending[0]["spec"]["configs"]["retention.ms"], "1000");
    let policy = body(&answers[2]);
    assert_eq!(
        (&policy["version"], &policy["partitions"]["max"]),
        (&json!(1), &json!(12))
    );
    assert!(
        answers[3].body.contains("topic.7"),
        "old rows are found by their words"
    );
    assert_eq!(
        body(&answers[4])["status"],
        "approved",
        "{}",
        answers[4].body
    );
    assert!(
        body(&answers[6])["change_request_id"].is_i64(),
        "{}",
        answers[6].body
    );
    assert_eq!(body(&answers[7])["ok"], true, "{}", answers[7].body);
}

#[test]
fn a_filled_database_of_version_4_is_whole_after_the_upgrade() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.db");
    fill(&path);
    let count = |sql: &str| -> i64 {
        let connection = Connection::open(&path).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let tables = ["topics", "requests", "subscriptions", "audit", "policies"];
    let rows = || tables.map(|table| count(&format!("SELECT count(*) FROM {table}")));
    let pointers =
        "SELECT count(*) FROM topics t JOIN requests r ON r.request_id = t.change_request_id
        AND r.topic_id = t.topic_id AND r.kind = 'change'";
    let (before, pointed) = (rows(), count(pointers));
    assert_eq!(pointed, TOPICS / 4);

    let state = open(directory.path());
    check_over_http(state);

    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(
        count(pointers),
        pointed,
        "changes on their way are on their way"
    );
    let after = rows();
    // One request and one approval came since.
    assert_eq!(
        after,
        [
            before[0] + 1,
            before[1] + 1,
            before[2],
            before[3] + 2,
            before[4]
        ]
    );
}
