//! `audit`: whether a running daemon accounts for every record that it took in.

use super::survey::logs;
use super::{AuditArgs, settings, show};
use anyhow::{Context as _, bail};
use serde_json::json;
use sluice_model::producer::ProducerStatus;
use sluice_service::secret::Secret;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// Time that the daemon may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Looks at a daemon that is busy before the comparison with its disk is given up.
const LOOKS_MAX: u32 = 20;
/// Time between them: cursors are saved every second.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Audits; `false` when something does not come out even.
pub(super) fn audit(args: &AuditArgs) -> anyhow::Result<bool> {
    let settings = settings(args.config.clone())?;
    let url = args.url.clone().unwrap_or_else(|| {
        let scheme = if settings.http.tls() { "https" } else { "http" };
        format!("{scheme}://{}", settings.http.listen)
    });
    let token_file = args
        .token_file
        .as_ref()
        .unwrap_or(&settings.admin_api.token_file);
    let token = if args.token_file.is_some() || token_file.exists() {
        Some(Secret::from_file(token_file).context("read the token")?)
    } else {
        None
    };
    let client = reqwest::blocking::Client::builder()
        .timeout(ANSWER_MAX)
        .build()?;
    let look = || status(&client, &url, token.as_ref());
    let first = look()?;
    let dir = args
        .dir
        .clone()
        .or_else(|| args.config.as_ref().map(|_| settings.spool.dir.clone()));
    let on_disk = match dir {
        Some(dir) => compare(&dir, first.clone(), look)?,
        None => None,
    };
    report(
        args.json,
        &on_disk.as_ref().map_or(first, |(_, status)| status.clone()),
        on_disk.map(|(records, _)| records),
    )
}

fn report(as_json: bool, status: &ProducerStatus, on_disk: Option<u64>) -> anyhow::Result<bool> {
    let difference = status.unaccounted();
    // The cursor on disk may be older than the truth, never newer.
    let disk_is_right = on_disk.is_none_or(|records| records >= status.held);
    let fine = difference == 0 && disk_is_right;
    let mut out = io::stdout().lock();
    if as_json {
        let line = json!({
            "ok": fine, "accepted": status.accepted, "recovered": status.recovered,
            "delivered": status.delivered, "held": status.held, "in_flight": status.in_flight,
            "dead_lettered": status.dead_lettered, "discarded": status.discarded,
            "difference": difference, "on_disk": on_disk,
        });
        writeln!(out, "{line}")?;
        return Ok(fine);
    }
    let disk = on_disk.map_or_else(String::new, |records| format!("; {records} on disk"));
    let verdict = if fine { "balanced" } else { "NOT BALANCED" };
    writeln!(
        out,
        "accepted {} (recovered {}) = delivered {} + held {} + in_flight {} + dead_lettered {} + \
         discarded {}; difference {difference}{disk}: {verdict}",
        status.accepted,
        status.recovered,
        status.delivered,
        status.held,
        status.in_flight,
        status.dead_lettered,
        status.discarded,
    )?;
    Ok(fine)
}

fn status(
    client: &reqwest::blocking::Client,
    url: &str,
    token: Option<&Secret>,
) -> anyhow::Result<ProducerStatus> {
    let mut request = client.get(format!("{}/status", url.trim_end_matches('/')));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let response = request.send().with_context(|| format!("reach {url}"))?;
    let code = response.status();
    if !code.is_success() {
        bail!(
            "{url} answers {code}: {}",
            response.text().unwrap_or_default()
        );
    }
    response.json().context("read the status")
}

/// Counts what is on disk while the daemon stands still; none when it never does.
fn compare(
    dir: &Path,
    mut before: ProducerStatus,
    look: impl Fn() -> anyhow::Result<ProducerStatus>,
) -> anyhow::Result<Option<(u64, ProducerStatus)>> {
    for _ in 0..LOOKS_MAX {
        let mut records = 0;
        for log in logs(dir)? {
            records += show::sum(&log)?.records;
        }
        let after = look()?;
        let quiet = (before.accepted, before.delivered, before.held)
            == (after.accepted, after.delivered, after.held);
        if quiet {
            return Ok(Some((records, after)));
        }
        before = after;
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}
