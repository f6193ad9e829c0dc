//! Keys beside each other, and requests that are the same again after a crash.

use super::*;
use crate::batch::Entry;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[test]
fn requests_are_the_same_after_a_crash() {
    let bench = Bench::new();
    let (url, requests) = server(vec![
        "503 Busy", "200 OK", "200 OK", "200 OK", "200 OK", "200 OK",
    ]);
    let config = json!({"endpoint_url": url});
    let begin = || bench.build("streaming_forwarder", &config);
    let mut hook = begin();
    hook.open().unwrap();
    hook.write(&entries(0..3)).unwrap_err();
    // Nothing of it is left but the registry.
    drop(hook);
    let mut hook = begin();
    assert_eq!(hook.open().unwrap().get("t", 0), Some(0));
    hook.write(&entries(0..5)).unwrap();
    drop(hook);
    let mut hook = begin();
    hook.open().unwrap();
    hook.write(&entries(0..7)).unwrap();
    let keys: Vec<_> = requests
        .iter()
        .map(|text| header(&text, "idempotency-key").unwrap().to_owned())
        .collect();
    let ends: Vec<&str> = keys.iter().map(|key| &key["c1/t/7/0/".len()..]).collect();
    assert_eq!(ends, ["0-2", "0-2", "3-4", "0-2", "3-4", "5-6"]);
    assert_eq!(
        bench
            .build_for("streaming_forwarder", &config, 8)
            .open()
            .unwrap()
            .get("t", 0),
        None,
        "a topic that was made again starts anew"
    );
    hook.rewind(&[("t".to_owned(), 0, 1)]).unwrap();
    assert_eq!(begin().open().unwrap().get("t", 0), Some(1));
}

/// What a server that answers many at once has seen.
#[derive(Default)]
struct Seen {
    /// Offset and answer, as they were answered.
    answered: Vec<(i64, u16)>,
    under_way: usize,
    most: usize,
}

/// A webhook for single records with a thread for each connection. It answers the first requests when
/// `together` are under way, and 503 to offsets in `refused` once.
fn crowd(together: usize, refused: Vec<i64>) -> (String, Arc<(Mutex<Seen>, Condvar)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let state = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
    let (shared, refused) = (Arc::clone(&state), Arc::new(Mutex::new(refused)));
    let answer = move |mut stream: std::net::TcpStream| {
        let text = request(&mut stream);
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        let record: Value = serde_json::from_str(body).unwrap();
        let offset = record["offset"].as_i64().unwrap();
        let (seen, changed) = &*shared;
        let mut seen = seen.lock().unwrap();
        seen.under_way += 1;
        seen.most = seen.most.max(seen.under_way);
        changed.notify_all();
        let limit = Duration::from_secs(20);
        let waited = changed.wait_timeout_while(seen, limit, |seen| seen.most < together);
        let mut seen = waited.unwrap().0;
        let mut refused = refused.lock().unwrap();
        let found = refused.iter().position(|at| *at == offset);
        let status = found.map_or(200, |at| {
            refused.remove(at);
            503
        });
        seen.under_way -= 1;
        seen.answered.push((offset, status));
        drop((seen, refused));
        let head = "content-length: 0\r\nconnection: close\r\n\r\n";
        stream
            .write_all(format!("HTTP/1.1 {status} X\r\n{head}").as_bytes())
            .unwrap();
    };
    let serve = move || {
        for stream in listener.incoming() {
            let (answer, stream) = (answer.clone(), stream.unwrap());
            let thread = std::thread::Builder::new().name("crowd".into());
            thread.spawn(move || answer(stream)).unwrap();
        }
    };
    let thread = std::thread::Builder::new().name("crowd".into());
    thread.spawn(serve).unwrap();
    (url, state)
}

/// Records of the keys a, b and c in turn.
fn keyed(offsets: std::ops::Range<i64>) -> Vec<Entry<'static>> {
    let mut batch = entries(offsets);
    for entry in &mut batch {
        entry.key = Some([&b"a"[..], b"b", b"c"][usize::try_from(entry.offset % 3).unwrap()]);
    }
    batch
}

fn by_key(url: &str) -> Value {
    json!({"endpoint_url": url, "mode": "single", "ordering": "key", "parallel": 2})
}

#[test]
fn keys_of_one_partition_go_side_by_side_and_each_in_its_order() {
    let bench = Bench::new();
    let (url, state) = crowd(2, Vec::new());
    let mut hook = bench.build("streaming_forwarder", &by_key(&url));
    hook.open().unwrap();
    hook.write(&keyed(0..12)).unwrap();
    assert_eq!(hook.open().unwrap().get("t", 0), Some(12));
    let seen = state.0.lock().unwrap();
    assert_eq!(seen.most, 2, "as many as are allowed");
    for key in 0..3 {
        let of_key = seen.answered.iter().filter(|(at, _)| at % 3 == key);
        let offsets: Vec<i64> = of_key.map(|(at, _)| *at).collect();
        assert_eq!(offsets, [key, key + 3, key + 6, key + 9]);
    }
}

#[test]
fn a_key_that_fails_holds_the_position_and_nothing_else_is_repeated() {
    let bench = Bench::new();
    let (url, state) = crowd(1, vec![4]);
    let mut hook = bench.build("streaming_forwarder", &by_key(&url));
    hook.open().unwrap();
    let error = hook.write(&keyed(0..9)).unwrap_err();
    assert_eq!(error.class, FailureClass::Transient);
    assert_eq!(
        hook.open().unwrap().get("t", 0),
        Some(4),
        "nothing behind the gap counts"
    );
    let sent = |from: usize| {
        let seen = state.0.lock().unwrap();
        let mut offsets: Vec<i64> = seen.answered[from..].iter().map(|(at, _)| *at).collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(sent(0), [0, 1, 2, 3, 4, 5, 6, 8], "7 waits behind 4");
    let before = sent(0).len();
    hook.write(&keyed(4..10)).unwrap();
    assert_eq!(sent(before), [4, 7, 9]);
    assert_eq!(hook.open().unwrap().get("t", 0), Some(10));
}

#[test]
fn batches_of_keys_that_share_a_lane_keep_their_order_and_have_keys_of_their_own() {
    let bench = Bench::new();
    let (url, requests) = server(vec!["200 OK"; 2]);
    let config = json!({"endpoint_url": url, "ordering": "key", "parallel": 1});
    let mut hook = bench.build("streaming_forwarder", &config);
    hook.write(&keyed(0..6)).unwrap();
    let text = requests.recv().unwrap();
    assert_eq!(header(&text, "idempotency-key"), Some("c1/t/7/0/0-5"));
}
