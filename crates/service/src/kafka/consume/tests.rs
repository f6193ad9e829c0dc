use super::*;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn client(bootstrap: &str) -> BaseConsumer {
    crate::kafka::client(bootstrap, "test")
        .set("group.id", "g")
        .set("statistics.interval.ms", "100")
        .create()
        .unwrap()
}

fn assign(client: &BaseConsumer, records: &Records<'_>, from: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Offset(from))
        .unwrap();
    records.lead("t", 0);
    client.assign(&list).unwrap();
}

/// Five hundred records: the eighth a tombstone, the tenth with headers.
fn fill(bootstrap: &str) {
    let producer: BaseProducer = crate::kafka::client(bootstrap, "p").create().unwrap();
    for n in 0..500_i64 {
        let (key, value) = (format!("k{n}"), vec![b'v'; usize::try_from(n).unwrap()]);
        let header = |key, value| Header { key, value };
        let headers = OwnedHeaders::new()
            .insert(header("h", Some("x")))
            .insert(header("h", None));
        let mut record = BaseRecord::<str, [u8]>::to("t")
            .key(&key)
            .timestamp(1000 + n);
        if n != 7 {
            record = record.payload(&value);
        }
        if n == 9 {
            record = record.headers(headers);
        }
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn records_come_whole_and_in_order_and_wake_their_taker_while_events_stay_with_the_client() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    fill(&bootstrap);
    let client = client(&bootstrap);
    let (wake, woken) = mpsc::channel();
    let mut records = Records::new(client.client(), move || {
        let _nobody_waits = wake.send(());
    });
    assign(&client, &records, 0);
    let (mut taken, until) = (Vec::new(), Instant::now() + PATIENCE);
    let mut served = false;
    while (taken.len() < 500 || !served) && Instant::now() < until {
        woken.recv_timeout(PATIENCE).unwrap();
        if records.has_events() {
            served = true;
            while records.has_events() {
                assert!(
                    client.poll(Duration::ZERO).is_none(),
                    "a record where events are"
                );
            }
        }
        loop {
            let before = taken.len();
            records.take(64, &mut taken, |error| panic!("{error}"));
            assert!(taken.len() <= before + 64);
            if taken.len() == before {
                break;
            }
        }
    }
    assert!(served, "statistics are events");
    assert_eq!(taken.len(), 500);
    for (record, n) in taken.iter().zip(0_i64..) {
        assert_eq!(
            (record.topic(), record.partition(), record.offset()),
            ("t", 0, n)
        );
        assert_eq!(record.key(), Some(format!("k{n}").as_bytes()));
        assert_eq!(record.timestamp(), Some(1000 + n));
        assert_eq!(record.payload().is_none(), n == 7);
        assert!(record.is_of_topic_of(&taken[0]));
    }
    assert_eq!(taken[8].payload(), Some(&[b'v'; 8][..]));
    assert_eq!(taken[9].headers(), [("h", Some(&b"x"[..])), ("h", None)]);
    assert!(taken[10].headers().is_empty());

    // Given away and taken again at once: librdkafka may forget where to lead the records.
    taken.clear();
    client.unassign().unwrap();
    assign(&client, &records, 400);
    while taken.len() < 100 && Instant::now() < until {
        records.lead("t", 0);
        records.take(1000, &mut taken, |error| panic!("{error}"));
        assert!(client.poll(Duration::from_millis(10)).is_none());
    }
    assert_eq!(taken.first().map(Taken::offset), Some(400));
    assert_eq!(taken.len(), 100);
}
