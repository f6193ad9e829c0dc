//! Reading and checking what a consumer should be: every fault at once, before anything is stored.

mod processors;

pub use processors::read_processors;

use super::offsets::{self, Target};
use super::{blocking, policies};
use crate::clusters::Address;
use crate::context::Context;
use crate::processors::Outside;
use crate::store::consumers::Row;
use serde_json::{Map, Value};
use sluice_model::body::Body;
use sluice_model::consumer::{Policies, ProcessorSpec};
use sluice_model::name::TopicName;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;

/// Topics of one consumer.
const TOPICS_MAX: usize = 100;
/// Longest group and client id.
const NAME_MAX: usize = 249;
/// Longest host name.
const HOST_MAX: usize = 253;

/// What a consumer should be, read and free of contradictions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// A cluster by name.
    pub cluster: Option<String>,
    /// An address of a cluster.
    pub address: Option<Address>,
    /// The topics.
    pub topics: Vec<String>,
    /// The group.
    pub consumer_group: String,
    /// The client id.
    pub client_id: Option<String>,
    /// Whether it starts at once.
    pub auto_start: bool,
    /// Where records go.
    pub processors: Vec<ProcessorSpec>,
    /// How it meets trouble.
    pub policies: Policies,
    /// Who owns it: an account or a team; the caller when absent.
    pub owner: Option<String>,
    /// Where it starts; where its group stands when absent.
    pub start_from: Option<Target>,
}

impl Draft {
    /// What a stored consumer is.
    pub fn of(row: &Row) -> Self {
        let spec = |p: &sluice_model::consumer::Processor| ProcessorSpec {
            processor_type: p.processor_type.clone(),
            config: p.config.clone(),
        };
        Self {
            cluster: Some(row.cluster.clone()),
            address: Some(Address {
                host: row.broker_ip.clone(),
                port: row.broker_port,
            }),
            topics: row.topics.clone(),
            consumer_group: row.consumer_group.clone(),
            client_id: row.client_id.clone(),
            auto_start: row.auto_start,
            processors: row.processors.iter().map(spec).collect(),
            policies: row.policies.clone(),
            owner: None,
            start_from: None,
        }
    }
}

/// Reads a body. Members that it leaves out keep what `before` says; without a `before` the needed ones
/// are faults.
///
/// # Errors
/// 400 or 422 with every fault.
pub fn read(bytes: &[u8], before: Option<Draft>, outside: &Outside<'_>) -> Result<Draft, Problem> {
    let mut body = Body::parse(bytes)?;
    let fresh = before.is_none();
    let mut draft = before.unwrap_or_default();
    read_cluster(&mut body, &mut draft, fresh);
    read_topics(&mut body, &mut draft, fresh);
    match body.any("consumer_group") {
        Some(Value::String(group)) => {
            check_name(&mut body, "consumer_group", &group);
            draft.consumer_group = group;
        }
        Some(other) => body.mistyped("consumer_group", "a string", &other),
        None if fresh => body.invalid("consumer_group", "is missing"),
        None => {}
    }
    if let Some(client_id) = body.text("client_id") {
        check_name(&mut body, "client_id", &client_id);
        draft.client_id = Some(client_id);
    }
    draft.auto_start = body.flag("auto_start").unwrap_or(draft.auto_start);
    policies::read(&mut body, &mut draft.policies);
    if let Some(owner) = body.text("owner") {
        check_name(&mut body, "owner", &owner);
        draft.owner = Some(owner);
    }
    if fresh {
        draft.start_from = offsets::read_target(&mut body, "start_from");
    }
    let special = match body.array("downstream_processors") {
        Some(items) => {
            let (processors, special) = read_processors(
                &mut body,
                "downstream_processors",
                items,
                &draft.processors,
                outside,
            );
            draft.processors = processors;
            special
        }
        None => None,
    };
    match body.finish() {
        Ok(()) => Ok(draft),
        // The name of the special rule says more than "invalid", unless types are wrong too.
        Err(problem) => Err(match special {
            Some(code) if problem.is(Code::Invalid) => Problem::from_errors(code, problem.errors),
            _ => problem,
        }),
    }
}

fn check_name(body: &mut Body, name: &'static str, value: &str) {
    if value.trim().is_empty() || value.len() > NAME_MAX || value.chars().any(char::is_control) {
        body.invalid(
            name,
            format!("has 1 to {NAME_MAX} bytes and no control characters"),
        );
    }
}

fn read_cluster(body: &mut Body, draft: &mut Draft, fresh: bool) {
    let cluster = body.text("cluster");
    let host = body.short_text("broker_ip", HOST_MAX);
    let port_given = body.any("broker_port");
    let port = match &port_given {
        None => None,
        Some(value) => match value.as_i64().and_then(|port| u16::try_from(port).ok()) {
            Some(0) => {
                body.invalid("broker_port", "is a port from 1 to 65535");
                None
            }
            Some(port) => Some(port),
            None => {
                body.mistyped("broker_port", "a whole number from 1 to 65535", value);
                None
            }
        },
    };
    if host.as_deref().is_some_and(|host| host.trim().is_empty()) {
        body.invalid("broker_ip", "must not be empty");
    }
    let old = draft.address.take();
    let old_host = old.as_ref().map(|address| address.host.clone());
    let old_port = old.as_ref().map(|address| address.port);
    match (&cluster, &host, port_given.is_some()) {
        (None, None, false) if fresh => {
            body.invalid(
                "broker_ip",
                "is missing: give broker_ip and broker_port, or cluster",
            );
        }
        (None, None, false) => draft.address = old,
        (_, Some(_), false) if old_port.is_none() => {
            body.invalid(
                "broker_port",
                "is missing: broker_ip and broker_port go together",
            );
        }
        (_, None, true) if old_host.is_none() => {
            body.invalid(
                "broker_ip",
                "is missing: broker_ip and broker_port go together",
            );
        }
        (Some(_), None, false) => {
            draft.cluster = cluster;
        }
        _ => {
            let host = host.or(old_host).unwrap_or_default();
            let port = port.or(old_port).unwrap_or_default();
            draft.address = Some(Address { host, port });
            draft.cluster = cluster;
        }
    }
}

fn read_topics(body: &mut Body, draft: &mut Draft, fresh: bool) {
    let one = body.text("topic");
    let many = body.texts("topics");
    let place = if many.is_some() { "topics" } else { "topic" };
    let topics = match (one, many) {
        (None, None) if fresh => {
            // A fault of its own only when nothing of the wrong type stood there.
            body.invalid("topic", "is missing, or no string: give topic or topics");
            return;
        }
        (None, None) => return,
        (Some(one), None) => vec![one],
        (Some(one), Some(many)) if !many.contains(&one) => {
            body.invalid("topic", "is none of topics; give topic or topics");
            return;
        }
        (_, Some(many)) => many,
    };
    if topics.is_empty() || topics.len() > TOPICS_MAX {
        body.invalid(place, format!("names 1 to {TOPICS_MAX} topics"));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, topic) in topics.iter().enumerate() {
        let pointer = if place == "topic" {
            "topic".to_owned()
        } else {
            format!("topics/{index}")
        };
        if let Err(faults) = TopicName::parse(topic) {
            for fault in faults {
                invalid_at(body, &pointer, fault.to_string());
            }
        }
        if !seen.insert(topic) {
            invalid_at(body, &pointer, format!("names {topic} again"));
        }
    }
    draft.topics = topics;
}

/// Records a fault of a part of a member: `pointer` has slashes of its own.
fn invalid_at(body: &mut Body, pointer: &str, message: String) {
    match pointer.rsplit_once('/') {
        None => body.invalid(pointer, message),
        Some((parent, last)) => {
            let mut part = Body::of(Map::new(), &body.pointer(parent));
            part.invalid(last, message);
            body.absorb(part);
        }
    }
}

/// The cluster of a draft and the address to show for it.
///
/// # Errors
/// 403 for what is not configured; 422 when name and address contradict.
pub async fn locate(context: &Context, draft: &Draft) -> Result<(String, Address), Failure> {
    let clusters = context.clusters.clone();
    let (name, address) = (draft.cluster.clone(), draft.address.clone());
    blocking(move || {
        let named = match &name {
            Some(name) => Some(
                clusters
                    .by_name(name)
                    .ok_or_else(|| clusters.unknown(&format!("{name:?}")))?,
            ),
            None => None,
        };
        let Some(address) = address else {
            let cluster = named.ok_or_else(|| clusters.unknown("nothing"))?;
            return Ok((cluster.name.clone(), cluster.first_address()));
        };
        let found = clusters
            .by_address(&address.host, address.port)
            .ok_or_else(|| clusters.unknown(&address.to_string()))?;
        if let Some(named) = named.filter(|named| named.name != found.name) {
            let message = format!("is {}, but {address} belongs to {}", named.name, found.name);
            return Err(Problem::invalid("/cluster", message));
        }
        Ok((found.name.clone(), address))
    })
    .await
}

/// Refuses topics that may not be read on a cluster.
///
/// # Errors
/// 404 or 409 for a topic that is not active; 403 for one that a foreign cluster does not share.
pub async fn check_topics(
    context: &Context,
    cluster: &str,
    topics: &[String],
) -> Result<(), Failure> {
    let governed = context
        .clusters
        .by_name(cluster)
        .is_none_or(|cluster| cluster.governed());
    if governed {
        return check_active(context, topics).await;
    }
    let carries = |topic: &str| {
        context
            .clusters
            .by_name(cluster)
            .is_some_and(|c| c.carries(topic))
    };
    match topics.iter().find(|topic| !carries(topic)) {
        None => Ok(()),
        Some(topic) => {
            let detail =
                format!("the configuration does not let topic {topic} of {cluster} be read");
            Err(Problem::new(Code::Forbidden, detail).into())
        }
    }
}

/// Refuses topics that are not active; asks the admin API before it says no, for a topic may have become
/// active a moment ago.
///
/// # Errors
/// 404 or 409 with the way out, 503 when nothing is known.
pub async fn check_active(context: &Context, topics: &[String]) -> Result<(), Failure> {
    let refusal = || {
        let now = context.catalogue.now();
        topics.iter().find_map(|topic| now.refusal(topic))
    };
    if refusal().is_none() {
        return Ok(());
    }
    if let Err(reason) = context.follower.refresh().await {
        tracing::debug!(reason, "the catalogue is not refreshed");
    }
    refusal().map_or(Ok(()), |problem| Err(problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::Roots;
    use crate::destinations::Destinations;
    use serde_json::json;

    fn attempt(body: &Value, before: Option<Draft>) -> Result<Draft, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::open(&[dir.path().join("f")]).unwrap();
        let destinations = Destinations::default();
        let secrets = crate::secrets::Secrets::default();
        let clusters = crate::clusters::Clusters::of(Vec::new());
        let outside = Outside {
            roots: &roots,
            destinations: &destinations,
            secrets: &secrets,
            clusters: &clusters,
        };
        read(body.to_string().as_bytes(), before, &outside)
    }

    fn pointers(problem: &Problem) -> Vec<&str> {
        problem
            .errors
            .iter()
            .map(|error| error.pointer.as_str())
            .collect()
    }

    #[test]
    fn the_reference_document_s_example_is_read() {
        let body = json!({
            "broker_ip": "127.0.0.1", "broker_port": 9092, "topic": "t", "consumer_group": "g",
            "client_id": "c",
            "downstream_processors": [
                {"processor_type": "file_sink", "config": {"file_path": "file.log"}},
                {"processor_type": "database_sync", "config": {}}
            ]
        });
        let draft = attempt(&body, None).unwrap();
        assert_eq!(draft.address.clone().unwrap().to_string(), "127.0.0.1:9092");
        assert_eq!(
            (draft.topics.len(), draft.processors.len(), draft.auto_start),
            (1, 2, false)
        );
        let partial = attempt(&json!({"topics": ["a", "b"]}), Some(draft.clone())).unwrap();
        assert_eq!(
            partial,
            Draft {
                topics: vec!["a".into(), "b".into()],
                ..draft
            }
        );
    }

    #[test]
    fn every_fault_is_listed_and_none_hides_another() {
        let problem = attempt(
            &json!({"downstream_processors": [{"config": {}}], "tpoic": 1}),
            None,
        )
        .unwrap_err();
        assert_eq!(problem.status, 422);
        assert_eq!(
            pointers(&problem),
            [
                "/broker_ip",
                "/topic",
                "/consumer_group",
                "/downstream_processors/0/processor_type",
                "/tpoic",
            ]
        );
    }

    #[test]
    fn wrong_types_are_400_and_broken_rules_422_with_their_own_names() {
        let base = json!({"cluster": "governed", "topic": "t", "consumer_group": "g"});
        let with = |name: &str, value: Value| {
            let mut body = base.clone();
            body[name] = value;
            attempt(&body, None).map_or_else(|p| (p.status, p.code), |_| (200, String::new()))
        };
        let path =
            |path: &str| json!([{"processor_type": "file_sink", "config": {"file_path": path}}]);
        for (name, value, status, code) in [
            ("broker_port", json!(99999), 400, "wrong_type"),
            ("broker_port", json!("9092"), 400, "wrong_type"),
            ("topic", json!(5), 400, "wrong_type"),
            ("topics", json!(["a", 1]), 400, "wrong_type"),
            ("downstream_processors", json!([1]), 400, "wrong_type"),
            ("auto_start", json!("yes"), 400, "wrong_type"),
            ("broker_port", json!(9092), 422, "invalid"),
            ("topic", json!("a b"), 422, "invalid"),
            ("topic", json!(""), 422, "invalid"),
            ("topics", json!(["t", "t"]), 422, "invalid"),
            ("consumer_group", json!(""), 422, "invalid"),
            ("client_id", json!(""), 422, "invalid"),
            ("status", json!("ACTIVE"), 422, "invalid"),
            (
                "downstream_processors",
                path("/path/to/file.log"),
                422,
                "path_outside_root",
            ),
            (
                "downstream_processors",
                path("../x"),
                422,
                "path_outside_root",
            ),
            ("downstream_processors", path("ok/x.jsonl"), 200, ""),
            (
                "downstream_processors",
                json!([{"processor_type": "file_snik"}]),
                422,
                "unknown_processor",
            ),
            (
                "downstream_processors",
                json!([{"processor_type": "file_sink"}]),
                422,
                "invalid",
            ),
        ] {
            assert_eq!(
                with(name, value.clone()),
                (status, code.to_owned()),
                "{name} {value}"
            );
        }
    }
}
