//! Writing a new version of the policy.

use super::{Context, check_version};
use crate::error::Outcome;
use crate::store::{audit, policies};
use rusqlite::Connection;
use sluice_model::audit::AuditRow;
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
    let row = AuditRow {
        seq: 0,
        at: context.now,
        action: "policy_written".to_owned(),
        kind: None,
        topic_id: None,
        topic_name: None,
        requested_by: None,
        actor: context.actor.account.clone(),
        reason: None,
        before: Some(serde_json::to_value(before)?),
        after: Some(serde_json::to_value(policy)?),
        request_id: None,
    };
    audit::append(connection, row)?;
    Ok(version)
}
