//! A look at what a consumer would write to, before it is stored.

use super::blocking;
use crate::context::Context;
use crate::store::consumers::Row;
use sluice_model::consumer::FailureClass;
use sluice_model::problem::{Code, Problem, field};
use sluice_service::http::problem::Failure;
use std::time::{Duration, Instant};

/// Time after which no further processor is looked at: whoever asks waits.
const PROBE_MAX: Duration = Duration::from_secs(6);

/// Refuses a row whose sinks are reached and lack what a user must make first, such as a mapped table.
/// What cannot be reached now is looked at when the consumer runs.
///
/// # Errors
/// 422 with every fault.
pub async fn check(context: &Context, row: &Row) -> Result<(), Failure> {
    let processors = context.manager.processors(row, &[], 0);
    let looked = blocking(move || {
        let started = Instant::now();
        let mut errors = Vec::new();
        for (index, (_, processor)) in processors.iter().enumerate() {
            match processor.probe() {
                Err(error) if error.class == FailureClass::Environment => {
                    let pointer = format!("/downstream_processors/{index}/config");
                    errors.push(field(pointer, error.message));
                }
                Ok(()) | Err(_) if started.elapsed() < PROBE_MAX => {}
                Ok(()) | Err(_) => break,
            }
        }
        Ok(errors)
    });
    // A look that takes too long says nothing against the configuration.
    let errors = looked.await.unwrap_or_default();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::from_errors(Code::Invalid, errors).into())
    }
}
