//! Workers against librdkafka's broker in this process, named after what the reference system got wrong.

use super::*;
use crate::batch::Entry;
use crate::processors::SinkError;
use crate::status::view;
use crate::watermark::Positions;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sluice_model::consumer::{Desired, Status};
use sluice_service::kafka::KafkaSettings;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[test]
fn delays_grow_and_start_anew_when_a_user_says_so() {
    let mut backoff = Backoff::new(
        Duration::from_secs(1),
        Duration::from_secs(10),
        Duration::from_secs(600),
    );
    let seconds: Vec<_> = (0..4).map(|_| backoff.delay().as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8]);
    backoff.healthy();
    assert_eq!(
        backoff.delay().as_secs(),
        16,
        "a short recovery does not reset"
    );
    backoff.reset();
    assert_eq!(backoff.delay().as_secs(), 1);
}

#[test]
fn a_kick_or_an_order_ends_the_wait() {
    let link = Link::new(Order::Stop);
    let mut backoff = Backoff::new(
        Duration::from_secs(1),
        Duration::from_secs(1),
        Duration::from_secs(1),
    );
    wait(&link, Duration::from_secs(3600), &mut backoff);
}

/// An offset and its value.
type Written = (i64, Option<Vec<u8>>);

/// A sink in memory that fails as long as it is told to.
#[derive(Clone, Default)]
struct Memory {
    rows: Arc<Mutex<Vec<Written>>>,
    failing: Arc<AtomicBool>,
}

impl Memory {
    fn offsets(&self) -> Vec<i64> {
        self.rows
            .lock()
            .unwrap()
            .iter()
            .map(|(offset, _)| *offset)
            .collect()
    }
}

impl Processor for Memory {
    fn open(&mut self) -> Result<Positions, SinkError> {
        Ok(Positions::default())
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        if self.failing.load(Ordering::Acquire) {
            return Err(SinkError::transient("the disk is full"));
        }
        let rows = batch
            .iter()
            .map(|entry| (entry.offset, entry.value.map(<[u8]>::to_vec)));
        self.rows.lock().unwrap().extend(rows);
        Ok(())
    }

    fn rewind(&mut self, _targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// librdkafka's broker in this process: what breaks on command.
struct Broker {
    mock: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    producer: BaseProducer,
}

impl Broker {
    fn new() -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("t", 1, 1).unwrap();
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", mock.bootstrap_servers());
        Self {
            mock,
            producer: config.create().unwrap(),
        }
    }

    fn send(&self, values: &[Option<&[u8]>]) {
        for value in values {
            let mut record = BaseRecord::<[u8], [u8]>::to("t").partition(0);
            record.payload = *value;
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .unwrap();
        }
        self.producer.flush(WAIT).unwrap();
    }

    fn worker(&self, sink: &Memory) -> Worker {
        let kafka = KafkaSettings {
            properties: std::collections::BTreeMap::new(),
            bootstrap: self.mock.bootstrap_servers(),
            security_protocol: "plaintext".to_owned(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password_file: PathBuf::new(),
            ssl_ca_file: PathBuf::new(),
        };
        let job = Job {
            consumer_id: "c".to_owned(),
            cluster: Arc::new(Cluster::new("governed", kafka, None)),
            topics: vec![("t".to_owned(), 7)],
            group: "g".to_owned(),
            client_id: "c".to_owned(),
            processors: vec![("memory".to_owned(), Box::new(sink.clone()))],
            letters: None,
            breaker: Breaker::new(10, 100),
            auto_offset_reset: AutoOffsetReset::Earliest,
            prefetch: Prefetch::new(1 << 27),
            settings: ConsumersSettings {
                batch_records: 100,
                batch_bytes: 1_000_000,
                batch_age: Duration::from_millis(20),
                retry_min: Duration::from_millis(50),
                retry_max: Duration::from_millis(100),
                retry_environment: Duration::from_millis(50),
                stall_after: Duration::from_secs(60),
                prefetch_bytes: 1 << 27,
                stop_timeout: Duration::from_secs(10),
            },
        };
        Worker::start(job, Order::Run).unwrap()
    }
}

const WAIT: Duration = Duration::from_secs(40);

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn status(worker: &Worker) -> Status {
    view(Desired::Running, None, &worker.link.report()).status
}

fn end(worker: &Worker, order: Order) {
    worker.link.order(order);
    until("the worker ends", || worker.ended());
}

#[test]
fn stop_then_start_reads_what_came_meanwhile() {
    let (broker, sink) = (Broker::new(), Memory::default());
    broker.send(&[Some(b"a"), None, Some(&[0xff])]);
    let first = broker.worker(&sink);
    until("three records", || sink.offsets().len() == 3);
    assert_eq!(status(&first), Status::Active);
    end(&first, Order::Stop);
    assert_eq!(
        sink.rows.lock().unwrap()[1].1,
        None,
        "a tombstone stays one"
    );
    broker.send(&[Some(b"d"), Some(b"e")]);
    let second = broker.worker(&sink);
    until("five records", || sink.offsets().len() >= 5);
    end(&second, Order::Stop);
    assert_eq!(sink.offsets(), [0, 1, 2, 3, 4], "none twice, none missing");
}

#[test]
fn a_failing_sink_is_an_error_and_loses_nothing() {
    let (broker, sink) = (Broker::new(), Memory::default());
    sink.failing.store(true, Ordering::Release);
    broker.send(&[Some(b"a".as_slice()); 10]);
    let worker = broker.worker(&sink);
    until("several tries", || {
        worker
            .link
            .report()
            .processors
            .first()
            .is_some_and(|p| p.failures > 2)
    });
    assert_eq!(status(&worker), Status::Error);
    let detail = view(Desired::Running, None, &worker.link.report()).detail;
    assert!(
        detail.contains("memory fails: the disk is full; tries again at"),
        "{detail}"
    );
    sink.failing.store(false, Ordering::Release);
    until("it heals", || status(&worker) == Status::Active);
    assert_eq!(sink.offsets(), (0..10).collect::<Vec<_>>());
    sink.failing.store(true, Ordering::Release);
    broker.send(&[Some(b"b")]);
    until("it fails again", || status(&worker) == Status::Error);
    end(&worker, Order::Stop);
    sink.failing.store(false, Ordering::Release);
    let again = broker.worker(&sink);
    until("the record that failed is read again", || {
        sink.offsets().len() == 11
    });
    end(&again, Order::Stop);
}

#[test]
fn a_dead_broker_is_an_error_with_a_reason_and_heals_by_itself() {
    let (broker, sink) = (Broker::new(), Memory::default());
    broker.send(&[Some(b"a")]);
    broker.mock.broker_down(1).unwrap();
    let worker = broker.worker(&sink);
    until("it says so", || status(&worker) == Status::Error);
    assert!(
        view(Desired::Running, None, &worker.link.report())
            .detail
            .starts_with("kafka fails")
    );
    broker.mock.broker_up(1).unwrap();
    until("it heals", || {
        status(&worker) == Status::Active && sink.offsets() == [0]
    });
    broker.mock.broker_down(1).unwrap();
    until("it notices", || status(&worker) == Status::Error);
    worker.link.order(Order::Stop);
    // Leaving a group whose broker is gone may take librdkafka as long as it likes; managers do not wait for it.
    broker.mock.broker_up(1).unwrap();
    end(&worker, Order::Stop);
}

#[test]
fn a_drain_reads_what_is_there_and_ends() {
    let (broker, sink) = (Broker::new(), Memory::default());
    broker.send(&[Some(b"a".as_slice()); 500]);
    let worker = broker.worker(&sink);
    until("it has started", || !sink.offsets().is_empty());
    end(&worker, Order::Drain);
    assert_eq!(sink.offsets().len(), 500);
}

#[test]
fn a_paused_worker_reads_nothing_until_it_is_resumed() {
    let (broker, sink) = (Broker::new(), Memory::default());
    let worker = broker.worker(&sink);
    until("it runs", || status(&worker) == Status::Active);
    worker.link.order(Order::Pause);
    until("it pauses", || worker.link.report().phase == Phase::Paused);
    broker.send(&[Some(b"a")]);
    worker.link.order(Order::Run);
    until("it reads", || sink.offsets() == [0]);
    end(&worker, Order::Stop);
}
