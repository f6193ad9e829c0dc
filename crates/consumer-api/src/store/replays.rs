//! Replays: jobs that deliver a time range again, as they were last heard of.

use super::Store;
use super::sql::values;
use crate::app::replays::Replay;
use serde_json::json;
use sluice_service::http::problem::Failure;
use sluice_service::sqlite::StoreError;

/// Replays of one consumer that are remembered.
const REPLAYS_KEPT: i64 = 100;

impl Store {
    /// Remembers a replay as it is now.
    ///
    /// # Errors
    /// When the database does not answer, or the consumer is gone.
    pub async fn save_replay(&self, replay: Replay) -> Result<(), Failure> {
        self.db
            .write(move |c| {
                c.execute(
                    "INSERT INTO replays (id, consumer_id, at, state, body) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body",
                    values![
                        &replay.replay_id,
                        &replay.consumer_id,
                        replay.created_at.as_millis(),
                        replay.state.as_str(),
                        json!(replay).to_string()
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
