//! `POST /v1/logs`: OpenTelemetry logs, one record a log record. Every answer is in the encoding of the
//! request, as the protocol wants it.

mod document;

use super::answer::Answer;
use super::forms::{Collector, Parsed};
use super::send::{fates, offload};
use super::{Http, body};
use crate::batch::{Fate, Refusal};
use crate::settings::OtlpSettings;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, header};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message as _;
use serde::Serialize;
use serde_json::json;
use sluice_model::problem::{Code, Problem};

/// Seconds after which a refused exporter may try again.
const RETRY_S: u32 = 1;

/// How a request is encoded, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    fn of(content_type: Option<&str>) -> Option<Self> {
        let essence = content_type?.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    fn read(self, body: &Bytes) -> Result<ExportLogsServiceRequest, Box<Problem>> {
        let read = match self {
            Self::Protobuf => {
                ExportLogsServiceRequest::decode(body.clone()).map_err(|error| error.to_string())
            }
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
        };
        read.map_err(|error| {
            let detail = format!("the body is no ExportLogsServiceRequest: {error}");
            Box::new(Problem::new(Code::MalformedRequest, detail))
        })
    }

    fn answer<M: prost::Message + Serialize>(self, status: u16, message: &M) -> Answer {
        let body = match self {
            Self::Protobuf => message.encode_to_vec(),
            Self::Json => serde_json::to_vec(message).unwrap_or_default(),
        };
        Answer::of(status, self.content_type(), body)
    }
}

/// `google.rpc.Status`: the body of every failure.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Serves `POST /v1/logs`.
pub(super) async fn logs(
    http: &Http,
    settings: &OtlpSettings,
    request: Request<Incoming>,
) -> Answer {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let encoding = Encoding::of(content_type.and_then(|value| value.to_str().ok()));
    match serve(http, settings, encoding, request).await {
        Ok(answer) => answer,
        Err(problem) => failure(encoding.unwrap_or(Encoding::Json), &problem),
    }
}

async fn serve(
    http: &Http,
    settings: &OtlpSettings,
    encoding: Option<Encoding>,
    request: Request<Incoming>,
) -> Result<Answer, Box<Problem>> {
    let reach = http.auth.sender(request.headers()).await?;
    let encoding = encoding.ok_or_else(|| {
        let detail = "send Content-Type: application/x-protobuf or application/json";
        Box::new(Problem::new(Code::UnsupportedMediaType, detail))
    })?;
    let (body, charge) = body::read(http, request).await?;
    let (settings, record_max) = (settings.clone(), http.inlet.record_max);
    let size = body.len();
    let parsed = offload(size, move || {
        let request = encoding.read(&body)?;
        Ok::<_, Box<Problem>>(records(&settings, &request, record_max))
    });
    let fates = fates(http, (parsed.await??, &reach), charge, "otlp").await?;
    outcome(encoding, &fates)
}

/// The log records of a request as records.
fn records(
    settings: &OtlpSettings,
    request: &ExportLogsServiceRequest,
    record_max: usize,
) -> Parsed {
    let mut all = Collector::new(&Bytes::new(), record_max);
    for resource_logs in &request.resource_logs {
        let attribute = |name: &str| document::attribute(resource_logs, name);
        let topic = attribute(&settings.topic_attribute);
        let topic = topic.as_deref().unwrap_or(&settings.topic);
        let key = attribute(&settings.key_attribute);
        for scope_logs in &resource_logs.scope_logs {
            for record in &scope_logs.log_records {
                let rec = if topic.is_empty() {
                    let name = &settings.topic_attribute;
                    let detail =
                        format!("the resource has no attribute {name} that names the topic");
                    Err(Refusal::new(Code::UnknownTopic, detail))
                } else {
                    document::rec(
                        &mut all,
                        topic,
                        key.as_deref(),
                        (resource_logs, scope_logs, record),
                    )
                };
                all.add(rec);
            }
        }
    }
    all.finish()
}

fn outcome(encoding: Encoding, fates: &[Fate]) -> Result<Answer, Box<Problem>> {
    let refused: Vec<_> = fates
        .iter()
        .filter_map(|fate| match fate {
            Fate::Refused(refusal) => Some(refusal),
            Fate::Delivered { .. } | Fate::Held { .. } => None,
        })
        .collect();
    let held = fates
        .iter()
        .filter(|fate| matches!(fate, Fate::Held { .. }));
    let partial_success = match refused.first() {
        None => None,
        Some(first) if refused.len() == fates.len() => {
            return Err(Box::new(Problem::new(first.code, first.detail.clone())));
        }
        Some(first) => Some(ExportLogsPartialSuccess {
            rejected_log_records: refused.len() as i64,
            error_message: format!("{}: {}", first.code.as_str(), first.detail),
        }),
    };
    let response = ExportLogsServiceResponse { partial_success };
    let answer = match encoding {
        // The library would write a null.
        Encoding::Json if response.partial_success.is_none() => Answer::json(200, &json!({})),
        _ => encoding.answer(200, &response),
    };
    Ok(match held.count() {
        0 => answer,
        held => answer.with("sluice-held", held.to_string()),
    })
}

/// A problem in the words of the protocol: exporters repeat 429, 502, 503 and 504, nothing else.
fn failure(encoding: Encoding, problem: &Problem) -> Answer {
    const UNAVAILABLE: i32 = 14;
    let (status, code) = match problem.status {
        401 => (401, 16),
        403 => (403, 7),
        404 => (404, 5),
        409 => (409, 9),
        413 => (413, 8),
        415 => (415, 3),
        429 => (429, 8),
        408 | 503 | 507 => (503, UNAVAILABLE),
        500 => (500, 13),
        _ => (400, 3),
    };
    let message = format!("{}: {}", problem.code.as_str(), problem.detail);
    let answer = encoding.answer(status, &Status { code, message });
    match status {
        429 | 503 => {
            let seconds = problem.retry_after_s.unwrap_or(RETRY_S);
            answer.with("retry-after", seconds.to_string())
        }
        401 => answer.with("www-authenticate", "Bearer realm=\"sluice\"".to_owned()),
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn settings(topic: &str) -> OtlpSettings {
        OtlpSettings {
            enabled: true,
            topic: topic.to_owned(),
            topic_attribute: "sluice.topic".to_owned(),
            key_attribute: "service.name".to_owned(),
        }
    }

    const REQUEST: &str = r#"{"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "sluice.topic", "value": {"stringValue": "shop_logs"}}]},
        "schemaUrl": "https://example.org/1",
        "scopeLogs": [{"scope": {"name": "lib", "version": "2"}, "logRecords": [
            {"timeUnixNano": "1700000000123456789", "observedTimeUnixNano": 1700000000123456790,
             "severityNumber": 9, "severityText": "INFO", "flags": 1,
             "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
             "body": {"kvlistValue": {"values": [{"key": "n", "value": {"intValue": "9007199254740993"}},
                {"key": "d", "value": {"doubleValue": 1.5}}, {"key": "y", "value": {"bytesValue": "AQI="}},
                {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": true}, {}]}}}]}},
             "attributes": [{"key": "a", "value": {"stringValue": "b"}}]},
            {"body": {"stringValue": "text"}}]}]},
        {"scopeLogs": [{"logRecords": [{"body": {"stringValue": "no resource"}}]}]}]}"#;

    fn read(
        settings: &OtlpSettings,
        encoding: Encoding,
        body: Vec<u8>,
    ) -> Vec<(String, Option<String>, Value)> {
        let request = encoding.read(&body.into()).unwrap();
        let parsed = records(settings, &request, 10_000);
        let records = &parsed.records;
        let read = records.recs.iter().map(|rec| {
            let key = records
                .part(rec.key)
                .map(|key| String::from_utf8(key.to_vec()).unwrap());
            let value = serde_json::from_slice(records.part(rec.value).unwrap()).unwrap();
            (records.topics[rec.topic as usize].to_string(), key, value)
        });
        read.collect()
    }

    #[test]
    fn every_part_of_a_log_record_is_kept_in_both_encodings() {
        let settings = settings("rest");
        let from_json = read(&settings, Encoding::Json, REQUEST.into());
        let request: ExportLogsServiceRequest = serde_json::from_str(REQUEST).unwrap();
        assert_eq!(
            from_json,
            read(&settings, Encoding::Protobuf, request.encode_to_vec())
        );
        let (topic, key, value) = &from_json[0];
        assert_eq!(
            (topic.as_str(), key.as_deref()),
            ("shop_logs", Some("shop"))
        );
        let want = json!({
            "timestamp": "2023-11-14T22:13:20.123456789Z",
            "time_unix_nano": "1700000000123456789",
            "observed_time_unix_nano": "1700000000123456790",
            "severity_number": 9, "severity_text": "INFO", "flags": 1,
            "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174",
            "body": {"n": 9_007_199_254_740_993_i64, "d": 1.5, "y": {"bytes_base64": "AQI="}, "l": [true, null]},
            "attributes": {"a": "b"},
            "resource": {"attributes": {"service.name": "shop", "sluice.topic": "shop_logs"},
                         "schema_url": "https://example.org/1"},
            "scope": {"name": "lib", "version": "2"},
        });
        assert_eq!(*value, want);
        assert_eq!(from_json[1].2["body"], "text");
        assert_eq!((from_json[2].0.as_str(), &from_json[2].1), ("rest", &None));
    }

    #[test]
    fn answers_tell_what_an_exporter_needs() {
        let taken = Fate::Held {
            topic_state: "pending",
        };
        let refused = |code| Fate::Refused(Refusal::new(code, "why"));
        let answer = outcome(Encoding::Json, &[taken.clone(), refused(Code::TooLarge)]).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(answer.bytes()).unwrap()["partialSuccess"],
            json!({"rejectedLogRecords": 1, "errorMessage": "too_large: why"})
        );
        let whole = [taken];
        assert_eq!(outcome(Encoding::Protobuf, &whole).unwrap().bytes(), b"");
        assert_eq!(outcome(Encoding::Json, &whole).unwrap().bytes(), b"{}");
        for (code, status) in [
            (Code::Busy, 429),
            (Code::StorageFull, 503),
            (Code::Unavailable, 503),
            (Code::UnknownTopic, 404),
            (Code::TopicRejected, 409),
            (Code::Invalid, 400),
        ] {
            let problem = outcome(Encoding::Protobuf, &[refused(code)]).unwrap_err();
            let answer = failure(Encoding::Protobuf, &problem);
            assert_eq!(answer.status(), status);
            let status = Status::decode(answer.bytes()).unwrap();
            assert!(status.code > 0 && status.message.contains("why"));
        }
    }

    proptest! {
        /// Any bytes, and any request that was tampered with: read or refused, never a panic.
        #[test]
        fn any_body_is_read_or_refused(
            json in any::<bool>(),
            at in any::<prop::sample::Index>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let request: ExportLogsServiceRequest = serde_json::from_str(REQUEST).unwrap();
            let (encoding, mut body) = if json {
                (Encoding::Json, REQUEST.as_bytes().to_vec())
            } else {
                (Encoding::Protobuf, request.encode_to_vec())
            };
            let at = at.index(body.len());
            let end = (at + bytes.len()).min(body.len());
            body.splice(at..end, bytes);
            if let Ok(request) = encoding.read(&body.into()) {
                let count = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
                let count: usize = count.map(|s| s.log_records.len()).sum();
                let parsed = records(&settings("t"), &request, 10_000);
                let refused = parsed.entries.iter().filter(|entry| entry.is_err()).count();
                prop_assert_eq!(parsed.entries.len(), count);
                prop_assert_eq!(parsed.records.recs.len() + refused, count);
            }
        }
    }
}
