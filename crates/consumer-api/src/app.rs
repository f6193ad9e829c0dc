//! One use case a file: what the routes ask for, with the caller and the instant as arguments.

pub mod change;
pub mod dead_letters;
pub mod lag;
pub mod offsets;
pub mod policies;
pub mod probe;
pub mod range;
pub mod replays;
pub mod side;
pub mod spec;
pub mod targets;

use crate::store::audit::NewChange;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use std::time::Duration;

/// Time that a look at Kafka may take before the caller is told that it does not answer.
pub const KAFKA_LIMIT: Duration = Duration::from_secs(15);

/// An audit row of now.
pub fn noted(action: &'static str, actor: &str) -> NewChange {
    NewChange {
        at: sluice_service::now(),
        action,
        actor: actor.to_owned(),
        request_id: sluice_service::http::track::request_id(),
    }
}

/// Runs something that blocks, off the async threads and for a bounded time.
///
/// # Errors
/// 503 when it takes too long, or what it fails with.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Failure> {
    let busy = || Problem::new(Code::Unavailable, "Kafka does not answer in time").retry_after(1);
    match tokio::time::timeout(KAFKA_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome.map_err(Failure::from),
        Ok(Err(error)) => Err(sluice_service::http::problem::internal(&error)),
        Err(_) => Err(busy().into()),
    }
}

/// A problem of Kafka's: a 503 with its words.
pub fn kafka_problem(message: impl Into<String>) -> Problem {
    Problem::new(Code::Unavailable, message).retry_after(1)
}
