//! A pass of the reconciler that finds nothing to do, beside the same questions asked by a bare AdminClient.

use super::crowd;
use crate::bench::{Bench, row};
use crate::figures::median;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use sluice_e2e::{Outcome, ensure};
use sluice_service::kafka::admin::topic_ids;
use std::time::{Duration, Instant};

/// Passes of each kind that are waited for.
const PASSES: f64 = 3.0;
/// Time that they may take.
const PATIENCE: Duration = Duration::from_secs(150);
/// Time between two looks at the metrics.
const LOOK: Duration = Duration::from_millis(200);
/// Topics that one describe call names, as the reconciler does.
const DESCRIBE_MAX: usize = 1000;
/// Time for one call to Kafka.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn run(bench: &Bench) -> Outcome {
    crowd::ensure(bench)?;
    let (quick, whole) = (pass(bench, "quick")?, pass(bench, "whole")?);
    let (mut metadata, mut details) = (Vec::new(), Vec::new());
    let mut topics = 0;
    for _ in 0..bench.rounds {
        let (looked, described, count) = bare(bench.bootstrap())?;
        metadata.push(looked);
        details.push(described);
        topics = count;
    }
    let metadata = median(metadata);
    let details = metadata + median(details);
    let (quick, whole) = (
        mean_since(bench, "quick", quick)?,
        mean_since(bench, "whole", whole)?,
    );
    row(
        &format!("reconcile pass over {topics} topics"),
        &format!("{quick:.0} ms"),
        &format!("bare AdminClient, metadata: {metadata:.0} ms"),
        Some(quick / metadata),
    );
    row(
        &format!("reconcile pass over {topics} topics with configs and ids"),
        &format!("{whole:.0} ms"),
        &format!("bare AdminClient, metadata, configs and ids: {details:.0} ms"),
        Some(whole / details),
    );
    Ok(())
}

/// Seconds and number of the passes of a kind.
fn pass(bench: &Bench, kind: &str) -> Outcome<(f64, f64)> {
    let text = bench.admin("admin")?.get("/metrics")?.text;
    let figure = |what: &str| {
        let name = format!("admin_api_reconcile_pass_seconds_{what}{{kind=\"{kind}\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&name));
        found.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    Ok((figure("sum"), figure("count")))
}

/// Milliseconds of a pass since then, once there were some.
fn mean_since(bench: &Bench, kind: &str, (sum, count): (f64, f64)) -> Outcome<f64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = pass(bench, kind)?;
        if now.1 >= count + PASSES {
            return Ok((now.0 - sum) / (now.1 - count) * 1000.0);
        }
        ensure!(Instant::now() < deadline, "too few {kind} passes");
        std::thread::sleep(LOOK);
    }
}

/// Milliseconds of a look at the metadata and of descriptions of all topics by a client that is connected, and
/// how many topics these are.
fn bare(bootstrap: &str) -> Outcome<(f64, f64, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()?;
    admin.inner().fetch_metadata(Some("none"), TIMEOUT)?;
    let began = Instant::now();
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
    let looked = began.elapsed();
    let topics = metadata.topics().iter();
    let names: Vec<&str> = topics.map(rdkafka::metadata::MetadataTopic::name).collect();
    let began = Instant::now();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    for chunk in names.chunks(DESCRIBE_MAX) {
        let of: Vec<_> = chunk
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let described = runtime.block_on(admin.describe_configs(&of, &options))?;
        ensure!(described.len() == chunk.len(), "an answer for each topic");
    }
    for chunk in names.chunks(DESCRIBE_MAX) {
        let ids = topic_ids(admin.inner(), chunk, TIMEOUT)?;
        ensure!(ids.len() == chunk.len(), "an id for each topic");
    }
    let millis = |took: Duration| took.as_secs_f64() * 1000.0;
    Ok((millis(looked), millis(began.elapsed()), names.len()))
}
