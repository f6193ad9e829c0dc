//! The two Kafka clients of a publisher: lone records and bulk take different ways, in one order.

use crate::harness::{Daemon, Mock, PATIENCE, cluster, delivered, held, start};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sluice_model::producer::FlowState;
use sluice_service::telemetry::metrics;
use std::time::{Duration, Instant};

/// Records of one batch of bulk.
const BULK: u32 = 5_000;
/// Batches of bulk at one time.
const BATCHES: u32 = 3;
/// Partitions that the harness gives to a topic.
const PARTITIONS: i32 = 2;

/// How often topics of this process changed to a gear.
fn shifts(gear: &str) -> u64 {
    let text = metrics().render();
    let name = format!("producer_gear_shifts_total{{gear=\"{gear}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

/// All values of a topic, those of each partition in their order.
fn values(cluster: &Mock, topic: &str, wanted: usize) -> Vec<Vec<u32>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "check")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut found = vec![Vec::new(); PARTITIONS as usize];
    let end = Instant::now() + PATIENCE;
    while found.iter().map(Vec::len).sum::<usize>() < wanted {
        assert!(Instant::now() < end, "not all records are there");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        found[message.partition() as usize].push(value.parse().unwrap());
    }
    found
}

/// Sends a lone record and bulk behind it without waiting, and waits for the answers; gives the number of
/// the next record.
fn burst(daemon: &mut Daemon, topic: &str, first: u32) -> u32 {
    let mut next = first + 1;
    daemon.submit(topic, first..next);
    for _ in 0..BATCHES {
        daemon.submit(topic, next..next + BULK);
        next += BULK;
    }
    for _ in 0..=BATCHES {
        let fates = daemon.outcome().fates;
        assert_eq!(delivered(&fates), fates.len());
    }
    next
}

/// Sends lone records until the topic is in the quick gear again.
fn calm(daemon: &mut Daemon, topic: &str, mut next: u32) -> u32 {
    let (before, end) = (shifts("quick"), Instant::now() + PATIENCE);
    while shifts("quick") == before {
        assert!(Instant::now() < end, "the topic stays in the gear of bulk");
        assert_eq!(delivered(&daemon.send(topic, next..next + 1)), 1);
        next += 1;
    }
    next
}

#[test]
fn lone_records_and_bulk_take_two_clients_and_nothing_overtakes_or_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    metrics();
    let mut daemon = start(&cluster, dir.path(), &["spill_after=20s"]);
    daemon.until_kafka_answers();
    let before = shifts("bulk");
    let mut next = 0;
    for _ in 0..4 {
        next = burst(&mut daemon, "orders", next);
        next = calm(&mut daemon, "orders", next);
    }
    assert!(shifts("bulk") >= before + 4, "every burst shifts the gear");
    let found = values(&cluster, "orders", next as usize);
    for partition in &found {
        assert!(partition.is_sorted_by(|a, b| a < b), "a record overtook");
    }
    let mut all = found.concat();
    all.sort_unstable();
    assert_eq!(all, (0..next).collect::<Vec<_>>(), "each is there once");
    daemon.stop();
}

#[test]
fn bulk_that_waits_for_its_shift_in_an_outage_is_held_and_flows_in_order_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let mut daemon = start(&cluster, dir.path(), &["spill_after=200ms"]);
    daemon.until_kafka_answers();
    assert_eq!(delivered(&daemon.send("orders", 0..1)), 1);
    cluster.broker_down(1).unwrap();
    daemon.submit("orders", 1..2);
    daemon.submit("orders", 2..2 + BULK);
    let held_records: usize = (0..2)
        .map(|_| held(&daemon.outcome().fates, "active"))
        .sum();
    assert_eq!(held_records, BULK as usize + 1);
    daemon.until_state("orders", FlowState::Paused);
    cluster.broker_up(1).unwrap();
    daemon.until("the way back", |status| status.held == 0);
    let found = values(&cluster, "orders", BULK as usize + 2);
    for partition in &found {
        assert!(partition.is_sorted_by(|a, b| a < b), "a record overtook");
    }
    daemon.stop();
}
