use sluice_model::problem::Problem;
use std::error::Error as _;

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin API did not answer: nothing is known about the call's effect.
    #[error("the admin API does not answer: {0}")]
    Unreachable(String),
    /// The admin API said no, and why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Something else answered, or a version that is too different.
    #[error("unexpected answer of the admin API: {0}")]
    Unexpected(String),
}

impl Error {
    /// The HTTP status of a clear no.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Unreachable(_) | Self::Unexpected(_) => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    /// reqwest's own text is "error sending request"; the reason is at the end of its chain.
    fn from(error: reqwest::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        Self::Unreachable(text)
    }
}
