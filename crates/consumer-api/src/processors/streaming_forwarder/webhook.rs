//! POST of records to a webhook, at least once. Requests that failed are repeated with the same records
//! and the same `Idempotency-Key`, so that the receiver can drop what it has.

use super::endpoint;
use super::request::{SIGNATURE, judge, key, signature};
use crate::batch::Entry;
use crate::destinations::Refusal;
use crate::processors::{Processor, SinkError, Site};
use crate::secrets::Reference;
use crate::watermark::Positions;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Map, Value};
use sluice_model::consumer::FailureClass;
use sluice_model::record::Record;
use sluice_service::secret::Secret;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use url::Url;

/// Milliseconds that one request may take, unless the configuration says otherwise.
pub(super) const TIMEOUT_MS_DEFAULT: u64 = 8000;
/// Records of one request, unless the configuration says otherwise.
pub(super) const RECORDS_DEFAULT: usize = 1000;
/// Bytes of the records of one request; a larger record goes alone.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Requests under way at one time, each of another partition.
const CONCURRENT_MAX: usize = 8;
/// Records of a batch: what a stop or a crash interrupts is sent again.
const BATCH_RECORDS_MAX: usize = 1000;
/// Bytes of an answer that are read, and thrown away, to keep the connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A partition.
type Place<'a> = (&'a str, i32);
/// Records of one partition that go together.
type Group<'a, 'b> = Vec<&'a Entry<'b>>;

pub(super) struct Webhook {
    url: Url,
    single: bool,
    records_max: usize,
    timeout: Duration,
    headers: Vec<(String, String)>,
    secrets: Vec<Reference>,
    authorization: Option<Reference>,
    site: Site,
    /// What the receiver has acknowledged; a webhook does not remember it for us.
    sent: Positions,
    /// The last offset of a request whose fate is not known: it is repeated as it was.
    unsure: HashMap<(String, i32), i64>,
}

fn reference(config: &Map<String, Value>, name: &str) -> Option<Reference> {
    let text = |kind: &str| {
        let member = config.get(&format!("{name}_{kind}"));
        member.and_then(Value::as_str).map(str::to_owned)
    };
    text("file")
        .map(Reference::File)
        .or_else(|| text("env").map(Reference::Env))
}

impl Webhook {
    /// Reads a configuration that was checked.
    pub(super) fn new(config: &Map<String, Value>, site: Site) -> Result<Self, SinkError> {
        let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| config.get(name).and_then(Value::as_u64);
        let url = endpoint(text("endpoint_url"), &site.destinations)
            .map_err(|fault| SinkError::environment(format!("endpoint_url {fault}")))?;
        let headers = config.get("headers").and_then(Value::as_object);
        let headers = headers.into_iter().flatten();
        let records = number("max_records").and_then(|n| usize::try_from(n).ok());
        Ok(Self {
            url,
            single: text("mode") == "single",
            records_max: records.unwrap_or(RECORDS_DEFAULT),
            timeout: Duration::from_millis(number("timeout_ms").unwrap_or(TIMEOUT_MS_DEFAULT)),
            headers: headers
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            secrets: ["secret", "old_secret"]
                .iter()
                .filter_map(|name| reference(config, name))
                .collect(),
            authorization: reference(config, "authorization"),
            site,
            sent: Positions::default(),
            unsure: HashMap::new(),
        })
    }

    fn secret(&self, reference: &Reference) -> Result<Secret, SinkError> {
        let read = self.site.secrets.read(reference);
        read.map_err(|fault| SinkError::environment(format!("a secret {fault}")))
    }

    /// Cuts the records of one partition into requests.
    fn cut<'a, 'b>(&self, place: Place<'_>, entries: Group<'a, 'b>) -> Vec<Group<'a, 'b>> {
        let most = if self.single { 1 } else { self.records_max };
        let unsure = self.unsure.get(&(place.0.to_owned(), place.1)).copied();
        let mut groups: Vec<Group<'a, 'b>> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let size = entry.bytes();
            let fits = groups
                .last()
                .and_then(|group| group.last())
                .is_some_and(|last| {
                    let repeats = unsure.is_some_and(|end| last.offset <= end);
                    let ends = unsure
                        .is_some_and(|end| last.offset == end || (repeats && entry.offset > end));
                    !ends && (repeats || bytes + size <= REQUEST_BYTES_MAX)
                });
            match groups.last_mut() {
                Some(group) if fits && group.len() < most => {
                    group.push(entry);
                    bytes += size;
                }
                _ => {
                    groups.push(vec![entry]);
                    bytes = size;
                }
            }
        }
        groups
    }

    /// Sends the requests of one partition in turn; answers how far they came.
    async fn send(&self, groups: Vec<Group<'_, '_>>, credentials: &Credentials) -> Sent {
        let mut sent = Sent::default();
        for group in groups {
            let Some((first, last)) = group.first().zip(group.last()) else {
                continue;
            };
            sent.place = Some((first.topic.to_owned(), first.partition));
            match self.post(&group, credentials).await {
                Ok(()) => sent.next = Some(last.offset + 1),
                Err(error) => {
                    let known = error.class == FailureClass::Poison;
                    sent.unsure = (!known).then_some(last.offset);
                    sent.error = Some(if group.len() == 1 && known {
                        error.of(first)
                    } else {
                        error
                    });
                    break;
                }
            }
        }
        sent
    }

    async fn post(
        &self,
        group: &Group<'_, '_>,
        credentials: &Credentials,
    ) -> Result<(), SinkError> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        let body = if self.single {
            serde_json::to_vec(&first.record())
        } else {
            let records: Vec<Record> = group.iter().map(|entry| entry.record()).collect();
            serde_json::to_vec(&records)
        };
        let body = body.map_err(|error| SinkError::poison(format!("a record as JSON: {error}")))?;
        let port = self.url.port_or_known_default().unwrap_or_default();
        let client = self
            .site
            .http
            .client(port)
            .map_err(SinkError::environment)?;
        let site = &self.site;
        let mut request = client.post(self.url.clone()).timeout(self.timeout);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request = request.header("Content-Type", "application/json").header(
            "Idempotency-Key",
            key(&site.consumer_id, site.topic_id(first.topic), group),
        );
        if !credentials.secrets.is_empty() {
            let seconds = sluice_service::now().as_millis() / 1000;
            request = request.header(SIGNATURE, signature(&credentials.secrets, seconds, &body));
        }
        if let Some(value) = &credentials.authorization {
            request = request.header("Authorization", value.expose());
        }
        let answer = request.body(body).send().await.map_err(unanswered)?;
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        let verdict = judge(answer.status().as_u16(), retry_after);
        drain(answer).await;
        verdict
    }
}

/// What requests carry that is nobody else's business; read anew for every batch.
struct Credentials {
    secrets: Vec<Secret>,
    authorization: Option<Secret>,
}

/// How far the requests of a partition came.
#[derive(Default)]
struct Sent {
    place: Option<(String, i32)>,
    next: Option<i64>,
    unsure: Option<i64>,
    error: Option<SinkError>,
}

/// Reads the rest of an answer, so that the connection can be used again. Nobody sees it.
async fn drain(mut answer: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(part)) = answer.chunk().await {
        read += part.len();
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// Why there is no answer; the URL may hold secrets in its query and is left out.
fn unanswered(error: reqwest::Error) -> SinkError {
    let error = error.without_url();
    let mut last: &dyn std::error::Error = &error;
    let mut forbidden = false;
    loop {
        forbidden |= matches!(last.downcast_ref::<Refusal>(), Some(Refusal::Forbidden(_)));
        match last.source() {
            Some(cause) => last = cause,
            None => break,
        }
    }
    let words = format!("the endpoint does not answer: {last}");
    if forbidden || error.is_builder() {
        SinkError::environment(words)
    } else {
        SinkError::transient(words)
    }
}

/// The error that decides what happens to the batch: one that needs somebody before one that passes, and
/// a refusal only when nothing else is wrong, for it is looked for by writing again.
fn worst(errors: Vec<SinkError>) -> Option<SinkError> {
    let rank = |error: &SinkError| match error.class {
        FailureClass::Fenced => 3,
        FailureClass::Environment => 2,
        FailureClass::Transient => 1,
        FailureClass::Poison => 0,
    };
    errors.into_iter().max_by_key(rank)
}

impl Processor for Webhook {
    fn batch_max(&self) -> usize {
        BATCH_RECORDS_MAX
    }

    fn open(&mut self) -> Result<Positions, SinkError> {
        Ok(self.sent.clone())
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let secrets: Result<Vec<_>, _> = self.secrets.iter().map(|r| self.secret(r)).collect();
        let authorization = self
            .authorization
            .as_ref()
            .map(|r| self.secret(r))
            .transpose()?;
        let credentials = Credentials {
            secrets: secrets?,
            authorization,
        };
        let mut places: BTreeMap<Place<'_>, Group<'_, '_>> = BTreeMap::new();
        for entry in batch {
            places
                .entry((entry.topic, entry.partition))
                .or_default()
                .push(entry);
        }
        let this = &*self;
        let requests = places.into_iter().map(|(place, entries)| {
            let groups = this.cut(place, entries);
            this.send(groups, &credentials)
        });
        let all = stream::iter(requests)
            .buffer_unordered(CONCURRENT_MAX)
            .collect();
        let outcomes: Vec<Sent> = self.site.runtime.block_on(all);
        let mut errors = Vec::new();
        for outcome in outcomes {
            let Some((topic, partition)) = outcome.place else {
                continue;
            };
            if let Some(next) = outcome.next {
                self.sent.advance(&topic, partition, next);
            }
            match outcome.unsure {
                Some(last) => self.unsure.insert((topic, partition), last),
                None => self.unsure.remove(&(topic, partition)),
            };
            errors.extend(outcome.error);
        }
        worst(errors).map_or(Ok(()), Err)
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        for (topic, partition, next) in targets {
            self.sent.set(topic, *partition, *next);
            self.unsure.remove(&(topic.clone(), *partition));
        }
        Ok(())
    }
}
