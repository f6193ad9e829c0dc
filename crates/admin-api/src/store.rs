//! All SQL. Every function takes a connection (inside a transaction when it writes) and returns
//! model types; none decides.

pub mod access;
pub mod audit;
pub mod audit_chain;
pub mod budgets;
pub mod changes;
pub mod comments;
pub mod drift;
pub mod evidence;
pub mod idempotency;
pub mod notices;
pub mod policies;
pub mod requests;
pub mod subscriptions;
pub mod switches;
pub mod teams;
pub mod tokens;
pub mod topics;
pub mod users;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde::de::DeserializeOwned;
use sluice_model::time::Timestamp;

mod migrations {
    refinery::embed_migrations!("migrations");
}

/// The migrations, in order.
pub fn migrations() -> refinery::Runner {
    migrations::migrations::runner()
}

/// An instant as SQLite has it.
pub(crate) struct Millis(pub(crate) Timestamp);

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|ms| Self(Timestamp::from_millis(ms)))
    }
}

pub(crate) fn instant(value: Option<Millis>) -> Option<Timestamp> {
    value.map(|Millis(at)| at)
}

pub(crate) fn millis(value: Option<Timestamp>) -> Option<i64> {
    value.map(Timestamp::as_millis)
}

/// A JSON document as SQLite has it.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Self)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// A word of an enumeration as SQLite has it.
pub(crate) struct Word<T>(pub(crate) T);

impl<T: DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_value(serde_json::Value::from(value.as_str()?))
            .map(Self)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}
