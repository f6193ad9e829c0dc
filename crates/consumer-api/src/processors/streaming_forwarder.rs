//! `streaming_forwarder`: records to a topic of a configured cluster, exactly once, or to a webhook, at
//! least once with keys that repeat.

mod kafka;
mod places;
mod plan;
mod request;
mod transaction;
mod webhook;

use super::{Kind, Outside, Processor, SinkError, Site};
use crate::secrets;
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_model::name::TopicName;
use sluice_model::problem::Code;
use url::Url;

/// The registry line.
pub(super) const KIND: Kind = Kind {
    name: "streaming_forwarder",
    schema,
    check,
    build,
};

const MODES: [&str; 2] = ["batch", "single"];
const ORDERINGS: [&str; 2] = ["partition", "key"];
/// Requests under way at one time.
const PARALLEL: std::ops::RangeInclusive<u32> = 1..=64;
const PARTITIONINGS: [&str; 2] = ["key", "same"];
/// Milliseconds that one request may take.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// Records of one request.
const RECORDS: std::ops::RangeInclusive<usize> = 1..=10_000;
/// Headers of the user's own, and bytes of one.
const HEADERS_MAX: usize = 32;
const HEADER_BYTES_MAX: usize = 1024;
/// Headers that users may set beside `X-...`.
const HEADERS: [&str; 3] = ["accept", "accept-language", "user-agent"];
/// Members that belong to one of the two destinations only.
const OF_WEBHOOKS: [&str; 13] = [
    "endpoint_url",
    "mode",
    "max_records",
    "ordering",
    "parallel",
    "timeout_ms",
    "headers",
    "secret_file",
    "secret_env",
    "old_secret_file",
    "old_secret_env",
    "authorization_file",
    "authorization_env",
];

fn schema() -> Value {
    let text = |words: &str| json!({"type": "string", "description": words});
    json!({
        "type": "object",
        "additionalProperties": false,
        "oneOf": [{"required": ["endpoint_url"]}, {"required": ["cluster", "topic"]}],
        "properties": {
            "cluster": text("A cluster of the configuration (\"governed\" is the admin API's): records go to a topic \
                             there, in transactions, exactly once for readers with read_committed."),
            "topic": text("The topic there; on the governed cluster it must be active, elsewhere allowed by the cluster's \
                           pattern. Keys, values, headers and timestamps stay as they are."),
            "partitioning": {
                "type": "string", "enum": PARTITIONINGS, "default": "key",
                "description": "key: by the record's key, as Java clients do; same: the partition that it comes from."
            },
            "endpoint_url": {
                "type": "string", "format": "uri",
                "description": "Where records are sent with POST, at least once; its host and port must be in the \
                                configuration's destinations. Redirects are not followed. Every request carries an \
                                Idempotency-Key of its records' place; what is repeated, after a crash too, is the same \
                                records under the same key."
            },
            "mode": {
                "type": "string", "enum": MODES, "default": "batch",
                "description": "batch: a JSON array of records of one partition; single: one record as a JSON object."
            },
            "max_records": {"type": "integer", "minimum": RECORDS.start(), "maximum": RECORDS.end(), "default": webhook::RECORDS_DEFAULT,
                            "description": "Most records of one request."},
            "ordering": {
                "type": "string", "enum": ORDERINGS, "default": "partition",
                "description": "What arrives in order. partition: all records of one, one request at a time; key: those \
                                of one key, with requests of different keys side by side (records without a key have no \
                                order). The position moves on when all of a batch is acknowledged up to it."
            },
            "parallel": {"type": "integer", "minimum": PARALLEL.start(), "maximum": PARALLEL.end(), "default": webhook::PARALLEL_DEFAULT,
                         "description": "Most requests under way at one time."},
            "timeout_ms": {"type": "integer", "minimum": TIMEOUT_MS.start(), "maximum": TIMEOUT_MS.end(), "default": webhook::TIMEOUT_MS_DEFAULT,
                           "description": "Time that one request may take."},
            "headers": {"type": "object", "additionalProperties": {"type": "string"},
                        "description": "Headers to add: X-..., Accept, Accept-Language, User-Agent. Secrets do not belong here."},
            "secret_file": text("A file under secrets_dir: requests are signed with it. Sluice-Signature is \
                                 t=SECONDS,v1=HEX, HEX being HMAC-SHA256 over SECONDS, a dot and the body."),
            "secret_env": text("The same in an environment variable SLUICE_SECRET_... of the service."),
            "old_secret_file": text("The secret before, while it is replaced: a second v1= is added."),
            "old_secret_env": text("The same in an environment variable."),
            "authorization_file": text("A file under secrets_dir with the value of the Authorization header."),
            "authorization_env": text("The same in an environment variable.")
        }
    })
}

fn check(body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
    let cluster = body.text("cluster");
    let topic = body.text("topic");
    let partitioning = body.text("partitioning");
    let url = body.text("endpoint_url");
    let to_kafka = cluster.is_some() || topic.is_some() || partitioning.is_some();
    if url.is_none() && !to_kafka {
        body.invalid(
            "endpoint_url",
            "is missing, or no string: give endpoint_url, or cluster and topic",
        );
    }
    if url.is_some() && to_kafka {
        body.invalid(
            "endpoint_url",
            "stands beside cluster and topic; give one or the other",
        );
    }
    if to_kafka {
        check_kafka(body, outside, cluster, topic, partitioning.as_deref());
    }
    if let Some(text) = &url
        && let Err(message) = endpoint(text, outside.destinations)
    {
        body.invalid("endpoint_url", message);
    }
    check_webhook(body, outside, url.is_none() && to_kafka);
    None
}

fn check_kafka(
    body: &mut Body,
    outside: &Outside<'_>,
    cluster: Option<String>,
    topic: Option<String>,
    partitioning: Option<&str>,
) {
    match &cluster {
        None => body.invalid("cluster", "is missing: cluster and topic go together"),
        Some(name) if outside.clusters.by_name(name).is_none() => {
            let names = outside.clusters.names().join(", ");
            body.invalid(
                "cluster",
                format!("is none of the configured clusters ({names})"),
            );
        }
        Some(_) => {}
    }
    match topic.as_deref().map(TopicName::parse) {
        None => body.invalid("topic", "is missing: cluster and topic go together"),
        Some(Err(faults)) => {
            for fault in faults {
                body.invalid("topic", fault.to_string());
            }
        }
        Some(Ok(_)) => {}
    }
    if partitioning.is_some_and(|word| !PARTITIONINGS.contains(&word)) {
        body.invalid("partitioning", "is key or same");
    }
}

/// Reads the members of a webhook; with `foreign` they are out of place.
fn check_webhook(body: &mut Body, outside: &Outside<'_>, foreign: bool) {
    let secrets = outside.secrets;
    if foreign {
        for name in OF_WEBHOOKS {
            if body.any(name).is_some() {
                body.invalid(name, "belongs to endpoint_url, not to cluster and topic");
            }
        }
        return;
    }
    if body
        .text("mode")
        .is_some_and(|word| !MODES.contains(&word.as_str()))
    {
        body.invalid("mode", "is batch or single");
    }
    if body
        .text("ordering")
        .is_some_and(|word| !ORDERINGS.contains(&word.as_str()))
    {
        body.invalid("ordering", "is partition or key");
    }
    let parallel = body.integer::<i64>("parallel");
    if parallel.is_some_and(|n| !u32::try_from(n).is_ok_and(|n| PARALLEL.contains(&n))) {
        body.invalid(
            "parallel",
            format!("is {} to {}", PARALLEL.start(), PARALLEL.end()),
        );
    }
    let count = body.integer::<i64>("max_records");
    if count.is_some_and(|n| !usize::try_from(n).is_ok_and(|n| RECORDS.contains(&n))) {
        body.invalid(
            "max_records",
            format!("is {} to {}", RECORDS.start(), RECORDS.end()),
        );
    }
    let time = body.integer::<i64>("timeout_ms");
    if time.is_some_and(|n| !u64::try_from(n).is_ok_and(|n| TIMEOUT_MS.contains(&n))) {
        body.invalid(
            "timeout_ms",
            format!("is {} to {}", TIMEOUT_MS.start(), TIMEOUT_MS.end()),
        );
    }
    check_headers(body);
    let now = secrets::reference(body, secrets, "secret_file", "secret_env");
    let old = secrets::reference(body, secrets, "old_secret_file", "old_secret_env");
    if old.is_some() && now.is_none() {
        body.invalid(
            "old_secret_file",
            "goes with secret_file or secret_env, the secret of now",
        );
    }
    secrets::reference(body, secrets, "authorization_file", "authorization_env");
}

fn check_headers(body: &mut Body) {
    let Some(headers) = body.object("headers") else {
        return;
    };
    if headers.len() > HEADERS_MAX {
        body.invalid("headers", format!("has at most {HEADERS_MAX} members"));
    }
    let mut part = Body::of(Map::new(), &body.pointer("headers"));
    for (name, value) in &headers {
        let Some(text) = value.as_str() else {
            part.mistyped(name, "a string", value);
            continue;
        };
        if let Err(message) = header(name, text) {
            part.invalid(name, message);
        }
    }
    body.absorb(part);
}

/// Checks a header of the user's.
fn header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let token = lower
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let own = lower.starts_with("x-") && !lower.starts_with("x-forwarded");
    if !token || !(own || HEADERS.contains(&lower.as_str())) {
        let hint = if lower == "authorization" {
            "; use authorization_file or authorization_env"
        } else {
            ""
        };
        return Err(format!(
            "is no header that may be set: X-..., {}{hint}",
            HEADERS.join(", ")
        ));
    }
    if name.len() + value.len() > HEADER_BYTES_MAX
        || !value.bytes().all(|b| (b' '..=b'~').contains(&b))
    {
        return Err(format!(
            "has visible ASCII characters only, {HEADER_BYTES_MAX} at most"
        ));
    }
    Ok(())
}

/// Reads an endpoint and checks where it leads.
fn endpoint(text: &str, allowed: &crate::destinations::Destinations) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is an http:// or https:// URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries no user or password; use authorization_file".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    allowed.check(host, port)?;
    Ok(url)
}

fn build(config: &Map<String, Value>, site: Site) -> Result<Box<dyn Processor>, SinkError> {
    if config.contains_key("endpoint_url") {
        return Ok(Box::new(webhook::Webhook::new(config, site)?));
    }
    let target = kafka::Target::read(config, &site)?;
    Ok(Box::new(kafka::Forwarder::new(target, site)))
}

/// The cluster and topic that a configuration writes to, if that is what it does.
pub(super) fn target(config: &Map<String, Value>) -> Option<(&str, &str)> {
    let text = |name: &str| config.get(name).and_then(Value::as_str);
    Some((text("cluster")?, text("topic")?))
}

#[cfg(test)]
mod tests;
