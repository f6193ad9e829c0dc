//! Where reading begins: what a caller asks for, as offsets of Kafka. These calls block.

use super::cursor::Place;
use crate::app::kafka_problem;
use crate::app::lag::ASK_TIMEOUT;
use crate::clusters::Cluster;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;
use sluice_model::problem::Problem;

/// What Kafka takes for the instant of its first record, and of its end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Where a reader starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the end.
    Latest,
    /// At the first record that is still there.
    Earliest,
    /// Where a cursor was.
    At(Place),
    /// At the first record of an instant (milliseconds since the epoch).
    Time(i64),
}

/// Records that a cursor has not seen and that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Gap {
    /// Of which partition.
    pub partition: i32,
    /// The first that is missing.
    pub from: i64,
    /// The first that is there.
    pub to: i64,
}

/// The first and the next offset of every partition of a topic.
///
/// # Errors
/// When Kafka does not answer in time, or has no such topic.
pub fn ends(cluster: &Cluster, topic: &str) -> Result<Vec<(i64, i64)>, Problem> {
    let count = cluster
        .partitions(topic, ASK_TIMEOUT)
        .map_err(kafka_problem)?;
    let (low, high) = (
        offsets(cluster, topic, count, EARLIEST)?,
        offsets(cluster, topic, count, LATEST)?,
    );
    let known = |offset: Option<i64>| {
        offset.ok_or_else(|| kafka_problem(format!("Kafka does not tell the ends of {topic}")))
    };
    low.into_iter()
        .zip(high)
        .map(|(low, high)| Ok((known(low)?, known(high)?)))
        .collect()
}

/// The first offset of an instant, for every partition; none where it lies behind the end. One question
/// for all of them.
fn offsets(
    cluster: &Cluster,
    topic: &str,
    count: i32,
    ms: i64,
) -> Result<Vec<Option<i64>>, Problem> {
    let text = |error: rdkafka::error::KafkaError| {
        kafka_problem(format!("the offsets of {topic}: {error}"))
    };
    let mut ask = TopicPartitionList::new();
    for partition in 0..count {
        ask.add_partition_offset(topic, partition, Offset::from_raw(ms))
            .map_err(text)?;
    }
    let inspector = cluster.inspector().map_err(kafka_problem)?;
    let found = inspector
        .offsets_for_times(ask, ASK_TIMEOUT)
        .map_err(text)?;
    let mut offsets = vec![None; usize::try_from(count).unwrap_or_default()];
    for element in found.elements() {
        element.error().map_err(text)?;
        let place = usize::try_from(element.partition())
            .ok()
            .and_then(|index| offsets.get_mut(index));
        if let (Some(place), Offset::Offset(offset)) = (place, element.offset()) {
            *place = Some(offset);
        }
    }
    Ok(offsets)
}

/// The offsets to read from, and what is missing before them.
///
/// # Errors
/// When Kafka does not answer in time, or has no such topic.
pub fn resolve(
    cluster: &Cluster,
    topic: &str,
    topic_id: i64,
    start: &Start,
) -> Result<(Place, Vec<Gap>), Problem> {
    let ends = ends(cluster, topic)?;
    let times = match start {
        Start::Time(ms) => offsets(
            cluster,
            topic,
            i32::try_from(ends.len()).unwrap_or(i32::MAX),
            (*ms).max(0),
        )?,
        _ => Vec::new(),
    };
    let mut gaps = Vec::new();
    let mut next = Vec::with_capacity(ends.len());
    for (partition, (low, high)) in (0..).zip(ends) {
        let index = next.len();
        next.push(match start {
            Start::Time(_) => times.get(index).copied().flatten().unwrap_or(high),
            other => first(other, index, low, high),
        });
        gaps.extend(gap(start, partition, low, high));
    }
    Ok((Place { topic_id, next }, gaps))
}

/// The first offset to read of a partition.
fn first(start: &Start, partition: usize, low: i64, high: i64) -> i64 {
    match start {
        Start::Earliest => low,
        Start::Latest | Start::Time(_) => high,
        Start::At(place) => match place.next.get(partition).copied().filter(|next| *next >= 0) {
            // A partition that came after the cursor was written is new from its first record.
            None => low,
            Some(next) if next < low || next > high => low,
            Some(next) => next,
        },
    }
}

/// The records between where a cursor was and what is still there.
fn gap(start: &Start, partition: i32, low: i64, high: i64) -> Option<Gap> {
    let Start::At(place) = start else { return None };
    let from = place.next.get(usize::try_from(partition).ok()?).copied()?;
    (from >= 0 && (from < low || from > high)).then_some(Gap {
        partition,
        from,
        to: low,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_start_where_they_should_and_say_what_is_gone() {
        let at = |next: Vec<i64>| Start::At(Place { topic_id: 1, next });
        for (start, want, want_gap) in [
            (Start::Latest, 90, None),
            (Start::Earliest, 10, None),
            (at(vec![50]), 50, None),
            (at(vec![90]), 90, None),
            (at(vec![3]), 10, Some((3, 10))),
            (at(vec![95]), 10, Some((95, 10))),
            (at(vec![-1]), 10, None),
            (at(vec![]), 10, None),
        ] {
            assert_eq!(first(&start, 0, 10, 90), want, "{start:?}");
            let found = gap(&start, 0, 10, 90).map(|gap| (gap.from, gap.to));
            assert_eq!(found, want_gap, "{start:?}");
        }
    }
}
