//! Many viewers of one topic: whether each gets every record, how late, and what it costs.

use crate::bench::{Bench, row};
use crate::figures::percentile;
use crate::process::Process;
use memchr::memmem::Finder;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sluice_e2e::Outcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Viewers of the topic.
const VIEWERS: u64 = 2000;
/// Records per second, and how many of them.
const RATE: u64 = 1000;
const RECORDS: u64 = 20_000;
/// One viewer of so many looks at every record; the others count.
const CAREFUL: u64 = 100;
/// Viewers that connect at one time.
const CONNECTING: usize = 64;
/// Time for everybody to connect, and for the last record after it was sent.
const PATIENCE: Duration = Duration::from_secs(120);
const TOPIC: &str = "bench_viewers";

/// What all viewers have seen.
#[derive(Debug, Default)]
struct Seen {
    ready: AtomicU64,
    events: AtomicU64,
    done: AtomicU64,
    lost: AtomicU64,
    late_ms: std::sync::Mutex<Vec<f64>>,
}

pub(crate) fn run(bench: &Bench) -> Outcome {
    bench.topic(TOPIC, 1)?;
    let process = Process::of(bench, "consumer_api")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let seen = Arc::new(Seen::default());
    let address = bench
        .fact("/consumer_api/url")
        .trim_start_matches("http://")
        .to_owned();
    let request = format!(
        "GET /stream?topics={TOPIC} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
        bench.fact("/tokens/viewer")
    );
    let turns = Arc::new(Semaphore::new(CONNECTING));
    for number in 0..VIEWERS {
        let (seen, address, request) = (Arc::clone(&seen), address.clone(), request.clone());
        let turns = Arc::clone(&turns);
        runtime.spawn(async move {
            let turn = turns.acquire_owned().await;
            let stream = connect(&address, &request).await;
            drop(turn);
            if let Ok(stream) = stream {
                view(stream, &seen, number % CAREFUL == 0).await.ok();
            }
        });
    }
    reach("every viewer is there", &seen.ready, VIEWERS)?;
    let (peak, cpu, started) = (process.watch()?, process.cpu_s()?, Instant::now());
    send(bench)?;
    let all = reach("every viewer has every record", &seen.done, VIEWERS);
    let (took, cpu) = (started.elapsed().as_secs_f64(), process.cpu_s()? - cpu);
    let events = seen.events.load(Ordering::Acquire);
    let late = seen
        .late_ms
        .lock()
        .map_err(|_| "a viewer panicked")?
        .clone();
    row(
        &format!(
            "{VIEWERS} SSE viewers of one topic, {RATE} records/s of 100 B for {} s",
            RECORDS / RATE
        ),
        &format!(
            "{events} events, {} out of order or lost; late p50 {:.0}, p99 {:.0} ms; {} MB, {:.2} cores",
            seen.lost.load(Ordering::Acquire) + VIEWERS * RECORDS - events,
            percentile(late.clone(), 0.5),
            percentile(late, 0.99),
            peak.mb(),
            cpu / took
        ),
        &format!("{} events, 300 MB", VIEWERS * RECORDS),
        None,
    );
    runtime.shutdown_background();
    all
}

fn reach(what: &str, count: &AtomicU64, wanted: u64) -> Outcome {
    let until = Instant::now() + PATIENCE;
    while count.load(Ordering::Acquire) < wanted {
        if Instant::now() > until {
            let reached = count.load(Ordering::Acquire);
            return Err(format!("waited in vain until {what}: {reached} of {wanted}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_millis())
}

/// Sends at an even pace, straight to Kafka.
fn send(bench: &Bench) -> Outcome {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bench.bootstrap())
        .set("linger.ms", "0")
        .create()?;
    let started = Instant::now();
    for number in 0..RECORDS {
        let due = started + Duration::from_micros(number * 1_000_000 / RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let value = format!("{:<100}", format!("sent at {};", now_ms()));
        let record = BaseRecord::<(), str>::to(TOPIC).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    Ok(producer.flush(PATIENCE)?)
}

async fn connect(address: &str, request: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Takes the answer's head and the sizes of its chunks away.
#[derive(Debug, Default)]
struct Body {
    raw: Vec<u8>,
    /// Bytes of the chunk at hand that are still to come, with its line break; none in the head.
    left: Option<usize>,
}

impl Body {
    /// Moves what is there of the body to `text`.
    fn take(&mut self, text: &mut Vec<u8>) -> Outcome {
        let mut at = 0;
        loop {
            let rest = self.raw.get(at..).unwrap_or_default();
            match self.left {
                None => {
                    let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") else {
                        break;
                    };
                    at += end + 4;
                    self.left = Some(0);
                }
                Some(0) => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        break;
                    };
                    let size = std::str::from_utf8(rest.get(..end).unwrap_or_default())?;
                    self.left = Some(usize::from_str_radix(size.trim(), 16)? + 2);
                    at += end + 1;
                }
                Some(left) => {
                    let piece = rest.get(..left.min(rest.len())).unwrap_or_default();
                    if piece.is_empty() {
                        break;
                    }
                    let body = piece.len().min(left.saturating_sub(2));
                    text.extend_from_slice(piece.get(..body).unwrap_or_default());
                    at += piece.len();
                    self.left = Some(left - piece.len());
                }
            }
        }
        self.raw.drain(..at);
        Ok(())
    }
}

/// Reads one stream to its last record.
async fn view(mut stream: TcpStream, seen: &Seen, careful: bool) -> Outcome {
    let (beat, record) = (
        Finder::new("event: heartbeat"),
        Finder::new("event: record"),
    );
    let (mut body, mut text) = (Body::default(), Vec::new());
    body.raw.reserve(32 * 1024);
    let (mut ready, mut mine, mut next) = (false, 0, None);
    while mine < RECORDS {
        if stream.read_buf(&mut body.raw).await? == 0 {
            return Err("the stream ended".into());
        }
        body.take(&mut text)?;
        // What comes after the last line break is not whole yet.
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        let part = text.get(..whole).unwrap_or_default();
        if !ready && beat.find(part).is_some() {
            ready = true;
            seen.ready.fetch_add(1, Ordering::AcqRel);
        }
        let found = record.find_iter(part).count() as u64;
        if careful {
            look(part, &mut next, seen);
        }
        mine += found;
        seen.events.fetch_add(found, Ordering::AcqRel);
        text.drain(..whole);
    }
    seen.done.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

/// Checks that offsets follow one another, and how late the records come.
fn look(text: &[u8], next: &mut Option<u64>, seen: &Seen) {
    let text = String::from_utf8_lossy(text);
    let number = |line: &str, name: &str| -> Option<u64> {
        let (_, rest) = line.split_once(name)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let mut late = Vec::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("data: {\"topic\""))
    {
        let offset = number(line, "\"offset\":");
        if next.is_some() && offset != *next {
            seen.lost.fetch_add(1, Ordering::AcqRel);
        }
        *next = offset.map(|offset| offset + 1);
        if let Some(sent) = number(line, "sent at ") {
            late.push(now_ms().saturating_sub(u128::from(sent)) as f64);
        }
    }
    if let Ok(mut all) = seen.late_ms.lock() {
        all.extend(late);
    }
}
