//! Bodies that are made to hurt: deep, long, endless. Every parser answers at once, and the daemon goes on.

use crate::Test;
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure};
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[(
    "hostile bodies are answered at once by every parser, and the daemon goes on",
    hostile,
)];

/// Bytes of a body, about.
const SIZE: usize = 1_000_000;
/// Longest time that one answer may take, on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);

const TOPIC: &str = "hostile";

/// Bodies by what they are made of.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let closed = "[".repeat(SIZE / 2) + &"]".repeat(SIZE / 2);
    let many = "{\"value\":[[]]},".repeat(60_000);
    let values = format!("{{\"records\":[{}]}}", many.trim_end_matches(','));
    let mut nested: Vec<u8> = Vec::new();
    // Protobuf: a message in a message in a message, the first field of each.
    for _ in 0..2_000 {
        let mut outer = vec![0x0a];
        let mut length = nested.len();
        while length >= 0x80 {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    vec![
        ("open brackets", "[".repeat(SIZE).into()),
        ("closed brackets", closed.into()),
        ("open objects", "{\"a\":".repeat(SIZE / 5).into()),
        (
            "records",
            "{\"records\":[{\"value\":".repeat(SIZE / 21).into(),
        ),
        ("small records", values.into()),
        ("escapes", format!("\"{}", "\\\"".repeat(SIZE / 2)).into()),
        (
            "surrogates",
            format!("\"{}\"", "\\ud800".repeat(SIZE / 6)).into(),
        ),
        ("digits", "9".repeat(SIZE).into()),
        ("exponent", format!("1e{}", "9".repeat(SIZE)).into()),
        ("nothing", vec![0; SIZE]),
        ("ones", vec![0xff; SIZE]),
        ("line feeds", vec![b'\n'; SIZE]),
        ("nested messages", nested),
        (
            "resource logs",
            format!(
                "{{\"resourceLogs\":[{}",
                "{\"scopeLogs\":[".repeat(SIZE / 14)
            )
            .into(),
        ),
    ]
}

fn hostile(stack: &Stack) -> Outcome {
    stack.active_topic(TOPIC)?;
    let api = stack.producer("producer")?;
    let own = format!("/topics/{TOPIC}");
    let clusters = api.get("/v3/clusters")?.expect(200)?;
    let cluster = clusters["data"][0]["cluster_id"]
        .as_str()
        .unwrap_or_default();
    let v3 = format!("/v3/clusters/{cluster}/topics/{TOPIC}/records");
    let ways = [
        (own.as_str(), "application/json"),
        (&own, "application/x-ndjson"),
        (&own, "application/vnd.kafka.json.v2+json"),
        (&own, "application/vnd.kafka.binary.v2+json"),
        ("/records", "application/x-ndjson"),
        (&v3, "application/json"),
        ("/v1/logs", "application/json"),
        ("/v1/logs", "application/x-protobuf"),
    ];
    for (what, body) in bodies() {
        for (path, kind) in ways {
            let began = Instant::now();
            let request = api.request("POST", path).header("content-type", kind);
            let answer = Api::send(request.body(body.clone()))
                .map_err(|error| format!("{what} to {path} as {kind}: {error}"))?;
            let took = began.elapsed();
            ensure!(
                answer.status < 500,
                "{what} to {path} as {kind}: {} {}",
                answer.status,
                answer.text.get(..300).unwrap_or(&answer.text)
            );
            ensure!(took < ANSWER_MAX, "{what} to {path} as {kind}: {took:?}");
        }
        // Inputs without answers: they take it, refuse it or close; what counts is that they go on.
        for address in [
            stack.fact("/producer/tcp"),
            stack.fact("/producer/syslog_tcp"),
        ] {
            if let Ok(mut stream) = TcpStream::connect(address) {
                stream.set_write_timeout(Some(ANSWER_MAX))?;
                let _closed = stream.write_all(&body);
            }
        }
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let datagram = body.get(..60_000).unwrap_or(&body);
        let _dropped = socket.send_to(datagram, stack.fact("/producer/syslog_udp"));
    }
    let answer = api.post(&own, &serde_json::json!("still there"))?;
    ensure!(
        answer.status < 300,
        "the daemon does not go on: {}",
        answer.text
    );
    Ok(())
}
