//! When passes run, and what a pass is.

use super::cluster::{ClusterError, Kafka};
use super::{apply, drift, plan, usage};
use crate::app::{evidence, observe};
use crate::error::Outcome;
use crate::hub::Hub;
use crate::producers::unfenced;
use crate::state::State;
use crate::store;
use rdkafka::admin::ResourceSpecifier;
use rusqlite::Connection;
use sluice_model::lifecycle::State as TopicState;
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;
use sluice_service::{failpoint, now};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the brokers' own settings are looked at.
const BROKER_CHECK: Duration = Duration::from_secs(60);
/// Shortest time between two passes while nudges come in.
const BREATH: Duration = Duration::from_millis(1);
/// Details are looked up for at most one part of so many of the time.
const DETAILS_SHARE: u32 = 20;
/// Changes that the feed keeps; who is further behind reads everything again.
const CHANGES_KEPT: i64 = 100_000;
/// Changes that are forgotten in one transaction.
const FORGET_AT_ONCE: u32 = 5000;
/// Between two times of forgetting.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How long a pass that has approved topics to create waits for Kafka before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs passes until the service stops.
pub async fn run(state: State, kafka: Kafka) {
    let started = now();
    state.health.degraded("kafka", "no broker has answered yet");
    let mut broker_check: Option<Instant> = None;
    let mut detailed = Detailed::default();
    let mut forgotten: Option<Instant> = None;
    let mut extent = Extent::All;
    // When the next pass over all topics is due.
    let mut due = Instant::now();
    loop {
        if forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            forget_changes(&state).await;
            forgotten = Some(Instant::now());
        }
        let outcome = pass(&state, &kafka, started, extent, &mut detailed).await;
        let failed = outcome.is_err();
        let pause = match outcome {
            Ok(next) => {
                state.health.ok("kafka");
                if broker_check.is_none_or(|at| at.elapsed() >= BROKER_CHECK) {
                    check_brokers(&state, &kafka).await;
                    broker_check = Some(Instant::now());
                }
                next
            }
            Err(error) => {
                state.health.degraded("kafka", error.to_string());
                RETRY
            }
        };
        due = match extent {
            Extent::All => Instant::now() + pause,
            // What a decision changes is compared as a whole soon after it.
            Extent::Open => due.min(Instant::now() + pause),
        };
        tokio::select! {
            () = state.nudge.notified() => tokio::time::sleep(BREATH).await,
            () = tokio::time::sleep_until(due.into()) => {}
            () = state.shutdown.wait() => return,
        }
        // A pass over the rest may find nothing to ask Kafka for, which would say nothing of its health.
        extent = if failed || due <= Instant::now() {
            Extent::All
        } else {
            Extent::Open
        };
    }
}

/// The topics of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All that are looked after.
    All,
    /// Those with something to do, after a nudge: beside thousands of settled ones a decision is carried out as
    /// fast as beside none.
    Open,
}

/// One pass; answers how long the next one may wait.
async fn pass(
    state: &State,
    kafka: &Kafka,
    started: Timestamp,
    extent: Extent,
    detailed: &mut Detailed,
) -> Result<Duration, ClusterError> {
    let begun = Instant::now();
    age_requests(state).await;
    let Some(Observed {
        topics,
        fences,
        deletions,
    }) = observe(state, extent).await
    else {
        return Ok(RETRY);
    };
    let only = match (extent, topics.as_slice()) {
        (Extent::Open, []) => return Ok(RETRY),
        (Extent::Open, [one]) => Some(one.topic_name.clone()),
        _ => None,
    };
    let cluster = kafka.look(only).await?;
    failpoint::pass("pass.observed");
    let producers = state.producers.all();
    let fresh = i64::try_from(state.settings.producers.fresh.as_millis()).unwrap_or(i64::MAX);
    let heard_since = now().plus_millis(-fresh);
    let hub: &Hub = &state.hub;
    let fenced = |topic: &Topic| {
        // After a start nothing is known of producers until they have had the time to report.
        let known = started <= heard_since;
        let fence = fences.get(&topic.topic_name).copied().unwrap_or(i64::MAX);
        let place = |revision: &str| hub.place(revision);
        known && unfenced(&producers, &topic.topic_name, fence, place, heard_since).is_empty()
    };
    let mut steps = plan::plan(&topics, &cluster, fenced, now());
    plan::without_deletions(&mut steps, deletions);
    let busy = !steps.is_empty();
    apply::apply(state, kafka, steps, &cluster).await?;
    usage::gather(state, kafka, &topics, fenced).await?;
    usage::watch_fences(state, kafka, &topics, &mut detailed.fences).await?;
    let interval = state.settings.reconcile.interval;
    if extent == Extent::Open {
        record_pass("open", begun);
        return Ok(next_due(&topics, interval.min(RETRY)));
    }
    let whole = !busy && detailed.due(interval);
    if whole {
        detailed.refresh(state, kafka, &topics, &cluster).await?;
    }
    let found = drift::compare(&topics, &cluster, &detailed.details, now());
    state.drift.update(found, &cluster, &detailed.details);
    let kind = match (busy, whole) {
        (true, _) => "busy",
        (false, true) => "whole",
        (false, false) => "quick",
    };
    record_pass(kind, begun);
    Ok(if busy {
        interval.min(RETRY)
    } else {
        next_due(&topics, interval)
    })
}

fn record_pass(kind: &'static str, begun: Instant) {
    metrics::histogram!("admin_api_reconcile_pass_seconds", "kind" => kind)
        .record(begun.elapsed().as_secs_f64());
}

/// The details of the last look, and what it cost.
#[derive(Debug, Default)]
struct Detailed {
    details: drift::Details,
    at: Option<Instant>,
    took: Duration,
    fences: usage::Looked,
}

impl Detailed {
    /// Looks take at most a share of the time, however many topics there are.
    fn due(&self, interval: Duration) -> bool {
        let pause = interval.max(self.took * DETAILS_SHARE);
        self.at.is_none_or(|at| at.elapsed() >= pause)
    }

    async fn refresh(
        &mut self,
        state: &State,
        kafka: &Kafka,
        topics: &[Topic],
        cluster: &plan::Cluster,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        // Orphans, too: who adopts one adopts its configs.
        let names: Vec<String> = cluster
            .topics
            .keys()
            .filter(|name| !name.starts_with("__"))
            .cloned()
            .collect();
        self.details = drift::Details {
            configs: kafka.set_configs(&names).await?,
            ids: kafka.ids(&names).await?,
        };
        self.note_ids(state, topics).await;
        (self.took, self.at) = (started.elapsed(), Some(Instant::now()));
        Ok(())
    }

    /// Notes the ids of topics that were not seen before.
    async fn note_ids(&self, state: &State, topics: &[Topic]) {
        let new: Vec<(i64, String)> = topics
            .iter()
            .filter(|topic| topic.kafka_id.is_none() && topic.status == TopicState::Active)
            .filter_map(|topic| {
                let id = self.details.ids.get(&topic.topic_name)?;
                Some((topic.topic_id, id.clone()))
            })
            .collect();
        if new.is_empty() {
            return;
        }
        let written = state
            .database
            .write(move |c| store::topics::note_kafka_ids(c, &new))
            .await;
        if let Err(error) = written {
            tracing::error!(error = %error, "note the ids of topics");
        }
    }
}

/// What a pass begins with.
struct Observed {
    topics: Vec<Topic>,
    /// The place in the feed at which each inactive topic was fenced.
    fences: BTreeMap<String, i64>,
    /// Whether anything may be deleted.
    deletions: bool,
}

async fn observe(state: &State, extent: Extent) -> Option<Observed> {
    let context = state.system();
    let read = move |connection: &Connection| -> Outcome<_> {
        let topics = match extent {
            Extent::All => store::topics::provisioned(connection)?,
            Extent::Open => store::topics::unsettled(connection)?,
        };
        let mut fences = BTreeMap::new();
        for topic in topics
            .iter()
            .filter(|topic| topic.status == TopicState::Inactive)
        {
            let place = store::changes::fence_of_topic(connection, &topic.topic_name)?;
            fences.insert(topic.topic_name.clone(), place);
        }
        Ok(Observed {
            topics,
            fences,
            deletions: evidence::deletions(connection, &context)?,
        })
    };
    match state.database.read(read).await {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::error!(error = %error, "read the topics");
            None
        }
    }
}

/// The pause until something becomes due, at most the interval.
fn next_due(topics: &[Topic], interval: Duration) -> Duration {
    let due = |topic: &Topic| match topic.status {
        TopicState::Inactive if topic.purge_started_at.is_none() => topic.purge_after,
        TopicState::Approved | TopicState::Inactive | TopicState::Active => topic.next_attempt_at,
        _ => None,
    };
    let wait = topics
        .iter()
        .filter_map(due)
        .map(|at| at.as_millis() - now().as_millis())
        .min();
    let wait = wait.map(|ms| Duration::from_millis(u64::try_from(ms.max(250)).unwrap_or(250)));
    wait.map_or(interval, |wait| wait.min(interval))
}

/// Ends requests that waited too long, and reminds of those that wait.
async fn age_requests(state: &State) {
    let since =
        |time: Duration| now().plus_millis(-i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let lifecycle = &state.settings.lifecycle;
    let expired = lifecycle.request_expires.0.map(since);
    let waiting = lifecycle.request_reminder.0.map(since);
    let due = move |c: &Connection| -> Outcome<bool> {
        let ended = expired.map(|at| store::requests::overdue(c, at, 1));
        let unseen = waiting.map(|at| store::requests::unreminded(c, at, 1));
        let ended = ended.transpose()?.is_some_and(|found| !found.is_empty());
        Ok(ended || unseen.transpose()?.is_some_and(|found| !found.is_empty()))
    };
    match state.database.read(due).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return tracing::error!(error = %error, "look for requests that wait"),
    }
    let context = state.system();
    let work = move |c: &Connection| -> Outcome<_> {
        let ended = expired.map(|before| observe::expire(c, &context, before));
        let ended = ended.transpose()?.unwrap_or(0);
        let reminded = waiting.map(|before| observe::remind(c, &context, before));
        Ok((ended, reminded.transpose()?.unwrap_or(0)))
    };
    match state.database.write(work).await {
        Ok((expired, reminded)) => tracing::info!(expired, reminded, "requests that waited"),
        Err(error) => tracing::error!(error = %error, "expire requests and remind of them"),
    }
}

/// Keeps the feed within its bound.
async fn forget_changes(state: &State) {
    loop {
        let work = |c: &Connection| store::changes::forget(c, CHANGES_KEPT, FORGET_AT_ONCE);
        match state.database.write(work).await {
            Ok(count) if count == FORGET_AT_ONCE as usize && !state.shutdown.requested() => {}
            Ok(_) => return,
            Err(error) => return tracing::error!(error = %error, "forget old changes"),
        }
    }
}

/// Governance has a hole when brokers create topics by themselves: say so loudly.
async fn check_brokers(state: &State, kafka: &Kafka) {
    let Ok(cluster) = kafka.look(None).await else {
        return;
    };
    let Some(broker) = cluster.brokers.first() else {
        return;
    };
    match kafka.configs(ResourceSpecifier::Broker(*broker)).await {
        Ok(configs)
            if configs
                .get("auto.create.topics.enable")
                .is_some_and(|v| v == "true") =>
        {
            let reason = "auto.create.topics.enable=true on the brokers: topics appear without approval; \
                          set it to false";
            state.health.degraded("auto-create", reason);
        }
        Ok(_) => state.health.ok("auto-create"),
        Err(error) => tracing::debug!(error = %error, "read the brokers' settings"),
    }
}
