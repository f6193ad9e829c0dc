//! `sluice deletions`, `sluice notice` and `sluice audit`.

use crate::args::govern::{Audit, Deletions, ExportFormat, Notice, Rows, Switch};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Column, cell};
use sluice_admin_client::call::{self, Call};
use std::fs::File;
use std::io::Write as _;

const NOTICES: [Column; 8] = [
    ("ID", "notice_id"),
    ("CREATED", "created_at"),
    ("WEBHOOK", "webhook"),
    ("ACTION", "action"),
    ("TOPIC", "topic_name"),
    ("STATUS", "status"),
    ("TRIES", "attempts"),
    ("LAST PROBLEM", "last_problem"),
];
const WEBHOOKS: [Column; 5] = [
    ("NAME", "name"),
    ("ACTIONS", "kinds"),
    ("FORMAT", "format"),
    ("ACCOUNT", "account"),
    ("SIGNED", "signed"),
];
const ROWS: [Column; 8] = [
    ("NO", "seq"),
    ("AT", "at"),
    ("BY", "actor"),
    ("ACTION", "action"),
    ("KIND", "kind"),
    ("TOPIC", "topic_name"),
    ("REQUESTED BY", "requested_by"),
    ("REASON", "reason"),
];

/// How the switch of all deletions stands, or turns it.
pub(crate) fn deletions(context: &Context, command: &Deletions) -> Result<(), Failure> {
    let Some(switch) = command.switch else {
        let answer = context.admin(call::deletions())?;
        return context.output.object(&answer, "enabled");
    };
    let enabled = switch == Switch::On;
    let answer = context.admin(call::turn_deletions(enabled, command.reason.as_deref()))?;
    let sentence = match (enabled, answer["configured"].as_bool()) {
        (false, _) => "deletions: off; nothing is deleted from Kafka",
        (true, Some(false)) => {
            "deletions: on, but the configuration (lifecycle.deletions) has them off"
        }
        (true, _) => "deletions: on",
    };
    context
        .output
        .done(&answer, &cell(&answer, "enabled"), sentence)
}

/// What was sent to webhooks.
pub(crate) fn notice(context: &Context, command: Notice) -> Result<(), Failure> {
    match command {
        Notice::List {
            webhook,
            status,
            limit,
        } => {
            let limit = limit.map(|limit| limit.to_string());
            let asked = [("webhook", webhook), ("status", status), ("limit", limit)];
            let notices = context.admin(narrowed(call::notices(), asked))?;
            context.output.listing(&notices, &NOTICES, "notice_id")
        }
        Notice::Webhooks => {
            let webhooks = context.admin(call::webhooks())?;
            context.output.listing(&webhooks, &WEBHOOKS, "name")
        }
    }
}

/// Looks at the audit, writes it out, or checks it.
pub(crate) fn audit(context: &Context, command: Audit) -> Result<(), Failure> {
    match command {
        Audit::List { rows, limit } => {
            let limit = [("limit", limit.map(|limit| limit.to_string()))];
            let listed = narrowed(narrowed(call::audit(), asked(rows)), limit);
            let found = context.admin(listed)?;
            context.output.listing(&found, &ROWS, "seq")
        }
        Audit::Export {
            rows,
            format,
            to_file,
        } => {
            let format = match format {
                ExportFormat::Ndjson => "ndjson",
                ExportFormat::Csv => "csv",
            };
            let export = narrowed(call::audit_export(format), asked(rows));
            let Some(path) = to_file else {
                let mut out = std::io::stdout().lock();
                context.admin_to(export, &mut out)?;
                return Ok(out.flush()?);
            };
            // What is there already may be the only copy.
            let mut file = File::create_new(&path).map_err(|error| {
                let text = format!("--to-file {}: {error}", path.display());
                Failure::new(Exit::Usage, text)
            })?;
            let written = context.admin_to(export, &mut file);
            if written.is_err() {
                // Half an export must not be taken for a whole one.
                std::fs::remove_file(&path)?;
            }
            written?;
            Ok(file.sync_all()?)
        }
        Audit::Verify => {
            let answer = context.admin(call::audit_verify())?;
            context.output.object(&answer, "ok")?;
            if answer["ok"] == true {
                return Ok(());
            }
            let text = "the audit is not whole: rows were changed or taken away";
            Err(Failure::new(Exit::Failed, text))
        }
    }
}

fn asked(rows: Rows) -> [(&'static str, Option<String>); 6] {
    [
        ("q", rows.q),
        ("actor", rows.actor),
        ("action", rows.action),
        ("topic", rows.topic),
        ("from", rows.from),
        ("to", rows.to),
    ]
}

fn narrowed<T, const N: usize>(
    call: Call<T>,
    asked: [(&'static str, Option<String>); N],
) -> Call<T> {
    let given = asked
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    given.fold(call, |call, (name, value)| call.with(name, value))
}
