//! Webhooks: told of decisions, signed, tried again, logged, and only where the configuration allows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Step, by, get, open_with, post_json, run_on};
use serde_json::Value;
use sluice_admin_api::notices::Notifier;
use sluice_admin_api::state::State;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// One request as a webhook got it.
struct Got {
    headers: String,
    body: Value,
}

/// A webhook that answers with these statuses, one after the other, and shuts each connection.
fn webhook(statuses: Vec<u16>) -> (u16, Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    aside(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut headers = String::new();
            while !headers.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut headers).unwrap() > 0, "{headers}");
            }
            let lower = headers.to_lowercase();
            let length = lower.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            sender
                .send(Got {
                    headers: lower,
                    body,
                })
                .unwrap();
        }
    });
    (port, receiver)
}

fn aside(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let named = std::thread::Builder::new().name("aside".to_owned());
    named.spawn(work).unwrap()
}

fn hook(name: &str, port: u16, more: &str) -> String {
    format!("{{name='{name}',url='http://127.0.0.1:{port}/hook?key=hidden',{more}}}")
}

/// Starts the notifier; it has seen where the audit stands before anything happens.
fn notify(state: &State, directory: &Path, webhooks: i64) -> JoinHandle<()> {
    let notifier = Notifier::new(&state.settings.notices).unwrap().unwrap();
    let running = state.clone();
    let thread = aside(move || actix_web::rt::System::new().block_on(notifier.run(running)));
    let place = || {
        let at = rusqlite::Connection::open(directory.join("admin.db")).unwrap();
        let count = at.query_row("SELECT count(*) FROM webhooks", [], |row| {
            row.get::<_, i64>(0)
        });
        count.unwrap()
    };
    while place() < webhooks {
        std::thread::sleep(Duration::from_millis(10));
    }
    thread
}

fn check_told(told: &Receiver<Got>, slack_told: &Receiver<Got>) {
    let first = told.recv_timeout(Duration::from_secs(30)).unwrap();
    let second = told.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(first.body, second.body, "the same again");
    assert_eq!(
        second.body["reason"], "use <orders.v2>",
        "the requester learns why"
    );
    assert_eq!(second.body["link"], "https://sluice.example/ui/topics/1");
    assert!(
        second.headers.contains("sluice-signature: t="),
        "{}",
        second.headers
    );
    assert!(
        second.headers.contains("idempotency-key: notice-"),
        "{}",
        second.headers
    );
    assert!(
        second.headers.contains("sluice-event: reject"),
        "{}",
        second.headers
    );
    let slack = slack_told.recv_timeout(Duration::from_secs(30)).unwrap();
    let text = slack.body["text"].as_str().unwrap();
    assert!(
        text.contains("use &lt;orders.v2&gt; <https://sluice.example/ui/topics/1|open>"),
        "{text}"
    );
    assert!(
        !slack.headers.contains("sluice-signature"),
        "no secret, no signature"
    );
}

/// The log once the notice is delivered.
fn delivered(state: &State) -> String {
    let mut log = String::new();
    for _ in 0..500 {
        log = run_on(
            state.clone(),
            vec![Box::new(|_| by("ana", get("/api/notices?webhook=ops")))],
        )
        .remove(0)
        .body;
        if log.contains("delivered\"") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let lines: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(lines.as_array().unwrap().len(), 1, "{log}");
    assert_eq!(
        (&lines[0]["attempts"], &lines[0]["status"]),
        (&2.into(), &"delivered".into())
    );
    log
}

#[test]
fn a_webhook_that_fails_first_gets_its_notice_signed_and_the_log_tells_it() {
    sluice_service::tls::install_crypto();
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "shared").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let (port, told) = webhook(vec![503, 200]);
    let (slack_port, slack_told) = webhook(vec![200]);
    let ops = format!("secret_file='{}',kinds=['reject']", secret.display());
    let hooks = [
        hook("ops", port, &ops),
        hook(
            "chat",
            slack_port,
            "kinds=['reject'],format='slack',account='ben'",
        ),
    ];
    let settings = [
        format!("notices.webhooks=[{}]", hooks.join(",")),
        "notices.destinations=['127.0.0.1:*']".to_owned(),
        "notices.link=https://sluice.example".to_owned(),
    ];
    let state = open_with(directory.path(), &settings);
    let thread = notify(&state, directory.path(), 2);
    let steps: Vec<Step> = vec![
        Box::new(|_| by("ben", post_json("/api/topics", r#"{"name": "orders"}"#))),
        Box::new(|_| {
            by(
                "ana",
                post_json("/api/topics/1/reject", r#"{"reason": "use <orders.v2>"}"#),
            )
        }),
    ];
    let answers = run_on(state.clone(), steps);
    assert_eq!(answers[1].status, 200, "{}", answers[1].body);
    check_told(&told, &slack_told);
    let log = delivered(&state);
    let shutdown = state.shutdown.clone();
    let shown = run_on(state, vec![Box::new(|_| by("ana", get("/api/webhooks")))])
        .remove(0)
        .body;
    assert!(
        !shown.contains("hidden") && !log.contains("hidden"),
        "{shown}"
    );
    shutdown.request();
    thread.join().unwrap();
}

#[test]
fn a_webhook_outside_the_destinations_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        format!("notices.webhooks=[{}]", hook("ops", 9, "")),
        "notices.destinations=['hooks.example:443']".to_owned(),
    ];
    let state = open_with(directory.path(), &settings);
    let refused = Notifier::new(&state.settings.notices)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("webhook ops") && refused.contains("127.0.0.1:9"),
        "{refused}"
    );
    assert!(!refused.contains("hidden"), "{refused}");
}
