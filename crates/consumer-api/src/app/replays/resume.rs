//! Replays go on after a restart: what a process left unfinished is taken up by the one that the consumer
//! belongs to then, from the positions that stand in the registry.

use super::super::offsets::cluster_of;
use super::super::{blocking, kafka_problem, spec};
use super::{REPLAYS_AT_ONCE, Replay, ReplayState, SILENT_MS, begin};
use crate::clusters::METADATA_TIMEOUT;
use crate::context::Context;
use crate::store::consumers::Row;
use crate::store::replays::Unfinished;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use sluice_service::now;
use sluice_service::shutdown::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks for replays that nobody runs.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Problems from here on are ours, and may pass.
const SERVER_FAULT: u16 = 500;

/// Takes up what others left, until the stop.
pub async fn follow(context: Context, shutdown: Shutdown) {
    loop {
        match context.store.unfinished_replays().await {
            Ok(found) => {
                for left in found {
                    take_up(&context, left).await;
                }
            }
            Err(error) => tracing::debug!(error = %error, "unfinished replays are not known"),
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Whether a replay is left alone by whoever ran it.
fn left(replay: &Replay, shared: bool, now_ms: i64) -> bool {
    // A registry of one process: what does not run here runs nowhere.
    !shared || replay.waiting || now_ms - replay.updated_at.as_millis() > SILENT_MS
}

async fn take_up(context: &Context, found: Unfinished) {
    let replay = &found.replay;
    let id = replay.replay_id.clone();
    {
        let running = context.replays.running();
        if running.contains_key(&id) || running.len() >= REPLAYS_AT_ONCE {
            return;
        }
    }
    let shared = context.store.shared();
    if !context.manager.owns(&replay.consumer_id)
        || !left(replay, shared, now().as_millis())
        || context.shutdown.requested()
    {
        return;
    }
    let (epoch, mut ended) = (found.epoch, replay.clone());
    let Err(failure) = resume(context, found).await else {
        return;
    };
    // Kafka or the admin API is away: the next look tries again. Anything else stays as it is.
    if failure.0.status >= SERVER_FAULT {
        tracing::debug!(replay.id = id, error = %failure, "a replay does not go on yet");
        return;
    }
    ended.state = ReplayState::Failed;
    ended.error = Some(format!("it cannot go on after a restart: {failure}"));
    ended.waiting = false;
    (ended.updated_at, ended.ended_at) = (now(), Some(now()));
    tracing::warn!(replay.id = id, error = %failure, "a replay does not go on");
    metrics::counter!("consumer_replays_total", "state" => "failed").increment(1);
    if let Err(error) = context.store.take_replay(ended, epoch).await {
        tracing::debug!(replay.id = id, error = %error, "a replay's end is not saved");
    }
}

async fn resume(context: &Context, found: Unfinished) -> Result<(), Failure> {
    let mut replay = found.replay;
    let gone = |detail: &str| Failure::from(Problem::new(Code::Conflict, detail));
    let row: Row = context.store.consumer(&replay.consumer_id).await?;
    let work = found.work.ok_or_else(|| {
        gone("an older version began it, which did not keep what it is made from; start it again")
    })?;
    let cluster = cluster_of(context, &row)?;
    let names: Vec<String> = work.topics.iter().map(|(name, _)| name.clone()).collect();
    spec::check_topics(context, &row.cluster, &names).await?;
    if super::topics(context, &cluster, &names) != work.topics {
        return Err(gone(
            "a topic was made again under its name; the range's records are gone",
        ));
    }
    let there = Arc::clone(&cluster);
    blocking(move || there.look(METADATA_TIMEOUT).map_err(kafka_problem)).await?;
    replay.waiting = false;
    replay.updated_at = now();
    let Some(epoch) = context
        .store
        .take_replay(replay.clone(), found.epoch)
        .await?
    else {
        return Ok(());
    };
    tracing::info!(replay.id = replay.replay_id, epoch, "a replay goes on");
    begin(context, &row, &work, cluster, replay, epoch)?
        .start()
        .map_err(|error| sluice_service::http::problem::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_replay_is_taken_up_when_it_was_left_or_silent_and_an_own_one_at_once() {
        let mut replay = super::super::tests::replay();
        let heard = replay.updated_at.as_millis();
        assert!(left(&replay, false, heard));
        assert!(!left(&replay, true, heard + SILENT_MS));
        assert!(left(&replay, true, heard + SILENT_MS + 1));
        replay.waiting = true;
        assert!(left(&replay, true, heard));
    }
}
