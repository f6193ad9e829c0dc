//! Consumers and their processors.

use super::audit::{NewChange, append};
use super::sql::{Cells, Sql, values};
use super::{Store, revisions};
use crate::redact;
use serde::Serialize;
use serde_json::json;
use sluice_model::consumer::{Desired, Policies, Processor};
use sluice_model::page::Page;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use sluice_service::sqlite::StoreError;
use std::collections::HashMap;

/// Consumers that one registry holds.
const CONSUMERS_MAX: i64 = 10_000;
/// How long an idempotency key is remembered.
const IDEMPOTENCY_MS: i64 = 24 * 3600 * 1000;

/// A consumer as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its place in listings.
    #[serde(skip)]
    pub seq: i64,
    /// Identity (UUID).
    pub id: String,
    /// The cluster, by name.
    pub cluster: String,
    /// Host, as it was given.
    pub broker_ip: String,
    /// Port, as it was given.
    pub broker_port: u16,
    /// The topics.
    pub topics: Vec<String>,
    /// The group.
    pub consumer_group: String,
    /// The client id.
    pub client_id: Option<String>,
    /// Whether it started at once.
    pub auto_start: bool,
    /// Who owns it.
    pub owner: String,
    /// What the user wants.
    pub desired: Desired,
    /// Counts changes.
    pub generation: i64,
    /// Where records go.
    pub processors: Vec<Processor>,
    /// How it meets trouble.
    #[serde(flatten)]
    pub policies: Policies,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A consumer as the audit shows it: without secrets.
fn told(row: &Row) -> serde_json::Value {
    let mut shown = row.clone();
    for processor in &mut shown.processors {
        processor.config = redact::config(&processor.config);
    }
    json!(shown)
}

/// A key that makes a repeated create answer like the first.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// What the client sent.
    pub key: String,
    /// The hash of the body.
    pub body_hash: [u8; 32],
}

const COLUMNS: &str = "seq, id, cluster, broker_ip, broker_port, topics, consumer_group, client_id,
    auto_start, owner, desired, generation, created_at, updated_at, policies";

fn read(row: &Cells) -> Row {
    Row {
        seq: row.int(0),
        id: row.text(1),
        cluster: row.text(2),
        broker_ip: row.text(3),
        broker_port: u16::try_from(row.int(4)).unwrap_or_default(),
        topics: serde_json::from_str(&row.text(5)).unwrap_or_default(),
        consumer_group: row.text(6),
        client_id: row.maybe_text(7),
        auto_start: row.int(8) != 0,
        owner: row.text(9),
        desired: Desired::parse(&row.text(10)).unwrap_or(Desired::Stopped),
        generation: row.int(11),
        processors: Vec::new(),
        created_at: Timestamp::from_millis(row.int(12)),
        updated_at: Timestamp::from_millis(row.int(13)),
        policies: serde_json::from_str(&row.text(14)).unwrap_or_default(),
    }
}

const PROCESSOR_COLUMNS: &str =
    "p.consumer_id, p.id, p.processor_type, p.config, p.created_at, p.updated_at";

fn read_processor(row: &Cells) -> Processor {
    Processor {
        id: row.text(1),
        processor_type: row.text(2),
        config: serde_json::from_str(&row.text(3)).unwrap_or_default(),
        created_at: Timestamp::from_millis(row.int(4)),
        updated_at: Timestamp::from_millis(row.int(5)),
    }
}

fn find(c: &mut dyn Sql, id: &str, lock: &str) -> Result<Option<Row>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM consumers WHERE id = ?1{lock}");
    let Some(mut row) = c.first(&sql, values![id])?.map(|cells| read(&cells)) else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT {PROCESSOR_COLUMNS} FROM downstream_processors p WHERE p.consumer_id = ?1 ORDER BY p.place"
    );
    let found = c.query(&sql, values![id])?;
    row.processors = found.iter().map(read_processor).collect();
    Ok(Some(row))
}

/// A consumer as it is.
pub(super) fn existing(c: &mut dyn Sql, id: &str) -> Result<Row, Failure> {
    find(c, id, "")?.ok_or_else(|| not_found(id))
}

/// A consumer that this transaction changes: others wait until it has ended.
pub(super) fn locked(c: &mut dyn Sql, id: &str) -> Result<Row, Failure> {
    let lock = c.lock();
    find(c, id, lock)?.ok_or_else(|| not_found(id))
}

/// The refusal of an id that nobody has.
pub fn not_found(id: &str) -> Failure {
    Problem::new(Code::NotFound, format!("there is no consumer {id}")).into()
}

fn write_processors(c: &mut dyn Sql, row: &Row) -> Result<(), StoreError> {
    for (place, processor) in row.processors.iter().enumerate() {
        c.execute(
            "INSERT INTO downstream_processors (id, consumer_id, place, processor_type, config, created_at,
             updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (id) DO UPDATE SET place = excluded.place",
            values![
                &processor.id,
                &row.id,
                place as i64,
                &processor.processor_type,
                json!(processor.config).to_string(),
                processor.created_at.as_millis(),
                processor.updated_at.as_millis(),
            ],
        )?;
    }
    Ok(())
}

fn insert(c: &mut dyn Sql, row: &Row) -> Result<(), Failure> {
    let count = c.first("SELECT count(*) FROM consumers", values![])?;
    if count.is_some_and(|count| count.int(0) >= CONSUMERS_MAX) {
        let detail = format!("this service holds at most {CONSUMERS_MAX} consumers; delete some");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    c.execute(
        "INSERT INTO consumers (id, cluster, broker_ip, broker_port, topics, consumer_group, client_id,
         auto_start, owner, desired, generation, created_at, updated_at, policies)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        values![
            &row.id,
            &row.cluster,
            &row.broker_ip,
            i64::from(row.broker_port),
            json!(row.topics).to_string(),
            &row.consumer_group,
            row.client_id.clone(),
            row.auto_start,
            &row.owner,
            row.desired.as_str(),
            row.generation,
            row.created_at.as_millis(),
            row.updated_at.as_millis(),
            json!(row.policies).to_string(),
        ],
    )?;
    Ok(write_processors(c, row)?)
}

fn update(c: &mut dyn Sql, before: &Row, row: &Row) -> Result<(), Failure> {
    c.execute(
        "UPDATE consumers SET cluster = ?2, broker_ip = ?3, broker_port = ?4, topics = ?5,
         consumer_group = ?6, client_id = ?7, auto_start = ?8, owner = ?9, desired = ?10, generation = ?11,
         updated_at = ?12, policies = ?13 WHERE id = ?1",
        values![
            &row.id,
            &row.cluster,
            &row.broker_ip,
            i64::from(row.broker_port),
            json!(row.topics).to_string(),
            &row.consumer_group,
            row.client_id.clone(),
            row.auto_start,
            &row.owner,
            row.desired.as_str(),
            row.generation,
            row.updated_at.as_millis(),
            json!(row.policies).to_string(),
        ],
    )?;
    for old in &before.processors {
        if row.processors.iter().all(|kept| kept.id != old.id) {
            c.execute(
                "DELETE FROM downstream_processors WHERE id = ?1",
                values![&old.id],
            )?;
        }
    }
    Ok(write_processors(c, row)?)
}

/// The consumer that a repeated create made at its first time.
fn replayed(
    c: &mut dyn Sql,
    row: &Row,
    key: &IdempotencyKey,
    account: &str,
) -> Result<Option<Row>, Failure> {
    let oldest = row.created_at.as_millis() - IDEMPOTENCY_MS;
    c.execute("DELETE FROM idempotency WHERE at < ?1", values![oldest])?;
    // The first of two that come at once wins; the other one waits here for its end.
    let new = c.execute(
        "INSERT INTO idempotency (account, key, body_hash, consumer_id, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (account, key) DO NOTHING",
        values![account, &key.key, &key.body_hash[..], &row.id, row.created_at.as_millis()],
    )?;
    if new > 0 {
        return Ok(None);
    }
    let sql = "SELECT body_hash, consumer_id FROM idempotency WHERE account = ?1 AND key = ?2";
    let first = c
        .first(sql, values![account, &key.key])?
        .unwrap_or_default();
    if first.blob(0) != key.body_hash {
        let detail = format!(
            "the Idempotency-Key {:?} came before with another body",
            key.key
        );
        return Err(Problem::new(Code::IdempotencyMismatch, detail).into());
    }
    existing(c, &first.text(1)).map(Some)
}

impl Store {
    /// Stores a new consumer, its processors and the audit row, all or nothing. A repeated create
    /// answers with the consumer of the first.
    ///
    /// # Errors
    /// When the registry is full or does not answer, or the key came with another body.
    pub async fn create(
        &self,
        row: Row,
        key: Option<IdempotencyKey>,
        change: NewChange,
    ) -> Result<Row, Failure> {
        let instance = self.instance();
        self.db
            .write(move |c| {
                if let Some(key) = &key
                    && let Some(first) = replayed(c, &row, key, &change.actor)?
                {
                    return Ok(first);
                }
                insert(c, &row)?;
                if let Some(instance) = instance {
                    super::instances::settle(c, &row.id, &instance)?;
                }
                revisions::begin(c, &row, &change.actor)?;
                append(c, &change, &row.id, None, Some(&told(&row)))?;
                existing(c, &row.id)
            })
            .await
    }

    /// One consumer.
    ///
    /// # Errors
    /// When it does not exist, or the database does not answer.
    pub async fn consumer(&self, id: &str) -> Result<Row, Failure> {
        let id = id.to_owned();
        self.db.read(move |c| existing(c, &id)).await
    }

    /// Every consumer, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn all_consumers(&self) -> Result<Vec<Row>, StoreError> {
        let everything = Page {
            limit: u32::MAX,
            before: None,
        };
        let mut rows = self.consumers(everything).await?;
        rows.reverse();
        Ok(rows)
    }

    /// A page of consumers, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consumers(&self, page: Page) -> Result<Vec<Row>, StoreError> {
        self.db
            .read(move |c| {
                let with = values![page.before.unwrap_or(i64::MAX), i64::from(page.limit)];
                let sql = format!(
                    "SELECT {COLUMNS} FROM consumers WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"
                );
                let found = c.query(&sql, with)?;
                let mut rows: Vec<Row> = found.iter().map(read).collect();
                let sql = format!(
                    "SELECT {PROCESSOR_COLUMNS} FROM downstream_processors p JOIN
                     (SELECT id FROM consumers WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2) c
                     ON c.id = p.consumer_id ORDER BY p.place"
                );
                let mut processors: HashMap<String, Vec<Processor>> = HashMap::new();
                for cells in c.query(&sql, with)? {
                    let list = processors.entry(cells.text(0)).or_default();
                    list.push(read_processor(&cells));
                }
                for row in &mut rows {
                    row.processors = processors.remove(&row.id).unwrap_or_default();
                }
                Ok(rows)
            })
            .await
    }

    /// Changes a consumer and writes the audit row: `change` sees it as it is and makes it what it
    /// should be. The generation grows when it did change anything.
    ///
    /// # Errors
    /// What `edit` refuses; when the consumer does not exist or the database does not answer.
    pub async fn change(
        &self,
        id: &str,
        change: NewChange,
        edit: impl FnOnce(&mut Row) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Row, Failure> {
        let id = id.to_owned();
        self.db
            .write(move |c| {
                let before = locked(c, &id)?;
                let mut after = before.clone();
                edit(&mut after)?;
                if after != before {
                    after.generation += 1;
                    after.updated_at = change.at;
                    update(c, &before, &after)?;
                    revisions::note(c, &before, &after, &change.actor)?;
                }
                append(c, &change, &id, Some(&told(&before)), Some(&told(&after)))?;
                Ok(after)
            })
            .await
    }

    /// Begins the time of a new worker: from now on sinks take nothing from the ones before it.
    ///
    /// # Errors
    /// When the consumer does not exist or the database does not answer.
    pub async fn begin_epoch(&self, id: &str) -> Result<i64, Failure> {
        let (id, instance) = (id.to_owned(), self.instance());
        let shared = self.shared();
        self.db
            .write(move |c| {
                locked(c, &id)?;
                if shared && !super::instances::holds(c, &id, &instance.unwrap_or_default())? {
                    let detail = "another instance runs this consumer, or is about to";
                    return Err(Problem::new(Code::Unavailable, detail)
                        .retry_after(1)
                        .into());
                }
                let sql = "UPDATE consumers SET epoch = epoch + 1 WHERE id = ?1";
                c.execute(sql, values![&id])?;
                let now = c.first("SELECT epoch FROM consumers WHERE id = ?1", values![&id])?;
                Ok(now.unwrap_or_default().int(0))
            })
            .await
    }

    /// Removes a consumer and what is known about its sinks.
    ///
    /// # Errors
    /// When it does not exist or the database does not answer.
    pub async fn delete(&self, id: &str, change: NewChange) -> Result<(), Failure> {
        let id = id.to_owned();
        self.db
            .write(move |c| {
                let before = locked(c, &id)?;
                c.execute("DELETE FROM consumers WHERE id = ?1", values![&id])?;
                c.execute(
                    "DELETE FROM idempotency WHERE consumer_id = ?1",
                    values![&id],
                )?;
                append(c, &change, &id, Some(&told(&before)), None)?;
                Ok(())
            })
            .await
    }
}
