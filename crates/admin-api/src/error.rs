//! What a use case fails with.

use sluice_model::lifecycle::Refusal;
use sluice_model::problem::Problem;
use sluice_service::http::problem::{Failure, internal};
use sluice_service::sqlite::StoreError;

/// The caller's fault, as a problem, or the store's.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A stored or answered document cannot be written or read.
    #[error("document: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<Problem> for AppError {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<Refusal> for AppError {
    fn from(refusal: Refusal) -> Self {
        Problem::from(refusal).into()
    }
}

impl From<rusqlite::Error> for AppError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Problem(problem) => Self(problem),
            AppError::Store(error) => error.into(),
            AppError::Json(error) => internal(&error),
        }
    }
}

/// The result of a use case.
pub type Outcome<T> = Result<T, AppError>;
