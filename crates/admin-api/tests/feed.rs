//! The change feed when it is bounded: who is further behind than it goes back is told so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::test::TestRequest;
use common::{by, get, open, post_json, run_on};
use sluice_admin_api::store::changes::forget;

fn after(path: &str, revision: &str) -> TestRequest {
    by(
        "ben",
        TestRequest::get().uri(&format!("{path}?since={revision}")),
    )
}

fn revision(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["revision"].as_str().unwrap().to_owned()
}

#[test]
fn changes_that_were_forgotten_are_410_and_the_table_of_topics_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let asked = run_on(
        state.clone(),
        vec![
            Box::new(|_| by("ben", get("/api/changes"))),
            Box::new(|_| by("ben", post_json("/api/topics", r#"{"name": "orders"}"#))),
            Box::new(|_| by("ben", get("/api/changes"))),
            Box::new(|_| by("ben", post_json("/api/topics", r#"{"name": "clicks"}"#))),
            Box::new(|_| by("ben", get("/api/routes"))),
        ],
    );
    let database = state.database.clone();
    let forgotten = actix_web::rt::System::new().block_on(async move {
        let work = |c: &rusqlite::Connection| forget(c, 1, 100);
        database.write(work).await
    });
    assert!(forgotten.unwrap() > 0);
    let (first, second) = (revision(&asked[0].body), revision(&asked[2].body));
    let routes = revision(&asked[4].body);
    let answers = run_on(
        state,
        vec![
            Box::new(move |_| after("/api/changes", &first)),
            Box::new(move |_| after("/api/changes", &second)),
            Box::new(move |_| after("/api/routes", &routes)),
        ],
    );
    assert_eq!(answers[0].status, 410);
    assert!(
        answers[0].body.contains("revision_gone"),
        "{}",
        answers[0].body
    );
    assert_eq!(answers[1].status, 200, "{}", answers[1].body);
    assert!(answers[1].body.contains("clicks") && !answers[1].body.contains("orders"));
    assert_eq!(answers[2].status, 304, "nothing about topics has changed");
}
