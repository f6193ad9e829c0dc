//! Who changed which consumer.

use super::Store;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::Value;
use sluice_model::page::Page;
use sluice_model::time::Timestamp;
use sluice_service::sqlite::StoreError;

/// One change of a consumer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Change {
    /// Its place, from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The verb: create, update, delete, start, stop, pause, resume, restart, offsets.
    pub action: String,
    /// Which consumer.
    pub consumer_id: String,
    /// Who.
    pub actor: String,
    /// The consumer before.
    pub before: Option<Value>,
    /// The consumer after.
    pub after: Option<Value>,
}

/// A change to be written; its place comes from the database.
#[derive(Clone, Debug)]
pub struct NewChange {
    /// When.
    pub at: Timestamp,
    /// The verb.
    pub action: &'static str,
    /// Who.
    pub actor: String,
}

pub(super) fn append(
    c: &Connection,
    change: &NewChange,
    consumer_id: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> rusqlite::Result<()> {
    let text = |value: Option<&Value>| value.map(ToString::to_string);
    let sql = "INSERT INTO audit (at, action, consumer_id, actor, before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let at = change.at.as_millis();
    c.execute(
        sql,
        params![
            at,
            change.action,
            consumer_id,
            change.actor,
            text(before),
            text(after)
        ],
    )?;
    Ok(())
}

impl Store {
    /// A page of changes, newest first; of one consumer if given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(
        &self,
        page: Page,
        consumer_id: Option<String>,
    ) -> Result<Vec<Change>, StoreError> {
        self.db
            .read(move |c| {
                let mut query = c.prepare_cached(
                    "SELECT seq, at, action, consumer_id, actor, before, after FROM audit
                     WHERE seq < ?1 AND (?2 IS NULL OR consumer_id = ?2) ORDER BY seq DESC LIMIT ?3",
                )?;
                let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
                let before = page.before.unwrap_or(i64::MAX);
                let rows = query.query_map(params![before, consumer_id, page.limit], |row| {
                    Ok(Change {
                        seq: row.get(0)?,
                        at: Timestamp::from_millis(row.get(1)?),
                        action: row.get(2)?,
                        consumer_id: row.get(3)?,
                        actor: row.get(4)?,
                        before: json(row.get(5)?),
                        after: json(row.get(6)?),
                    })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
