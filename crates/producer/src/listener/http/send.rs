//! `POST /topics/{topic}` and `POST /records`: from a body to what became of each record.

use super::answer::Answer;
use super::forms::{self, Form, Parsed};
use super::{Failure, Http, body, gone};
use crate::batch::{Fate, Refusal};
use crate::budget::Charge;
use crate::listener::inlet::Manner;
use hyper::body::Incoming;
use hyper::{Request, header};
use serde_json::{Value, json};
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};

/// For metrics.
const INPUT: &str = "http";
/// Seconds after which a refused sender may try again.
const RETRY_S: u32 = 1;

type Outcome = Result<Answer, Failure>;

/// Serves `POST /topics/{topic}`.
pub(super) async fn to_topic(http: &Http, topic: &str, request: Request<Incoming>) -> Outcome {
    http.auth.check(request.headers(), Role::Producer).await?;
    let content_type = content_type(&request);
    let Some(form) = content_type.as_deref().and_then(Form::of) else {
        return Err(unsupported(
            content_type.as_deref(),
            "application/json, application/x-ndjson, application/octet-stream, \
             application/vnd.kafka.json.v2+json or application/vnd.kafka.binary.v2+json",
        ));
    };
    let topic = decode(topic);
    let key = query(&request, "key");
    let (block, charge) = body::read(http, request).await?;
    let record_max = http.inlet.record_max;
    let parsed = forms::for_topic(form, &topic, key.as_deref(), &block, record_max)?;
    let fates = fates(http, parsed, charge).await?;
    if form.is_confluent() {
        confluent_answer(&fates)
    } else {
        own_answer(&fates)
    }
}

/// Serves `POST /records`.
pub(super) async fn records(http: &Http, request: Request<Incoming>) -> Outcome {
    http.auth.check(request.headers(), Role::Producer).await?;
    let content_type = content_type(&request);
    if !matches!(
        content_type.as_deref().and_then(Form::of),
        Some(Form::Lines | Form::Json)
    ) {
        return Err(unsupported(content_type.as_deref(), "application/x-ndjson"));
    }
    let (block, charge) = body::read(http, request).await?;
    let parsed = forms::named_lines(&block, http.inlet.record_max);
    own_answer(&fates(http, parsed, charge).await?)
}

fn content_type(request: &Request<Incoming>) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?;
    value.to_str().ok().map(str::to_owned)
}

fn unsupported(got: Option<&str>, want: &str) -> Failure {
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
fn decode(segment: &str) -> String {
    let shielded = format!("x={}", segment.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(shielded.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// What became of every record of a body.
async fn fates(http: &Http, parsed: Parsed, mut charge: Charge) -> Result<Vec<Fate>, Box<Problem>> {
    charge.shrink(parsed.bytes);
    for refusal in parsed
        .entries
        .iter()
        .filter_map(|entry| entry.as_ref().err())
    {
        http.inlet.count_refused(INPUT, refusal);
    }
    let mut of_batch = Vec::new();
    if !parsed.records.recs.is_empty() {
        let pending = http
            .inlet
            .submit(parsed.records, Manner::Detailed, charge)
            .map_err(|_gone| gone())?;
        of_batch = pending.outcome().await.ok_or_else(gone)?.fates;
    }
    let mut of_batch = of_batch.into_iter();
    let missing = || Refusal::new(Code::Internal, "the fate of the record is not known");
    let fates = parsed.entries.into_iter().map(|entry| match entry {
        Ok(_) => of_batch.next().unwrap_or_else(|| Fate::Refused(missing())),
        Err(refusal) => Fate::Refused(refusal),
    });
    Ok(fates.collect())
}

fn own_answer(fates: &[Fate]) -> Outcome {
    let held = fates.iter().any(|fate| matches!(fate, Fate::Held { .. }));
    let records = Value::Array(fates.iter().map(describe).collect());
    if let Some(first) = all_refused(fates) {
        return Err(Failure {
            problem: Box::new(problem_of(first)),
            records: Some(records),
        });
    }
    Ok(Answer::json(
        if held { 202 } else { 200 },
        &json!({"records": records}),
    ))
}

fn describe(fate: &Fate) -> Value {
    match fate {
        Fate::Delivered { partition, offset } => {
            json!({"state": "delivered", "partition": partition, "offset": offset})
        }
        Fate::Held { topic_state } => json!({"state": "held", "topic_state": topic_state}),
        Fate::Refused(refusal) => json!({
            "state": "refused", "code": refusal.code.as_str(), "detail": refusal.detail,
        }),
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
    let offsets: Vec<Value> = fates.iter().map(confluent_offset).collect();
    let body = json!({"key_schema_id": null, "value_schema_id": null, "offsets": offsets});
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let answer = Answer::of(200, "application/vnd.kafka.v2+json", bytes);
    Ok(if held > 0 {
        answer.with("sluice-held", held.to_string())
    } else {
        answer
    })
}

fn confluent_offset(fate: &Fate) -> Value {
    match fate {
        Fate::Delivered { partition, offset } => json!({
            "partition": partition, "offset": offset, "error_code": null, "error": null,
        }),
        Fate::Held { .. } => {
            json!({"partition": -1, "offset": -1, "error_code": null, "error": null})
        }
        Fate::Refused(refusal) => {
            // 1: do not try again; 2: try again.
            let code = if matches!(refusal.code.status(), 429 | 503 | 507) {
                2
            } else {
                1
            };
            let error = format!("{}: {}", refusal.code.as_str(), refusal.detail);
            json!({"partition": null, "offset": null, "error_code": code, "error": error})
        }
    }
}
