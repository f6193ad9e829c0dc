//! Managed consumers.

use crate::bits::{Badge, When, bytes, count, observed, span};
use crate::form::{ConsumerForm, Fault};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use serde_json::{Value, json};
use sluice_model::access::Role;
use sluice_model::consumer::{Consumer, ConsumerStatus, Desired, Lag, PartitionLag};
use sluice_model::problem::Problem;

#[derive(Debug, Template)]
#[template(path = "consumer/consumers.html")]
struct ListPage<'a> {
    shell: Shell<'a>,
    rows: Vec<Row<'a>>,
    may: bool,
}

#[derive(Debug)]
struct Row<'a> {
    consumer: &'a Consumer,
    badge: Badge,
    topics: String,
    sinks: String,
    rate: String,
    lag: String,
    buttons: Buttons,
}

/// What the viewer can do with a consumer now; the service decides again when the form arrives.
#[derive(Clone, Copy, Debug)]
struct Buttons {
    start: bool,
    pause: bool,
    resume: bool,
    stop: bool,
    delete: bool,
}

fn buttons(viewer: &Viewer, consumer: &Consumer) -> Buttons {
    let own = consumer.owner == viewer.actor.account && viewer.may(Role::Consumer);
    let may = own || viewer.may(Role::Admin);
    Buttons {
        start: may && consumer.desired == Desired::Stopped,
        pause: may && consumer.desired == Desired::Running,
        resume: may && consumer.desired == Desired::Paused,
        stop: may && consumer.desired != Desired::Stopped,
        delete: may,
    }
}

/// The page at `/ui/consumers`: each consumer with its status, when it has one.
pub fn consumers(viewer: &Viewer, consumers: &[(Consumer, Option<ConsumerStatus>)]) -> String {
    let rows = consumers.iter().map(|(consumer, status)| Row {
        consumer,
        badge: consumer.status.into(),
        topics: consumer.topics.join(", "),
        sinks: sinks(consumer),
        rate: rate(consumer.desired, status.as_ref()),
        lag: lag(status.as_ref().and_then(|status| status.lag)),
        buttons: buttons(viewer, consumer),
    });
    render(&ListPage {
        shell: Shell::new(viewer, "/ui/consumers", "Consumers"),
        rows: rows.collect(),
        may: viewer.may(Role::Consumer),
    })
}

fn sinks(consumer: &Consumer) -> String {
    let types: Vec<_> = consumer
        .downstream_processors
        .iter()
        .map(|p| p.processor_type.as_str())
        .collect();
    if types.is_empty() {
        "none".to_owned()
    } else {
        types.join(", ")
    }
}

fn rate(desired: Desired, status: Option<&ConsumerStatus>) -> String {
    match status {
        Some(status) if desired == Desired::Running => per_second(status.records_per_second),
        _ => "–".to_owned(),
    }
}

fn per_second(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", count(rate as i64))
    }
}

/// Zero, nothing committed and unknown are three different things; unknown is a dash.
fn lag(lag: Option<i64>) -> String {
    lag.map_or_else(|| "–".to_owned(), count)
}

/// What the page of one consumer shows.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerPage<'a> {
    /// The consumer.
    pub consumer: &'a Consumer,
    /// How it is doing.
    pub status: &'a ConsumerStatus,
    /// How far it is behind, or why that is not known.
    pub lag: Result<&'a Lag, &'a str>,
}

#[derive(Debug, Template)]
#[template(path = "consumer/consumer.html")]
struct Page<'a> {
    shell: Shell<'a>,
    consumer: &'a Consumer,
    badge: Badge,
    detail: &'a str,
    bottleneck: &'a str,
    tiles: Vec<(&'static str, String, String)>,
    topics: String,
    created: When,
    updated: When,
    partitions: Vec<PartitionLine<'a>>,
    lag_trouble: Option<&'a str>,
    processors: Vec<ProcessorLine<'a>>,
    errors: Vec<(When, String, &'a str)>,
    poison: String,
    buttons: Buttons,
    restart: bool,
}

#[derive(Debug)]
struct PartitionLine<'a> {
    topic: &'a str,
    partition: i32,
    position: String,
    committed: String,
    end: String,
    lag: String,
    behind: String,
}

#[derive(Debug)]
struct ProcessorLine<'a> {
    kind: &'a str,
    config: String,
    records: String,
    failures: String,
    dead_letters: String,
    took: String,
}

/// The page at `/ui/consumers/{id}`.
pub fn consumer(viewer: &Viewer, data: &ConsumerPage<'_>) -> String {
    let (consumer, status) = (data.consumer, data.status);
    let lines = data
        .lag
        .map(|lag| lag.partitions.iter().map(partition).collect());
    let errors = status.errors.iter().map(|error| {
        (
            When::ago(error.at, viewer.now),
            format!("{}, {}", error.stage, word(&json!(error.class))),
            error.message.as_str(),
        )
    });
    render(&Page {
        shell: Shell::new(viewer, "/ui/consumers", consumer.consumer_group.as_str()),
        consumer,
        badge: status.status.into(),
        detail: &status.detail,
        bottleneck: &status.bottleneck,
        tiles: tiles(viewer, data),
        topics: consumer.topics.join(", "),
        created: When::exact(consumer.created_at),
        updated: When::exact(consumer.updated_at),
        partitions: lines.unwrap_or_default(),
        lag_trouble: data.lag.err(),
        processors: processors(consumer, status),
        errors: errors.collect(),
        poison: poison(consumer),
        buttons: buttons(viewer, consumer),
        restart: buttons(viewer, consumer).stop,
    })
}

/// The word of an enumeration, as the API writes it.
fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace('_', " ")
}

/// What happens to a record that a processor never takes.
fn poison(consumer: &Consumer) -> String {
    let policies = &consumer.policies;
    let (most, last) = (policies.poison_max, policies.poison_window);
    format!(
        "{}; stops after {most} of {last}",
        word(&json!(policies.on_poison))
    )
}

fn tiles(viewer: &Viewer, data: &ConsumerPage<'_>) -> Vec<(&'static str, String, String)> {
    let status = data.status;
    let since = When::ago(status.since, viewer.now);
    let retry = status.next_retry_at.map_or_else(
        || format!("since {}", since.words()),
        |at| {
            format!(
                "try {} {}",
                status.attempts + 1,
                When::ago(at, viewer.now).words()
            )
        },
    );
    let total = data.lag.ok().and_then(|lag| lag.total_lag);
    let note = match (data.lag, total) {
        (Err(_), _) => "not known now",
        (Ok(_), None) => "nothing committed yet",
        (Ok(_), Some(_)) => "records not yet committed",
    };
    vec![
        ("Doing", observed(status.observed).to_owned(), retry),
        (
            "Reads",
            per_second(status.records_per_second),
            format!(
                "{}/s, over ten seconds",
                bytes(status.bytes_per_second as u64)
            ),
        ),
        (
            "Read since the start",
            count(status.records),
            bytes(status.bytes),
        ),
        ("Lag", lag(total), note.to_owned()),
        (
            "Dead letters",
            count(status.dead_letters),
            "since the start".to_owned(),
        ),
        (
            "Partitions",
            count(status.partitions),
            format!("works by generation {}", status.observed_generation),
        ),
    ]
}

fn partition(line: &PartitionLag) -> PartitionLine<'_> {
    let committed = line
        .committed
        .map_or_else(|| "none committed".to_owned(), count);
    PartitionLine {
        topic: &line.topic,
        partition: line.partition,
        position: lag(line.position),
        committed,
        end: lag(line.end),
        lag: lag(line.lag),
        behind: line.lag_seconds.map_or_else(|| "–".to_owned(), span),
    }
}

fn processors<'a>(consumer: &'a Consumer, status: &ConsumerStatus) -> Vec<ProcessorLine<'a>> {
    let lines = consumer
        .downstream_processors
        .iter()
        .enumerate()
        .map(|(index, processor)| {
            let doing = status.processors.get(index);
            ProcessorLine {
                kind: &processor.processor_type,
                config: Value::Object(processor.config.clone()).to_string(),
                records: doing.map_or_else(|| "–".to_owned(), |p| count(p.records)),
                failures: doing.map_or_else(|| "–".to_owned(), |p| count(p.failures)),
                dead_letters: doing.map_or_else(|| "–".to_owned(), |p| count(p.dead_letters)),
                took: doing.map_or_else(
                    || "–".to_owned(),
                    |p| format!("{:.1} / {:.1} / {:.1} ms", p.p50_ms, p.p99_ms, p.max_ms),
                ),
            }
        });
    lines.collect()
}

/// What the form for a new consumer shows.
#[derive(Clone, Copy, Debug)]
pub struct NewConsumer<'a> {
    /// What was typed.
    pub form: &'a ConsumerForm,
    /// Names of the active topics, as suggestions.
    pub topics: &'a [String],
    /// Names of the configured clusters; the governed one first.
    pub clusters: &'a [String],
    /// Why it was refused.
    pub problem: Option<&'a Problem>,
}

#[derive(Debug, Template)]
#[template(path = "consumer/new.html")]
struct NewPage<'a> {
    shell: Shell<'a>,
    form: &'a ConsumerForm,
    topics: &'a [String],
    clusters: Vec<(&'a str, bool)>,
    fault: Fault<'a>,
    may: bool,
}

/// The page at `/ui/consumers/new`.
pub fn new_consumer(viewer: &Viewer, data: &NewConsumer<'_>) -> String {
    let clusters = data
        .clusters
        .iter()
        .map(|name| (name.as_str(), *name == data.form.cluster));
    render(&NewPage {
        shell: Shell::new(viewer, "/ui/consumers", "New consumer"),
        form: data.form,
        topics: data.topics,
        clusters: clusters.collect(),
        fault: Fault(data.problem),
        may: viewer.may(Role::Consumer),
    })
}
