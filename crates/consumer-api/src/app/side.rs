//! Processors that write beside the live ones: the same configuration with an identity of their own, so
//! that nothing they do moves what the live ones hold. A `file_path` gets a name beside it.

use crate::context::Context;
use crate::processors::{Processor, Site, kind};
use crate::store::consumers::Row;
use serde_json::{Map, Value};
use sluice_model::consumer::ProcessorSpec;
use sluice_model::problem::{Code, Problem};

/// What they are for, and so how their files are called.
#[derive(Clone, Debug)]
pub struct Side<'s> {
    /// `redrive`, or `replay-` and its id: what file names end with.
    pub suffix: &'s str,
    /// What their identities begin with.
    pub identity: &'s str,
    /// The replay that they belong to, and which run of it: what they hold is kept with it.
    pub replay: Option<(&'s str, i64)>,
}

/// Processors by their type, in turn.
pub type Processors = Vec<(String, Box<dyn Processor>)>;

/// Builds processors of specifications that were checked. `topics` are those that they may see.
///
/// # Errors
/// When a configuration does not fit what is allowed now.
pub fn build(
    context: &Context,
    row: &Row,
    specs: &[ProcessorSpec],
    topics: &[(String, i64)],
    side: &Side<'_>,
) -> Result<Processors, Problem> {
    let parts = context.manager.parts();
    let sinks = parts.store.sinks(parts.runtime.clone());
    let build = |(place, spec): (usize, &ProcessorSpec)| {
        let site = Site {
            consumer_id: row.id.clone(),
            processor_id: format!("{}-{place}", side.identity),
            cluster: row.cluster.clone(),
            roots: parts.roots.clone(),
            destinations: parts.destinations.clone(),
            // Nobody else has the identity, but a replay that was taken over has an older run.
            epoch: side.replay.map_or(1, |(_, epoch)| epoch),
            sinks: match side.replay {
                Some((id, epoch)) => sinks.clone().of_replay(id, epoch),
                None => sinks.clone().detached(),
            },
            topic_ids: topics.iter().cloned().collect(),
            http: parts.http.clone(),
            secrets: parts.secrets.clone(),
            clusters: parts.clusters.clone(),
            catalogue: parts.catalogue.clone(),
            runtime: parts.runtime.clone(),
        };
        let name = spec.processor_type.clone();
        let refused = |error: &dyn std::fmt::Display| {
            Problem::new(Code::Unavailable, format!("{name}: {error}"))
        };
        let config = beside(&name, &spec.config, side.suffix);
        let kind = kind(&name).map_err(|error| refused(&error))?;
        let built = kind.build(&config, site).map_err(|error| refused(&error))?;
        Ok((name, built))
    };
    specs.iter().enumerate().map(build).collect()
}

/// The configuration with files of its own: two writers of one file would undo each other's lines.
fn beside(name: &str, config: &Map<String, Value>, suffix: &str) -> Map<String, Value> {
    let mut config = config.clone();
    if name == "file_sink" {
        for member in ["file_path", "dir"] {
            if let Some(Value::String(path)) = config.get_mut(member) {
                *path = format!("{}.{suffix}", path.trim_end_matches('/'));
            }
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_get_names_beside_the_live_ones_and_databases_stay() {
        let of = |name: &str, config: Value| {
            let config = config.as_object().unwrap().clone();
            Value::Object(beside(name, &config, "redrive"))
        };
        assert_eq!(
            of(
                "file_sink",
                json!({"file_path": "a/b.jsonl", "format": "value"})
            ),
            json!({"file_path": "a/b.jsonl.redrive", "format": "value"})
        );
        assert_eq!(
            of("file_sink", json!({"dir": "a/"})),
            json!({"dir": "a.redrive"})
        );
        assert_eq!(of("database_sync", json!({})), json!({}));
        assert_eq!(
            of("database_sync", json!({"dsn": "x"})),
            json!({"dsn": "x"})
        );
        assert_eq!(
            of("streaming_forwarder", json!({"url": "x"})),
            json!({"url": "x"})
        );
    }
}
