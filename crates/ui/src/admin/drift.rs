//! Where Kafka and governance disagree.

use crate::bits::When;
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::access::Role;
use sluice_model::drift::{Drift, Remedy};

#[derive(Debug, Template)]
#[template(path = "admin/drift.html")]
struct Page<'a> {
    shell: Shell<'a>,
    rows: Vec<Row<'a>>,
    may_act: bool,
}

#[derive(Debug)]
struct Row<'a> {
    topic: &'a str,
    kind: &'static str,
    key: &'a str,
    want: &'a str,
    have: &'a str,
    since: When,
    means: &'static str,
    ignored: Option<String>,
    remedies: Vec<(&'static str, &'static str)>,
}

/// The page at `/ui/drift`.
pub fn drift(viewer: &Viewer, found: &[Drift]) -> String {
    render(&Page {
        shell: Shell::new(viewer, "/ui/drift", "Drift"),
        rows: found.iter().map(|entry| row(viewer, entry)).collect(),
        may_act: viewer.may(Role::Approver),
    })
}

fn row<'a>(viewer: &Viewer, entry: &'a Drift) -> Row<'a> {
    use sluice_model::drift::DriftKind as K;
    let kind = entry.of.kind;
    let remedies = [
        (Remedy::Adopt, "Adopt what Kafka has"),
        (Remedy::Restore, "Restore what is approved"),
        (Remedy::Delete, "Ask for its deletion"),
    ];
    let mut remedies: Vec<_> = remedies
        .into_iter()
        .filter(|(remedy, _)| remedy.refusal(kind).is_none())
        .map(|(remedy, words)| (remedy.as_str(), words))
        .collect();
    remedies.push(match entry.ignored {
        None => (Remedy::Ignore.as_str(), "Let it stay"),
        Some(_) => (Remedy::Heed.as_str(), "Show it again"),
    });
    Row {
        topic: &entry.of.topic_name,
        kind: kind.as_str(),
        key: entry.of.key.as_deref().unwrap_or_default(),
        want: entry.want.as_deref().unwrap_or("–"),
        have: entry.have.as_deref().unwrap_or("–"),
        since: When::ago(entry.first_seen, viewer.now),
        means: match kind {
            K::Orphan => "Kafka has it, and nobody has approved it.",
            K::Missing => "It is approved, and Kafka has lost it.",
            K::Recreated => {
                "Kafka has another topic under its name: the data is not what was approved."
            }
            K::Config => "A config differs from what is approved.",
            K::Partitions => "The number of partitions differs.",
            K::Replication => "The number of copies differs.",
        },
        ignored: entry.ignored.as_ref().map(|ignored| {
            let why = ignored.reason.as_deref().map(|why| format!(": {why}"));
            format!("{} lets it stay{}", ignored.by, why.unwrap_or_default())
        }),
        remedies,
    }
}
