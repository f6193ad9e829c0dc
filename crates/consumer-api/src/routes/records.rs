//! Reading one page of records, without a group and without a trace.

use crate::app::kafka_problem;
use crate::app::lag::{ASK_TIMEOUT, bounds};
use crate::batch::Entry;
use crate::clusters::{Cluster, Quiet, QuietConsumer};
use crate::stream::cursor::{Cursor, Place};
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;
use sluice_model::problem::Problem;
use sluice_model::record::Record;
use std::time::{Duration, Instant};

/// Bytes of records on one page; the one that passes it is the last.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Time that one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(8);
/// Time that one wait for a record takes.
const SLICE: Duration = Duration::from_millis(50);

/// What a page is of.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) topic: String,
    pub(super) topic_id: i64,
    /// One partition, or all.
    pub(super) partition: Option<i32>,
    /// The first offset; none for the end.
    pub(super) from: Option<i64>,
    /// Where a cursor was.
    pub(super) place: Option<Place>,
    pub(super) limit: usize,
}

/// A page of records.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Listing {
    /// The records, in order within each partition.
    records: Vec<Record>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A partition of a page: from where, up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    partition: i32,
    next: i64,
    end: i64,
}

fn spans(cluster: &Cluster, asked: &Asked) -> Result<Vec<Span>, Problem> {
    let count = cluster
        .partitions(&asked.topic, ASK_TIMEOUT)
        .map_err(kafka_problem)?;
    if asked.partition.is_some_and(|partition| partition >= count) {
        let message = format!("{} has the partitions 0 to {}", asked.topic, count - 1);
        return Err(Problem::invalid("partition", message));
    }
    let place = asked
        .place
        .as_ref()
        .filter(|place| place.topic_id == asked.topic_id);
    let wanted = (0..count).filter(|p| asked.partition.is_none_or(|only| only == *p));
    let span = |partition: i32| {
        let (low, end) = bounds(cluster, &asked.topic, partition)?;
        let index = usize::try_from(partition).unwrap_or_default();
        let seen = place.and_then(|place| place.next.get(index).copied());
        let from = match (place.is_some(), seen) {
            (true, Some(next)) if next >= 0 => next,
            (true, _) => low,
            (false, _) => asked.from.unwrap_or(end),
        };
        Ok(Span {
            partition,
            next: from.clamp(low, end.max(low)),
            end,
        })
    };
    wanted.map(span).collect()
}

fn reader(cluster: &Cluster, topic: &str, spans: &[Span]) -> Result<QuietConsumer, Problem> {
    let text = |error: rdkafka::error::KafkaError| kafka_problem(error.to_string());
    let mut config = cluster
        .client("sluice-records")
        .map_err(|e| kafka_problem(e.to_string()))?;
    config
        .set("group.id", "sluice-tail")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.max.bytes", "2097152");
    let client: QuietConsumer = config.create_with_context(Quiet).map_err(text)?;
    let mut list = TopicPartitionList::new();
    for span in spans {
        list.add_partition_offset(topic, span.partition, Offset::Offset(span.next))
            .map_err(text)?;
    }
    client.assign(&list).map_err(text)?;
    Ok(client)
}

/// Reads a page. Blocks.
///
/// # Errors
/// 422 for a partition that is not there, 503 when Kafka does not answer in time.
pub(super) fn list(cluster: &Cluster, asked: &Asked) -> Result<Listing, Problem> {
    let mut spans = spans(cluster, asked)?;
    let mut records = Vec::new();
    let mut open = spans.iter().filter(|span| span.next < span.end).count();
    if open > 0 {
        let unread: Vec<Span> = spans.iter().filter(|s| s.next < s.end).copied().collect();
        let client = reader(cluster, &asked.topic, &unread)?;
        let until = Instant::now() + PAGE_TIMEOUT;
        let mut bytes = 0;
        while open > 0
            && records.len() < asked.limit
            && bytes < PAGE_BYTES_MAX
            && Instant::now() < until
        {
            let (partition, record) = match client.poll(SLICE) {
                Some(Ok(message)) => {
                    let entry = Entry::of(&message);
                    bytes += entry.bytes();
                    (entry.partition, Some(entry.record()))
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => (partition, None),
                // Connections come back by themselves within the time of a page.
                Some(Err(_)) | None => continue,
            };
            let Some(span) = spans.iter_mut().find(|span| span.partition == partition) else {
                continue;
            };
            if span.next >= span.end {
                continue;
            }
            match record {
                // What came after the question belongs to the next page.
                Some(record) if record.offset >= span.end => span.next = span.end,
                Some(record) => {
                    span.next = record.offset + 1;
                    records.push(record);
                }
                // The rest of the partition has no records: transaction marks, compaction.
                None => span.next = span.end,
            }
            if span.next >= span.end {
                open -= 1;
            }
        }
        if records.is_empty() && open > 0 {
            return Err(kafka_problem("Kafka gives no records now"));
        }
    }
    let next_cursor = (open > 0).then(|| cursor(asked, &spans));
    Ok(Listing {
        records,
        next_cursor,
    })
}

fn cursor(asked: &Asked, spans: &[Span]) -> String {
    let count = spans
        .iter()
        .map(|span| span.partition)
        .max()
        .unwrap_or_default();
    let mut next = vec![-1; usize::try_from(count).unwrap_or_default() + 1];
    for span in spans {
        if let Some(place) = usize::try_from(span.partition)
            .ok()
            .and_then(|index| next.get_mut(index))
        {
            *place = span.next;
        }
    }
    let mut cursor = Cursor::default();
    cursor.put(
        &asked.topic,
        Place {
            topic_id: asked.topic_id,
            next,
        },
    );
    cursor.write()
}
