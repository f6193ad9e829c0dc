//! `POST /topics/{topic}` and `POST /records`: from a body to what became of each record.

use super::answer::Answer;
use super::auth::TOPICS;
use super::forms::{self, Entry, Form, Parsed};
use super::{Failure, Http, body, gone};
use crate::batch::{Fate, Refusal};
use crate::budget::Charge;
use crate::listener::inlet::{Manner, Pending};
use crate::listener::reach::Reach;
use hyper::body::Incoming;
use hyper::{Request, header};
use serde::Serialize;
use serde_json::json;
use sluice_model::problem::{Code, Problem};

/// For metrics.
const INPUT: &str = "http";
/// Seconds after which a refused sender may try again.
const RETRY_S: u32 = 1;

/// An answer, or why there is none.
pub(super) type Outcome = Result<Answer, Failure>;

/// Bodies from this size on are read on a helper thread, so that other connections do not wait for it.
const OFFLOAD_BYTES_MIN: usize = 64 * 1024;

/// Serves `POST /topics/{topic}`, and the partitions below it.
pub(super) async fn to_topic(
    http: &Http,
    place: (&str, Option<&str>),
    request: Request<Incoming>,
) -> Outcome {
    let content_type = content_type(&request);
    let form = content_type.as_deref().and_then(Form::of);
    let outcome = to_topic_in(http, place, form, request).await;
    if form.is_some_and(Form::is_confluent) {
        outcome.map_err(|failure| Failure {
            error_code: Some(v2_code(failure.problem.status)),
            ..failure
        })
    } else {
        outcome
    }
}

async fn to_topic_in(
    http: &Http,
    (topic, partition): (&str, Option<&str>),
    form: Option<Form>,
    request: Request<Incoming>,
) -> Outcome {
    let reach = http.auth.sender(request.headers()).await?;
    let Some(form) = form.filter(|form| partition.is_none() || form.is_confluent()) else {
        return Err(unsupported(
            content_type(&request).as_deref(),
            "application/json, application/x-ndjson, application/octet-stream, \
             application/vnd.kafka.json.v2+json or application/vnd.kafka.binary.v2+json",
        ));
    };
    let topic = decode(topic);
    let partition = partition.map(str::parse::<i32>).transpose().map_err(|_| {
        let detail = "the partition in the path must be a number";
        Box::new(Problem::new(Code::NotFound, detail))
    })?;
    let key = query(&request, "key");
    let (block, charge) = body::read(http, request).await?;
    let record_max = http.inlet.record_max;
    let place = (topic.as_str(), partition);
    let parsed = forms::for_topic(form, place, key.as_deref(), &block, record_max)?;
    let fates = fates(http, (parsed, &reach), charge, INPUT).await?;
    if form.is_confluent() {
        confluent_answer(&fates)
    } else {
        own_answer(&fates)
    }
}

/// The number that Confluent's v2 API has for a status.
fn v2_code(status: u16) -> u32 {
    match status {
        401 | 403 | 404 | 409 | 429 | 503 | 507 => u32::from(status) * 100 + 1,
        _ => u32::from(status),
    }
}

/// Serves `GET /topics` and `GET /topics/{topic}`: the active topics, as clients of Confluent's API look
/// them up before they produce.
pub(super) async fn list(http: &Http, topic: Option<&str>, request: &Request<Incoming>) -> Outcome {
    http.auth.reader(request.headers(), TOPICS).await?;
    match topic.map(decode) {
        None => Ok(Answer::json(200, &topic_names(http).await?)),
        Some(name) => {
            known_topic(http, &name).await?;
            Ok(Answer::json(
                200,
                &json!({"name": name, "configs": {}, "partitions": []}),
            ))
        }
    }
}

/// The active topics.
pub(super) async fn topic_names(http: &Http) -> Result<Vec<String>, Box<Problem>> {
    let status = http.inlet.status().await.map_err(|_busy| gone())?;
    let active = status
        .topics
        .into_iter()
        .filter(|topic| topic.status.as_deref() == Some("active"));
    let mut names: Vec<_> = active.map(|topic| topic.topic_name).collect();
    names.sort();
    Ok(names)
}

/// Fails unless a topic is active.
pub(super) async fn known_topic(http: &Http, name: &str) -> Result<(), Box<Problem>> {
    if topic_names(http).await?.iter().any(|known| known == name) {
        return Ok(());
    }
    let detail = format!("there is no active topic {name:?}");
    Err(Box::new(Problem::new(Code::UnknownTopic, detail)))
}

/// Does what takes time for a large body beside the listener's own thread.
pub(super) async fn offload<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Box<Problem>> {
    if size < OFFLOAD_BYTES_MIN {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Box::new(Problem::new(Code::Internal, "the body cannot be read")))
}

/// Serves `POST /records`.
pub(super) async fn records(http: &Http, request: Request<Incoming>) -> Outcome {
    let reach = http.auth.sender(request.headers()).await?;
    let content_type = content_type(&request);
    if !matches!(
        content_type.as_deref().and_then(Form::of),
        Some(Form::Lines | Form::Json)
    ) {
        return Err(unsupported(content_type.as_deref(), "application/x-ndjson"));
    }
    let (block, charge) = body::read(http, request).await?;
    let parsed = forms::named_lines(&block, http.inlet.record_max);
    own_answer(&fates(http, (parsed, &reach), charge, INPUT).await?)
}

/// The content type of a request.
pub(super) fn content_type(request: &Request<Incoming>) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?;
    value.to_str().ok().map(str::to_owned)
}

/// A content type that is not taken.
pub(super) fn unsupported(got: Option<&str>, want: &str) -> Failure {
    let got = got.unwrap_or("none");
    let detail = format!("send Content-Type: {want}; not {got}");
    Box::new(Problem::new(Code::UnsupportedMediaType, detail)).into()
}

fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A segment of the path as text.
pub(super) fn decode(segment: &str) -> String {
    let shielded = format!("x={}", segment.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(shielded.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Records on their way, and those that were refused before.
#[derive(Debug)]
pub(super) struct Underway {
    entries: Vec<Entry>,
    pending: Option<Pending>,
}

/// Refuses the records of topics that their sender's credential leaves out.
fn leave_out(parsed: &mut Parsed, reach: &Reach) {
    let mut barred = reach.take_out(&mut parsed.records).into_iter().peekable();
    for entry in &mut parsed.entries {
        if let Ok(place) = entry
            && let Some((_, refusal)) = barred.next_if(|(index, _)| index == place)
        {
            *entry = Err(refusal);
        }
    }
}

/// Sends the records of a body on their way.
pub(super) fn begin(
    http: &Http,
    (mut parsed, reach): (Parsed, &Reach),
    mut charge: Charge,
    input: &'static str,
) -> Result<Underway, Box<Problem>> {
    charge.shrink(parsed.bytes);
    leave_out(&mut parsed, reach);
    for refusal in parsed
        .entries
        .iter()
        .filter_map(|entry| entry.as_ref().err())
    {
        http.inlet.count_refused(input, refusal);
    }
    let pending = if parsed.records.recs.is_empty() {
        None
    } else {
        let submitted = http.inlet.submit(parsed.records, Manner::Detailed, charge);
        Some(submitted.map_err(|_gone| gone())?)
    };
    Ok(Underway {
        entries: parsed.entries,
        pending,
    })
}

impl Underway {
    /// What became of every record.
    pub(super) async fn fates(self) -> Result<Vec<Fate>, Box<Problem>> {
        let of_batch = match self.pending {
            None => Vec::new(),
            Some(pending) => pending.outcome().await.ok_or_else(gone)?.fates,
        };
        if of_batch.len() == self.entries.len() {
            return Ok(of_batch);
        }
        let mut of_batch = of_batch.into_iter();
        let missing = || Refusal::new(Code::Internal, "the fate of the record is not known");
        let fates = self.entries.into_iter().map(|entry| match entry {
            Ok(_) => of_batch.next().unwrap_or_else(|| Fate::Refused(missing())),
            Err(refusal) => Fate::Refused(refusal),
        });
        Ok(fates.collect())
    }
}

/// What became of every record of a body.
pub(super) async fn fates(
    http: &Http,
    parsed: (Parsed, &Reach),
    charge: Charge,
    input: &'static str,
) -> Result<Vec<Fate>, Box<Problem>> {
    begin(http, parsed, charge, input)?.fates().await
}

/// What became of a record, as the answer says it.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Said<'a> {
    Delivered { partition: i32, offset: i64 },
    Held { topic_state: &'static str },
    Refused { code: &'static str, detail: &'a str },
}

#[derive(Serialize)]
struct OwnAnswer<'a> {
    records: Vec<Said<'a>>,
}

fn own_answer(fates: &[Fate]) -> Outcome {
    let held = fates.iter().any(|fate| matches!(fate, Fate::Held { .. }));
    let records: Vec<Said<'_>> = fates.iter().map(describe).collect();
    if let Some(first) = all_refused(fates) {
        return Err(Failure {
            records: serde_json::to_value(records).ok(),
            ..Box::new(problem_of(first)).into()
        });
    }
    Ok(Answer::json(
        if held { 202 } else { 200 },
        &OwnAnswer { records },
    ))
}

fn describe(fate: &Fate) -> Said<'_> {
    match fate {
        Fate::Delivered { partition, offset } => Said::Delivered {
            partition: *partition,
            offset: *offset,
        },
        Fate::Held { topic_state } => Said::Held { topic_state },
        Fate::Refused(refusal) => Said::Refused {
            code: refusal.code.as_str(),
            detail: &refusal.detail,
        },
    }
}

fn all_refused(fates: &[Fate]) -> Option<&Refusal> {
    let mut refusals = fates.iter().map(|fate| match fate {
        Fate::Refused(refusal) => Some(refusal),
        Fate::Delivered { .. } | Fate::Held { .. } => None,
    });
    let first = refusals.next()??;
    refusals.all(|refusal| refusal.is_some()).then_some(first)
}

fn problem_of(refusal: &Refusal) -> Problem {
    let problem = Problem::new(refusal.code, refusal.detail.clone());
    if problem.status == 429 {
        problem.retry_after(RETRY_S)
    } else {
        problem
    }
}

fn confluent_answer(fates: &[Fate]) -> Outcome {
    if let Some(first) = all_refused(fates) {
        return Err(Box::new(problem_of(first)).into());
    }
    let held = fates
        .iter()
        .filter(|fate| matches!(fate, Fate::Held { .. }))
        .count();
    let body = ConfluentAnswer {
        key_schema_id: (),
        value_schema_id: (),
        offsets: fates.iter().map(confluent_offset).collect(),
    };
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let answer = Answer::of(200, "application/vnd.kafka.v2+json", bytes);
    Ok(if held > 0 {
        answer.with("sluice-held", held.to_string())
    } else {
        answer
    })
}

// Members without a value are null, as Confluent's proxy writes them.
#[derive(Serialize)]
struct ConfluentAnswer {
    key_schema_id: (),
    value_schema_id: (),
    offsets: Vec<ConfluentOffset>,
}

#[derive(Default, Serialize)]
struct ConfluentOffset {
    partition: Option<i32>,
    offset: Option<i64>,
    error_code: Option<u8>,
    error: Option<String>,
}

fn confluent_offset(fate: &Fate) -> ConfluentOffset {
    let at = |partition, offset| ConfluentOffset {
        partition: Some(partition),
        offset: Some(offset),
        ..ConfluentOffset::default()
    };
    match fate {
        Fate::Delivered { partition, offset } => at(*partition, *offset),
        Fate::Held { .. } => at(-1, -1),
        Fate::Refused(refusal) => {
            let try_again = matches!(refusal.code.status(), 429 | 503 | 507);
            ConfluentOffset {
                // 1: do not try again; 2: try again.
                error_code: Some(if try_again { 2 } else { 1 }),
                error: Some(format!("{}: {}", refusal.code.as_str(), refusal.detail)),
                ..ConfluentOffset::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates() -> Vec<Fate> {
        vec![
            Fate::Delivered {
                partition: 1,
                offset: 12,
            },
            Fate::Held {
                topic_state: "pending",
            },
            Fate::Refused(Refusal::new(Code::TooLarge, "too \"large\"")),
        ]
    }

    fn body(answer: &Answer) -> serde_json::Value {
        serde_json::from_slice(answer.bytes()).unwrap()
    }

    #[test]
    fn an_answer_says_what_became_of_every_record() {
        let answer = own_answer(&fates()).unwrap();
        assert_eq!(answer.status(), 202);
        let records = json!([
            {"state": "delivered", "partition": 1, "offset": 12},
            {"state": "held", "topic_state": "pending"},
            {"state": "refused", "code": Code::TooLarge.as_str(), "detail": "too \"large\""},
        ]);
        assert_eq!(body(&answer), json!({"records": records}));
        assert_eq!(own_answer(&fates()[..1]).unwrap().status(), 200);
        let failure = own_answer(&fates()[2..]).unwrap_err();
        assert_eq!(failure.problem.status, 413);
        assert_eq!(failure.records, Some(json!([records[2]])));
    }

    #[test]
    fn an_answer_in_confluent_s_shape_has_every_member() {
        let answer = confluent_answer(&fates()).unwrap();
        let error = format!("{}: too \"large\"", Code::TooLarge.as_str());
        let offsets = json!([
            {"partition": 1, "offset": 12, "error_code": null, "error": null},
            {"partition": -1, "offset": -1, "error_code": null, "error": null},
            {"partition": null, "offset": null, "error_code": 1, "error": error},
        ]);
        assert_eq!(
            body(&answer),
            json!({"key_schema_id": null, "value_schema_id": null, "offsets": offsets})
        );
    }
}
