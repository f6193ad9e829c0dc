//! One running system.

use crate::http::Api;
use crate::lines::Lines;
use crate::{Outcome, ensure, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A stack that `scripts/stack` started; stopped and removed when dropped.
#[derive(Debug)]
pub struct Stack {
    dir: PathBuf,
    /// The contents of stack.json.
    pub facts: Value,
}

impl Stack {
    /// Starts a stack with assignments such as `admin-api.lifecycle.grace=0s`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn up(name: &str, settings: &[&str]) -> Outcome<Self> {
        Self::of_brokers(name, 1, settings)
    }

    /// The same with so many brokers.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn of_brokers(name: &str, brokers: usize, settings: &[&str]) -> Outcome<Self> {
        let dir = root().join(".sluice").join("e2e").join(name);
        script(
            "stack",
            &["down", "--purge", "--dir", &dir.display().to_string()],
        )
        .ok();
        let mut this = Self {
            dir,
            facts: Value::Null,
        };
        let brokers = brokers.to_string();
        let mut arguments = vec!["up", "--brokers", &brokers];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        this.run(&arguments)?;
        let text = std::fs::read_to_string(this.dir.join("stack.json"))?;
        this.facts = serde_json::from_str(&text)?;
        Ok(this)
    }

    /// Runs a verb of `scripts/stack` on this stack.
    ///
    /// # Errors
    /// With the script's words when it fails.
    pub fn run(&self, arguments: &[&str]) -> Outcome<String> {
        let dir = self.dir.display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--dir", &dir]);
        script("stack", &all)
    }

    /// Kills a service with SIGKILL.
    ///
    /// # Errors
    /// When the script fails.
    pub fn kill(&self, service: &str) -> Outcome {
        self.run(&["kill", service]).map(drop)
    }

    /// Starts a service again and waits until it is ready.
    ///
    /// # Errors
    /// When the script fails.
    pub fn start(&self, service: &str) -> Outcome {
        self.run(&["start", service]).map(drop)
    }

    /// Starts a service with a variable in its environment.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_with(&self, service: &str, variable: &str, value: &str) -> Outcome {
        let output = Command::new(root().join("scripts/stack"))
            .args(["start", service, "--dir"])
            .arg(&self.dir)
            .env(variable, value)
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "start {service}: {words}");
        Ok(())
    }

    /// One of the facts, by JSON pointer.
    pub fn fact(&self, pointer: &str) -> &str {
        self.facts
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Kafka's address.
    pub fn bootstrap(&self) -> &str {
        self.fact("/kafka/bootstrap")
    }

    /// An account's token.
    pub fn token(&self, account: &str) -> &str {
        self.fact(&format!("/tokens/{account}"))
    }

    /// The admin API for an account.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn admin(&self, account: &str) -> Outcome<Api> {
        Api::new(self.fact("/admin_api/url"), self.token(account))
    }

    /// The producer daemon for an account.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn producer(&self, account: &str) -> Outcome<Api> {
        Api::new(self.fact("/producer/http"), self.token(account))
    }

    /// The consumer API for an account.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn consumer(&self, account: &str) -> Outcome<Api> {
        Api::new(self.fact("/consumer_api/url"), self.token(account))
    }

    /// A connection for lines with acks.
    ///
    /// # Errors
    /// When nothing listens.
    pub fn lines(&self) -> Outcome<Lines> {
        Lines::tcp(self.fact("/producer/tcp"))
    }

    /// The directory that file sinks write under.
    pub fn files(&self) -> PathBuf {
        PathBuf::from(self.fact("/consumer_api/files"))
    }

    /// The directory of the programs.
    ///
    /// # Errors
    /// When the stack did not note it.
    pub fn binaries(&self) -> Outcome<PathBuf> {
        Ok(PathBuf::from(
            std::fs::read_to_string(self.dir.join("binaries"))?.trim(),
        ))
    }

    /// Asks for a topic; answers its id.
    ///
    /// # Errors
    /// When the request is refused.
    pub fn request(&self, topic: &Value) -> Outcome<i64> {
        let body = self
            .admin("requester")?
            .post("/api/topics", topic)?
            .expect(201)?;
        body["topic_id"]
            .as_i64()
            .ok_or_else(|| "an answer without topic_id".into())
    }

    /// Approves a topic and waits until Kafka serves it.
    ///
    /// # Errors
    /// When it does not become active.
    pub fn approve(&self, topic_id: i64) -> Outcome {
        let path = format!("/api/topics/{topic_id}/approve?wait=20s");
        let body = self.admin("approver")?.post_empty(&path)?.expect(200)?;
        ensure!(
            body["status"] == "active",
            "approved, but not active: {body}"
        );
        Ok(())
    }

    /// Asks for a topic of one partition and approves it; answers its id.
    ///
    /// # Errors
    /// When it does not become active.
    pub fn active_topic(&self, name: &str) -> Outcome<i64> {
        let topic_id = self.request(&json!({"name": name}))?;
        self.approve(topic_id)?;
        Ok(topic_id)
    }

    /// Lets the approver do something else to a topic.
    ///
    /// # Errors
    /// When it is refused.
    pub fn decide(&self, topic_id: i64, verb: &str, reason: &str) -> Outcome<Value> {
        let path = format!("/api/topics/{topic_id}/{verb}");
        self.admin("approver")?
            .post(&path, &json!({"reason": reason}))?
            .expect(200)
    }

    /// A topic's row.
    ///
    /// # Errors
    /// When there is none.
    pub fn topic(&self, topic_id: i64) -> Outcome<Value> {
        self.admin("viewer")?
            .get(&format!("/api/topics/{topic_id}"))?
            .expect(200)
    }

    /// Waits until a topic has a status.
    ///
    /// # Errors
    /// When it does not get it in time.
    pub fn wait_status(&self, topic_id: i64, status: &str) -> Outcome<Value> {
        wait_for(&format!("topic {topic_id} is {status}"), || {
            let topic = self.topic(topic_id)?;
            Ok((topic["status"] == status).then_some(topic))
        })
    }

    /// What the producer daemon says about a topic; null when it knows none of that name.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flow(&self, topic: &str) -> Outcome<Value> {
        let status = self.producer("producer")?.get("/status")?.expect(200)?;
        let topics = status["topics"].as_array().cloned().unwrap_or_default();
        Ok(topics
            .into_iter()
            .find(|t| t["topic_name"] == topic)
            .unwrap_or_default())
    }

    /// Waits until the producer daemon has a topic in a state and holds nothing of it.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait_live(&self, topic: &str) -> Outcome {
        wait_for(&format!("{topic} is live and drained"), || {
            let flow = self.flow(topic)?;
            let drained = flow["held_records"] == 0 && flow["in_flight"] == 0;
            Ok((flow["state"] == "live" && drained).then_some(()))
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::env::var_os("SLUICE_E2E_KEEP").is_none() {
            self.run(&["down", "--purge"]).ok();
        }
    }
}

/// The checkout.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here)
}

/// Runs one of our scripts; answers what it printed.
///
/// # Errors
/// With its words when it fails.
pub fn script(name: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(root().join("scripts").join(name))
        .args(arguments)
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("scripts/{name} {}: {words}", arguments.join(" ")).into())
}
