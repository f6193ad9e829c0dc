//! Doing what the plan says: calls to Kafka outside of any transaction, then one command that writes
//! the outcome down.

use super::cluster::{ClusterError, Kafka};
use super::plan::{Cluster, Seen, Step, alterations, differences};
use crate::app::observe;
use crate::error::{AppError, Outcome};
use crate::state::State;
use crate::store;
use futures_util::future::try_join_all;
use rdkafka::admin::ResourceSpecifier;
use sluice_model::topic::Topic;
use sluice_service::{backoff, failpoint, now};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Topics that one CreateTopics carries.
const CREATE_MAX: usize = 100;
/// How long a pass waits for the leaders of what it created.
const LEADERS_WAIT: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const LEADERS_POLL: Duration = Duration::from_millis(10);
/// Delay after the first failure.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Applies the steps of a pass.
///
/// # Errors
/// When Kafka does not answer: the rest waits for the next pass.
pub async fn apply(
    state: &State,
    kafka: &Kafka,
    steps: Vec<Step>,
    cluster: &Cluster,
) -> Result<(), ClusterError> {
    let mut create = Vec::new();
    for step in steps {
        match step {
            Step::Create(topic) => create.push(topic),
            Step::Confirm(topic) => confirm(state, kafka, &topic, cluster).await?,
            Step::Change(topic) => change(state, kafka, &topic, cluster).await?,
            Step::StartPurge(topic) => start_purge(state, kafka, &topic).await?,
            Step::Delete(topic) => delete(state, kafka, &topic).await?,
            Step::Purged(topic) => purged(state, &topic).await,
        }
    }
    for chunk in create.chunks(CREATE_MAX) {
        create_chunk(state, kafka, chunk).await?;
    }
    Ok(())
}

async fn create_chunk(state: &State, kafka: &Kafka, topics: &[Topic]) -> Result<(), ClusterError> {
    failpoint::pass("create.begun");
    let outcomes = kafka.create(topics).await?;
    failpoint::pass("create.done");
    let mut created = Vec::new();
    for (topic, outcome) in topics.iter().zip(outcomes) {
        match outcome {
            Ok(()) => created.push(topic.clone()),
            Err(error @ ClusterError::Unreachable(_)) => return Err(error),
            Err(error) => failed(state, topic, &error.to_string()).await,
        }
    }
    let deadline = Instant::now() + LEADERS_WAIT;
    while !created.is_empty() {
        let only = match created.as_slice() {
            [one] => Some(one.topic_name.clone()),
            _ => None,
        };
        let cluster = kafka.look(only).await?;
        let led = |topic: &Topic| {
            cluster
                .topics
                .get(&topic.topic_name)
                .is_some_and(|seen| seen.led)
        };
        let (ready, waiting): (Vec<Topic>, Vec<Topic>) = created.into_iter().partition(led);
        // Side by side, so that they share a commit.
        try_join_all(
            ready
                .iter()
                .map(|topic| confirm(state, kafka, topic, &cluster)),
        )
        .await?;
        created = waiting;
        if Instant::now() >= deadline {
            for topic in &created {
                failed(
                    state,
                    topic,
                    "created, but not every partition has a leader yet",
                )
                .await;
            }
            break;
        }
        if !created.is_empty() {
            tokio::time::sleep(LEADERS_POLL).await;
        }
    }
    Ok(())
}

/// Makes a topic active when what Kafka has is what was asked.
async fn confirm(
    state: &State,
    kafka: &Kafka,
    topic: &Topic,
    cluster: &Cluster,
) -> Result<(), ClusterError> {
    let Some(seen) = cluster.topics.get(&topic.topic_name) else {
        return Ok(());
    };
    if !seen.led {
        failed(state, topic, "not every partition has a leader yet").await;
        return Ok(());
    }
    let configs = if topic.configs.is_empty() {
        BTreeMap::new()
    } else {
        kafka
            .configs(ResourceSpecifier::Topic(&topic.topic_name))
            .await?
    };
    let differences = differences(topic, seen, &configs);
    if !differences.is_empty() {
        let problem = format!(
            "a topic of this name exists and differs: {}",
            differences.join("; ")
        );
        failed(state, topic, &problem).await;
        return Ok(());
    }
    let context = state.system();
    let topic_id = topic.topic_id;
    let done = state
        .database
        .write(move |c| {
            let done = observe::provisioned(c, &context, topic_id);
            failpoint::pass("provisioned.written");
            done
        })
        .await;
    failpoint::pass("provisioned.committed");
    match done {
        Ok(topic) => {
            metrics::counter!("admin_api_topics_provisioned_total").increment(1);
            tracing::info!(
                topic.id = topic_id,
                topic.name = topic.topic_name,
                "topic is active"
            );
        }
        Err(AppError::Problem(problem)) => {
            // Cancelled while it was being created: take it away again, it is ours and empty.
            let name = &topic.topic_name;
            tracing::warn!(topic.name = name, reason = %problem, "created topic is not wanted any more");
            kafka.delete(name).await?;
        }
        Err(error) => tracing::error!(topic.id = topic_id, error = %error, "write the activation"),
    }
    Ok(())
}

/// Brings an approved change to Kafka, and writes it down once Kafka shows it.
async fn change(
    state: &State,
    kafka: &Kafka,
    topic: &Topic,
    cluster: &Cluster,
) -> Result<(), ClusterError> {
    let (Some(seen), Some(request_id)) = (
        cluster.topics.get(&topic.topic_name),
        topic.change_request_id,
    ) else {
        return Ok(());
    };
    match bring(state, kafka, topic, seen, request_id).await {
        Ok(None) => {}
        Ok(Some(problem)) => {
            failed(state, topic, &problem).await;
            return Ok(());
        }
        Err(error @ ClusterError::Unreachable(_)) => return Err(error),
        Err(error) => {
            failed(state, topic, &error.to_string()).await;
            return Ok(());
        }
    }
    let (context, topic_id) = (state.system(), topic.topic_id);
    let written = state
        .database
        .write(move |c| {
            let done = observe::changed(c, &context, topic_id, request_id);
            failpoint::pass("changed.written");
            done
        })
        .await;
    failpoint::pass("changed.committed");
    match written {
        Ok(_) => tracing::info!(topic.name = topic.topic_name, "topic is changed"),
        Err(error) => tracing::error!(topic.id = topic_id, error = %error, "write a change down"),
    }
    Ok(())
}

/// Grows and alters a topic; answers what still differs.
async fn bring(
    state: &State,
    kafka: &Kafka,
    topic: &Topic,
    seen: &Seen,
    request_id: i64,
) -> Result<Option<String>, ClusterError> {
    let found = state
        .database
        .read(move |c| store::requests::by_id(c, request_id))
        .await;
    let base = match found {
        Ok(request) => request.and_then(|request| request.base),
        Err(error) => return Ok(Some(format!("the request cannot be read: {error}"))),
    };
    let name = topic.topic_name.clone();
    let want = usize::try_from(topic.partitions).unwrap_or_default();
    if seen.partitions < want {
        kafka.grow(&name, want).await?;
        failpoint::pass("change.grown");
    }
    let names = [name.clone()];
    let have = kafka.set_configs(&names).await?.remove(&name);
    let base = base.map(|base| base.configs).unwrap_or_default();
    let changes = alterations(&base, &topic.configs, &have.unwrap_or_default());
    if !changes.is_empty() {
        kafka.alter(name.clone(), changes).await?;
        failpoint::pass("change.altered");
    }
    let deadline = Instant::now() + LEADERS_WAIT;
    loop {
        let cluster = kafka.look(Some(name.clone())).await?;
        let have = kafka.set_configs(&names).await?.remove(&name);
        let Some(seen) = cluster.topics.get(&name) else {
            return Ok(Some("it is not in Kafka any more".to_owned()));
        };
        let differences = differences(topic, seen, &have.unwrap_or_default());
        if differences.is_empty() && seen.led {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            let what = if seen.led {
                differences.join("; ")
            } else {
                "not every partition has a leader yet".to_owned()
            };
            return Ok(Some(format!("the change is not complete: {what}")));
        }
        tokio::time::sleep(LEADERS_POLL).await;
    }
}

async fn start_purge(state: &State, kafka: &Kafka, topic: &Topic) -> Result<(), ClusterError> {
    let context = state.system();
    let (topic_id, version) = (topic.topic_id, topic.version);
    let started: Outcome<_> = state
        .database
        .write(move |c| observe::start_purge(c, &context, topic_id, version))
        .await;
    failpoint::pass("purge.started");
    match started {
        Ok(Some(topic)) => delete(state, kafka, &topic).await,
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::error!(topic.id = topic_id, error = %error, "start a deletion");
            Ok(())
        }
    }
}

async fn delete(state: &State, kafka: &Kafka, topic: &Topic) -> Result<(), ClusterError> {
    let deleted = kafka.delete(&topic.topic_name).await;
    failpoint::pass("delete.done");
    match deleted {
        // Another pass follows at once and writes it down when the metadata shows it gone.
        Ok(()) => state.nudge.notify_one(),
        Err(error @ ClusterError::Unreachable(_)) => return Err(error),
        Err(error) => failed(state, topic, &error.to_string()).await,
    }
    Ok(())
}

async fn purged(state: &State, topic: &Topic) {
    let context = state.system();
    let topic_id = topic.topic_id;
    match state
        .database
        .write(move |c| {
            let done = observe::purged(c, &context, topic_id);
            failpoint::pass("purged.written");
            done
        })
        .await
    {
        Ok(topic) => {
            tracing::info!(
                topic.id = topic_id,
                topic.name = topic.topic_name,
                "topic is deleted"
            );
        }
        Err(error) => tracing::error!(topic.id = topic_id, error = %error, "write a deletion down"),
    }
}

async fn failed(state: &State, topic: &Topic, problem: &str) {
    let attempts = topic.attempts + 1;
    let delay = backoff::delay(
        u32::try_from(attempts).unwrap_or(u32::MAX),
        RETRY_FIRST,
        state.settings.reconcile.retry_max,
    );
    let next = now().plus_millis(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
    if topic.last_problem.as_deref() != Some(problem) {
        tracing::warn!(
            topic.name = topic.topic_name,
            attempts,
            problem,
            "topic is not as asked"
        );
    }
    metrics::counter!("admin_api_reconcile_failures_total").increment(1);
    let (topic_id, text) = (topic.topic_id, problem.to_owned());
    let written = state
        .database
        .write(move |c| observe::failed(c, topic_id, attempts, next, &text))
        .await;
    if let Err(error) = written {
        tracing::error!(topic.id = topic_id, error = %error, "write an observation");
    }
}
