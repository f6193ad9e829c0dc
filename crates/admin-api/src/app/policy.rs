//! Writing a new version of the policy.

use super::{Context, check_version, record};
use crate::error::Outcome;
use crate::store::policies;
use rusqlite::Connection;
use sluice_model::policy::Policy;

/// Appends a version; answers its number.
///
/// # Errors
/// 412 when another version was written meanwhile.
pub fn write(
    connection: &Connection,
    context: &Context,
    if_match: Option<i64>,
    policy: &Policy,
) -> Outcome<i64> {
    let current = policies::newest(connection)?;
    let version = current.as_ref().map_or(0, |(version, _)| *version);
    check_version(if_match, version)?;
    let before = current.map_or_else(|| Policy::clone(&context.policy), |(_, policy)| policy);
    let version = policies::append(connection, policy, &context.actor.account, context.now)?;
    record(
        connection,
        context,
        "policy_written",
        Some(&before),
        Some(policy),
    )?;
    Ok(version)
}
