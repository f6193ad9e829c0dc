//! `streaming_forwarder`: a POST of a JSON array of records to a webhook, at least once. Every request
//! carries an `Idempotency-Key` of its records' place, so that the receiver can drop what it has.

use super::{Kind, Outside, Processor, SinkError, Site};
use crate::batch::Entry;
use crate::watermark::Positions;
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_model::problem::Code;
use sluice_model::record::Record;
use std::time::Duration;
use url::Url;

/// The registry line.
pub(super) const KIND: Kind = Kind {
    name: "streaming_forwarder",
    schema,
    check,
    build,
};

/// Time that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["endpoint_url"],
        "properties": {
            "endpoint_url": {
                "type": "string", "format": "uri",
                "description": "Where a JSON array of records is sent with POST; its host and port must be \
                                in the configuration's destinations. Redirects are not followed."
            }
        }
    })
}

fn check(body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
    let Some(text) = body.text("endpoint_url") else {
        body.invalid("endpoint_url", "is missing, or no string");
        return None;
    };
    if let Err(message) = endpoint(&text, outside.destinations) {
        body.invalid("endpoint_url", message);
    }
    None
}

fn endpoint(text: &str, allowed: &crate::destinations::Destinations) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is an http:// or https:// URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries no user or password".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    allowed.check(host, port)?;
    Ok(url)
}

fn build(config: &Map<String, Value>, site: Site) -> Result<Box<dyn Processor>, SinkError> {
    let text = config
        .get("endpoint_url")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let url = endpoint(text, &site.destinations)
        .map_err(|fault| SinkError::environment(format!("endpoint_url {fault}")))?;
    Ok(Box::new(Forwarder {
        url,
        site,
        sent: Positions::default(),
    }))
}

struct Forwarder {
    url: Url,
    site: Site,
    /// What the receiver has acknowledged; a webhook does not remember it for us.
    sent: Positions,
}

impl Processor for Forwarder {
    fn open(&mut self) -> Result<Positions, SinkError> {
        Ok(self.sent.clone())
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let mut rest: Vec<&Entry<'_>> = batch.iter().collect();
        while let Some(first) = rest.first().copied() {
            let same = |e: &&Entry<'_>| e.topic == first.topic && e.partition == first.partition;
            let (group, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(same);
            self.post(&group)?;
            for entry in group {
                self.sent
                    .advance(entry.topic, entry.partition, entry.offset + 1);
            }
            rest = others;
        }
        Ok(())
    }

    fn rewind(&mut self, _targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Forwarder {
    /// Sends records of one partition.
    fn post(&self, group: &[&Entry<'_>]) -> Result<(), SinkError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(());
        };
        let (site, topic) = (&self.site, first.topic);
        let key = format!(
            "{}/{topic}/{}/{}/{}-{}",
            site.consumer_id,
            site.topic_id(topic),
            first.partition,
            first.offset,
            last.offset
        );
        let records: Vec<Record> = group.iter().map(|entry| entry.record()).collect();
        let client = site
            .http
            .client(self.url.port_or_known_default().unwrap_or_default())
            .map_err(SinkError::environment)?;
        let request = client
            .post(self.url.clone())
            .timeout(REQUEST_TIMEOUT)
            .header("Idempotency-Key", key)
            .json(&records);
        let answer = site
            .runtime
            .block_on(async { request.send().await })
            .map_err(|error| {
                // The URL may hold secrets in its query.
                SinkError::transient(format!(
                    "the endpoint does not answer: {}",
                    reason(&error.without_url())
                ))
            })?;
        let status = answer.status();
        if status.is_success() {
            Ok(())
        } else {
            let message = format!("the endpoint answered {status}");
            Err(match status.as_u16() {
                400 | 413 | 422 => SinkError::poison(message),
                401 | 403 | 404 | 410 => SinkError::environment(message),
                _ => SinkError::transient(message),
            })
        }
    }
}

/// The last cause of an error: the one that says something.
fn reason(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
