//! What consumers were before.

use super::Store;
use super::consumers::{Row, not_found};
use super::sql::{Sql, values};
use serde::Serialize;
use serde_json::{Value, json};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use sluice_service::sqlite::StoreError;

/// Revisions that are kept of one consumer; the oldest go first.
pub const REVISIONS_MAX: i64 = 20;

/// What a consumer was, from some generation on.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Revision {
    /// The generation that began with it.
    pub revision: i64,
    /// When.
    pub at: Timestamp,
    /// Who wrote it.
    pub actor: String,
    /// Whether the consumer is like that now.
    pub current: bool,
    /// The body that makes it so.
    #[schema(value_type = Object)]
    pub spec: Value,
}

/// What a consumer is, in the words of `PUT /consumers/{id}/`: what it should do and who owns it are no
/// part of it.
pub fn spec_of(row: &Row) -> Value {
    let processors = row.processors.iter();
    let processors: Vec<Value> = processors
        .map(|p| json!({"processor_type": p.processor_type, "config": p.config}))
        .collect();
    let mut spec = json!({
        "cluster": row.cluster,
        "broker_ip": row.broker_ip,
        "broker_port": row.broker_port,
        "topics": row.topics,
        "consumer_group": row.consumer_group,
        "auto_start": row.auto_start,
        "downstream_processors": processors,
    });
    if let (Some(spec), Value::Object(policies)) = (spec.as_object_mut(), json!(row.policies)) {
        spec.extend(policies);
        if let Some(client_id) = &row.client_id {
            spec.insert("client_id".to_owned(), Value::from(client_id.as_str()));
        }
    }
    spec
}

fn put(c: &mut dyn Sql, row: &Row, actor: &str, at: Timestamp) -> Result<(), StoreError> {
    c.execute(
        "INSERT INTO revisions (consumer_id, revision, at, actor, spec) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (consumer_id, revision) DO NOTHING",
        values![
            &row.id,
            row.generation,
            at.as_millis(),
            actor,
            spec_of(row).to_string()
        ],
    )?;
    Ok(())
}

/// Notes what a new consumer is.
pub(super) fn begin(c: &mut dyn Sql, row: &Row, actor: &str) -> Result<(), StoreError> {
    put(c, row, actor, row.created_at)
}

/// Notes what a consumer is after a change, when it is something else than before.
pub(super) fn note(
    c: &mut dyn Sql,
    before: &Row,
    after: &Row,
    actor: &str,
) -> Result<(), StoreError> {
    if spec_of(before) == spec_of(after) {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM revisions WHERE consumer_id = ?1";
    if c.first(sql, values![&after.id])?.unwrap_or_default().int(0) == 0 {
        // It is older than revisions are.
        put(c, before, &before.owner, before.updated_at)?;
    }
    put(c, after, actor, after.updated_at)?;
    c.execute(
        "DELETE FROM revisions WHERE consumer_id = ?1 AND revision NOT IN
         (SELECT revision FROM revisions WHERE consumer_id = ?1 ORDER BY revision DESC LIMIT ?2)",
        values![&after.id, REVISIONS_MAX],
    )?;
    Ok(())
}

impl Store {
    /// What a consumer is and was, newest first.
    ///
    /// # Errors
    /// When it does not exist or the database does not answer.
    pub async fn revisions(&self, row: &Row) -> Result<Vec<Revision>, Failure> {
        let (id, now) = (row.id.clone(), spec_of(row));
        self.db
            .read(move |c| {
                let rows = c.query(
                    "SELECT revision, at, actor, spec FROM revisions WHERE consumer_id = ?1
                     ORDER BY revision DESC",
                    values![id],
                )?;
                let revisions = rows.iter().enumerate().map(|(place, row)| {
                    let spec = serde_json::from_str(&row.text(3)).unwrap_or_default();
                    Revision {
                        revision: row.int(0),
                        at: Timestamp::from_millis(row.int(1)),
                        actor: row.text(2),
                        current: place == 0 && spec == now,
                        spec,
                    }
                });
                Ok(revisions.collect())
            })
            .await
    }

    /// What a consumer was at a revision, in the words of a body.
    ///
    /// # Errors
    /// When there is no such revision any more, or the database does not answer.
    pub async fn revision(&self, id: &str, revision: i64) -> Result<String, Failure> {
        let id = id.to_owned();
        self.db
            .read(move |c| {
                super::consumers::existing(c, &id).map_err(|_| not_found(&id))?;
                let sql = "SELECT spec FROM revisions WHERE consumer_id = ?1 AND revision = ?2";
                let found = c.first(sql, values![&id, revision])?;
                found.map(|row| row.text(0)).ok_or_else(|| {
                    let detail = format!(
                        "{id} has no revision {revision}, or not any more: the last {REVISIONS_MAX} are kept"
                    );
                    Problem::new(Code::NotFound, detail).into()
                })
            })
            .await
    }
}
