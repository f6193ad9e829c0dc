//! Replays: jobs that deliver a time range again, as they were last heard of.

use super::Store;
use super::sql::values;
use crate::app::replays::{Replay, Work};
use serde_json::json;
use sluice_service::http::problem::Failure;
use sluice_service::sqlite::StoreError;

/// Replays of one consumer that are remembered.
const REPLAYS_KEPT: i64 = 100;
/// Unfinished replays that one look takes up.
const UNFINISHED_MAX: i64 = 1000;

/// A replay that has not ended.
#[derive(Debug)]
pub struct Unfinished {
    /// As it was heard of last.
    pub replay: Replay,
    /// What its job is made from; none for one of an older version.
    pub work: Option<Work>,
    /// Which run of it the registry knows.
    pub epoch: i64,
}

impl Store {
    /// Remembers a replay that begins, at epoch 1.
    ///
    /// # Errors
    /// When the database does not answer, or the consumer is gone.
    pub async fn insert_replay(&self, replay: Replay, work: Work) -> Result<(), Failure> {
        self.db
            .write(move |c| {
                c.execute(
                    "INSERT INTO replays (id, consumer_id, at, state, body, work, epoch)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)",
                    values![
                        &replay.replay_id,
                        &replay.consumer_id,
                        replay.created_at.as_millis(),
                        replay.state.as_str(),
                        json!(replay).to_string(),
                        json!(work).to_string()
                    ],
                )?;
                c.execute(
                    "DELETE FROM replays WHERE consumer_id = ?1 AND id NOT IN
                     (SELECT id FROM replays WHERE consumer_id = ?1 ORDER BY at DESC, id LIMIT ?2)",
                    values![&replay.consumer_id, REPLAYS_KEPT],
                )?;
                Ok(())
            })
            .await
    }

    /// Remembers a replay as it is now. False: a later run has taken it over, or it is gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn save_replay(&self, replay: Replay, epoch: i64) -> Result<bool, StoreError> {
        self.db
            .write(move |c| {
                let touched = c.execute(
                    "UPDATE replays SET state = ?3, body = ?4 WHERE id = ?1 AND epoch = ?2",
                    values![
                        &replay.replay_id,
                        epoch,
                        replay.state.as_str(),
                        json!(replay).to_string()
                    ],
                )?;
                Ok(touched > 0)
            })
            .await
    }

    /// Takes a replay over from the run of an epoch, and remembers it as given; what that run still
    /// writes is refused. Answers the new epoch; none: somebody was first, or it has ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take_replay(&self, replay: Replay, epoch: i64) -> Result<Option<i64>, StoreError> {
        self.db
            .write(move |c| {
                let touched = c.execute(
                    "UPDATE replays SET state = ?3, body = ?4, epoch = ?5
                     WHERE id = ?1 AND epoch = ?2 AND state = 'running'",
                    values![
                        &replay.replay_id,
                        epoch,
                        replay.state.as_str(),
                        json!(replay).to_string(),
                        epoch + 1
                    ],
                )?;
                Ok((touched > 0).then_some(epoch + 1))
            })
            .await
    }

    /// The replays that have not ended, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unfinished_replays(&self) -> Result<Vec<Unfinished>, StoreError> {
        self.db
            .read(move |c| {
                let found = c.query(
                    "SELECT body, work, epoch FROM replays WHERE state = 'running'
                     ORDER BY at, id LIMIT ?1",
                    values![UNFINISHED_MAX],
                )?;
                let read = found.iter().filter_map(|row| {
                    Some(Unfinished {
                        replay: serde_json::from_str(&row.text(0)).ok()?,
                        work: serde_json::from_str(&row.text(1)).ok(),
                        epoch: row.int(2),
                    })
                });
                Ok(read.collect())
            })
            .await
    }

    /// The replays of a consumer, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replays(&self, consumer_id: &str) -> Result<Vec<Replay>, StoreError> {
        let consumer_id = consumer_id.to_owned();
        self.db
            .read(move |c| {
                let found = c.query(
                    "SELECT body FROM replays WHERE consumer_id = ?1 ORDER BY at DESC, id",
                    values![consumer_id],
                )?;
                let read = found.iter().map(|row| serde_json::from_str(&row.text(0)));
                Ok(read.filter_map(Result::ok).collect())
            })
            .await
    }
}
