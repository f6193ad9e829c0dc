//! Who changed which consumer.

use super::Store;
use super::sql::{Sql, values};
use crate::redact;
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
    /// The verb: create, update, rollback, delete, start, stop, pause, resume, restart, offsets, ...
    pub action: String,
    /// Which consumer.
    pub consumer_id: String,
    /// Who.
    pub actor: String,
    /// The consumer before.
    pub before: Option<Value>,
    /// The consumer after.
    pub after: Option<Value>,
    /// The request that asked for it; logs name it too.
    pub request_id: Option<String>,
}

/// Which changes are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one consumer.
    pub consumer_id: Option<String>,
    /// By one account.
    pub actor: Option<String>,
    /// One verb.
    pub action: Option<String>,
    /// By one request.
    pub request_id: Option<String>,
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
    /// The request that asks for it.
    pub request_id: Option<String>,
}

pub(super) fn append(
    c: &mut dyn Sql,
    change: &NewChange,
    consumer_id: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<(), StoreError> {
    // Who may read what was done may not read passwords.
    let text = |value: Option<&Value>| value.map(|value| redact::document(value).to_string());
    c.execute(
        "INSERT INTO audit (at, action, consumer_id, actor, before, after, request_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        values![
            change.at.as_millis(),
            change.action,
            consumer_id,
            &change.actor,
            text(before),
            text(after),
            change.request_id.clone(),
        ],
    )?;
    Ok(())
}

impl Store {
    /// Writes down something that happened to a consumer and is no change of its row.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note(&self, id: &str, change: NewChange, after: Value) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.db
            .write(move |c| append(c, &change, &id, None, Some(&after)))
            .await
    }

    /// A page of changes, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(&self, page: Page, filter: Filter) -> Result<Vec<Change>, StoreError> {
        self.db
            .read(move |c| {
                let json =
                    |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
                let mut sql =
                    "SELECT seq, at, action, consumer_id, actor, before, after, request_id
                               FROM audit WHERE seq < ?1"
                        .to_owned();
                let mut with =
                    values![page.before.unwrap_or(i64::MAX), i64::from(page.limit)].to_vec();
                let members = [
                    ("consumer_id", filter.consumer_id),
                    ("actor", filter.actor),
                    ("action", filter.action),
                    ("request_id", filter.request_id),
                ];
                for (column, wanted) in members {
                    if let Some(wanted) = wanted {
                        with.push(wanted.into());
                        let place = with.len();
                        sql.extend([" AND ", column, " = ?", &place.to_string()]);
                    }
                }
                sql.push_str(" ORDER BY seq DESC LIMIT ?2");
                let rows = c.query(&sql, &with)?;
                let changes = rows.into_iter().map(|row| Change {
                    seq: row.int(0),
                    at: Timestamp::from_millis(row.int(1)),
                    action: row.text(2),
                    consumer_id: row.text(3),
                    actor: row.text(4),
                    before: json(row.maybe_text(5)),
                    after: json(row.maybe_text(6)),
                    request_id: row.maybe_text(7),
                });
                Ok(changes.collect())
            })
            .await
    }
}
