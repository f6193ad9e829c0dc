//! Replays: a time range of a consumer's topics is delivered again by a job beside the live consumer,
//! with a position of its own. What the live consumer holds or commits is never touched.

mod job;
pub mod resume;
#[cfg(test)]
pub(crate) mod tests;

use super::lag::{ASK_TIMEOUT, bounds};
use super::offsets::{cluster_of, offset_at};
use super::range::Span;
use super::side::{Side, build};
use super::spec::read_processors;
use super::{blocking, noted};
use crate::access::Caller;
use crate::clusters::Cluster;
use crate::context::Context;
use crate::processors::Outside;
use crate::store::consumers::Row;
use job::Job;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_model::body::Body;
use sluice_model::consumer::ProcessorSpec;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use sluice_service::now;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Replays that one instance runs at a time.
const REPLAYS_AT_ONCE: usize = 4;
/// A replay that says nothing for this long has lost its instance; another one takes it up.
const SILENT_MS: i64 = 60_000;

/// Where a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It reads and writes.
    Running,
    /// Everything is written.
    Done,
    /// It gave up; `error` says why.
    Failed,
    /// A user ended it.
    Cancelled,
}

impl ReplayState {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a replay is on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReplayPart {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The next offset to deliver.
    pub next: i64,
    /// The offset after the last one.
    pub to: i64,
}

/// A replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Replay {
    /// Identity (UUID).
    pub replay_id: String,
    /// The consumer that it belongs to.
    pub consumer_id: String,
    /// Where it stands.
    pub state: ReplayState,
    /// Why it failed.
    pub error: Option<String>,
    /// Records at or after this instant ...
    pub from: Timestamp,
    /// ... and before this one.
    pub to: Timestamp,
    /// Where it writes, by type.
    pub processors: Vec<String>,
    /// Records that were delivered.
    pub records: u64,
    /// Offsets of the range; markers and what was compacted away count too.
    pub total: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// How far it is.
    pub partitions: Vec<ReplayPart>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was heard of last.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The process that ran it has stopped; it goes on from here as soon as the consumer has another one.
    #[serde(default)]
    pub waiting: bool,
}

/// What a job is made from: kept, so that it goes on after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    specs: Vec<ProcessorSpec>,
    /// With their ids: a topic that was made again is another one.
    topics: Vec<(String, i64)>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    topic: Option<String>,
    from: Timestamp,
    to: Timestamp,
    processors: Option<Vec<ProcessorSpec>>,
}

/// The replays that run here. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Replays {
    running: Arc<Mutex<HashMap<String, Running>>>,
}

#[derive(Debug)]
struct Running {
    replay: Arc<Mutex<Replay>>,
    cancel: Arc<AtomicBool>,
}

impl Replays {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `{topic?, from, to, processors?}`.
///
/// # Errors
/// 400 or 422 with every fault.
pub fn read(bytes: &[u8], outside: &Outside<'_>) -> Result<Asked, Problem> {
    let mut body = Body::parse(bytes)?;
    let topic = body.text("topic");
    let mut instant = |name: &'static str| match body.any(name) {
        Some(Value::Number(ms)) if ms.as_i64().is_some_and(|ms| ms >= 0) => {
            ms.as_i64().map(Timestamp::from_millis)
        }
        Some(Value::String(text)) if Timestamp::parse(&text).is_ok() => {
            Timestamp::parse(&text).ok()
        }
        Some(Value::String(_)) => {
            body.invalid(name, "is RFC 3339, or milliseconds since 1970");
            None
        }
        Some(other) => {
            body.mistyped(name, "RFC 3339, or milliseconds since 1970", &other);
            None
        }
        None => {
            body.invalid(name, "is missing: RFC 3339, or milliseconds since 1970");
            None
        }
    };
    let (from, to) = (instant("from"), instant("to"));
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        body.invalid("to", "is after from");
    }
    let processors = body.array("processors").map(|items| {
        if items.is_empty() {
            body.invalid(
                "processors",
                "is not empty; leave it out for those of the consumer",
            );
        }
        read_processors(&mut body, "processors", items, &[], outside).0
    });
    body.finish()?;
    Ok(Asked {
        topic,
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
        processors,
    })
}

/// Starts a replay, or says what it would do.
///
/// # Errors
/// 404 for a topic that the consumer does not read; 409 when it has no processors or too many replays
/// run; 503 when Kafka does not answer.
pub async fn start(
    context: &Context,
    caller: &Caller,
    row: &Row,
    asked: Asked,
    dry_run: bool,
) -> Result<Replay, Failure> {
    let cluster = cluster_of(context, row)?;
    let topics = match &asked.topic {
        Some(topic) if row.topics.contains(topic) => vec![topic.clone()],
        Some(topic) => {
            let detail = format!("this consumer does not read {topic}");
            return Err(Problem::new(Code::NotFound, detail).into());
        }
        None => row.topics.clone(),
    };
    super::spec::check_topics(context, &row.cluster, &topics).await?;
    let own = row.processors.iter().map(|p| ProcessorSpec {
        processor_type: p.processor_type.clone(),
        config: p.config.clone(),
    });
    let specs = asked.processors.unwrap_or_else(|| own.collect());
    caller.need_reach(&topics, &specs)?;
    if specs.is_empty() {
        let detail = "the consumer has no processors; name some in processors";
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    let (there, from, to) = (Arc::clone(&cluster), asked.from, asked.to);
    let partitions = blocking(move || parts(&there, &topics, from, to)).await?;
    let at = now();
    let length = |part: &ReplayPart| u64::try_from(part.to - part.from).unwrap_or_default();
    let replay = Replay {
        replay_id: uuid::Uuid::new_v4().to_string(),
        consumer_id: row.id.clone(),
        state: ReplayState::Running,
        error: None,
        from,
        to,
        processors: specs.iter().map(|s| s.processor_type.clone()).collect(),
        records: 0,
        total: partitions.iter().map(length).sum(),
        dead_letters: 0,
        partitions,
        created_by: caller.actor.account.clone(),
        created_at: at,
        updated_at: at,
        ended_at: None,
        waiting: false,
    };
    if dry_run {
        return Ok(replay);
    }
    launch(context, row, specs, cluster, replay).await
}

/// Topics with the ids that they have now; 0 where nobody governs topics.
fn topics(context: &Context, cluster: &Cluster, names: &[String]) -> Vec<(String, i64)> {
    let snapshot = context.catalogue.now();
    let topic_id = |topic: &String| {
        if cluster.governed() {
            snapshot.topic_id(topic)
        } else {
            0
        }
    };
    names.iter().map(|t| (t.clone(), topic_id(t))).collect()
}

async fn launch(
    context: &Context,
    row: &Row,
    specs: Vec<ProcessorSpec>,
    cluster: Arc<Cluster>,
    replay: Replay,
) -> Result<Replay, Failure> {
    let read: BTreeSet<String> = replay.partitions.iter().map(|p| p.topic.clone()).collect();
    let names: Vec<String> = read.into_iter().collect();
    let topics = topics(context, &cluster, &names);
    let work = Work { specs, topics };
    let job = begin(context, row, &work, cluster, replay.clone(), 1)?;
    let change = noted("replay", &replay.created_by);
    let id = replay.replay_id.clone();
    let stored = match context.store.change(&row.id, change, |_| Ok(())).await {
        Ok(_) => context.store.insert_replay(replay.clone(), work).await,
        Err(failure) => Err(failure),
    };
    let started = stored.and_then(|()| {
        job.start()
            .map_err(|error| sluice_service::http::problem::internal(&error))
    });
    if let Err(failure) = started {
        context.replays.running().remove(&id);
        return Err(failure);
    }
    Ok(replay)
}

/// Makes the job of a replay, and counts it among those that run here.
fn begin(
    context: &Context,
    row: &Row,
    work: &Work,
    cluster: Arc<Cluster>,
    replay: Replay,
    epoch: i64,
) -> Result<Job, Failure> {
    let short: String = replay.replay_id.chars().take(8).collect();
    let side = Side {
        suffix: &format!("replay-{short}"),
        identity: &format!("replay-{}", replay.replay_id),
        replay: Some((&replay.replay_id, epoch)),
    };
    let processors = build(context, row, &work.specs, &work.topics, &side)?;
    let id = replay.replay_id.clone();
    let shared = Arc::new(Mutex::new(replay));
    let cancel = Arc::new(AtomicBool::new(false));
    let mut running = context.replays.running();
    if running.len() >= REPLAYS_AT_ONCE {
        let detail = format!("{REPLAYS_AT_ONCE} replays run here; wait for one or cancel it");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    let entry = Running {
        replay: Arc::clone(&shared),
        cancel: Arc::clone(&cancel),
    };
    running.insert(id, entry);
    drop(running);
    Ok(Job {
        context: context.clone(),
        cluster,
        policies: row.policies.clone(),
        processors,
        replay: shared,
        cancel,
        epoch,
    })
}

/// The parts of the partitions that a time range covers. Blocks.
fn parts(
    cluster: &Cluster,
    topics: &[String],
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ReplayPart>, Problem> {
    let mut parts = Vec::new();
    for topic in topics {
        let count = cluster
            .partitions(topic, ASK_TIMEOUT)
            .map_err(super::kafka_problem)?;
        for partition in 0..count {
            let (_, high) = bounds(cluster, topic, partition)?;
            let at = |instant: Timestamp| offset_at(cluster, topic, partition, instant.as_millis());
            let first = at(from)?.unwrap_or(high);
            let last = at(to)?.unwrap_or(high);
            parts.push(ReplayPart {
                topic: topic.clone(),
                partition,
                from: first,
                next: first,
                to: last.max(first),
            });
        }
    }
    Ok(parts)
}

/// The replays of a consumer, newest first, as they are now.
///
/// # Errors
/// When the registry does not answer.
pub async fn list(context: &Context, row: &Row) -> Result<Vec<Replay>, Failure> {
    let mut stored = context.store.replays(&row.id).await?;
    let running = context.replays.running();
    for replay in &mut stored {
        if let Some(live) = running.get(&replay.replay_id) {
            *replay = live
                .replay
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
        } else if replay.state == ReplayState::Running
            && now().as_millis() - replay.updated_at.as_millis() > SILENT_MS
        {
            replay.waiting = true;
        }
    }
    Ok(stored)
}

/// One replay.
///
/// # Errors
/// 404 when there is none of that id.
pub async fn one(context: &Context, row: &Row, replay_id: &str) -> Result<Replay, Failure> {
    let all = list(context, row).await?;
    let found = all.into_iter().find(|replay| replay.replay_id == replay_id);
    found.ok_or_else(|| {
        let detail = format!("there is no replay {replay_id} of this consumer");
        Problem::new(Code::NotFound, detail).into()
    })
}

/// Ends a replay after the batch that it writes.
///
/// # Errors
/// 404 when there is none; 409 when it has ended, or runs on another instance.
pub async fn cancel(
    context: &Context,
    caller: &Caller,
    row: &Row,
    replay_id: &str,
) -> Result<Replay, Failure> {
    let mut replay = one(context, row, replay_id).await?;
    let here = {
        let running = context.replays.running();
        let live = running.get(replay_id);
        live.inspect(|live| live.cancel.store(true, Ordering::Release))
            .is_some()
    };
    if !here {
        replay = cancel_waiting(context, replay).await?;
    }
    let change = noted("replay_cancel", &caller.actor.account);
    context.store.change(&row.id, change, |_| Ok(())).await?;
    Ok(replay)
}

/// Ends a replay that waits for a process to go on.
async fn cancel_waiting(context: &Context, mut replay: Replay) -> Result<Replay, Failure> {
    let conflict = |state: ReplayState| {
        let detail = format!("it does not run here; it is {}", state.as_str());
        Failure::from(Problem::new(Code::Conflict, detail))
    };
    let unfinished = context.store.unfinished_replays().await?;
    let found = unfinished
        .iter()
        .find(|other| other.replay.replay_id == replay.replay_id);
    let epoch = found.map(|found| found.epoch);
    let epoch = epoch.ok_or_else(|| conflict(replay.state))?;
    replay.state = ReplayState::Cancelled;
    replay.waiting = false;
    (replay.updated_at, replay.ended_at) = (now(), Some(now()));
    let taken = context.store.take_replay(replay.clone(), epoch).await?;
    taken.ok_or_else(|| conflict(ReplayState::Running))?;
    Ok(replay)
}

impl ReplayPart {
    fn span(&self) -> Span {
        Span {
            partition: self.partition,
            from: self.next,
            to: self.to,
        }
    }
}
