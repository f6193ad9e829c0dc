//! Where consumers write in Kafka: only to topics that may be written to, and never round in circles.

use super::spec::check_active;
use crate::catalogue::Snapshot;
use crate::clusters::GOVERNED;
use crate::context::Context;
use crate::processors::target;
use crate::store::consumers::Row;
use sluice_model::consumer::ProcessorSpec;
use sluice_model::problem::{Code, Problem, field};
use sluice_service::http::problem::Failure;
use sluice_service::shutdown::Shutdown;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A topic of a cluster.
type Place = (String, String);

/// Refuses processors that write where they must not. `id` is the consumer's own, when it is there already.
///
/// # Errors
/// 422 with every fault.
pub async fn check(
    context: &Context,
    id: Option<&str>,
    cluster: &str,
    topics: &[String],
    processors: &[ProcessorSpec],
) -> Result<(), Failure> {
    let mut targets = Vec::new();
    let mut errors = Vec::new();
    for (index, spec) in processors.iter().enumerate() {
        let Some((to, topic)) = target(&spec.processor_type, &spec.config) else {
            continue;
        };
        let pointer = format!("/downstream_processors/{index}/config/topic");
        if let Err(message) = writable(context, to, topic).await {
            errors.push(field(pointer.clone(), message));
        }
        targets.push((pointer, (to.to_owned(), topic.to_owned())));
    }
    if targets.is_empty() {
        return Ok(());
    }
    let rows = context.store.all_consumers().await?;
    let others = rows.iter().filter(|row| Some(row.id.as_str()) != id);
    let routes = routes(others);
    let sources: HashSet<Place> = topics
        .iter()
        .map(|topic| (cluster.to_owned(), topic.clone()))
        .collect();
    for (pointer, target) in targets {
        if let Some(path) = circle(&sources, &target, &routes) {
            errors.push(field(
                pointer,
                format!(
                    "leads back to what is read, so that records would go round for ever: {path}"
                ),
            ));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::from_errors(Code::Invalid, errors).into())
    }
}

async fn writable(context: &Context, cluster: &str, topic: &str) -> Result<(), String> {
    let Some(found) = context.clusters.by_name(cluster) else {
        return Err(format!(
            "is on the cluster {cluster}, which is not configured"
        ));
    };
    if found.governed() {
        let active = check_active(context, &[topic.to_owned()]).await;
        return active.map_err(|refusal| refusal.to_string());
    }
    if found.writable(topic) {
        return Ok(());
    }
    Err(format!(
        "is not one that the configuration lets be written on {cluster}"
    ))
}

/// Lets consumers try again at once when a topic that they write to becomes active: their own retries
/// are rare while somebody else must act.
pub async fn follow(context: Context, shutdown: Shutdown) {
    let mut catalogue = context.catalogue.watch();
    let mut before = Arc::clone(&catalogue.borrow_and_update());
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            changed = catalogue.changed() => if changed.is_err() { return },
        }
        let now = Arc::clone(&catalogue.borrow_and_update());
        match context.store.all_consumers().await {
            Ok(rows) => {
                for row in rows.iter().filter(|row| writes_to_new(row, &before, &now)) {
                    context.manager.kick(&row.id);
                }
                before = now;
            }
            Err(error) => tracing::debug!(error = %error, "consumers cannot be read"),
        }
    }
}

/// Whether a consumer writes to a topic of the governed cluster that has just become active.
fn writes_to_new(row: &Row, before: &Snapshot, now: &Snapshot) -> bool {
    row.processors.iter().any(|processor| {
        target(&processor.processor_type, &processor.config).is_some_and(|(cluster, topic)| {
            cluster == GOVERNED && now.is_active(topic) && !before.is_active(topic)
        })
    })
}

/// From which topic consumers carry records to which.
fn routes<'r>(rows: impl Iterator<Item = &'r Row>) -> HashMap<Place, Vec<Place>> {
    let mut routes: HashMap<Place, Vec<Place>> = HashMap::new();
    for row in rows {
        for processor in &row.processors {
            let Some((to, topic)) = target(&processor.processor_type, &processor.config) else {
                continue;
            };
            for source in &row.topics {
                let from = (row.cluster.clone(), source.clone());
                routes
                    .entry(from)
                    .or_default()
                    .push((to.to_owned(), topic.to_owned()));
            }
        }
    }
    routes
}

/// The way from a target back to one of the sources, if there is one. Every place is looked at once.
fn circle(
    sources: &HashSet<Place>,
    target: &Place,
    routes: &HashMap<Place, Vec<Place>>,
) -> Option<String> {
    let mut seen = HashSet::from([target]);
    let mut ways = vec![vec![target]];
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if sources.contains(last) {
            let words: Vec<String> = way
                .iter()
                .map(|(cluster, topic)| format!("{topic} of {cluster}"))
                .collect();
            return Some(words.join(" → "));
        }
        for next in routes.get(last).into_iter().flatten() {
            if seen.insert(next) {
                let mut longer = way.clone();
                longer.push(next);
                ways.push(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cluster: &str, topic: &str) -> Place {
        (cluster.to_owned(), topic.to_owned())
    }

    #[test]
    fn circles_are_found_over_any_number_of_consumers_and_clusters() {
        let routes = HashMap::from([
            (
                place("dr", "b"),
                vec![place("governed", "c"), place("governed", "z")],
            ),
            (
                place("governed", "c"),
                vec![place("governed", "a"), place("dr", "b")],
            ),
        ]);
        let sources = HashSet::from([place("governed", "a")]);
        let itself = circle(&sources, &place("governed", "a"), &routes);
        assert_eq!(itself.as_deref(), Some("a of governed"));
        let long = circle(&sources, &place("dr", "b"), &routes).unwrap();
        assert_eq!(long, "b of dr → c of governed → a of governed");
        assert_eq!(circle(&sources, &place("dr", "a"), &routes), None);
        assert_eq!(circle(&sources, &place("governed", "z"), &routes), None);
    }
}
