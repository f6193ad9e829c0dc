//! OpenTelemetry logs from real senders: curl, and Python's SDK.

use crate::Test;
use crate::senders::{have, run, send};
use serde_json::{Value, json};
use sluice_e2e::stack::{Stack, root};
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("curl sends OpenTelemetry logs, packed and plain", curl_otlp),
    ("an OpenTelemetry SDK exports its logs", otel_sdk),
];

fn curl_otlp(stack: &Stack) -> Outcome {
    if !have("curl", "curl") {
        return Ok(());
    }
    stack.active_topic("otlp.curl")?;
    ensure!(
        stack.fact("/producer/otlp").ends_with("/v1/logs"),
        "stack.json names OTLP: {}",
        stack.facts
    );
    let logs = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "sluice.topic", "value": {"stringValue": "otlp.curl"}}]},
        "scopeLogs": [{"logRecords": [
            {"timeUnixNano": "1700000000000000001", "body": {"stringValue": "one"}},
            {"body": {"stringValue": "x".repeat(1_100_000)}}]}]}]});
    let file = root().join(".sluice/e2e/otlp.json");
    std::fs::write(&file, logs.to_string())?;
    let json_type = "Content-Type: application/json";
    let upload = format!("@{}", file.display());
    let (status, answer) = send(stack, "/v1/logs", &[json_type], &["--data-binary", &upload])?;
    let answer: Value = serde_json::from_str(&answer)?;
    ensure_eq!(status, 200, "{answer}");
    ensure_eq!(
        answer["partialSuccess"]["rejectedLogRecords"],
        json!(1),
        "a record that is too large: {answer}"
    );
    run(Command::new("gzip").args(["--force", "--keep"]).arg(&file))?;
    let upload = format!("@{}.gz", file.display());
    let packed = ["Content-Encoding: gzip", json_type];
    let (status, answer) = send(stack, "/v1/logs", &packed, &["--data-binary", &upload])?;
    ensure_eq!(status, 200, "packed: {answer}");
    let (status, answer) = send(
        stack,
        "/v1/logs",
        &[json_type],
        &["--data", "{\"resourceLogs\": 1}"],
    )?;
    let answer: Value = serde_json::from_str(&answer)?;
    ensure!(
        status == 400 && answer["code"] == 3 && answer["message"].is_string(),
        "malformed: {status} {answer}"
    );
    let found = wait_for("Kafka has both", || {
        let values = kafka::values(stack.bootstrap(), "otlp.curl")?;
        Ok((values.len() == 2).then_some(values))
    })?;
    let value: Value = serde_json::from_str(&found[0])?;
    ensure_eq!(
        (&value["body"], &value["timestamp"]),
        (&json!("one"), &json!("2023-11-14T22:13:20.000000001Z")),
        "{value}"
    );
    Ok(())
}

/// Exports three log records with Python's SDK: argv is endpoint, token, topic.
const EXPORTER: &str = r#"
import logging, sys
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
endpoint, token, topic = sys.argv[1:]
resource = Resource.create({"service.name": "e2e", "sluice.topic": topic})
provider = LoggerProvider(resource=resource)
exporter = OTLPLogExporter(endpoint=endpoint, headers={"authorization": "Bearer " + token}, compression=Compression.Gzip)
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
log = logging.getLogger("e2e")
log.setLevel(logging.INFO)
log.addHandler(LoggingHandler(level=logging.INFO, logger_provider=provider))
for n in range(3):
    log.warning("record %d", n, extra={"n": n})
ok = provider.force_flush()
provider.shutdown()
sys.exit(0 if ok is not False else 1)
"#;

fn otel_sdk(stack: &Stack) -> Outcome {
    let Some(python) = sdk() else { return Ok(()) };
    stack.active_topic("otlp.sdk")?;
    let script = root().join(".sluice/e2e/exporter.py");
    std::fs::write(&script, EXPORTER)?;
    let endpoint = stack.fact("/producer/otlp");
    run(Command::new(python)
        .arg(&script)
        .args([endpoint, stack.token("producer"), "otlp.sdk"]))?;
    let found = wait_for("Kafka has what the SDK exported", || {
        let found = kafka::read_all(stack.bootstrap(), "otlp.sdk")?;
        Ok((found.len() == 3).then_some(found))
    })?;
    for (n, record) in found.iter().enumerate() {
        let value: Value = serde_json::from_str(record.value.as_deref().unwrap_or_default())?;
        ensure_eq!(
            record.key.as_deref(),
            Some("e2e"),
            "the key is the service: {value}"
        );
        ensure_eq!(value["body"], json!(format!("record {n}")), "{value}");
        ensure_eq!(value["attributes"]["n"], json!(n), "{value}");
        ensure_eq!(value["scope"]["name"], json!("e2e"), "{value}");
        ensure_eq!(
            value["resource"]["attributes"]["service.name"],
            json!("e2e"),
            "{value}"
        );
    }
    Ok(())
}

/// A Python with the SDK, from PyPI; none, said loudly, when it cannot be had here.
fn sdk() -> Option<std::path::PathBuf> {
    const PACKAGES: [&str; 2] = [
        "opentelemetry-sdk==1.38.0",
        "opentelemetry-exporter-otlp-proto-http==1.38.0",
    ];
    let venv = root().join(".sluice/otel-sdk");
    let python = venv.join("bin/python");
    let ready = |python: &Path| {
        let check =
            "import opentelemetry.exporter.otlp.proto.http._log_exporter, opentelemetry.sdk._logs";
        let tried = Command::new(python)
            .args(["-c", check])
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    };
    if !ready(&python) {
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&venv)
            .output();
        let installed = made.is_ok_and(|output| output.status.success())
            && Command::new(&python)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(PACKAGES)
                .output()
                .is_ok_and(|output| output.status.success());
        if !installed || !ready(&python) {
            eprintln!("NOT TESTED: the OpenTelemetry SDK for Python cannot be installed here");
            return None;
        }
    }
    Some(python)
}
