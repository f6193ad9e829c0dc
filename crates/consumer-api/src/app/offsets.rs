//! Moving a stopped consumer to other offsets, with a preview.

use super::lag::{ASK_TIMEOUT, bounds, committed, group_client, partitions};
use super::{blocking, kafka_problem, noted};
use crate::access::Caller;
use crate::clusters::Cluster;
use crate::context::Context;
use crate::store::consumers::Row;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_model::body::Body;
use sluice_model::consumer::Desired;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use std::sync::Arc;

/// Explicit offsets of one call.
const OFFSETS_MAX: usize = 10_000;

/// What a target looks like.
const RULE: &str = "is \"earliest\", \"latest\", {\"timestamp\": ...} or {\"offsets\": [...]}";

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first record that is still there.
    Earliest,
    /// After the last record.
    Latest,
    /// The first record at or after an instant.
    At(Timestamp),
    /// These offsets.
    Offsets(Vec<(String, i32, i64)>),
}

/// What changes for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Move {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The committed offset before; null when nothing was committed.
    pub from: Option<i64>,
    /// The committed offset after.
    pub to: i64,
}

/// Reads `{"to": ...}`.
///
/// # Errors
/// 400 or 422 with every fault.
pub fn read(bytes: &[u8]) -> Result<Target, Problem> {
    let mut body = Body::parse(bytes)?;
    let target = read_target(&mut body, "to");
    body.finish()?;
    target.ok_or_else(|| Problem::invalid("/to", format!("is missing; it {RULE}")))
}

/// Takes a target out of a body, if it is there; faults are recorded.
pub fn read_target(body: &mut Body, name: &'static str) -> Option<Target> {
    match body.any(name)? {
        Value::String(word) if word == "earliest" => Some(Target::Earliest),
        Value::String(word) if word == "latest" => Some(Target::Latest),
        Value::Object(members) => {
            let target = read_object(body, name, members);
            if target.is_none() {
                body.invalid(name, RULE);
            }
            target
        }
        Value::String(_) => {
            body.invalid(name, RULE);
            None
        }
        other => {
            body.mistyped(name, "a string or an object", &other);
            None
        }
    }
}

fn read_object(body: &mut Body, name: &str, members: Map<String, Value>) -> Option<Target> {
    let mut inner = Body::of(members, &body.pointer(name));
    let timestamp = match inner.any("timestamp") {
        Some(Value::Number(ms)) if ms.as_i64().is_some_and(|ms| ms >= 0) => {
            ms.as_i64().map(Timestamp::from_millis)
        }
        Some(Value::String(text)) => {
            if let Ok(at) = Timestamp::parse(&text) {
                Some(at)
            } else {
                inner.invalid("timestamp", "is RFC 3339, or milliseconds since 1970");
                None
            }
        }
        Some(other) => {
            inner.mistyped("timestamp", "RFC 3339, or milliseconds since 1970", &other);
            None
        }
        None => None,
    };
    let offsets = inner.array("offsets");
    let target = match (timestamp, offsets) {
        (Some(at), None) => Some(Target::At(at)),
        (None, Some(items)) => read_offsets(&mut inner, items),
        (Some(_), Some(_)) => {
            inner.invalid("offsets", "and timestamp exclude each other");
            None
        }
        (None, None) => None,
    };
    body.absorb(inner);
    target
}

fn read_offsets(inner: &mut Body, items: Vec<Value>) -> Option<Target> {
    if items.is_empty() || items.len() > OFFSETS_MAX {
        inner.invalid("offsets", format!("has 1 to {OFFSETS_MAX} entries"));
        return None;
    }
    let mut offsets = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Value::Object(members) = item else {
            inner.mistyped(&format!("offsets/{index}"), "an object", &item);
            continue;
        };
        let place = inner.pointer("offsets");
        let mut entry = Body::of(members, &format!("{place}/{index}"));
        let topic = entry.required_text("topic");
        let partition: Option<i32> = entry.integer("partition");
        let offset: Option<i64> = entry.integer("offset");
        if partition.is_none_or(|partition| partition < 0) {
            entry.invalid("partition", "is a whole number from 0");
        }
        if offset.is_none_or(|offset| offset < 0) {
            entry.invalid("offset", "is a whole number from 0");
        }
        inner.absorb(entry);
        offsets.push((
            topic,
            partition.unwrap_or_default(),
            offset.unwrap_or_default(),
        ));
    }
    Some(Target::Offsets(offsets))
}

/// The cluster of a stored consumer.
///
/// # Errors
/// When it is not configured any more.
pub fn cluster_of(context: &Context, row: &Row) -> Result<Arc<Cluster>, Failure> {
    let found = context.clusters.by_name(&row.cluster).cloned();
    found.ok_or_else(|| {
        context
            .clusters
            .unknown(&format!("{:?}", row.cluster))
            .into()
    })
}

/// Moves a consumer, or says what a move would do.
///
/// # Errors
/// 409 unless it is stopped; 422 for partitions that are not there; 503 when Kafka does not answer.
pub async fn change(
    context: &Context,
    caller: &Caller,
    id: &str,
    target: Target,
    dry_run: bool,
) -> Result<Vec<Move>, Failure> {
    let turn = context.manager.turn(id).await;
    let row = context.store.consumer(id).await?;
    if row.desired != Desired::Stopped {
        let detail = "offsets move only while it is stopped; stop it first";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    context.manager.halt(&turn, id).await;
    let cluster = cluster_of(context, &row)?;
    let (topics, group) = (row.topics.clone(), row.consumer_group.clone());
    let there = Arc::clone(&cluster);
    let moves = blocking(move || plan(&there, &topics, &group, &target, "/to")).await?;
    if dry_run || moves.is_empty() {
        return Ok(moves);
    }
    let snapshot = context.catalogue.now();
    let topic_id = |topic: &String| {
        if cluster.governed() {
            snapshot.topic_id(topic)
        } else {
            0
        }
    };
    let ids: Vec<_> = row
        .topics
        .iter()
        .map(|topic| (topic.clone(), topic_id(topic)))
        .collect();
    let epoch = context.store.begin_epoch(id).await?;
    let processors = context.manager.processors(&row, &ids, epoch);
    let (group, wanted) = (row.consumer_group.clone(), moves.clone());
    blocking(move || carry_out(&cluster, &group, &wanted, processors)).await?;
    let change = noted("offsets", &caller.actor.account);
    context.store.change(id, change, |_| Ok(())).await?;
    Ok(moves)
}

/// Where a new consumer's group is put, before the consumer is stored: a consumer that cannot start
/// where it should must not be there at all. With `dry_run` nothing is moved.
///
/// # Errors
/// 422 for partitions or offsets that are not there; 409 when the group has members; 503 when Kafka
/// does not answer.
pub async fn place_new(
    context: &Context,
    row: &Row,
    target: Target,
    dry_run: bool,
) -> Result<(), Failure> {
    let cluster = cluster_of(context, row)?;
    let (topics, group) = (row.topics.clone(), row.consumer_group.clone());
    blocking(move || {
        let moves = plan(&cluster, &topics, &group, &target, "/start_from")?;
        if dry_run || moves.is_empty() {
            return Ok(());
        }
        carry_out(&cluster, &group, &moves, Vec::new())
    })
    .await
}

fn plan(
    cluster: &Cluster,
    topics: &[String],
    group: &str,
    target: &Target,
    place: &str,
) -> Result<Vec<Move>, Problem> {
    let list = partitions(cluster, topics)?;
    let known = committed(cluster, group, list.clone())?;
    let from = |topic: &str, partition: i32| known.get(&(topic.to_owned(), partition)).copied();
    if let Target::Offsets(offsets) = target {
        let mut moves = Vec::with_capacity(offsets.len());
        for (index, (topic, partition, to)) in offsets.iter().enumerate() {
            if list.find_partition(topic, *partition).is_none() {
                let message = format!("{topic}-{partition} is no partition of this consumer");
                return Err(Problem::invalid(
                    format!("{place}/offsets/{index}"),
                    message,
                ));
            }
            let (low, high) = bounds(cluster, topic, *partition)?;
            if !(low..=high).contains(to) {
                let message =
                    format!("{topic}-{partition} has the offsets {low} to {high}, not {to}");
                return Err(Problem::invalid(
                    format!("{place}/offsets/{index}"),
                    message,
                ));
            }
            let from = from(topic, *partition);
            moves.push(Move {
                topic: topic.clone(),
                partition: *partition,
                from,
                to: *to,
            });
        }
        return Ok(moves);
    }
    let mut moves = Vec::with_capacity(list.count());
    for element in list.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let (low, high) = bounds(cluster, topic, partition)?;
        let to = match target {
            Target::Earliest | Target::Offsets(_) => low,
            Target::Latest => high,
            Target::At(at) => offset_at(cluster, topic, partition, at.as_millis())?.unwrap_or(high),
        };
        moves.push(Move {
            topic: topic.to_owned(),
            partition,
            from: from(topic, partition),
            to,
        });
    }
    Ok(moves)
}

/// The first offset at or after an instant, if there is one. Blocks.
///
/// # Errors
/// When Kafka does not answer.
pub fn offset_at(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    ms: i64,
) -> Result<Option<i64>, Problem> {
    let mut ask = TopicPartitionList::new();
    let added = ask.add_partition_offset(topic, partition, Offset::Offset(ms));
    added.map_err(|error| kafka_problem(error.to_string()))?;
    let inspector = cluster.inspector().map_err(kafka_problem)?;
    let found = inspector
        .offsets_for_times(ask, ASK_TIMEOUT)
        .map_err(|error| kafka_problem(format!("offsets by time: {error}")))?;
    Ok(found
        .elements()
        .first()
        .and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
}

/// Sinks first: when the commit fails after them, records are read again and skipped or written again,
/// but never missing.
fn carry_out(
    cluster: &Cluster,
    group: &str,
    moves: &[Move],
    processors: Vec<(String, Box<dyn crate::processors::Processor>)>,
) -> Result<(), Problem> {
    let targets: Vec<_> = moves
        .iter()
        .map(|m| (m.topic.clone(), m.partition, m.to))
        .collect();
    for (name, mut processor) in processors {
        processor
            .rewind(&targets)
            .map_err(|error| Problem::new(Code::Unavailable, format!("{name}: {error}")))?;
    }
    let mut list = TopicPartitionList::new();
    for (topic, partition, to) in &targets {
        let added = list.add_partition_offset(topic, *partition, Offset::Offset(*to));
        added.map_err(|error| kafka_problem(error.to_string()))?;
    }
    let client = group_client(cluster, group)?;
    client.commit(&list, CommitMode::Sync).map_err(|error| {
        let detail =
            format!("Kafka does not move the group {group}: {error}; has it other members?");
        Problem::new(Code::Conflict, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_refused() {
        assert_eq!(read(br#"{"to": "earliest"}"#), Ok(Target::Earliest));
        let at = Target::At(Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(
            read(br#"{"to": {"timestamp": "2023-11-14T22:13:20Z"}}"#),
            Ok(at.clone())
        );
        assert_eq!(read(br#"{"to": {"timestamp": 1700000000000}}"#), Ok(at));
        let explicit = br#"{"to": {"offsets": [{"topic": "t", "partition": 0, "offset": 3}]}}"#;
        assert_eq!(
            read(explicit),
            Ok(Target::Offsets(vec![("t".into(), 0, 3)]))
        );
        for (text, status) in [
            ("{}", 422),
            (r#"{"to": "yesterday"}"#, 422),
            (r#"{"to": 5}"#, 400),
            (r#"{"to": {"timestamp": "x"}}"#, 422),
            (r#"{"to": {"offsets": []}}"#, 422),
            (r#"{"to": {"offsets": [1]}}"#, 400),
            (
                r#"{"to": {"offsets": [{"topic": "t", "partition": "0", "offset": -1}]}}"#,
                400,
            ),
            (r#"{"to": {"offset": 1}}"#, 422),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().status, status, "{text}");
        }
    }
}
