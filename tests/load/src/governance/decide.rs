//! Request and approval until Kafka serves the topic, beside a bare `createTopics` that waits for its leaders,
//! one after the other in turn.

use crate::bench::{Bench, row};
use crate::figures::Times;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use sluice_e2e::Outcome;
use std::time::{Duration, Instant};

/// Topics that are asked for and approved, one after the other.
const TOPICS: usize = 50;
/// Time for one call to Kafka.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &Bench) -> Outcome {
    let (requester, approver) = (bench.admin("requester")?, bench.admin("approver")?);
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bench.bootstrap())
        .create()?;
    let (mut asked, mut active, mut bare) = (Times::default(), Times::default(), Times::default());
    for number in 0..TOPICS {
        let body = json!({"name": format!("bench_decide_{number}")});
        let began = Instant::now();
        let id = requester.post("/api/topics", &body)?.expect(201)?["topic_id"].clone();
        asked.push(began.elapsed());
        let began = Instant::now();
        let path = format!("/api/topics/{id}/approve?wait=20s");
        let body = approver.post_empty(&path)?.expect(200)?;
        if body["status"] != "active" {
            return Err(format!("approved, but not active: {body}").into());
        }
        active.push(began.elapsed());
        let began = Instant::now();
        create(&admin, &format!("bench_bare_{number}"))?;
        bare.push(began.elapsed());
    }
    row(
        "POST /api/topics until its answer",
        &asked.to_string(),
        "",
        None,
    );
    row(
        "approve until Kafka serves the topic",
        &active.to_string(),
        &format!("bare createTopics with leaders: {bare}"),
        Some(active.p50() / bare.p50()),
    );
    Ok(())
}

fn create(admin: &AdminClient<DefaultClientContext>, name: &str) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for created in runtime.block_on(admin.create_topics([&topic], &options))? {
        created.map_err(|(name, code)| format!("{name}: {code}"))?;
    }
    let began = Instant::now();
    loop {
        let metadata = admin.inner().fetch_metadata(Some(name), TIMEOUT)?;
        let partitions = metadata
            .topics()
            .first()
            .map(rdkafka::metadata::MetadataTopic::partitions);
        if partitions.is_some_and(|all| !all.is_empty() && all.iter().all(|p| p.leader() >= 0)) {
            return Ok(());
        }
        if began.elapsed() > TIMEOUT {
            return Err(format!("{name} has no leader").into());
        }
    }
}
