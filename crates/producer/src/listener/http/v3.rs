//! Confluent's REST API v3 for producing: single records, a stream of records with a report each while
//! the request is still being sent, and `records:batch`.

mod cutter;
mod record;
mod stream;

use super::answer::Answer;
use super::auth::TOPICS;
use super::forms::Collector;
use super::send::{Outcome, content_type, decode, fates, offload, unsupported};
use super::{Http, body};
use crate::batch::Fate;
use crate::listener::reach::Reach;
use cutter::Cutter;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use record::{Batch, Shape};
use serde_json::{Value, json};
use sluice_model::name::TopicName;
use sluice_model::problem::{Code, Problem};
use std::rc::Rc;

/// The cluster of the listings. Requests may name it as they like: a daemon serves one only.
const CLUSTER: &str = "sluice";
/// For metrics.
const INPUT: &str = "http_v3";
/// Entries of one `records:batch`.
const BATCH_ENTRIES_MAX: usize = 10_000;

/// Where records of a request go.
#[derive(Clone, Debug)]
struct Target {
    cluster: String,
    topic: String,
}

impl Target {
    fn of(cluster: &str, topic: &str) -> Result<Self, Box<Problem>> {
        let target = Self {
            cluster: decode(cluster),
            topic: decode(topic),
        };
        TopicName::parse(&target.topic).map_err(|faults| {
            let words: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Box::new(Problem::invalid("topic", words.join("; ")))
        })?;
        Ok(target)
    }
}

/// Serves `POST /v3/clusters/{cluster_id}/topics/{topic}/records`.
pub(super) async fn records(
    http: &Rc<Http>,
    (cluster, topic): (&str, &str),
    request: Request<Incoming>,
) -> Outcome {
    let (target, reach) = admit(http, (cluster, topic), &request).await?;
    if request.body().size_hint().exact().is_none() {
        return Ok(stream::serve(http, (target, reach), request.into_body()));
    }
    let (block, charge) = body::read(http, request).await?;
    let (record_max, name) = (http.inlet.record_max, target.topic.clone());
    let read = offload(block.len(), move || {
        let mut cutter = Cutter::default();
        let cut = cutter.cut(&block, true);
        record::read(&name, &block, &cut, record_max)
    });
    let (parsed, shapes) = read.await?;
    if shapes.is_empty() {
        let detail = "the body has no record";
        return Err(Box::new(Problem::new(Code::MalformedJson, detail)).into());
    }
    let fates = fates(http, (parsed, &reach), charge, INPUT).await?;
    let mut reports = Vec::new();
    for (fate, shape) in fates.iter().zip(&shapes) {
        push_report(&mut reports, &report(&target, fate, shape));
    }
    let answer = Answer::of(200, "application/json", reports);
    Ok(with_held(answer, &fates))
}

/// Serves `POST /v3/clusters/{cluster_id}/topics/{topic}/records:batch`.
pub(super) async fn batch(
    http: &Rc<Http>,
    (cluster, topic): (&str, &str),
    request: Request<Incoming>,
) -> Outcome {
    let (target, reach) = admit(http, (cluster, topic), &request).await?;
    let (block, charge) = body::read(http, request).await?;
    let (record_max, name) = (http.inlet.record_max, target.topic.clone());
    let read = offload(block.len(), move || {
        let batch: Batch<'_> =
            serde_json::from_slice(&block).map_err(|e| super::forms::not_a_body(&e))?;
        if batch.entries.is_empty() || batch.entries.len() > BATCH_ENTRIES_MAX {
            let detail = format!("entries has 1 to {BATCH_ENTRIES_MAX} members");
            return Err(Box::new(Problem::invalid("entries", detail)));
        }
        let mut all = Collector::new(&block, record_max);
        let shapes: Vec<Shape> = batch
            .entries
            .iter()
            .map(|entry| record::add(&mut all, &name, entry.get().as_bytes()))
            .collect();
        Ok((all.finish(), shapes))
    });
    let (parsed, shapes) = read.await??;
    let fates = fates(http, (parsed, &reach), charge, INPUT).await?;
    let (mut successes, mut failures) = (Vec::new(), Vec::new());
    for (fate, shape) in fates.iter().zip(&shapes) {
        let mut entry = report(&target, fate, shape);
        entry["id"] = json!(shape.id);
        match fate {
            Fate::Refused(_) => failures.push(entry),
            Fate::Delivered { .. } | Fate::Held { .. } => {
                if let Some(members) = entry.as_object_mut() {
                    members.remove("error_code");
                }
                successes.push(entry);
            }
        }
    }
    let answer = Answer::json(207, &json!({"successes": successes, "failures": failures}));
    Ok(with_held(answer, &fates))
}

async fn admit(
    http: &Http,
    (cluster, topic): (&str, &str),
    request: &Request<Incoming>,
) -> Result<(Target, Reach), super::Failure> {
    let reach = http.auth.sender(request.headers()).await?;
    let content_type = content_type(request);
    let essence = content_type
        .as_deref()
        .and_then(|text| text.split(';').next());
    if essence.map(str::trim) != Some("application/json") {
        return Err(unsupported(content_type.as_deref(), "application/json"));
    }
    Ok((Target::of(cluster, topic)?, reach))
}

fn with_held(answer: Answer, fates: &[Fate]) -> Answer {
    let held = fates
        .iter()
        .filter(|fate| matches!(fate, Fate::Held { .. }));
    match held.count() {
        0 => answer,
        held => answer.with("sluice-held", held.to_string()),
    }
}

fn push_report(into: &mut Vec<u8>, report: &Value) {
    into.extend_from_slice(report.to_string().as_bytes());
    into.push(b'\n');
}

/// The delivery report of a record.
fn report(target: &Target, fate: &Fate, shape: &Shape) -> Value {
    let (partition, offset, held) = match fate {
        Fate::Delivered { partition, offset } => (*partition, *offset, None),
        Fate::Held { topic_state } => (-1, -1, Some(*topic_state)),
        Fate::Refused(refusal) => {
            let message = format!("{}: {}", refusal.code.as_str(), refusal.detail);
            return json!({"error_code": refusal.code.status(), "message": message});
        }
    };
    let mut report = json!({
        "error_code": 200,
        "cluster_id": target.cluster,
        "topic_name": target.topic,
        "partition_id": partition,
        "offset": offset,
        "timestamp": shape.timestamp.unwrap_or_else(sluice_service::now),
    });
    for (name, part) in [("key", shape.key), ("value", shape.value)] {
        if let Some((kind, size)) = part {
            report[name] = json!({"type": kind, "size": size});
        }
    }
    if let Some(topic_state) = held {
        report["state"] = json!("held");
        report["topic_state"] = json!(topic_state);
    }
    report
}

/// Serves `GET /v3/clusters` and below: what clients look up before they produce.
pub(super) async fn clusters(http: &Http, path: &[&str], request: &Request<Incoming>) -> Outcome {
    http.auth.reader(request.headers(), TOPICS).await?;
    let base = "/v3/clusters";
    let cluster = |id: &str| {
        let at = format!("{base}/{id}");
        json!({
            "kind": "KafkaCluster", "metadata": {"self": at}, "cluster_id": id,
            "topics": {"related": format!("{at}/topics")},
        })
    };
    let topic = |id: &str, name: &str| {
        let at = format!("{base}/{id}/topics/{name}");
        json!({
            "kind": "KafkaTopic", "metadata": {"self": at}, "cluster_id": id, "topic_name": name,
            "is_internal": false,
        })
    };
    let list = |kind: &str, at: String, data: Vec<Value>| json!({"kind": kind, "metadata": {"self": at, "next": null}, "data": data});
    let body = match path {
        [] => list("KafkaClusterList", base.to_owned(), vec![cluster(CLUSTER)]),
        [id] => cluster(&decode(id)),
        [id, "topics"] => {
            let id = decode(id);
            let names = super::send::topic_names(http).await?;
            let data = names.iter().map(|name| topic(&id, name)).collect();
            list("KafkaTopicList", format!("{base}/{id}/topics"), data)
        }
        [id, "topics", name] => {
            let (id, name) = (decode(id), decode(name));
            super::send::known_topic(http, &name).await?;
            topic(&id, &name)
        }
        _ => return Err(Box::new(Problem::new(Code::NotFound, "there is nothing here")).into()),
    };
    Ok(Answer::json(200, &body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Refusal;

    #[test]
    fn reports_have_confluents_members() {
        let target = Target::of("c%201", "t").unwrap();
        let shape = Shape {
            id: None,
            timestamp: Some(sluice_model::time::Timestamp::from_millis(0)),
            key: None,
            value: Some(("JSON", 7)),
        };
        let fate = Fate::Delivered {
            partition: 1,
            offset: 5,
        };
        assert_eq!(
            report(&target, &fate, &shape),
            json!({"error_code": 200, "cluster_id": "c 1", "topic_name": "t", "partition_id": 1, "offset": 5,
                "timestamp": "1970-01-01T00:00:00.000Z", "value": {"type": "JSON", "size": 7}})
        );
        let held = report(
            &target,
            &Fate::Held {
                topic_state: "pending",
            },
            &shape,
        );
        assert_eq!(
            (&held["partition_id"], &held["offset"]),
            (&json!(-1), &json!(-1))
        );
        assert_eq!(
            (&held["state"], &held["topic_state"]),
            (&json!("held"), &json!("pending"))
        );
        let refused = Fate::Refused(Refusal::new(Code::UnknownTopic, "no"));
        assert_eq!(
            report(&target, &refused, &shape),
            json!({"error_code": 404, "message": "unknown_topic: no"})
        );
        assert!(Target::of("c", "a b").is_err());
    }
}
