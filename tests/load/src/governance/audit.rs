//! A long audit: restart until readiness, and the check of its chain. The rows are written beside a stopped admin
//! API by the function that it writes each of its own rows with, and every row's head is noted, as it is when
//! decisions come one by one.

use super::crowd;
use crate::bench::{Bench, note, row};
use crate::figures::{Times, median};
use crate::http::Connection;
use crate::process::Process;
use rusqlite::Connection as Database;
use serde_json::Value;
use sluice_admin_api::store::audit;
use sluice_e2e::stack::script;
use sluice_e2e::{Outcome, ensure};
use sluice_model::audit::{AuditRow, Source};
use sluice_model::time::Timestamp;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rows of the audit.
const ROWS: i64 = 1_000_000;
/// Rows of one transaction.
const GROUP: i64 = 20_000;
/// The verbs of a topic's way, in turn.
const ACTIONS: [&str; 4] = ["request", "approve", "provisioned", "deactivate"];
/// Time in which the admin API must be ready.
const READY: Duration = Duration::from_secs(60);
/// Time between two looks whether it is.
const LOOK: Duration = Duration::from_millis(1);
/// Pages and searches.
const CALLS: usize = 200;

pub(super) fn run(bench: &Bench) -> Outcome {
    crowd::ensure(bench)?;
    let like = bench
        .admin("viewer")?
        .get("/api/audit?action=approve&limit=1")?;
    let like: Vec<AuditRow> = serde_json::from_str(&like.text)?;
    let like = like.first().ok_or("no approval in the audit")?;
    let mut before = Vec::new();
    for _ in 0..bench.rounds {
        stack(bench, &["stop"])?;
        before.push(start(bench)?);
    }
    stack(bench, &["stop"])?;
    let began = Instant::now();
    let path = bench.dir().join("admin-api/data/admin-api.db");
    let written = fill(&path, like)?;
    let took = began.elapsed().as_secs_f64();
    note(&format!("{written} rows were written in {took:.0} s"));
    let mut restarts = vec![start(bench)?];
    for _ in 1..bench.rounds {
        stack(bench, &["stop"])?;
        restarts.push(start(bench)?);
    }
    row(
        &format!("restart of admin-api until it is ready, {ROWS} audit rows"),
        &format!("{:.2} s", median(restarts)),
        &format!("without them {:.2} s; target: 1 s", median(before)),
        None,
    );
    verify(bench)?;
    pages(bench)
}

fn stack(bench: &Bench, arguments: &[&str]) -> Outcome {
    let dir = bench.dir().display().to_string();
    let mut all = arguments.to_vec();
    all.splice(1..1, ["admin-api", "--dir", &dir]);
    script("stack", &all)?;
    Ok(())
}

/// Starts the admin API; seconds from its process's start until it says that it is ready.
fn start(bench: &Bench) -> Outcome<f64> {
    std::thread::scope(|scope| {
        let started =
            scope.spawn(|| stack(bench, &["start", "--no-wait"]).map_err(|e| e.to_string()));
        let deadline = Instant::now() + READY;
        loop {
            let ready = Connection::open(bench.fact("/admin_api/url"), "")
                .and_then(|mut probe| probe.get("/readyz"));
            if ready.is_ok_and(|answer| answer.status == 200) {
                break;
            }
            ensure!(Instant::now() < deadline, "admin-api is not ready");
            std::thread::sleep(LOOK);
        }
        let ready = Process::uptime()?;
        started.join().map_err(|_| "the start panicked")??;
        let pid = std::fs::read_to_string(bench.dir().join("admin-api/pid"))?;
        Ok(ready - Process::by_id(pid.trim().parse()?).started()?)
    })
}

/// Appends rows like one until there are enough of them; how many it were.
fn fill(path: &Path, like: &AuditRow) -> Outcome<i64> {
    let mut heads = path.as_os_str().to_owned();
    heads.push(".audit");
    let mut heads = std::io::BufWriter::new(
        std::fs::File::options()
            .append(true)
            .open(PathBuf::from(heads))?,
    );
    let mut database = Database::open(path)?;
    // A power cut would cost a measurement.
    database.pragma_update(None, "synchronous", "OFF")?;
    let (first, _) = audit::head(&database)?;
    let mut seq = first;
    while seq < ROWS {
        let group = database.transaction()?;
        for _ in 0..GROUP.min(ROWS - seq) {
            audit::append(&group, variation(like, seq))?;
            let (head, hash) = audit::head(&group)?;
            writeln!(heads, "{head} {hash}")?;
            seq = head;
        }
        group.commit()?;
    }
    heads.flush()?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(seq - first)
}

fn variation(like: &AuditRow, seq: i64) -> AuditRow {
    let step = usize::try_from(seq).unwrap_or_default();
    let name = format!("bench_long_{}", step / ACTIONS.len());
    let mut row = like.clone();
    row.at = Timestamp::from_millis(like.at.as_millis() + seq);
    ACTIONS[step % ACTIONS.len()].clone_into(&mut row.action);
    for document in [&mut row.before, &mut row.after].into_iter().flatten() {
        document["topic_name"] = Value::from(name.as_str());
    }
    row.topic_name = Some(name);
    row.actor = format!("approver-{}", step % 50);
    row.source = Some(Source {
        http_request_id: Some(format!("bench-{seq}")),
        ..like.source.clone().unwrap_or_default()
    });
    row
}

fn verify(bench: &Bench) -> Outcome {
    let viewer = bench.admin("viewer")?;
    let mut figures = Vec::new();
    for _ in 0..bench.rounds {
        let began = Instant::now();
        let verified = viewer.get("/api/audit/verify")?.expect(200)?;
        figures.push(began.elapsed().as_secs_f64());
        let rows = verified["rows"].as_i64();
        ensure!(
            verified["ok"] == true && rows >= Some(ROWS),
            "the chain holds: {verified}"
        );
    }
    row(
        &format!("verify of {ROWS} audit rows and their noted heads"),
        &format!("{:.2} s", median(figures)),
        "target: 3 s",
        None,
    );
    Ok(())
}

fn pages(bench: &Bench) -> Outcome {
    let mut viewer = bench.connection("viewer")?;
    let (mut page, mut search) = (Times::default(), Times::default());
    for number in 0..CALLS {
        let began = Instant::now();
        viewer.get("/api/audit?limit=100")?.expect(200)?;
        page.push(began.elapsed());
        let path = format!("/api/audit?limit=100&q=long%20{}", number * 997);
        let began = Instant::now();
        viewer.get(&path)?.expect(200)?;
        search.push(began.elapsed());
    }
    row(
        &format!("page of 100 of {ROWS} audit rows"),
        &page.to_string(),
        "",
        None,
    );
    row(
        &format!("search in {ROWS} audit rows"),
        &search.to_string(),
        "",
        None,
    );
    Ok(())
}
