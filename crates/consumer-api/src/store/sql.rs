//! One way to speak to both databases: commands are written once, in the SQL that SQLite and PostgreSQL
//! share, with `?1` for the first value.
//!
//! A command runs in one transaction and may see rows that others want to change: what it reads in order
//! to change it, it reads with [`Sql::lock`]. SQLite has one writer, so nothing needs a lock there.

use super::postgres::Postgres;
use rusqlite::types::{ToSqlOutput, Value as SqliteValue};
use rusqlite::{Connection, ToSql};
use sluice_service::sqlite::{Database, StoreError};

/// A value of a statement: everything is stored as one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// A number, an instant in milliseconds, or 0 and 1.
    Int(i64),
    /// Text, and JSON as text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::sql::Value::from($value)),*]
    };
}
pub(super) use values;

/// A row of an answer. A column of another type than asked for reads as empty: the schema is ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells(pub(super) Vec<Value>);

impl Cells {
    /// A number; 0 where there is none.
    pub(super) fn int(&self, column: usize) -> i64 {
        self.maybe_int(column).unwrap_or_default()
    }

    /// A number, or nothing.
    pub(super) fn maybe_int(&self, column: usize) -> Option<i64> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// A text; empty where there is none.
    pub(super) fn text(&self, column: usize) -> String {
        self.maybe_text(column).unwrap_or_default()
    }

    /// A text, or nothing.
    pub(super) fn maybe_text(&self, column: usize) -> Option<String> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Bytes; empty where there are none.
    pub(super) fn blob(&self, column: usize) -> Vec<u8> {
        match self.0.get(column) {
            Some(Value::Blob(bytes)) => bytes.clone(),
            _ => Vec::new(),
        }
    }
}

/// An open transaction.
pub(super) trait Sql {
    /// Runs a statement; answers how many rows it touched.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError>;

    /// Runs a query.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Cells>, StoreError>;

    /// What ends a query whose rows nobody else may change before this transaction ends.
    fn lock(&self) -> &'static str;

    /// The first row of a query.
    fn first(&mut self, sql: &str, values: &[Value]) -> Result<Option<Cells>, StoreError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }
}

/// Where the registry is.
#[derive(Clone, Debug)]
pub(super) enum Db {
    /// A file of this process alone.
    Sqlite(Database),
    /// A database that several instances share.
    Postgres(Postgres),
}

impl Db {
    /// Runs a command in one transaction; an error leaves nothing behind.
    pub(super) async fn write<T, E>(
        &self,
        command: impl FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self {
            Self::Sqlite(db) => db.write(move |c| command(&mut Sqlite(c))).await,
            Self::Postgres(db) => db.run(false, command).await,
        }
    }

    /// Runs queries that see one state of the registry.
    pub(super) async fn read<T, E>(
        &self,
        query: impl FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self {
            Self::Sqlite(db) => db.read(move |c| query(&mut Sqlite(c))).await,
            Self::Postgres(db) => db.run(true, query).await,
        }
    }
}

struct Sqlite<'c>(&'c Connection);

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Sql for Sqlite<'_> {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let touched = statement.execute(rusqlite::params_from_iter(values))?;
        Ok(touched as u64)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Cells>, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let width = statement.column_count();
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
            let cells = (0..width).map(|column| {
                Ok(match row.get::<_, SqliteValue>(column)? {
                    SqliteValue::Integer(number) => Value::Int(number),
                    SqliteValue::Text(text) => Value::Text(text),
                    SqliteValue::Blob(bytes) => Value::Blob(bytes),
                    SqliteValue::Null | SqliteValue::Real(_) => Value::Null,
                })
            });
            Ok(Cells(cells.collect::<rusqlite::Result<_>>()?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn lock(&self) -> &'static str {
        ""
    }
}
