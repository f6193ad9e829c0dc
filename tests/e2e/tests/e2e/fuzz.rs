//! Anything at all to every endpoint, from the OpenAPI document, by schemathesis: no 5xx, and no status,
//! content type or body that the document does not have.

use crate::Test;
use serde_json::Value;
use sluice_e2e::http::Api;
use sluice_e2e::stack::{Stack, root};
use sluice_e2e::{Outcome, ensure, ensure_eq};
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "the admin API answers anything as its OpenAPI document says",
        admin,
    ),
    (
        "the event stream begins for every revision that a client may name",
        events,
    ),
];

/// The fuzzer, from PyPI.
const PACKAGE: &str = "schemathesis==4.32.5";
/// Seconds for one service when nobody says how many examples there shall be.
const SECONDS: &str = "60";
/// Examples of an operation: what SECONDS allow is less.
const EXAMPLES: &str = "50";
/// What every answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
/// Requests that must have been understood, so that not only refusals were looked at.
const ACCEPTED_MIN: u64 = 100;
/// How much of the fuzzer's words a failure shows, in characters.
const WORDS_MAX: usize = 20_000;

fn admin(stack: &Stack) -> Outcome {
    let Some(program) = fuzzer() else {
        return Ok(());
    };
    let url = stack.fact("/admin_api/url").to_owned();
    // A stream does not end; it has a test of its own.
    let report = fuzz(
        &program,
        "admin",
        &url,
        stack.token("admin"),
        &["/api/events"],
    )?;
    let api = stack.admin("admin")?;
    check(&report, &api, "/openapi.json")?;
    api.get("/api/whoami")?.expect(200)?;
    let verified = api.get("/api/audit/verify")?.expect(200)?;
    ensure_eq!(
        verified["ok"],
        Value::Bool(true),
        "the audit is whole: {verified}"
    );
    Ok(())
}

fn events(stack: &Stack) -> Outcome {
    let api = stack.admin("admin")?;
    for since in [
        "",
        "0",
        "%00",
        "%FF",
        "-1",
        "x-99999999999999999999",
        "%F0%9F%92%A9-1",
    ] {
        let path = format!("/api/events?since={since}");
        let answer = api.request("GET", &path).send()?;
        let kind = answer.headers().get("content-type");
        let kind = kind.and_then(|value| value.to_str().ok());
        ensure_eq!(
            (answer.status().as_u16(), kind),
            (200, Some("text/event-stream")),
            "{path}"
        );
    }
    Ok(())
}

/// The fuzzer in a virtual environment; none, said loudly, when it cannot be had here.
fn fuzzer() -> Option<PathBuf> {
    let venv = root().join(".sluice/schemathesis");
    let program = venv.join("bin/schemathesis");
    let quiet = |command: &mut Command| {
        let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    };
    let ready = || quiet(Command::new(&program).arg("--version"));
    if ready() {
        return Some(program);
    }
    let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let install = [
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        PACKAGE,
    ];
    if made && quiet(Command::new(venv.join("bin/python")).args(install)) && ready() {
        return Some(program);
    }
    eprintln!(
        "NOT TESTED: {PACKAGE} cannot be installed here (Python 3 with venv, and PyPI, are needed)"
    );
    None
}

/// Runs the fuzzer on a service; answers its report. `SLUICE_FUZZ_EXAMPLES=N` makes N examples of each
/// operation, however long that takes.
fn fuzz(program: &PathBuf, name: &str, url: &str, token: &str, without: &[&str]) -> Outcome<Value> {
    let dir = root().join(".sluice/fuzz").join(name);
    std::fs::create_dir_all(&dir)?;
    let report = dir.join("report.json");
    std::fs::remove_file(&report).ok();
    // Not on the command line: everybody on the machine reads that.
    let config = dir.join("schemathesis.toml");
    std::fs::write(
        &config,
        "[headers]\nAuthorization = \"Bearer ${SLUICE_FUZZ_TOKEN}\"\n",
    )?;
    let mut command = Command::new(program);
    command.arg("--config-file").arg(&config);
    command
        .arg("run")
        .arg(format!("{url}/openapi.json"))
        .current_dir(&dir)
        .env("SLUICE_FUZZ_TOKEN", token)
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args([
            "--request-timeout",
            "20",
            "--continue-on-failure",
            "--no-shrink",
        ])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .args(["--report", "json", "--report-json-path"])
        .arg(&report);
    match std::env::var("SLUICE_FUZZ_EXAMPLES") {
        Ok(examples) => command.args(["--max-examples", &examples]),
        Err(_) => command.args(["--max-examples", EXAMPLES, "--max-time", SECONDS]),
    };
    for path in without {
        command.args(["--exclude-path", path]);
    }
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    std::fs::write(dir.join("log"), &words)?;
    if !output.status.success() {
        let shown: String = words.chars().take(WORDS_MAX).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("schemathesis on {name}: {shown}\n{errors}").into());
    }
    Ok(serde_json::from_slice(&std::fs::read(&report)?)?)
}

/// That the run meant something: every operation was tried, and many requests were understood.
fn check(report: &Value, api: &Api, document: &str) -> Outcome {
    let document = api.get(document)?.expect(200)?;
    let operations = &report["operations"];
    let paths = document["paths"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    ensure!(
        operations["tested"] == operations["selected"]
            && operations["selected"].as_u64() >= Some(u64::try_from(paths / 2)?),
        "every operation is tried: {operations}"
    );
    ensure_eq!(operations["errored"], Value::from(0), "{operations}");
    let rates = report["valid_rates"].as_object().ok_or("no rates")?;
    let phases = rates.values().filter_map(Value::as_object);
    let accepted: u64 = phases
        .flat_map(serde_json::Map::values)
        .filter_map(|phase| phase["accepted"].as_u64())
        .sum();
    ensure!(
        accepted >= ACCEPTED_MIN,
        "only {accepted} requests were understood"
    );
    Ok(())
}
