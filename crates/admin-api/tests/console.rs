//! The console over HTTP, without a browser and without Kafka: signing in, asking, deciding, errors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use actix_web::http::{StatusCode, header};
use common::{Answer, by, get, post, run};

#[test]
fn a_session_starts_with_a_token_and_ends_with_the_sign_out() {
    let session = |answers: &[Answer]| {
        let cookie = answers[2]
            .cookie
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        (header::COOKIE, cookie)
    };
    let answers = run(vec![
        Box::new(|_| get("/ui/topics?status=active")),
        Box::new(|_| post("/ui/login", "token=wrong&next=/ui/topics")),
        Box::new(|_| post("/ui/login", "token=token-of-ana&next=https://evil.example")),
        Box::new(move |a| get("/ui/").insert_header(session(a))),
        Box::new(move |a| post("/ui/logout", "").insert_header(session(a))),
        Box::new(move |a| get("/ui/").insert_header(session(a))),
    ]);
    assert_eq!(
        answers[0].location,
        "/ui/login?next=/ui/topics%3Fstatus%3Dactive"
    );
    assert_eq!(answers[1].status, StatusCode::UNAUTHORIZED);
    assert!(answers[1].body.contains("the token is not known") && answers[1].cookie.is_empty());
    assert_eq!(answers[2].location, "/ui/", "never to another site");
    let cookie = &answers[2].cookie;
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains("token-of-ana"));
    assert!(answers[3].body.contains("<h1>Overview</h1>") && answers[3].body.contains("ana"));
    assert_eq!(answers[4].location, "/ui/login?did=signout");
    assert_eq!(answers[5].location, "/ui/login?next=/ui/");
}

#[test]
fn a_topic_is_asked_for_and_decided_about_with_forms() {
    let answers = run(vec![
        Box::new(|_| {
            by(
                "ben",
                post("/ui/request", "name=two+words&partitions=many&configs=x"),
            )
        }),
        Box::new(|_| {
            by(
                "ben",
                post(
                    "/ui/request",
                    "name=orders&partitions=3&description=%3Cb%3E",
                ),
            )
        }),
        Box::new(|_| by("ben", post("/ui/request", "name=orders"))),
        Box::new(|_| by("ben", post("/ui/requests/1/approve", "version=1"))),
        Box::new(|_| by("ana", get("/ui/requests"))),
        Box::new(|_| by("ana", post("/ui/requests/1/approve", "version=7"))),
        Box::new(|_| by("ana", post("/ui/requests/1/reject", "version=1"))),
        Box::new(|_| by("ana", post("/ui/requests/1/approve", "version=1"))),
        Box::new(|_| by("ana", get("/ui/topics/1?did=approve"))),
        Box::new(|_| by("ana", post("/ui/topics/1/cancel", "version=2&reason=no"))),
        Box::new(|_| by("ana", get("/ui/requests?tab=decided"))),
    ]);
    assert_eq!(answers[0].status, 422);
    assert!(answers[0].body.contains("is a whole number") && answers[0].body.contains("two words"));
    assert_eq!(answers[1].location, "/ui/topics/1?did=request");
    assert_eq!(answers[2].status, 409);
    assert!(answers[2].body.contains("exists already"));
    assert_eq!(answers[3].status, 403);
    assert!(answers[4].body.contains("/ui/requests/1/approve"));
    assert_eq!(answers[5].status, 412);
    assert!(answers[5].body.contains("Somebody was faster"));
    assert_eq!(answers[6].status, 422, "a rejection has a reason");
    assert_eq!(answers[7].location, "/ui/requests?did=approve");
    assert!(answers[8].body.contains("Approved.") && answers[8].body.contains("&#60;b&#62;"));
    assert_eq!(answers[9].location, "/ui/topics/1?did=cancel");
    assert!(answers[10].body.contains("decided by"));
}

#[test]
fn forms_of_other_sites_are_refused_and_errors_are_pages() {
    let evil = (header::ORIGIN, "https://evil.example");
    let answers = run(vec![
        Box::new(move |_| {
            by("ben", post("/ui/request", "name=orders")).insert_header(evil.clone())
        }),
        Box::new(|_| by("ana", get("/ui/topics/99"))),
        Box::new(|_| by("ana", get("/ui/nothing"))),
        Box::new(|_| by("ana", get("/ui/topics?status=odd"))),
        Box::new(|_| by("ana", post("/ui/subscriptions", "topic_name=orders"))),
        Box::new(|_| by("cas", post("/ui/subscriptions", "topic_name=orders"))),
        Box::new(|_| by("ana", get("/api/topics"))),
        Box::new(|_| get("/")),
    ]);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [403, 404, 404, 422, 403, 404, 200, 303]);
    for answer in &answers[..6] {
        assert!(
            answer.body.starts_with("<!doctype html>"),
            "{}",
            answer.body
        );
    }
    assert!(
        answers[5].body.contains("<h1>Subscriptions</h1>"),
        "the form comes back"
    );
    assert_eq!(
        answers[6].body, "[]",
        "nothing was asked for by another site"
    );
    assert_eq!(answers[7].location, "/ui/");
}

#[test]
fn who_asked_finds_the_request_among_the_own_ones_with_the_reason_of_its_rejection() {
    let answers = run(vec![
        Box::new(|_| by("ben", post("/ui/request", "name=orders"))),
        Box::new(|_| by("ada", post("/ui/request", "name=clicks"))),
        Box::new(|_| {
            let form = "version=1&reason=fewer+partitions";
            by("ana", post("/ui/requests/1/reject", form))
        }),
        Box::new(|_| by("ben", get("/ui/requests?tab=mine"))),
        Box::new(|_| by("cas", get("/ui/requests?tab=mine"))),
    ]);
    let page = &answers[3].body;
    assert!(
        page.contains("orders") && !page.contains("clicks"),
        "{page}"
    );
    assert!(page.contains("<b>Rejected:</b> fewer partitions"), "{page}");
    assert!(answers[4].body.contains("You have not asked for anything"));
}

#[test]
fn admins_label_topics_and_turn_deletions_off_with_forms_of_our_own_pages() {
    let evil = (header::ORIGIN, "https://evil.example");
    let (off, on) = ("enabled=false&reason=incident+7", "enabled=true");
    let answers = run(vec![
        Box::new(|_| by("ben", post("/ui/request", "name=orders"))),
        Box::new(|_| by("ana", post("/ui/topics/1/protect", "version=1"))),
        Box::new(|_| by("ada", post("/ui/topics/1/protect", "version=9"))),
        Box::new(|_| by("ada", post("/ui/topics/1/protect", "version=1"))),
        Box::new(|_| by("ada", get("/ui/topics/1?did=protect"))),
        Box::new(|_| by("ada", post("/ui/topics/1/unprotect", "version=2"))),
        Box::new(move |_| by("ana", post("/ui/deletions", off))),
        Box::new(move |_| by("ada", post("/ui/deletions", off)).insert_header(evil.clone())),
        Box::new(|_| by("ada", post("/ui/deletions", "enabled=perhaps"))),
        Box::new(move |_| by("ada", post("/ui/deletions", off))),
        Box::new(|_| by("ana", get("/ui/?did=deletions_off"))),
        Box::new(|_| by("ada", get("/api/deletions"))),
        Box::new(move |_| by("ada", post("/ui/deletions", on))),
        Box::new(|_| by("ana", get("/ui/notices?status=odd"))),
        Box::new(|_| by("ana", get("/ui/notices?status=failed"))),
    ]);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    let wanted = [
        303, 403, 412, 303, 200, 303, 403, 403, 422, 303, 200, 200, 303, 422, 200,
    ];
    assert_eq!(statuses, wanted);
    assert!(answers[4].body.contains("/ui/topics/1/unprotect"));
    let overview = &answers[10].body;
    assert!(
        overview.contains("incident 7") && overview.contains("by ada"),
        "{overview}"
    );
    assert!(
        !overview.contains("action=\"/ui/deletions\""),
        "admins alone turn it"
    );
    assert!(answers[11].body.contains("\"enabled\":false"));
    assert!(answers[14].body.contains("No webhook is configured"));
}
