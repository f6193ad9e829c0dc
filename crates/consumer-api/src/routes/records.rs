//! Reading one page of records, without a group and without a trace.

use crate::app::kafka_problem;
use crate::batch::Entry;
use crate::clusters::Cluster;
use crate::stream::cursor::{Cursor, Place};
use crate::stream::filter::Filter;
use crate::stream::pool::Client;
use crate::stream::start::{Gap, ends};
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
    pub(super) filter: Filter,
}

/// A page of records.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Listing {
    /// The records, in order within each partition.
    records: Vec<Record>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
    /// What the cursor has missed because it is gone from Kafka.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<Gap>,
}

/// A partition of a page: from where, up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    partition: i32,
    next: i64,
    end: i64,
}

fn spans(cluster: &Cluster, asked: &Asked) -> Result<(Vec<Span>, Vec<Gap>), Problem> {
    let ends = ends(cluster, &asked.topic)?;
    let count = i32::try_from(ends.len()).unwrap_or(i32::MAX);
    if asked.partition.is_some_and(|partition| partition >= count) {
        let message = format!("{} has the partitions 0 to {}", asked.topic, count - 1);
        return Err(Problem::invalid("partition", message));
    }
    let place = asked
        .place
        .as_ref()
        .filter(|place| place.topic_id == asked.topic_id);
    let (mut spans, mut gaps) = (Vec::new(), Vec::new());
    for (partition, (low, end)) in (0..).zip(ends) {
        if asked.partition.is_some_and(|only| only != partition) {
            continue;
        }
        let (span, gap) = span(asked, place, partition, low, end);
        spans.push(span);
        gaps.extend(gap);
    }
    Ok((spans, gaps))
}

/// What is to be read of a partition, and what a cursor has missed of it.
fn span(
    asked: &Asked,
    place: Option<&Place>,
    partition: i32,
    low: i64,
    end: i64,
) -> (Span, Option<Gap>) {
    let index = usize::try_from(partition).unwrap_or_default();
    let seen = place.and_then(|place| place.next.get(index).copied());
    let from = match (place.is_some(), seen) {
        (true, Some(next)) if next >= 0 => next,
        (true, _) => low,
        (false, _) => asked.from.unwrap_or(end),
    };
    let gap = (place.is_some() && from < low).then_some(Gap {
        partition,
        from,
        to: low,
    });
    let next = from.clamp(low, end.max(low));
    (
        Span {
            partition,
            next,
            end,
        },
        gap,
    )
}

fn assignment(topic: &str, spans: &[Span]) -> Result<TopicPartitionList, Problem> {
    let mut list = TopicPartitionList::new();
    for span in spans.iter().filter(|span| span.next < span.end) {
        list.add_partition_offset(topic, span.partition, Offset::Offset(span.next))
            .map_err(|error| kafka_problem(error.to_string()))?;
    }
    Ok(list)
}

/// Reads a page. Blocks.
///
/// # Errors
/// 422 for a partition that is not there, 503 when Kafka does not answer in time.
pub(super) fn list(
    cluster: &Cluster,
    client: &mut Client,
    asked: &Asked,
) -> Result<Listing, Problem> {
    let (mut spans, gaps) = spans(cluster, asked)?;
    let mut page = Page::default();
    let mut open = spans.iter().filter(|span| span.next < span.end).count();
    if open > 0 {
        page = read(client, asked, &mut spans, &mut open)?;
        client.rest();
    }
    let next_cursor = (open > 0).then(|| cursor(asked, &spans));
    Ok(Listing {
        records: page.records,
        next_cursor,
        gaps,
    })
}

#[derive(Default)]
struct Page {
    records: Vec<Record>,
    looked_at: usize,
    bytes: usize,
}

fn read(
    client: &mut Client,
    asked: &Asked,
    spans: &mut [Span],
    open: &mut usize,
) -> Result<Page, Problem> {
    let client = client.read(&assignment(&asked.topic, spans)?)?;
    let (mut page, until) = (Page::default(), Instant::now() + PAGE_TIMEOUT);
    while *open > 0
        && page.records.len() < asked.limit
        && page.bytes < PAGE_BYTES_MAX
        && Instant::now() < until
    {
        let (partition, entry) = match client.poll(SLICE) {
            Some(Ok(message)) => {
                let entry = Entry::of(&message);
                let passes = asked.filter.passes(&entry);
                page.looked_at += 1;
                (
                    entry.partition,
                    Some((entry.offset, entry.bytes(), passes.then(|| entry.record()))),
                )
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => (partition, None),
            // Connections come back by themselves within the time of a page.
            Some(Err(_)) | None => continue,
        };
        let span = spans.iter_mut().find(|span| span.partition == partition);
        let Some(span) = span.filter(|span| span.next < span.end) else {
            continue;
        };
        match entry {
            // What came after the question belongs to the next page.
            Some((offset, ..)) if offset >= span.end => span.next = span.end,
            Some((offset, bytes, record)) => {
                span.next = offset + 1;
                page.bytes += bytes;
                page.records.extend(record);
            }
            // The rest of the partition has no records: transaction marks, compaction.
            None => span.next = span.end,
        }
        if span.next >= span.end {
            *open -= 1;
        }
    }
    if page.looked_at == 0 && *open > 0 {
        return Err(kafka_problem("Kafka gives no records now"));
    }
    Ok(page)
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
