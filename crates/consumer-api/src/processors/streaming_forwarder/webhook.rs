//! POST of records to a webhook, at least once. Requests that failed, or that a crash interrupted, are
//! repeated with the same records and the same `Idempotency-Key`, so that the receiver can drop what it
//! has: what a request holds is in the registry before it leaves.

use super::endpoint;
use super::plan::{Group, Limits, Plan, by_lane};
use super::request::{SIGNATURE, judge, key, signature};
use crate::batch::Entry;
use crate::destinations::Refusal;
use crate::processors::{Processor, SinkError, Site, failpoint};
use crate::secrets::Reference;
use crate::watermark::Positions;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Map, Value};
use sluice_model::consumer::FailureClass;
use sluice_model::record::Record;
use sluice_service::secret::Secret;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use url::Url;

/// Milliseconds that one request may take, unless the configuration says otherwise.
pub(super) const TIMEOUT_MS_DEFAULT: u64 = 8000;
/// Records of one request, unless the configuration says otherwise.
pub(super) const RECORDS_DEFAULT: usize = 1000;
/// Bytes of the records of one request; a larger record goes alone.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Requests under way at one time, each of another partition, or of another key where that is the order.
pub(super) const PARALLEL_DEFAULT: u32 = 8;
/// Records of a batch: what a stop or a crash interrupts is sent again.
const BATCH_RECORDS_MAX: usize = 1000;
/// Bytes of an answer that are read, and thrown away, to keep the connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A partition.
type Place<'a> = (&'a str, i32);
type OwnPlace = (String, i32);
/// The records of a batch by partition.
type Places<'a, 'b> = BTreeMap<Place<'a>, Group<'a, 'b>>;

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
    /// What was acknowledged behind something that was not: never more than a batch.
    done: HashMap<OwnPlace, BTreeSet<i64>>,
    /// The requests that may have been sent.
    plans: HashMap<OwnPlace, Plan>,
    /// Keys have an order, not partitions.
    by_key: bool,
    parallel: u32,
    /// Whether what the registry remembers is read.
    recalled: bool,
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
            done: HashMap::new(),
            plans: HashMap::new(),
            by_key: text("ordering") == "key",
            parallel: number("parallel")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(PARALLEL_DEFAULT),
            recalled: false,
        })
    }

    fn secret(&self, reference: &Reference) -> Result<Secret, SinkError> {
        let read = self.site.secrets.read(reference);
        read.map_err(|fault| SinkError::environment(format!("a secret {fault}")))
    }

    /// Lanes of a partition: requests of one lane go in turn. Single records need no lane to be filled,
    /// so every key has its own there.
    const fn lanes(&self) -> u32 {
        match (self.by_key, self.single) {
            (false, _) => 1,
            (true, false) => self.parallel,
            (true, true) => u32::MAX,
        }
    }

    const fn limits(&self) -> Limits {
        Limits {
            records: if self.single { 1 } else { self.records_max },
            bytes: REQUEST_BYTES_MAX,
        }
    }

    /// Cuts what is not acknowledged into requests, by lane.
    fn requests<'a, 'b>(&mut self, places: &Places<'a, 'b>) -> Vec<(u32, Vec<Group<'a, 'b>>)> {
        let (lanes, limits) = (self.lanes(), self.limits());
        let mut requests = Vec::new();
        for ((topic, partition), entries) in places {
            let place = ((*topic).to_owned(), *partition);
            let done = self.done.get(&place);
            let todo = entries
                .iter()
                .filter(|entry| done.is_none_or(|done| !done.contains(&entry.offset)));
            let plan = self.plans.entry(place).or_insert(Plan::of(lanes));
            if let Some(first) = entries.first() {
                plan.pass(first.offset);
            }
            for (lane, group) in by_lane(lanes, todo.copied().collect()) {
                requests.push((lane, plan.cut(lane, group, limits)));
            }
        }
        requests
    }

    /// Remembers which requests are about to leave. A single record is its own key, so there is nothing
    /// to remember.
    fn remember(&mut self, places: &Places<'_, '_>) -> Result<(), SinkError> {
        let mut rows = Vec::new();
        for ((topic, partition), entries) in places {
            let place = ((*topic).to_owned(), *partition);
            let Some((plan, first)) = self.plans.get(&place).zip(entries.first()) else {
                continue;
            };
            if self.single || !plan.is_new() {
                continue;
            }
            let next = self.sent.get(topic, *partition).unwrap_or(first.offset);
            let body = serde_json::to_string(plan)
                .map_err(|error| SinkError::environment(format!("a plan as JSON: {error}")))?;
            let id = self.site.topic_id(topic);
            rows.push(((place.0, place.1, id, next), body));
        }
        if !rows.is_empty() {
            let processor = &self.site.processor_id;
            self.site.sinks.plan(processor, rows)?;
            failpoint::pass("webhook.planned")?;
        }
        self.plans.values_mut().for_each(Plan::settle);
        Ok(())
    }

    /// Sends the requests of one lane in turn; answers how far they came.
    async fn send(&self, lane: u32, groups: Vec<Group<'_, '_>>, credentials: &Credentials) -> Sent {
        let mut sent = Sent::default();
        for group in groups {
            let Some(first) = group.first() else {
                continue;
            };
            sent.place = Some((first.topic.to_owned(), first.partition));
            match self.post(lane, &group, credentials).await {
                Ok(()) => sent.acked.extend(group.iter().map(|entry| entry.offset)),
                Err(error) => {
                    let known = error.class == FailureClass::Poison;
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

    /// Takes down what was acknowledged: behind the first gap it is only remembered here.
    fn note(&mut self, places: &Places<'_, '_>, outcomes: Vec<Sent>) -> Vec<SinkError> {
        let mut errors = Vec::new();
        for outcome in outcomes {
            if let Some(place) = outcome.place {
                self.done.entry(place).or_default().extend(outcome.acked);
            }
            errors.extend(outcome.error);
        }
        for ((topic, partition), entries) in places {
            let place = ((*topic).to_owned(), *partition);
            let done = self.done.remove(&place).unwrap_or_default();
            let gap = entries.iter().find(|entry| !done.contains(&entry.offset));
            let end = entries.last().map(|entry| entry.offset + 1);
            let Some(next) = gap.map(|entry| entry.offset).or(end) else {
                continue;
            };
            self.sent.advance(topic, *partition, next);
            let ahead: BTreeSet<i64> = done.into_iter().filter(|at| *at >= next).collect();
            if !ahead.is_empty() {
                self.done.insert(place, ahead);
            }
        }
        errors
    }

    async fn post(
        &self,
        lane: u32,
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
            key(
                &site.consumer_id,
                site.topic_id(first.topic),
                (lane, self.lanes()),
                group,
            ),
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

/// How far the requests of a lane came.
#[derive(Default)]
struct Sent {
    place: Option<OwnPlace>,
    acked: Vec<i64>,
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
        if !self.recalled {
            let lanes = self.lanes();
            let site = &self.site;
            let plans = site.sinks.plans(&site.processor_id, &site.topic_ids)?;
            for ((topic, partition, next), body) in plans {
                self.sent.advance(&topic, partition, next);
                let plan = Plan::read(&body, lanes);
                self.plans.insert((topic, partition), plan);
            }
            self.recalled = true;
        }
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
        let mut places: Places<'_, '_> = BTreeMap::new();
        for entry in batch {
            places
                .entry((entry.topic, entry.partition))
                .or_default()
                .push(entry);
        }
        let requests = self.requests(&places);
        self.remember(&places)?;
        let this = &*self;
        let requests = requests
            .into_iter()
            .map(|(lane, groups)| this.send(lane, groups, &credentials));
        let all = stream::iter(requests)
            .buffer_unordered(self.parallel as usize)
            .collect();
        let outcomes: Vec<Sent> = self.site.runtime.block_on(all);
        failpoint::pass("webhook.sent")?;
        let errors = self.note(&places, outcomes);
        worst(errors).map_or(Ok(()), Err)
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        let site = &self.site;
        let rows = targets.iter().map(|(topic, partition, next)| {
            (topic.clone(), *partition, site.topic_id(topic), *next)
        });
        site.sinks.rewind(&site.processor_id, rows.collect())?;
        for (topic, partition, next) in targets {
            let place = (topic.clone(), *partition);
            self.sent.set(topic, *partition, *next);
            self.done.remove(&place);
            self.plans.remove(&place);
        }
        Ok(())
    }
}
