//! How far a consumer is behind, asked of Kafka itself.

use super::range::{Reader, Span};
use super::{blocking, kafka_problem};
use crate::batch::Entry;
use crate::clusters::{Cluster, Quiet, QuietConsumer};
use crate::context::Context;
use crate::store::consumers::Row;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::consumer::{Lag, PartitionLag};
use sluice_model::problem::Problem;
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use sluice_service::now;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that one question to Kafka may take.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Partitions whose oldest record is looked at.
const AGES_MAX: usize = 64;
/// Time that this may take together, and one wait of it.
const AGES_TIMEOUT: Duration = Duration::from_secs(2);
const AGES_SLICE: Duration = Duration::from_millis(250);
/// Ages that are remembered, and for how long.
const AGES_REMEMBERED: usize = 10_000;
const AGES_KEPT: Duration = Duration::from_secs(60);
/// A group answers only from its coordinator; a look must not start one.
const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(8);

/// A client that reads and writes a group's offsets without joining it. Blocks.
///
/// # Errors
/// When librdkafka cannot make it.
pub fn group_client(cluster: &Cluster, group: &str) -> Result<QuietConsumer, Problem> {
    let mut config = cluster
        .client("sluice-offsets")
        .map_err(|error| kafka_problem(error.to_string()))?;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false");
    config
        .create_with_context(Quiet)
        .map_err(|error| kafka_problem(error.to_string()))
}

/// Every partition of some topics. Blocks.
///
/// # Errors
/// When Kafka does not answer. Topics that are not there have no partitions.
pub fn partitions(cluster: &Cluster, topics: &[String]) -> Result<TopicPartitionList, Problem> {
    cluster.look(ASK_TIMEOUT).map_err(kafka_problem)?;
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let count = cluster.partitions(topic, ASK_TIMEOUT).unwrap_or(0);
        for partition in 0..count {
            list.add_partition(topic, partition);
        }
    }
    Ok(list)
}

/// The first and the next offset of a partition. Blocks.
///
/// # Errors
/// When Kafka does not answer.
pub fn bounds(cluster: &Cluster, topic: &str, partition: i32) -> Result<(i64, i64), Problem> {
    let inspector = cluster.inspector().map_err(kafka_problem)?;
    inspector
        .fetch_watermarks(topic, partition, ASK_TIMEOUT)
        .map_err(|error| kafka_problem(format!("the ends of {topic}-{partition}: {error}")))
}

/// The committed offsets of a group. Blocks.
///
/// # Errors
/// When the group's coordinator does not answer.
pub fn committed(
    cluster: &Cluster,
    group: &str,
    list: TopicPartitionList,
) -> Result<BTreeMap<(String, i32), i64>, Problem> {
    if list.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let client = group_client(cluster, group)?;
    let found = client
        .committed_offsets(list, COORDINATOR_TIMEOUT)
        .map_err(|error| kafka_problem(format!("the offsets of the group {group}: {error}")))?;
    let offsets = found
        .elements()
        .into_iter()
        .filter_map(|element| match element.offset() {
            Offset::Offset(offset) => {
                Some(((element.topic().to_owned(), element.partition()), offset))
            }
            _ => None,
        });
    Ok(offsets.collect())
}

/// How far a consumer is behind.
///
/// # Errors
/// When Kafka does not answer in time.
pub async fn lag(context: &Context, row: &Row) -> Result<Lag, Failure> {
    let (_, report) = context.manager.look(row);
    let cluster = super::offsets::cluster_of(context, row)?;
    let (topics, group) = (row.topics.clone(), row.consumer_group.clone());
    blocking(move || {
        let rows = measure(&cluster, &topics, &group)?;
        let written = oldest(&cluster, &rows);
        Ok(summary(rows, &report.positions, &written, now()))
    })
    .await
}

type Measured = ((String, i32), Option<i64>, i64);

fn measure(
    cluster: &Arc<Cluster>,
    topics: &[String],
    group: &str,
) -> Result<Vec<Measured>, Problem> {
    let list = partitions(cluster, topics)?;
    let committed = committed(cluster, group, list.clone())?;
    let mut rows = Vec::with_capacity(list.count());
    for element in list.elements() {
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let (_, end) = bounds(cluster, &topic, partition)?;
        let at = committed.get(&(topic.clone(), partition)).copied();
        rows.push(((topic, partition), at, end));
    }
    Ok(rows)
}

/// When the oldest record that is not committed was written, by partition. What is not found in time is
/// left out: the answer is worth more than the age.
fn oldest(cluster: &Cluster, rows: &[Measured]) -> BTreeMap<(String, i32), i64> {
    let until = Instant::now() + AGES_TIMEOUT;
    let mut found = BTreeMap::new();
    let mut asked: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    let behind = rows.iter().filter_map(|(key, committed, end)| {
        let from = committed.filter(|at| at < end)?;
        Some((key, from, *end))
    });
    for (key, from, to) in behind.take(AGES_MAX) {
        let known = (cluster.name.clone(), key.0.clone(), key.1, from);
        if let Some(at) = remembered(&known) {
            found.insert(key.clone(), at);
            continue;
        }
        asked.entry(&key.0).or_default().push(Span {
            partition: key.1,
            from,
            to,
        });
    }
    for (topic, spans) in asked {
        let Ok(mut reader) = Reader::open(cluster, "sluice-lag", topic, &spans) else {
            continue;
        };
        let mut missing = spans.len();
        while missing > 0 && Instant::now() < until {
            let Ok(Some(messages)) = reader.next(spans.len(), AGES_SLICE) else {
                break;
            };
            for message in messages {
                let key = (topic.to_owned(), message.partition());
                let (Some(ms), false) = (Entry::of(&message).timestamp, found.contains_key(&key))
                else {
                    continue;
                };
                let from = spans.iter().find(|span| span.partition == key.1);
                let from = from.map_or(message.offset(), |span| span.from);
                remember((cluster.name.clone(), topic.to_owned(), key.1, from), ms);
                found.insert(key, ms);
                missing -= 1;
            }
        }
    }
    found
}

/// The place of a record: cluster, topic, partition, offset.
type Place = (String, String, i32, i64);

/// When records were written that were looked at lately: a consumer that stands still is asked often.
static AGES: LazyLock<Mutex<HashMap<Place, (Instant, i64)>>> = LazyLock::new(Mutex::default);

fn remembered(place: &Place) -> Option<i64> {
    let ages = AGES.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, ms) = ages.get(place)?;
    (at.elapsed() < AGES_KEPT).then_some(*ms)
}

fn remember(place: Place, ms: i64) {
    let mut ages = AGES.lock().unwrap_or_else(PoisonError::into_inner);
    if ages.len() >= AGES_REMEMBERED {
        ages.clear();
    }
    ages.insert(place, (Instant::now(), ms));
}

fn summary(
    rows: Vec<Measured>,
    positions: &BTreeMap<(String, i32), i64>,
    written: &BTreeMap<(String, i32), i64>,
    now: Timestamp,
) -> Lag {
    let age = |key: &(String, i32)| {
        let ms = written.get(key)?;
        Some((now.as_millis() - ms).max(0) / 1000)
    };
    let partitions: Vec<PartitionLag> = rows
        .into_iter()
        .map(|(key, committed, end)| {
            let lag = committed.map(|at| (end - at).max(0));
            PartitionLag {
                // The age of the oldest record that waits; nothing waits: 0.
                lag_seconds: if lag == Some(0) { lag } else { age(&key) },
                position: positions.get(&key).copied(),
                topic: key.0,
                partition: key.1,
                committed,
                end: Some(end),
                lag,
            }
        })
        .collect();
    let known = partitions.iter().filter_map(|partition| partition.lag);
    let total_lag = known.fold(None, |sum: Option<i64>, lag| Some(sum.unwrap_or(0) + lag));
    Lag {
        total_lag,
        partitions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_committed_is_null_and_not_zero() {
        let rows = vec![(("t".to_owned(), 0), None, 5)];
        let lag = summary(
            rows,
            &BTreeMap::new(),
            &BTreeMap::new(),
            Timestamp::from_millis(0),
        );
        assert_eq!(
            (lag.total_lag, lag.partitions[0].lag, lag.partitions[0].end),
            (None, None, Some(5))
        );
        let rows = vec![
            (("t".to_owned(), 0), Some(2), 5),
            (("t".to_owned(), 1), Some(9), 9),
        ];
        let written = BTreeMap::from([(("t".to_owned(), 0), 5_000)]);
        let positions = BTreeMap::from([(("t".to_owned(), 0), 3)]);
        let lag = summary(rows, &positions, &written, Timestamp::from_millis(12_500));
        assert_eq!(lag.partitions[0].lag_seconds, Some(7));
        assert_eq!(
            (lag.total_lag, lag.partitions[0].position),
            (Some(3), Some(3))
        );
        assert_eq!(lag.partitions[1].lag_seconds, Some(0));
    }
}
