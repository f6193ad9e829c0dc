//! One contract, held by both databases.

use super::audit::{Filter, NewChange};
use super::consumers::{IdempotencyKey, Row};
use super::{PostgresSettings, Store};
use crate::app::replays::ReplayState;
use crate::app::replays::tests::{replay, work};
use crate::processors::conformance::servers::Database;
use serde_json::json;
use sluice_model::consumer::{Desired, Processor};
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_service::secret::Secret;
use sluice_service::sqlite::StoreError;
use std::collections::HashMap;
use std::path::Path;

fn row(id: &str, group: &str) -> Row {
    let at = Timestamp::from_millis(1_000);
    let config = json!({"file_path": "f", "password": "hunter2"});
    Row {
        seq: 0,
        id: id.to_owned(),
        cluster: "governed".into(),
        broker_ip: "h".into(),
        broker_port: 9092,
        topics: vec!["t".into()],
        consumer_group: group.to_owned(),
        client_id: None,
        auto_start: false,
        owner: "ana".into(),
        desired: Desired::Running,
        generation: 1,
        processors: vec![Processor {
            id: format!("p-{id}"),
            processor_type: "file_sink".into(),
            config: config.as_object().unwrap().clone(),
            created_at: at,
            updated_at: at,
        }],
        policies: sluice_model::consumer::Policies::default(),
        created_at: at,
        updated_at: at,
    }
}

fn change(action: &'static str) -> NewChange {
    NewChange {
        at: Timestamp::from_millis(2_000),
        action,
        actor: "ana".into(),
        request_id: Some("r1".into()),
    }
}

fn page(limit: u32, before: Option<i64>) -> Page {
    Page { limit, before }
}

/// A registry in PostgreSQL, in a schema of its own.
fn shared(server: &Database, name: &str) -> Store {
    let schema = format!("unit_{name}_{}", std::process::id());
    let mut client = postgres::Client::connect(&server.dsn, postgres::NoTls).unwrap();
    let fresh = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
    client.batch_execute(&fresh).unwrap();
    let url = format!("{}?options=-c%20search_path%3D{schema}", server.dsn);
    let settings = PostgresSettings {
        url: Secret::new(url),
        password: None,
        ssl_ca_file: None,
        connections: 4,
    };
    Store::connect(&settings).unwrap()
}

async fn contract(store: &Store) {
    let key = |hash| IdempotencyKey {
        key: "k".into(),
        body_hash: [hash; 32],
    };
    if store.shared() {
        store.join("i", "http://h", 60_000).await.unwrap();
        store.name(Some("i".into()));
    }
    let first = store
        .create(row("a", "g"), Some(key(1)), change("create"))
        .await
        .unwrap();
    let again = store
        .create(row("b", "g"), Some(key(1)), change("create"))
        .await
        .unwrap();
    assert_eq!(first, again, "a repeated create answers like the first");
    let other = store
        .create(row("b", "g"), Some(key(2)), change("create"))
        .await;
    assert_eq!(other.unwrap_err().0.code, "idempotency_mismatch");
    store
        .create(row("c", "h"), None, change("create"))
        .await
        .unwrap();
    assert!(
        store
            .create(row("a", "x"), None, change("create"))
            .await
            .is_err()
    );
    assert_eq!(
        store.all_consumers().await.unwrap().len(),
        2,
        "a failed create leaves nothing"
    );

    let newest = store.consumers(page(1, None)).await.unwrap();
    assert_eq!((newest.len(), newest[0].id.as_str()), (1, "c"));
    let older = store.consumers(page(9, Some(newest[0].seq))).await.unwrap();
    assert_eq!(older[0].processors, first.processors);

    changes(store).await;
    sinks(store).await;
    replays(store).await;
    store.delete("a", change("delete")).await.unwrap();
    assert_eq!(store.consumer("a").await.unwrap_err().0.status, 404);
    let gone = store.delete("a", change("delete")).await;
    assert_eq!(gone.unwrap_err().0.status, 404);
}

/// A change, one that is refused, and what is remembered of them.
async fn changes(store: &Store) {
    let edit = |row: &mut Row| {
        row.consumer_group = "new".into();
        row.processors.clear();
        Ok(())
    };
    let after = store.change("a", change("update"), edit).await.unwrap();
    assert_eq!((after.generation, after.processors.len()), (2, 0));
    assert_eq!(store.consumer("a").await.unwrap(), after);
    let refused = store.change("a", change("update"), |row| {
        row.owner = "eve".into();
        Err(super::consumers::not_found("x"))
    });
    assert!(refused.await.is_err());
    assert_eq!(store.consumer("a").await.unwrap().owner, "ana");
    let stop = |row: &mut Row| {
        row.desired = Desired::Stopped;
        Ok(())
    };
    store.change("a", change("stop"), stop).await.unwrap();

    let revisions = store
        .revisions(&store.consumer("a").await.unwrap())
        .await
        .unwrap();
    let numbers: Vec<_> = revisions.iter().map(|r| (r.revision, r.current)).collect();
    assert_eq!(
        numbers,
        [(2, true), (1, false)],
        "what is wanted is no revision"
    );
    assert!(store.revision("a", 1).await.unwrap().contains("\"g\""));
    assert_eq!(store.revision("a", 7).await.unwrap_err().0.status, 404);

    let filter = Filter {
        action: Some("update".into()),
        ..Filter::default()
    };
    let audit = store.audit(page(10, None), filter).await.unwrap();
    assert_eq!(
        (audit.len(), audit[0].request_id.as_deref()),
        (1, Some("r1"))
    );
    assert!(
        !audit[0]
            .before
            .as_ref()
            .unwrap()
            .to_string()
            .contains("hunter2")
    );

    store.save_catalogue("one".into()).await.unwrap();
    store.save_catalogue("two".into()).await.unwrap();
    assert_eq!(
        store.load_catalogue().await.unwrap().as_deref(),
        Some("two")
    );
}

/// What sinks hold, and the fence around it.
async fn sinks(store: &Store) {
    let old = store.begin_epoch("c").await.unwrap();
    let new = store.begin_epoch("c").await.unwrap();
    assert!(new > old);
    let all = store.sinks(tokio::runtime::Handle::current());
    let done = tokio::task::spawn_blocking(move || {
        let path = Path::new("/f");
        let topics = HashMap::from([("t".to_owned(), 5)]);
        let (past, present) = (all.clone().fenced("c", old), all.fenced("c", new));
        present
            .save(path, 10, "p-c", vec![("t".into(), 0, 5, 3)])
            .unwrap();
        let late = past.save(path, 99, "p-c", vec![("t".into(), 0, 5, 9)]);
        assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
        assert_eq!(present.length(path).unwrap(), Some(10));
        assert_eq!(
            present.positions("p-c", &topics).unwrap().get("t", 0),
            Some(3)
        );
        let recreated = HashMap::from([("t".to_owned(), 6)]);
        assert_eq!(
            present.positions("p-c", &recreated).unwrap().get("t", 0),
            None
        );
        assert!(
            present
                .save(path, 11, "unknown", vec![("t".into(), 0, 5, 4)])
                .is_err()
        );
        assert_eq!(present.length(path).unwrap(), Some(10), "all or nothing");
    });
    done.await.unwrap();
}

/// A replay, what its processors hold, and a run that takes it over from another one.
async fn replays(store: &Store) {
    let (replay, work) = (replay(), work());
    store
        .insert_replay(replay.clone(), work.clone())
        .await
        .unwrap();
    let found = store.unfinished_replays().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].replay, &found[0].work, found[0].epoch),
        (&replay, &Some(work), 1)
    );
    assert!(store.save_replay(replay.clone(), 1).await.unwrap());
    assert_eq!(store.take_replay(replay.clone(), 1).await.unwrap(), Some(2));
    assert_eq!(
        store.take_replay(replay.clone(), 1).await.unwrap(),
        None,
        "one takes it over"
    );
    assert!(
        !store.save_replay(replay.clone(), 1).await.unwrap(),
        "the old run says nothing any more"
    );
    let all = store.sinks(tokio::runtime::Handle::current());
    let done = tokio::task::spawn_blocking(move || {
        let (path, topics) = (Path::new("/r"), HashMap::from([("t".to_owned(), 7)]));
        let (past, present) = (all.clone().of_replay("r1", 1), all.of_replay("r1", 2));
        let at = |next| vec![("t".into(), 0, 7, next)];
        present.save(path, 10, "replay-r1-0", at(6)).unwrap();
        let late = past.save(path, 99, "replay-r1-0", at(9));
        assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
        assert_eq!(present.length(path).unwrap(), Some(10));
        let held = present.positions("replay-r1-0", &topics).unwrap();
        assert_eq!(held.get("t", 0), Some(6));
    });
    done.await.unwrap();
    let mut ended = replay;
    ended.state = ReplayState::Done;
    assert!(store.save_replay(ended.clone(), 2).await.unwrap());
    assert!(store.unfinished_replays().await.unwrap().is_empty());
    assert_eq!(store.take_replay(ended.clone(), 2).await.unwrap(), None);
    assert_eq!(store.replays("c").await.unwrap(), [ended]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_holds_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract(&Store::open(&dir.path().join("c.db")).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_holds_the_contract() {
    let (server, store) = tokio::task::spawn_blocking(|| {
        let server = Database::of("postgres")?;
        let store = shared(&server, "contract");
        Some((server, store))
    })
    .await
    .unwrap()
    .unzip();
    if let Some(store) = &store {
        contract(store).await;
    }
    tokio::task::spawn_blocking(move || drop((store, server)))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_end_and_free_what_they_stood_for() {
    let opened = tokio::task::spawn_blocking(|| {
        let server = Database::of("postgres")?;
        let store = shared(&server, "leases");
        Some((server, store))
    });
    let Some((server, store)) = opened.await.unwrap() else {
        return;
    };
    store.join("one", "http://one", 60_000).await.unwrap();
    store.join("two", "http://two", 300).await.unwrap();
    store.name(Some("two".into()));
    for id in ["a", "b", "c"] {
        store
            .create(row(id, id), None, change("create"))
            .await
            .unwrap();
    }
    let place = |id: &'static str| {
        let store = store.clone();
        async move { store.places(&[id.to_owned()]).await.unwrap().remove(id) }
    };
    assert_eq!(
        place("a").await.unwrap().instance,
        "two",
        "who creates it has it"
    );
    assert!(store.begin_epoch("a").await.is_ok());
    while store.renew("two", 300).await.unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(350)).await;
    }
    assert_eq!(place("a").await, None, "its lease has ended");
    assert_eq!(
        store.begin_epoch("a").await.unwrap_err().0.status,
        503,
        "no worker starts"
    );

    let survey = store.survey("one").await.unwrap();
    assert_eq!(
        (survey.loads.len(), survey.free, survey.mine.len()),
        (1, 3, 0)
    );
    store.claim("one", 2).await.unwrap();
    let survey = store.survey("one").await.unwrap();
    assert_eq!((survey.free, survey.mine.len()), (1, 2));
    assert!(
        store.claim("two", 2).await.is_err(),
        "one without a lease takes nothing"
    );
    store.name(Some("one".into()));
    assert!(
        store.begin_epoch("a").await.is_ok(),
        "the new owner goes on"
    );
    store.release("one", vec!["a".into()]).await.unwrap();
    assert!(store.begin_epoch("a").await.is_err());
    store.leave("one").await.unwrap();
    assert!(store.instances().await.unwrap().is_empty());
    tokio::task::spawn_blocking(move || drop((store, server)))
        .await
        .unwrap();
}
