//! Many decisions in one call: each stands for itself, one refusal does not stop the others.

use super::{Context, Decision, decide};
use crate::error::{AppError, Outcome};
use rusqlite::Connection;
use sluice_model::lifecycle::Event;
use sluice_model::request::{BulkDecided, BulkItem};

/// Decides about requests by their ids, each with the version that was seen, if one is given.
///
/// # Errors
/// Only when the store fails: then none of them is decided. Refusals stand in the results.
pub fn decide_many(
    connection: &Connection,
    context: &Context,
    requests: &[(i64, Option<i64>)],
    event: Event,
    reason: Option<&str>,
) -> Outcome<BulkDecided> {
    let mut results = Vec::with_capacity(requests.len());
    for (request_id, version) in requests {
        let decision = Decision {
            reason: reason.map(str::to_owned),
            if_match: *version,
            ..Decision::default()
        };
        let one = |connection: &Connection| {
            decide::decide_request(connection, context, *request_id, event, &decision)
        };
        results.push(match apart(connection, one) {
            Ok(decided) => BulkItem {
                request_id: *request_id,
                status: 200,
                decided: Some(decided),
                problem: None,
            },
            Err(AppError::Problem(problem)) => BulkItem {
                request_id: *request_id,
                status: problem.status,
                decided: None,
                problem: Some(*problem),
            },
            Err(error) => return Err(error),
        });
    }
    let decided = results.iter().filter(|item| item.decided.is_some()).count();
    Ok(BulkDecided {
        decided,
        refused: results.len() - decided,
        results,
    })
}

/// Runs a part of a command in a savepoint of its own: what fails leaves nothing behind.
pub(super) fn apart<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Outcome<T>,
) -> Outcome<T> {
    connection.execute_batch("SAVEPOINT part")?;
    let outcome = work(connection);
    if outcome.is_err() {
        connection.execute_batch("ROLLBACK TO part")?;
    }
    connection.execute_batch("RELEASE part")?;
    outcome
}
