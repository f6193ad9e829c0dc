//! `sluice request`.

use super::{Outcome, each};
use crate::args::{Request as Command, RequestApproval, Wish};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Column, cell};
use sluice_admin_client::call;
use sluice_model::request::{Asked, RequestEdit};

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
        Command::Approve(approval) => approve(context, &approval),
        Command::Edit(edit) => {
            let wish = RequestEdit {
                asked: asked(&edit.wish),
                description: edit.description,
                owner: edit.owner,
                subscribe: None,
                reason: edit.reason,
            };
            let answer = context.admin(call::edit_request(edit.id, &wish).raw())?;
            let sentence = format!(
                "request {}: edited, version {}",
                edit.id,
                cell(&answer, "version")
            );
            context
                .output
                .done(&answer, &edit.id.to_string(), &sentence)
        }
        Command::Comment { id, text } => {
            let answer = context.admin(call::comment(id, &text).raw())?;
            let sentence = format!("request {id}: comment {}", cell(&answer, "comment_id"));
            context
                .output
                .done(&answer, &cell(&answer, "comment_id"), &sentence)
        }
        Command::Comments { id } => {
            let answer = context.admin(call::comments(id).raw())?;
            context.output.listing(&answer, &COMMENTS, "comment_id")
        }
        Command::Reject { ids, reason } => decide(context, "reject", &ids, Some(&reason)),
        Command::Withdraw(decision) => decide(
            context,
            "withdraw",
            &decision.ids,
            decision.reason.as_deref(),
        ),
    }
}

const COMMENTS: [Column; 4] = [
    ("ID", "comment_id"),
    ("CREATED", "created_at"),
    ("BY", "author"),
    ("TEXT", "text"),
];

fn asked(wish: &Wish) -> Asked {
    let set = wish.configs.iter().cloned();
    let gone = wish.unset.iter().map(|name| (name.clone(), None));
    Asked {
        partitions: wish.partitions,
        replication_factor: wish.replication,
        configs: set
            .map(|(name, value)| (name, Some(value)))
            .chain(gone)
            .collect(),
    }
}

fn approve(context: &Context, approval: &RequestApproval) -> Result<(), Failure> {
    let (changes, decision) = (asked(&approval.changes), &approval.decision);
    let reason = decision.reason.as_deref();
    if changes.is_empty() {
        return decide(context, "approve", &decision.ids, reason);
    }
    each(context, &decision.ids, |id| {
        let answer = context.admin(call::approve_with_changes(*id, &changes, reason).raw())?;
        let sentence = format!("request {id}, with changes: {}", cell(&answer, "message"));
        Ok(Outcome {
            answer,
            name: id.to_string(),
            sentence,
        })
    })
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
