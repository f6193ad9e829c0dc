//! Who uses topics: looked up for fences, and as evidence for deletions.

use super::cluster::{ClusterError, Kafka};
use crate::app::evidence;
use crate::error::{AppError, Outcome};
use crate::state::State;
use crate::store;
use crate::store::evidence::Wanted;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rusqlite::Connection;
use sluice_model::lifecycle::State as TopicState;
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;
use sluice_model::usage::{Evidence, GroupUse, Usage};
use sluice_service::kafka::KafkaSettings;
use sluice_service::kafka::usage::{self, Group, Place, Spec};
use sluice_service::now;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fenced topics that are looked at, those fenced last first.
const FENCES_MAX: usize = 50;
/// Deletions whose evidence one pass gathers.
const EVIDENCE_MAX: u32 = 10;
/// Evidence of a pending deletion is gathered anew after this time.
const EVIDENCE_STALE: Duration = Duration::from_secs(30);
/// Consumer groups that are looked at.
const GROUPS_MAX: usize = 1000;
/// Groups that one describe call names.
const DESCRIBE_MAX: usize = 100;
/// Time between two looks that somebody waits for.
const BREATH: Duration = Duration::from_millis(500);
/// Looks take at most one part of so many of the time.
const SHARE: u32 = 20;
/// What Kafka adds to a record's own bytes, about.
const RECORD_OVERHEAD_BYTES: i64 = 20;

/// What was seen last. Kept in memory: it is looked up anew after a start.
#[derive(Debug, Default)]
pub struct Usages {
    known: Mutex<BTreeMap<String, Usage>>,
    wanted: AtomicBool,
}

impl Usages {
    /// What is known of a topic; the next pass looks again.
    pub fn of(&self, topic_name: &str) -> Option<Usage> {
        self.wanted.store(true, Ordering::Release);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(topic_name).cloned()
    }

    fn put(&self, seen: BTreeMap<String, Usage>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// When fences were last looked at, and how long it took.
#[derive(Debug, Default)]
pub struct Looked {
    at: Option<Instant>,
    took: Duration,
}

impl Looked {
    fn due(&self, wanted: bool, interval: Duration) -> bool {
        let pause = if wanted { BREATH } else { interval }.max(self.took * SHARE);
        self.at.is_none_or(|at| at.elapsed() >= pause)
    }
}

/// Looks at who still reads fenced topics, when it is time for it.
///
/// # Errors
/// When Kafka does not answer.
pub async fn watch_fences(
    state: &State,
    kafka: &Kafka,
    topics: &[Topic],
    looked: &mut Looked,
) -> Result<(), ClusterError> {
    let wanted = state.usages.wanted.load(Ordering::Acquire);
    if !looked.due(wanted, state.settings.reconcile.interval) {
        return Ok(());
    }
    let mut fenced: Vec<&Topic> = topics
        .iter()
        .filter(|topic| topic.status == TopicState::Inactive)
        .collect();
    fenced.sort_by_key(|topic| std::cmp::Reverse(topic.deactivated_at));
    fenced.truncate(FENCES_MAX);
    let started = Instant::now();
    state.usages.wanted.store(false, Ordering::Release);
    let seen = if fenced.is_empty() {
        BTreeMap::new()
    } else {
        look(kafka, &fenced).await?
    };
    state.usages.put(seen);
    (looked.at, looked.took) = (Some(Instant::now()), started.elapsed());
    Ok(())
}

/// Gathers evidence for the deletions that wait for it.
///
/// # Errors
/// When Kafka does not answer.
pub async fn gather(
    state: &State,
    kafka: &Kafka,
    topics: &[Topic],
    fenced: impl Fn(&Topic) -> bool,
) -> Result<(), ClusterError> {
    let stale = now().plus_millis(-millis(EVIDENCE_STALE));
    let read = move |c: &Connection| store::evidence::wanted(c, stale, EVIDENCE_MAX);
    let wanted = match state.database.read(read).await {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::error!(error = %error, "read the pending deletions");
            return Ok(());
        }
    };
    let known = |wanted: Wanted| {
        let topic = topics
            .iter()
            .find(|topic| topic.topic_id == wanted.topic_id)?;
        Some((wanted, topic))
    };
    let wanted: Vec<(Wanted, &Topic)> = wanted.into_iter().filter_map(known).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let of: Vec<&Topic> = wanted.iter().map(|(_, topic)| *topic).collect();
    let mut seen = look(kafka, &of).await?;
    for (wanted, topic) in wanted {
        let usage = seen.remove(&topic.topic_name).unwrap_or_default();
        let average = match usage.records {
            0 => Some(0),
            _ => kafka.average_bytes(&state.settings.kafka, topic).await,
        };
        let mut found = Evidence {
            gathered_at: now(),
            bytes: average.map(|average| usage.records * (average + RECORD_OVERHEAD_BYTES)),
            bytes_are: "estimated from the newest records, uncompressed, one copy".to_owned(),
            usage,
            ..Evidence::default()
        };
        add_heartbeats(state, &topic.topic_name, &mut found);
        found.judge(fenced(topic), wanted.last.as_ref());
        put(state, topic.topic_name.clone(), wanted.request_id, found).await;
    }
    state.gathered.notify_waiters();
    Ok(())
}

/// What the last heartbeats tell of a topic.
fn add_heartbeats(state: &State, topic_name: &str, found: &mut Evidence) {
    for seen in state.producers.all() {
        let topics = seen.heartbeat.topics.iter();
        for topic in topics.filter(|topic| topic.topic_name == topic_name) {
            found.held_records += topic.held_records;
            found
                .producers
                .insert(seen.heartbeat.instance.clone(), seen.seen_at);
        }
    }
}

async fn put(state: &State, topic_name: String, request_id: i64, mut found: Evidence) {
    let context = state.system();
    let since = now().plus_millis(-millis(state.settings.lifecycle.evidence_window));
    let work = move |c: &Connection| -> Outcome<()> {
        for (instance, at) in store::evidence::producers_of(c, &topic_name, since)? {
            found.producers.entry(instance).or_insert(at);
        }
        found.subscriptions = store::subscriptions::count_of_topic(c, &topic_name)?;
        evidence::gathered(c, &context, request_id, &found)
    };
    if let Err(error) = state.database.write::<(), AppError>(work).await {
        tracing::error!(request.id = request_id, error = %error, "put evidence on a deletion");
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Looks at topics: their ends, and every group that has members or offsets on them.
async fn look(kafka: &Kafka, topics: &[&Topic]) -> Result<BTreeMap<String, Usage>, ClusterError> {
    let topics: Vec<(String, i32)> = topics
        .iter()
        .map(|topic| (topic.topic_name.clone(), topic.partitions))
        .collect();
    let limit = kafka.timeout();
    kafka
        .blocking(move |client| {
            let mut ids = usage::group_ids(client, limit)?;
            ids.truncate(GROUPS_MAX);
            let mut groups = Vec::with_capacity(ids.len());
            for chunk in ids.chunks(DESCRIBE_MAX) {
                groups.extend(usage::describe_groups(client, chunk, limit)?);
            }
            let mut found = BTreeMap::new();
            let mut committed = Vec::with_capacity(groups.len());
            for group in &groups {
                // A group that is gone meanwhile has nothing.
                committed.push(usage::committed(client, &group.group, limit).unwrap_or_default());
            }
            for (name, partitions) in &topics {
                let places = |spec| usage::places(client, name, *partitions, spec, limit);
                let (first, last) = (places(Spec::Earliest)?, places(Spec::Latest)?);
                let newest = places(Spec::MaxTimestamp)?;
                let mut usage = ends(&first, &last, &newest);
                let uses = groups.iter().zip(&committed);
                let uses =
                    uses.filter_map(|(group, offsets)| group_use(name, group, offsets, &last));
                usage.groups = uses.collect();
                found.insert(name.clone(), usage);
            }
            Ok(found)
        })
        .await
}

type Places = BTreeMap<i32, Place>;

fn ends(first: &Places, last: &Places, newest: &Places) -> Usage {
    let sum = |places: &Places| {
        places
            .values()
            .map(|place| place.offset.max(0))
            .sum::<i64>()
    };
    let newest = newest.values().map(|place| place.timestamp).max();
    Usage {
        seen_at: now(),
        records: (sum(last) - sum(first)).max(0),
        end_offsets: sum(last),
        last_write_at: newest.filter(|at| *at >= 0).map(Timestamp::from_millis),
        groups: Vec::new(),
    }
}

/// What a group has to do with a topic, if anything.
fn group_use(
    name: &str,
    group: &Group,
    committed: &BTreeMap<(String, i32), i64>,
    last: &Places,
) -> Option<GroupUse> {
    let reads = |member: &&Vec<String>| member.iter().any(|topic| topic == name);
    let members = group.members.iter().filter(reads).count();
    let mut positions = committed
        .iter()
        .filter(|((topic, _), _)| topic == name)
        .peekable();
    let touched = positions.peek().is_some();
    let behind = |((_, partition), offset): (&(String, i32), &i64)| {
        last.get(partition)
            .map_or(0, |end| (end.offset - offset).max(0))
    };
    let lag = touched.then(|| positions.map(behind).sum());
    (members > 0 || touched).then(|| GroupUse {
        group: group.group.clone(),
        state: group.state.clone(),
        members: i64::try_from(members).unwrap_or(i64::MAX),
        lag,
    })
}

/// Records whose sizes are looked at.
const SAMPLE_RECORDS: i64 = 20;
/// How long that may take.
const SAMPLE_WAIT: Duration = Duration::from_secs(3);
/// After so long without another one there are no more.
const SAMPLE_QUIET: Duration = Duration::from_millis(200);

impl Kafka {
    /// The average bytes of keys and values of a topic's newest records; none when they cannot be read in time.
    async fn average_bytes(&self, settings: &KafkaSettings, topic: &Topic) -> Option<i64> {
        let config = settings.client("sluice-admin-api");
        let (name, partitions) = (topic.topic_name.clone(), topic.partitions);
        let sample = move || sample(config.ok()?, &name, partitions);
        tokio::task::spawn_blocking(sample).await.ok().flatten()
    }
}

/// Reads the newest records of a topic, by a consumer that joins no group and commits nothing.
fn sample(mut config: ClientConfig, name: &str, partitions: i32) -> Option<i64> {
    config
        .set("group.id", "sluice-admin-api-evidence")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().ok()?;
    let mut from = TopicPartitionList::new();
    for partition in 0..partitions {
        from.add_partition_offset(name, partition, Offset::OffsetTail(SAMPLE_RECORDS))
            .ok()?;
    }
    consumer.assign(&from).ok()?;
    let deadline = Instant::now() + SAMPLE_WAIT;
    let (mut count, mut bytes) = (0, 0);
    while count < SAMPLE_RECORDS {
        let left = deadline.saturating_duration_since(Instant::now());
        // The first one takes a connection; the others come with it.
        let wait = if count == 0 {
            left
        } else {
            left.min(SAMPLE_QUIET)
        };
        let Some(Ok(record)) = consumer.poll(wait) else {
            break;
        };
        count += 1;
        bytes += record.payload_len() + record.key_len();
    }
    (count > 0).then(|| i64::try_from(bytes).unwrap_or(i64::MAX) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_count_by_their_members_and_by_what_they_committed() {
        let place = |offset| Place {
            offset,
            timestamp: 5,
        };
        let last: Places = [(0, place(10)), (1, place(4))].into();
        let member = |topics: &[&str]| topics.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let group = Group {
            group: "g".into(),
            state: "stable".into(),
            members: vec![member(&["t", "t"]), member(&["other"]), member(&["t"])],
        };
        let committed = [(("t".to_owned(), 0), 7), (("other".to_owned(), 0), 1)].into();
        let found = group_use("t", &group, &committed, &last).unwrap();
        assert_eq!((found.members, found.lag), (2, Some(3)));
        let idle = Group {
            members: Vec::new(),
            ..group
        };
        assert_eq!(group_use("t", &idle, &BTreeMap::new(), &last), None);
        let usage = ends(&[(0, place(2))].into(), &last, &last);
        assert_eq!((usage.records, usage.end_offsets), (12, 14));
        assert_eq!(usage.last_write_at, Some(Timestamp::from_millis(5)));
    }
}
