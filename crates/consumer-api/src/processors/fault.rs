//! Why a sink did not take a batch, in the classes that the runtime acts on.

use crate::batch::Entry;
use rusqlite::ErrorCode;
use sluice_model::consumer::FailureClass;
use std::io::ErrorKind;
use std::time::Duration;

/// Why a sink did not take a batch, in words for the user (never with a secret in them).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// What the runtime does about it.
    pub class: FailureClass,
    /// What is wrong.
    pub message: String,
    /// The earliest next try, when the other side says so (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// The record that is refused, when the sink knows it: it is not searched for then.
    pub culprit: Option<(String, i32, i64)>,
}

impl SinkError {
    fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            retry_after: None,
            culprit: None,
        }
    }

    /// It may work soon: busy, down, too slow. The same batch is tried again with growing delays.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, message)
    }

    /// The batch holds a record that will never be taken. The runtime finds it by halving, and writes
    /// it to the dead letters or stops, as the consumer says.
    pub fn poison(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Poison, message)
    }

    /// Somebody must mend something first: a password, a missing table, a path. Tried again seldom.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Environment, message)
    }

    /// Another one writes in this one's place: stop quietly, for everything is taken care of.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Fenced, message)
    }

    /// Names the record that is refused.
    #[must_use]
    pub fn of(mut self, entry: &Entry<'_>) -> Self {
        self.culprit = Some((entry.topic.to_owned(), entry.partition, entry.offset));
        self
    }

    /// Not to be tried again before this much time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl From<std::io::Error> for SinkError {
    fn from(error: std::io::Error) -> Self {
        let class = match error.kind() {
            ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename => FailureClass::Environment,
            _ => FailureClass::Transient,
        };
        Self::new(class, error.to_string())
    }
}

impl From<rusqlite::Error> for SinkError {
    fn from(error: rusqlite::Error) -> Self {
        let class = match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                FailureClass::Poison
            }
            // `Unknown` is SQL that does not fit the schema: no such table or column.
            Some(
                ErrorCode::Unknown
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::NotADatabase
                | ErrorCode::AuthorizationForStatementDenied,
            ) => FailureClass::Environment,
            _ => FailureClass::Transient,
        };
        Self::new(class, format!("SQLite: {error}"))
    }
}

impl From<sluice_service::sqlite::StoreError> for SinkError {
    fn from(error: sluice_service::sqlite::StoreError) -> Self {
        if let sluice_service::sqlite::StoreError::Fenced(reason) = error {
            return Self::fenced(reason);
        }
        Self::transient(format!("the registry of consumers: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_the_class_that_mends_them() {
        use FailureClass::{Environment, Poison, Transient};
        for (kind, class) in [
            (ErrorKind::StorageFull, Transient),
            (ErrorKind::Interrupted, Transient),
            (ErrorKind::PermissionDenied, Environment),
            (ErrorKind::NotADirectory, Environment),
        ] {
            assert_eq!(SinkError::from(std::io::Error::from(kind)).class, class);
        }
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (a TEXT NOT NULL)")
            .unwrap();
        for (sql, class) in [
            ("INSERT INTO t VALUES (NULL)", Poison),
            ("INSERT INTO u VALUES (1)", Environment),
        ] {
            assert_eq!(
                SinkError::from(db.execute(sql, []).unwrap_err()).class,
                class
            );
        }
    }
}
