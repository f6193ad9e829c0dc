//! Batches over HTTP beside the floor: keep-alive connections, each sends its next request when the
//! last one is answered.

use super::floor;
use crate::bench::{Bench, row};
use crate::figures::{Times, median, per_second};
use sluice_e2e::{Outcome, ensure};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections at one time.
const CONNECTIONS: usize = 8;
/// Time of one measurement.
const TIME: Duration = Duration::from_secs(3);
/// Records of a request.
const BATCHES: [usize; 3] = [1, 100, 1000];
/// Bytes of a value.
const SIZES: [usize; 2] = [100, 1024];

/// One server under load.
struct Figures {
    per_second: f64,
    times: Times,
}

pub(super) fn run(bench: &Bench) -> Outcome {
    let topic = "bench_http";
    bench.topic(topic, 4)?;
    let floor = floor::start(bench.bootstrap(), topic)?;
    let ours: SocketAddr = bench
        .fact("/producer/http")
        .trim_start_matches("http://")
        .parse()?;
    for size in SIZES {
        for batch in BATCHES {
            compare(bench, (ours, floor), (topic, size, batch))?;
        }
    }
    Ok(())
}

/// Measures both servers in turn.
fn compare(
    bench: &Bench,
    (ours, floor): (SocketAddr, SocketAddr),
    (topic, size, batch): (&str, usize, usize),
) -> Outcome {
    let token = bench.fact("/tokens/producer");
    // Values are JSON texts; their quotes are no part of a record.
    let body = format!("\"{}\"\n", "x".repeat(size)).repeat(batch);
    let head = format!(
        "POST /topics/{topic} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = head + &body;
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    let (mut my_times, mut their_times) = (Times::default(), Times::default());
    load(floor, &request, batch)?;
    load(ours, &request, batch)?;
    for _ in 0..bench.rounds {
        let figures = load(floor, &request, batch)?;
        theirs.push(figures.per_second);
        their_times.extend(figures.times);
        let figures = load(ours, &request, batch)?;
        mine.push(figures.per_second);
        my_times.extend(figures.times);
    }
    let (mine, theirs) = (median(mine), median(theirs));
    row(
        &format!("HTTP, {batch} a request, {size} B, {CONNECTIONS} connections"),
        &format!("{} ({my_times})", per_second(mine)),
        &format!("floor server {} ({their_times})", per_second(theirs)),
        Some(mine / theirs),
    );
    Ok(())
}

fn load(address: SocketAddr, request: &str, batch: usize) -> Outcome<Figures> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(move || client(address, request)))
            .collect();
        let mut times = Times::default();
        let mut requests = 0;
        for client in clients {
            let more = client.join().map_err(|_| "a client panicked")??;
            requests += more.count();
            times.extend(more);
        }
        Ok(Figures {
            per_second: (requests * batch) as f64 / TIME.as_secs_f64(),
            times,
        })
    })
}

fn client(address: SocketAddr, request: &str) -> Outcome<Times> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut body) = (String::new(), Vec::new());
    let mut times = Times::default();
    let ends = Instant::now() + TIME;
    while Instant::now() < ends {
        let began = Instant::now();
        stream.write_all(request.as_bytes())?;
        line.clear();
        reader.read_line(&mut line)?;
        ensure!(line.contains(" 200 "), "answered {line:?}");
        let mut length = 0;
        while !line.trim_end().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        times.push(began.elapsed());
    }
    Ok(times)
}
