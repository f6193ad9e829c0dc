//! What a group of measurements is given, and the one shape of their rows.

use crate::http::Connection;
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::{Outcome, wait_for};
use std::path::{Path, PathBuf};

/// The stack that is measured, and how.
#[derive(Debug)]
pub(crate) struct Bench {
    dir: PathBuf,
    facts: Value,
    only: Vec<String>,
    /// Rounds of each throughput measurement; the median counts.
    pub(crate) rounds: usize,
    /// Topics that governance is measured beside.
    pub(crate) topics: usize,
}

impl Bench {
    /// Of the stack whose `stack.json` is at `path`.
    pub(crate) fn new(
        path: &Path,
        only: Vec<String>,
        rounds: usize,
        topics: usize,
    ) -> Outcome<Self> {
        // Other programs are told of it, who have directories of their own.
        let path = std::fs::canonicalize(path)?;
        let facts = std::fs::read_to_string(&path)?;
        Ok(Self {
            dir: path.parent().unwrap_or(Path::new(".")).to_owned(),
            facts: serde_json::from_str(&facts)?,
            only,
            rounds: rounds.max(1),
            topics: topics.max(1),
        })
    }

    /// Whether any part of a group is wanted.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        let of_group = |word: &String| word.split('/').next() == Some(group);
        self.only.is_empty() || self.only.iter().any(of_group)
    }

    /// Whether a part of a group is wanted.
    pub(crate) fn has(&self, group: &str, part: &str) -> bool {
        let wanted = |word: &String| *word == group || *word == format!("{group}/{part}");
        self.only.is_empty() || self.only.iter().any(wanted)
    }

    /// Where the stack lives.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// One of the facts of stack.json, by JSON pointer.
    pub(crate) fn fact(&self, pointer: &str) -> &str {
        self.facts
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// One of the numbers of stack.json, by JSON pointer.
    pub(crate) fn number(&self, pointer: &str) -> Option<u64> {
        self.facts.pointer(pointer).and_then(Value::as_u64)
    }

    /// Kafka's address.
    pub(crate) fn bootstrap(&self) -> &str {
        self.fact("/kafka/bootstrap")
    }

    /// The admin API for an account.
    pub(crate) fn admin(&self, account: &str) -> Outcome<Api> {
        let token = self.fact(&format!("/tokens/{account}"));
        Api::new(self.fact("/admin_api/url"), token)
    }

    /// A connection to the admin API for an account.
    pub(crate) fn connection(&self, account: &str) -> Outcome<Connection> {
        let token = self.fact(&format!("/tokens/{account}"));
        Connection::open(self.fact("/admin_api/url"), token)
    }

    /// The producer daemon.
    pub(crate) fn producer(&self) -> Outcome<Api> {
        let token = self.fact("/tokens/producer");
        Api::new(self.fact("/producer/http"), token)
    }

    /// Asks for a topic; gives its id.
    pub(crate) fn ask(&self, name: &str, partitions: usize) -> Outcome<Value> {
        let body = json!({"name": name, "partitions": partitions});
        let asked = self.admin("requester")?.post("/api/topics", &body)?;
        Ok(asked.expect(201)?["topic_id"].clone())
    }

    /// Approves a topic by its id, and waits until it is active.
    pub(crate) fn approve(&self, id: &Value) -> Outcome {
        let path = format!("/api/topics/{id}/approve?wait=20s");
        self.admin("approver")?.post_empty(&path)?.expect(200)?;
        Ok(())
    }

    /// Makes a topic active and known to the producer daemon; one that is there already is as good.
    pub(crate) fn topic(&self, name: &str, partitions: usize) -> Outcome {
        let body = json!({"name": name, "partitions": partitions});
        let asked = self.admin("requester")?.post("/api/topics", &body)?;
        if asked.status != 409 {
            self.approve(&asked.expect(201)?["topic_id"])?;
        }
        wait_for("the daemon routes to the topic", || {
            let flow = self.flow(name)?;
            Ok((flow["state"] == "live").then_some(()))
        })
    }

    /// What the producer daemon says about a topic; null when it knows none of that name.
    pub(crate) fn flow(&self, topic: &str) -> Outcome<Value> {
        let status = self.producer()?.get("/status")?.expect(200)?;
        let topics = status["topics"].as_array().cloned().unwrap_or_default();
        let mut topics = topics.into_iter();
        Ok(topics
            .find(|t| t["topic_name"] == topic)
            .unwrap_or_default())
    }
}

/// A group, or a part of one: its name on the command line and what it does.
pub(crate) type Part = (&'static str, fn(&Bench) -> Outcome);

/// Runs the wanted parts of a group in their order.
pub(crate) fn run_parts(bench: &Bench, group: &str, parts: &[Part]) -> Outcome {
    for (name, part) in parts {
        if bench.has(group, name) {
            note(&format!("{group}/{name}"));
            part(bench)?;
        }
    }
    Ok(())
}

/// Prints a row: what was measured, our figure, the reference's, and ours divided by it where a
/// quotient says something.
pub(crate) fn row(what: &str, ours: &str, reference: &str, ratio: Option<f64>) {
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    println!("| {what} | {ours} | {reference} | {ratio} |");
}

/// Says on stderr what is being measured.
pub(crate) fn note(text: &str) {
    eprintln!("  {text}");
}
