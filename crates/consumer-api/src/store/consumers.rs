//! Consumers and their processors.

use super::Store;
use super::audit::{NewChange, append};
use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, params};
use serde::Serialize;
use serde_json::json;
use sluice_model::consumer::{Desired, Processor};
use sluice_model::page::Page;
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use sluice_service::sqlite::StoreError;

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
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
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
    auto_start, owner, desired, generation, created_at, updated_at";

fn read(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let topics: String = row.get(5)?;
    let desired: String = row.get(10)?;
    Ok(Row {
        seq: row.get(0)?,
        id: row.get(1)?,
        cluster: row.get(2)?,
        broker_ip: row.get(3)?,
        broker_port: row.get(4)?,
        topics: serde_json::from_str(&topics).unwrap_or_default(),
        consumer_group: row.get(6)?,
        client_id: row.get(7)?,
        auto_start: row.get(8)?,
        owner: row.get(9)?,
        desired: Desired::parse(&desired).unwrap_or(Desired::Stopped),
        generation: row.get(11)?,
        processors: Vec::new(),
        created_at: Timestamp::from_millis(row.get(12)?),
        updated_at: Timestamp::from_millis(row.get(13)?),
    })
}

fn processors(c: &Connection, consumer_id: &str) -> rusqlite::Result<Vec<Processor>> {
    let mut query = c.prepare_cached(
        "SELECT id, processor_type, config, created_at, updated_at FROM downstream_processors
         WHERE consumer_id = ?1 ORDER BY place",
    )?;
    let rows = query.query_map([consumer_id], |row| {
        let config: String = row.get(2)?;
        Ok(Processor {
            id: row.get(0)?,
            processor_type: row.get(1)?,
            config: serde_json::from_str(&config).unwrap_or_default(),
            created_at: Timestamp::from_millis(row.get(3)?),
            updated_at: Timestamp::from_millis(row.get(4)?),
        })
    })?;
    rows.collect()
}

fn find(c: &Connection, id: &str) -> rusqlite::Result<Option<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM consumers WHERE id = ?1");
    let Some(mut row) = c.prepare_cached(&sql)?.query_row([id], read).optional()? else {
        return Ok(None);
    };
    row.processors = processors(c, id)?;
    Ok(Some(row))
}

fn existing(c: &Connection, id: &str) -> Result<Row, Failure> {
    find(c, id)?.ok_or_else(|| not_found(id))
}

/// The refusal of an id that nobody has.
pub fn not_found(id: &str) -> Failure {
    Problem::new(Code::NotFound, format!("there is no consumer {id}")).into()
}

fn write_processors(c: &Connection, row: &Row) -> rusqlite::Result<()> {
    let mut put = c.prepare_cached(
        "INSERT INTO downstream_processors (id, consumer_id, place, processor_type, config, created_at,
         updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET place = excluded.place",
    )?;
    for (place, processor) in row.processors.iter().enumerate() {
        put.execute(params![
            processor.id,
            row.id,
            place as i64,
            processor.processor_type,
            json!(processor.config).to_string(),
            processor.created_at.as_millis(),
            processor.updated_at.as_millis(),
        ])?;
    }
    Ok(())
}

fn insert(c: &Connection, row: &Row) -> Result<(), Failure> {
    let count: i64 = c.query_row("SELECT count(*) FROM consumers", [], |r| r.get(0))?;
    if count >= CONSUMERS_MAX {
        let detail = format!("this service holds at most {CONSUMERS_MAX} consumers; delete some");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    c.execute(
        "INSERT INTO consumers (id, cluster, broker_ip, broker_port, topics, consumer_group, client_id,
         auto_start, owner, desired, generation, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            row.id,
            row.cluster,
            row.broker_ip,
            row.broker_port,
            json!(row.topics).to_string(),
            row.consumer_group,
            row.client_id,
            row.auto_start,
            row.owner,
            row.desired.as_str(),
            row.generation,
            row.created_at.as_millis(),
            row.updated_at.as_millis(),
        ],
    )?;
    Ok(write_processors(c, row)?)
}

fn update(c: &Connection, row: &Row) -> Result<(), Failure> {
    c.execute(
        "UPDATE consumers SET cluster = ?2, broker_ip = ?3, broker_port = ?4, topics = ?5,
         consumer_group = ?6, client_id = ?7, auto_start = ?8, desired = ?9, generation = ?10,
         updated_at = ?11 WHERE id = ?1",
        params![
            row.id,
            row.cluster,
            row.broker_ip,
            row.broker_port,
            json!(row.topics).to_string(),
            row.consumer_group,
            row.client_id,
            row.auto_start,
            row.desired.as_str(),
            row.generation,
            row.updated_at.as_millis(),
        ],
    )?;
    let kept = json!(row.processors.iter().map(|p| &p.id).collect::<Vec<_>>()).to_string();
    c.execute(
        "DELETE FROM downstream_processors
         WHERE consumer_id = ?1 AND id NOT IN (SELECT value FROM json_each(?2))",
        params![row.id, kept],
    )?;
    Ok(write_processors(c, row)?)
}

/// The consumer that a repeated create made at its first time.
fn replayed(c: &Connection, row: &Row, key: &IdempotencyKey) -> Result<Option<Row>, Failure> {
    let oldest = row.created_at.as_millis() - IDEMPOTENCY_MS;
    c.execute("DELETE FROM idempotency WHERE at < ?1", [oldest])?;
    let sql = "SELECT body_hash, consumer_id FROM idempotency WHERE account = ?1 AND key = ?2";
    let found = c.query_row(sql, [&row.owner, &key.key], |r| {
        Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, String>(1)?))
    });
    let Some((hash, id)) = found.optional()? else {
        return Ok(None);
    };
    if hash != key.body_hash {
        let detail = format!(
            "the Idempotency-Key {:?} came before with another body",
            key.key
        );
        return Err(Problem::new(Code::IdempotencyMismatch, detail).into());
    }
    existing(c, &id).map(Some)
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
        self.db
            .write(move |c| {
                if let Some(key) = &key {
                    if let Some(first) = replayed(c, &row, key)? {
                        return Ok(first);
                    }
                    c.execute(
                        "INSERT INTO idempotency (account, key, body_hash, consumer_id, at)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                        params![
                            row.owner,
                            key.key,
                            key.body_hash,
                            row.id,
                            row.created_at.as_millis()
                        ],
                    )?;
                }
                insert(c, &row)?;
                append(c, &change, &row.id, None, Some(&json!(row)))?;
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
                let sql = format!(
                    "SELECT {COLUMNS} FROM consumers WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"
                );
                let mut query = c.prepare_cached(&sql)?;
                let before = page.before.unwrap_or(i64::MAX);
                let rows = query.query_map(params![before, page.limit], read)?;
                let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
                for row in &mut rows {
                    row.processors = processors(c, &row.id)?;
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
                let before = existing(c, &id)?;
                let mut after = before.clone();
                edit(&mut after)?;
                if after != before {
                    after.generation += 1;
                    after.updated_at = change.at;
                    update(c, &after)?;
                }
                append(c, &change, &id, Some(&json!(before)), Some(&json!(after)))?;
                Ok(after)
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
                let before = existing(c, &id)?;
                c.execute("DELETE FROM consumers WHERE id = ?1", [&id])?;
                c.execute("DELETE FROM idempotency WHERE consumer_id = ?1", [&id])?;
                append(c, &change, &id, Some(&json!(before)), None)?;
                Ok(())
            })
            .await
    }
}
