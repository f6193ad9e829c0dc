//! `sluice request`.

use super::{Outcome, each};
use crate::args::Request as Command;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Column, cell};
use sluice_admin_client::call;

/// The columns of a listing of requests.
pub(crate) const COLUMNS: [Column; 8] = [
    ("ID", "request_id"),
    ("KIND", "kind"),
    ("STATUS", "status"),
    ("TOPIC", "topic_name"),
    ("REQUESTED BY", "requested_by"),
    ("CREATED", "created_at"),
    ("DECIDED BY", "decided_by"),
    ("REASON", "decision_reason"),
];

pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { status, kind } => {
            let mut requests =
                call::requests(Some(status.as_str()).filter(|status| *status != "all"));
            if let Some(kind) = kind {
                requests = requests.with("kind", kind);
            }
            context
                .output
                .listing(&context.admin(requests.raw())?, &COLUMNS, "request_id")
        }
        Command::Get { id } => context
            .output
            .object(&context.admin(call::request(id).raw())?, "request_id"),
        Command::Approve(decision) => decide(
            context,
            "approve",
            &decision.ids,
            decision.reason.as_deref(),
        ),
        Command::Reject { ids, reason } => decide(context, "reject", &ids, Some(&reason)),
        Command::Withdraw(decision) => decide(
            context,
            "withdraw",
            &decision.ids,
            decision.reason.as_deref(),
        ),
    }
}

fn decide(context: &Context, verb: &str, ids: &[i64], reason: Option<&str>) -> Result<(), Failure> {
    each(context, ids, |id| {
        let answer = context.admin(call::decide_request(*id, verb, reason).raw())?;
        let sentence = format!("request {id}: {}", cell(&answer, "message"));
        Ok(Outcome {
            answer,
            name: id.to_string(),
            sentence,
        })
    })
}
