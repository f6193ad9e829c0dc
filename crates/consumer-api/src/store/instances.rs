//! Who runs which consumer, in a registry that several instances share.
//!
//! An instance holds one lease for all its consumers; every instant is of the database's clock. Removing an
//! instance, because it leaves or because its lease ended, frees its consumers in the same statement: a
//! renewal that comes too late finds nothing to renew. What a worker of the past still writes is refused by
//! its epoch, see [`super::sinks`].

use super::Store;
use super::sql::{Cells, Sql, values};
use sluice_service::sqlite::StoreError;
use std::collections::{BTreeMap, HashMap};

/// This instant, in milliseconds, by the database's clock.
pub(super) const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000)::bigint";

/// Consumers without work that one look hands to an instance.
const IDLE_AT_ONCE: i64 = 256;

/// The registry as one instance sees it.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// How many consumers that should run each live instance has.
    pub loads: BTreeMap<String, i64>,
    /// How many that should run nobody has.
    pub free: i64,
    /// How many that need not run nobody has.
    pub idle: i64,
    /// Ours, with their generations and whether they should run.
    pub mine: HashMap<String, (i64, bool)>,
}

/// Where a consumer runs, and what was said there last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instance.
    pub instance: String,
    /// Its address.
    pub url: String,
    /// The last status, as JSON.
    pub report: Option<String>,
    /// The generation that it has acted on.
    pub applied: i64,
}

/// An instance that shares the work.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Instance {
    /// Its identity; new with every start.
    pub id: String,
    /// Its address.
    pub url: String,
    /// How many consumers it has.
    pub consumers: i64,
    /// Milliseconds until its lease ends, unless it is renewed.
    pub lease_ms: i64,
}

fn place(row: &Cells) -> Place {
    Place {
        instance: row.text(1),
        url: row.text(2),
        report: row.maybe_text(3),
        applied: row.int(4),
    }
}

/// Gives a consumer to an instance that lives, if nobody has it.
pub(super) fn settle(c: &mut dyn Sql, consumer_id: &str, instance: &str) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO placements (consumer_id, instance, since)
         SELECT ?1, i.id, {NOW} FROM instances i WHERE i.id = ?2 AND i.expires_at > {NOW}
         ON CONFLICT (consumer_id) DO NOTHING"
    );
    c.execute(&sql, values![consumer_id, instance])?;
    Ok(())
}

/// Whether an instance that lives has a consumer.
pub(super) fn holds(
    c: &mut dyn Sql,
    consumer_id: &str,
    instance: &str,
) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT 1 FROM placements p JOIN instances i ON i.id = p.instance
         WHERE p.consumer_id = ?1 AND i.id = ?2 AND i.expires_at > {NOW}"
    );
    Ok(c.first(&sql, values![consumer_id, instance])?.is_some())
}

impl Store {
    /// Joins those that share the work.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn join(&self, instance: &str, url: &str, lease_ms: i64) -> Result<(), StoreError> {
        let (instance, url) = (instance.to_owned(), url.to_owned());
        let sql = format!(
            "INSERT INTO instances (id, url, started_at, expires_at) VALUES (?1, ?2, {NOW}, {NOW} + ?3)"
        );
        self.db
            .write(move |c| c.execute(&sql, values![&instance, url, lease_ms]).map(drop))
            .await
    }

    /// Renews a lease. False: it ended before, and what it stood for belongs to others.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn renew(&self, instance: &str, lease_ms: i64) -> Result<bool, StoreError> {
        let instance = instance.to_owned();
        let sql = format!(
            "UPDATE instances SET expires_at = {NOW} + ?2 WHERE id = ?1 AND expires_at > {NOW}"
        );
        self.db
            .write(move |c| Ok(c.execute(&sql, values![instance, lease_ms])? == 1))
            .await
    }

    /// Leaves: every consumer of the instance is free at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn leave(&self, instance: &str) -> Result<(), StoreError> {
        let instance = instance.to_owned();
        let sql = "DELETE FROM instances WHERE id = ?1";
        self.db
            .write(move |c| c.execute(sql, values![instance]).map(drop))
            .await
    }

    /// Removes the instances whose leases ended, and says how the work is spread.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn survey(&self, instance: &str) -> Result<Survey, StoreError> {
        let instance = instance.to_owned();
        self.db
            .write(move |c| {
                let sql = format!("DELETE FROM instances WHERE expires_at <= {NOW}");
                c.execute(&sql, values![])?;
                let loads = c.query(
                    "SELECT i.id, count(c.id) FROM instances i
                     LEFT JOIN placements p ON p.instance = i.id
                     LEFT JOIN consumers c ON c.id = p.consumer_id AND c.desired <> 'stopped'
                     GROUP BY i.id",
                    values![],
                )?;
                let free = c.first(
                    "SELECT count(*) FILTER (WHERE c.desired <> 'stopped'),
                            count(*) FILTER (WHERE c.desired = 'stopped')
                     FROM consumers c LEFT JOIN placements p ON p.consumer_id = c.id
                     WHERE p.instance IS NULL",
                    values![],
                )?;
                let free = free.unwrap_or_default();
                let mine = c.query(
                    "SELECT c.id, c.generation, c.desired <> 'stopped' FROM placements p
                     JOIN consumers c ON c.id = p.consumer_id WHERE p.instance = ?1",
                    values![&instance],
                )?;
                Ok(Survey {
                    loads: loads.iter().map(|row| (row.text(0), row.int(1))).collect(),
                    free: free.int(0),
                    idle: free.int(1),
                    mine: mine
                        .iter()
                        .map(|row| (row.text(0), (row.int(1), row.int(2) != 0)))
                        .collect(),
                })
            })
            .await
    }

    /// Takes consumers that nobody has: so many of those that should run, and some of the others.
    ///
    /// # Errors
    /// When the database does not answer, or the lease has ended.
    pub async fn claim(&self, instance: &str, running: i64) -> Result<(), StoreError> {
        let instance = instance.to_owned();
        self.db
            .write(move |c| {
                for (comparison, limit) in [("<>", running), ("=", IDLE_AT_ONCE)] {
                    let sql = format!(
                        "INSERT INTO placements (consumer_id, instance, since)
                         SELECT c.id, ?1, {NOW} FROM consumers c
                         LEFT JOIN placements p ON p.consumer_id = c.id
                         WHERE p.instance IS NULL AND c.desired {comparison} 'stopped'
                         ORDER BY c.seq LIMIT ?2
                         ON CONFLICT (consumer_id) DO UPDATE
                         SET instance = excluded.instance, since = excluded.since, applied = 0
                         WHERE placements.instance IS NULL"
                    );
                    c.execute(&sql, values![&instance, limit])?;
                }
                Ok(())
            })
            .await
    }

    /// Gives consumers back; the caller has stopped their workers.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release(&self, instance: &str, ids: Vec<String>) -> Result<(), StoreError> {
        let instance = instance.to_owned();
        self.db
            .write(move |c| {
                let sql = "UPDATE placements SET instance = NULL WHERE consumer_id = ?1 AND instance = ?2";
                for id in ids {
                    c.execute(sql, values![id, &instance])?;
                }
                Ok(())
            })
            .await
    }

    /// Tells the others how consumers are doing here: `(id, status as JSON, generation)`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn report(
        &self,
        instance: &str,
        reports: Vec<(String, String, i64)>,
    ) -> Result<(), StoreError> {
        let instance = instance.to_owned();
        self.db
            .write(move |c| {
                let sql = "UPDATE placements SET report = ?3, applied = ?4
                           WHERE consumer_id = ?1 AND instance = ?2";
                for (id, report, applied) in reports {
                    c.execute(sql, values![id, &instance, report, applied])?;
                }
                Ok(())
            })
            .await
    }

    /// Where some consumers run; those that nobody runs are left out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn places(&self, ids: &[String]) -> Result<HashMap<String, Place>, StoreError> {
        if !self.shared() || ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = serde_json::json!(ids).to_string();
        let sql = format!(
            "SELECT p.consumer_id, i.id, i.url, p.report, p.applied FROM placements p
             JOIN instances i ON i.id = p.instance
             WHERE i.expires_at > {NOW}
             AND p.consumer_id IN (SELECT json_array_elements_text(?1::text::json))"
        );
        self.db
            .read(move |c| {
                let rows = c.query(&sql, values![ids])?;
                Ok(rows.iter().map(|row| (row.text(0), place(row))).collect())
            })
            .await
    }

    /// The instances that share the work; none when nobody can.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        if !self.shared() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT i.id, i.url, count(p.consumer_id), i.expires_at - {NOW} FROM instances i
             LEFT JOIN placements p ON p.instance = i.id GROUP BY i.id ORDER BY i.started_at, i.id"
        );
        self.db
            .read(move |c| {
                let rows = c.query(&sql, values![])?;
                let instance = |row: &Cells| Instance {
                    id: row.text(0),
                    url: row.text(1),
                    consumers: row.int(2),
                    lease_ms: row.int(3).max(0),
                };
                Ok(rows.iter().map(instance).collect())
            })
            .await
    }
}
