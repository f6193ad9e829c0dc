//! The registry: consumers, what their sinks hold, the audit and the last catalogue. All SQL is here.
//!
//! It stands in SQLite, which one process owns, or in PostgreSQL, which several instances share. Commands
//! are written once, see [`sql`]; what only shared registries have is in [`instances`].

pub mod audit;
pub mod consumers;
pub mod instances;
mod postgres;
pub mod replays;
pub mod revisions;
pub mod sinks;
mod sql;
#[cfg(test)]
mod tests;

pub use postgres::PostgresSettings;

use sluice_service::sqlite::{Database, StoreError};
use sql::{Db, values};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The registry. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    /// The instance that this process is, where several share the registry.
    instance: Arc<Mutex<Option<String>>>,
}

impl Store {
    /// Opens the registry of this process alone.
    ///
    /// # Errors
    /// When another process owns it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Database::open(path, &migrations::migrations::runner(), Box::new(|_| {}))?;
        Ok(Self::of(Db::Sqlite(db)))
    }

    /// Opens a registry that several instances share.
    ///
    /// # Errors
    /// When the server does not answer for a while, or refuses.
    pub fn connect(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let db = postgres::Postgres::open(settings)?;
        Ok(Self::of(Db::Postgres(db)))
    }

    fn of(db: Db) -> Self {
        Self {
            db,
            instance: Arc::default(),
        }
    }

    /// Says which instance this process is: only a consumer that it has gets a worker.
    pub fn name(&self, instance: Option<String>) {
        *self.instance.lock().unwrap_or_else(PoisonError::into_inner) = instance;
    }

    fn instance(&self) -> Option<String> {
        let instance = self.instance.lock();
        instance.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether other instances may use this registry too.
    pub const fn shared(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    /// The part that sinks use from their own threads.
    pub fn sinks(&self, runtime: Handle) -> sinks::Sinks {
        sinks::Sinks::new(self.db.clone(), runtime)
    }

    /// What the admin API said last about topics.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load_catalogue(&self) -> Result<Option<String>, StoreError> {
        self.db
            .read(|c| {
                let found = c.first("SELECT body FROM catalogue WHERE id = 1", values![])?;
                Ok(found.map(|row| row.text(0)))
            })
            .await
    }

    /// Remembers what the admin API says about topics.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn save_catalogue(&self, body: String) -> Result<(), StoreError> {
        self.db
            .write(move |c| {
                let sql = "INSERT INTO catalogue (id, body) VALUES (1, ?1)
                           ON CONFLICT (id) DO UPDATE SET body = excluded.body";
                c.execute(sql, values![body])?;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
impl Store {
    pub(crate) async fn insert_test_processor(
        &self,
        consumer: &'static str,
        processor: &'static str,
    ) {
        self.db
            .write(move |c| {
                c.execute(
                    "INSERT INTO consumers (id, cluster, broker_ip, broker_port, topics, consumer_group,
                     auto_start, owner, desired, generation, created_at, updated_at)
                     VALUES (?1, 'governed', 'h', 1, '[]', 'g', 0, 'o', 'stopped', 1, 0, 0)",
                    values![consumer],
                )?;
                c.execute(
                    "INSERT INTO downstream_processors (id, consumer_id, place, processor_type, config,
                     created_at, updated_at) VALUES (?1, ?2, 0, 'file_sink', '{}', 0, 0)",
                    values![processor, consumer],
                )?;
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    }
}
