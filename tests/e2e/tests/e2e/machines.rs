//! Each service on its own machine: configuration files only, separate directories, known to each
//! other by URL alone.

use crate::Test;
use serde_json::json;
use sluice_e2e::http::Api;
use sluice_e2e::stack::{Stack, root};
use sluice_e2e::{Outcome, ensure_eq, kafka, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) const TESTS: &[(&str, Test)] = &[(
    "three services with configuration files only find each other by URL",
    three_machines,
)];

/// A service in a directory of its own; ended when dropped.
pub(crate) struct Machine {
    child: Child,
    log: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Machine {
    /// Starts a service with its file of tests/fixtures/machines.
    pub(crate) fn start(stack: &Stack, dir: &Path, service: &str, admin: &str) -> Outcome<Self> {
        Self::start_with(stack, dir, (service, admin), "")
    }

    /// The same with more sections in its file.
    pub(crate) fn start_with(
        stack: &Stack,
        dir: &Path,
        (service, admin): (&str, &str),
        more: &str,
    ) -> Outcome<Self> {
        let fixture = root().join(format!("tests/fixtures/machines/{service}.toml"));
        let config = std::fs::read_to_string(fixture)?
            .replace("@KAFKA@", stack.bootstrap())
            .replace("@ADMIN@", admin);
        std::fs::write(dir.join("service.toml"), config + more)?;
        let log = dir.join("service.log");
        let child = Command::new(stack.binaries()?.join(format!("sluice-{service}")))
            .args(["--config", "service.toml"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// The address that the service says it listens on.
    pub(crate) fn address(&self) -> Outcome<String> {
        wait_for("the service says where it listens", || {
            let log = std::fs::read_to_string(&self.log)?;
            let marks = ["\"http.listen\":\"", "\"input\":\"http\",\"address\":\""];
            let rest = marks.iter().find_map(|mark| log.split(mark).nth(1));
            let found = rest.and_then(|rest| rest.split('"').next());
            Ok(found.map(|address| format!("http://{address}")))
        })
    }
}

fn three_machines(stack: &Stack) -> Outcome {
    let home = tempfile::tempdir()?;
    let dir = |name: &str| home.path().join(name);
    for machine in ["admin", "producer", "consumer"] {
        std::fs::create_dir_all(dir(machine))?;
    }
    for account in ["ana", "ben", "daemon", "service"] {
        std::fs::write(dir("admin").join(account), format!("token-of-{account}"))?;
    }
    std::fs::write(dir("producer").join("token"), "token-of-daemon")?;
    std::fs::write(dir("consumer").join("token"), "token-of-service")?;
    let admin = Machine::start(stack, &dir("admin"), "admin-api", "")?;
    let url = admin.address()?;
    let producer = Machine::start(stack, &dir("producer"), "producer", &url)?;
    let consumer = Machine::start(stack, &dir("consumer"), "consumer-api", &url)?;

    let topic = "machines.orders";
    let asked = Api::new(&url, "token-of-ana")?
        .post("/api/topics", &json!({"name": topic}))?
        .expect(201)?;
    let daemon = Api::new(&producer.address()?, "token-of-daemon")?;
    wait_for("the daemon holds", || {
        let answer = daemon.post(&format!("/topics/{topic}"), &json!({"n": 1}));
        Ok(answer
            .is_ok_and(|answer| answer.status == 202)
            .then_some(()))
    })?;
    let approve = format!("/api/topics/{}/approve?wait=20s", asked["topic_id"]);
    let decided = Api::new(&url, "token-of-ben")?
        .post_empty(&approve)?
        .expect(200)?;
    ensure_eq!(decided["status"], "active", "created");
    let service = Api::new(&consumer.address()?, "token-of-service")?;
    let body = json!({"cluster": "governed", "topic": topic, "consumer_group": "machines", "auto_start": true,
        "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": "orders.jsonl"}}]});
    wait_for("the consumer API knows the topic", || {
        Ok((service.post("/consumers/", &body)?.status == 201).then_some(()))
    })?;
    let file = dir("consumer").join("data/files/orders.jsonl");
    wait_for("the record is in the file", || {
        Ok(std::fs::read_to_string(&file)
            .unwrap_or_default()
            .contains("{\\\"n\\\":1}")
            .then_some(()))
    })?;
    ensure_eq!(
        kafka::values(stack.bootstrap(), topic)?.len(),
        1,
        "and once in Kafka"
    );
    Ok(())
}
