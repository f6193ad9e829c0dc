//! Configurations, and webhooks over real connections.

mod order;

use super::*;
use crate::processors::conformance::{Bench, entries};
use sluice_model::consumer::FailureClass;
use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, channel};

/// A server that gives each request the next answer, and tells the requests' texts.
fn server(answers: Vec<&'static str>) -> (String, Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/hook?token=t0ps3cret",
        listener.local_addr().unwrap()
    );
    let (sender, receiver) = channel();
    let serve = move || {
        for (answer, stream) in answers.into_iter().zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let text = request(&mut stream);
            let head = "content-length: 0\r\nconnection: close\r\n\r\n";
            stream
                .write_all(format!("HTTP/1.1 {answer}\r\n{head}").as_bytes())
                .unwrap();
            sender.send(text).unwrap();
        }
    };
    std::thread::Builder::new()
        .name("hook".into())
        .spawn(serve)
        .unwrap();
    (url, receiver)
}

fn request(stream: &mut std::net::TcpStream) -> String {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let n = stream.read(&mut part).unwrap();
        text.extend_from_slice(&part[..n]);
        let whole = String::from_utf8_lossy(&text).to_lowercase();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if n == 0 || length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap()) {
            return String::from_utf8(text).unwrap();
        }
    }
}

fn header<'t>(request: &'t str, name: &str) -> Option<&'t str> {
    let head = request.split("\r\n\r\n").next().unwrap();
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[test]
fn a_failed_request_is_repeated_with_the_same_records_and_key_even_if_more_have_come() {
    let bench = Bench::new();
    let (url, requests) = server(vec![
        "503 Busy",
        "429 Slow\r\nretry-after: 7",
        "200 OK",
        "200 OK",
    ]);
    let mut hook = bench.build("streaming_forwarder", &json!({"endpoint_url": url}));
    hook.open().unwrap();
    let error = hook.write(&entries(0..3)).unwrap_err();
    assert_eq!(error.class, FailureClass::Transient);
    hook.open().unwrap();
    let error = hook.write(&entries(0..5)).unwrap_err();
    assert_eq!(error.retry_after, Some(std::time::Duration::from_secs(7)));
    assert!(!error.message.contains("t0ps3cret"), "{error}");
    hook.write(&entries(0..5)).unwrap();
    assert_eq!(hook.open().unwrap().get("t", 0), Some(5));
    let keys: Vec<_> = requests
        .iter()
        .map(|text| header(&text, "idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(
        keys,
        [
            "c1/t/7/0/0-2",
            "c1/t/7/0/0-2",
            "c1/t/7/0/0-2",
            "c1/t/7/0/3-4"
        ]
    );
}

#[test]
fn requests_are_signed_with_both_secrets_while_one_is_replaced() {
    let bench = Bench::new();
    let (url, requests) = server(vec!["200 OK"; 2]);
    bench.put_secret("new", "n3w");
    bench.put_secret("old", "0ld");
    bench.put_secret("bearer", "Bearer t0k3n");
    let config = json!({
        "endpoint_url": url, "mode": "single", "secret_file": "new", "old_secret_file": "old",
        "authorization_file": "bearer", "headers": {"X-Team": "a"}
    });
    let faults = bench.faults_with(
        "streaming_forwarder",
        config.as_object().unwrap(),
        "127.0.0.1:*",
    );
    assert_eq!(faults, None);
    let mut hook = bench.build("streaming_forwarder", &config);
    hook.write(&entries(0..2)).unwrap();
    let text = requests.recv().unwrap();
    assert_eq!(header(&text, "idempotency-key"), Some("c1/t/7/0/0"));
    assert_eq!(header(&text, "authorization"), Some("Bearer t0k3n"));
    assert_eq!(header(&text, "x-team"), Some("a"));
    let body = text.split("\r\n\r\n").nth(1).unwrap();
    let signed = header(&text, "sluice-signature").unwrap();
    let seconds: i64 = signed.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    let secret = |text: &str| sluice_service::secret::Secret::new(text.to_owned());
    let expected = request::signature(&[secret("n3w"), secret("0ld")], seconds, body.as_bytes());
    assert_eq!(signed, expected);
    let record: Value = serde_json::from_str(body).unwrap();
    assert_eq!(record["offset"], 0);
}

#[test]
fn a_secret_that_is_gone_and_an_endpoint_that_redirects_need_somebody() {
    let bench = Bench::new();
    let (url, _requests) = server(vec!["302 Found\r\nlocation: http://169.254.169.254/"]);
    bench.put_secret("s", "x");
    let mut hook = bench.build(
        "streaming_forwarder",
        &json!({"endpoint_url": url, "secret_file": "gone"}),
    );
    assert_eq!(
        hook.write(&entries(0..1)).unwrap_err().class,
        FailureClass::Environment
    );
    let mut hook = bench.build("streaming_forwarder", &json!({"endpoint_url": url}));
    let error = hook.write(&entries(0..1)).unwrap_err();
    assert_eq!(error.class, FailureClass::Environment);
    assert!(
        error.message.contains("redirects are not followed"),
        "{error}"
    );
}

#[test]
fn a_record_that_is_refused_alone_is_named() {
    let bench = Bench::new();
    let (url, _requests) = server(vec!["422 No", "422 No"]);
    let mut hook = bench.build("streaming_forwarder", &json!({"endpoint_url": url}));
    let error = hook.write(&entries(0..2)).unwrap_err();
    assert_eq!((error.class, error.culprit), (FailureClass::Poison, None));
    let error = hook.write(&entries(1..2)).unwrap_err();
    assert_eq!(error.culprit, Some(("t".to_owned(), 0, 1)));
}

#[test]
fn configurations_are_one_destination_with_its_own_members() {
    let bench = Bench::new();
    bench.put_secret("s", "x");
    let url = "http://127.0.0.1:1/";
    for (config, good) in [
        (json!({"endpoint_url": url}), true),
        (
            json!({"endpoint_url": url, "mode": "single", "max_records": 5, "timeout_ms": 500, "secret_file": "s"}),
            true,
        ),
        (
            json!({"endpoint_url": url, "headers": {"X-A": "b", "User-Agent": "c"}}),
            true,
        ),
        (json!({}), false),
        (json!({"endpoint_url": url, "topic": "t"}), false),
        (json!({"endpoint_url": url, "mode": "both"}), false),
        (
            json!({"endpoint_url": url, "ordering": "key", "parallel": 16}),
            true,
        ),
        (json!({"endpoint_url": url, "ordering": "none"}), false),
        (json!({"endpoint_url": url, "parallel": 0}), false),
        (
            json!({"cluster": "governed", "topic": "t", "ordering": "key"}),
            false,
        ),
        (json!({"endpoint_url": url, "max_records": 0}), false),
        (json!({"endpoint_url": url, "timeout_ms": 99_999}), false),
        (
            json!({"endpoint_url": url, "headers": {"Host": "x"}}),
            false,
        ),
        (
            json!({"endpoint_url": url, "headers": {"Authorization": "x"}}),
            false,
        ),
        (
            json!({"endpoint_url": url, "headers": {"X-A": "a\r\nHost: b"}}),
            false,
        ),
        (json!({"endpoint_url": url, "secret_file": "../s"}), false),
        (json!({"endpoint_url": url, "secret_file": "none"}), false),
        (json!({"endpoint_url": url, "secret_env": "HOME"}), false),
        (json!({"endpoint_url": url, "old_secret_file": "s"}), false),
        (json!({"cluster": "governed", "topic": "t"}), true),
        (
            json!({"cluster": "governed", "topic": "t", "partitioning": "same"}),
            true,
        ),
        (
            json!({"cluster": "governed", "topic": "t", "mode": "single"}),
            false,
        ),
        (
            json!({"cluster": "governed", "topic": "t", "partitioning": "x"}),
            false,
        ),
        (json!({"cluster": "governed"}), false),
        (json!({"cluster": "nowhere", "topic": "t"}), false),
        (json!({"cluster": "governed", "topic": "a/b"}), false),
    ] {
        let faults = bench.faults("streaming_forwarder", config.as_object().unwrap());
        assert_eq!(faults.is_none(), good, "{config}: {faults:?}");
    }
}

#[test]
fn endpoints_that_lead_elsewhere_are_refused_however_they_are_written() {
    let bench = Bench::new();
    for url in [
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://[::1]/",
        "http://[fe80::1]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://127.0.0.1@169.254.169.254/",
        "http://127.0.0.1:80@evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1%2eevil.example/",
        "http://evil.example#@127.0.0.1/",
        "http://evil.example\\@127.0.0.1/",
        "http://localhost/",
        "http://0/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://u:p@127.0.0.1/",
        "http:///x",
        "//127.0.0.1/",
        "x",
        "",
    ] {
        let config = Map::from_iter([("endpoint_url".to_owned(), json!(url))]);
        let faults = bench.faults("streaming_forwarder", &config);
        assert_eq!(faults, Some(422), "{url}");
    }
    // Other ways to write an address that is listed.
    for url in [
        "http://2130706433:1/",
        "http://0x7f.1:1/",
        "http://[::ffff:7f00:1]:1/",
    ] {
        let config = Map::from_iter([("endpoint_url".to_owned(), json!(url))]);
        assert_eq!(
            bench.faults_with("streaming_forwarder", &config, "127.0.0.1:1"),
            None,
            "{url}"
        );
        assert_eq!(
            bench.faults_with("streaming_forwarder", &config, "127.0.0.1:2"),
            Some(422),
            "{url}"
        );
    }
}

/// A forwarder from the bench's topic `t` to the topic `copy` of a mock cluster.
fn to_mock(bench: &Bench, topic_id: i64) -> Box<dyn Processor> {
    let config = json!({"cluster": "dr", "topic": "copy"});
    kind_of(bench, &config, topic_id)
}

fn kind_of(bench: &Bench, config: &Value, topic_id: i64) -> Box<dyn Processor> {
    build(config.as_object().unwrap(), bench.site(topic_id)).unwrap()
}

#[test]
fn records_count_as_written_when_their_transaction_has_ended() {
    // The mock forgets positions; tests/e2e has the real thing.
    let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    mock.create_topic("copy", 3, 1).unwrap();
    let bench = Bench::with_cluster("dr", &mock.bootstrap_servers());
    let mut sink = to_mock(&bench, 7);
    assert_eq!(sink.open().unwrap().get("t", 0), None);
    sink.write(&entries(0..5)).unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), None);
    assert!(
        sink.deadline().unwrap() < std::time::Instant::now() + std::time::Duration::from_secs(1)
    );
    sink.flush().unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), Some(5));
    sink.write(&entries(5..9)).unwrap();
    assert!(
        sink.release(&[("t".to_owned(), 1)]).is_ok(),
        "nothing of it is open"
    );
    let lost = sink.release(&[("t".to_owned(), 0)]).unwrap_err();
    assert_eq!(lost.class, FailureClass::Transient);
    assert_eq!(
        sink.open().unwrap().get("t", 0),
        Some(5),
        "what went to another one is undone"
    );
    sink.write(&entries(5..9)).unwrap();
    sink.flush().unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), Some(9));
}

#[test]
fn a_destination_that_is_not_allowed_or_not_active_is_waited_for() {
    let bench = Bench::with_cluster("dr", "127.0.0.1:1");
    for config in [
        json!({"cluster": "dr", "topic": "private"}),
        json!({"cluster": "governed", "topic": "copy"}),
    ] {
        let error = kind_of(&bench, &config, 7).open().unwrap_err();
        assert_eq!(error.class, FailureClass::Environment, "{error}");
    }
}
