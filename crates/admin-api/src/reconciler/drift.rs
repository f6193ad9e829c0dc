//! Drift: where Kafka and governance disagree. Reported, never mended by itself.

use super::plan::Cluster;
use serde::Serialize;
use sluice_model::lifecycle::State;
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Entry {
    /// Which topic.
    pub topic_name: String,
    /// `orphan` (Kafka has it, nobody approved it), `missing`, `partitions` or `replication`.
    pub kind: &'static str,
    /// Which config, if it is about one.
    pub key: Option<String>,
    /// What was approved.
    pub want: Option<String>,
    /// What Kafka has.
    pub have: Option<String>,
    /// Since when it is known here.
    pub first_seen: Timestamp,
}

/// What is known now.
#[derive(Debug, Default)]
pub struct Drift {
    entries: Mutex<Vec<Entry>>,
}

impl Drift {
    /// Takes the result of a pass; entries that were known keep the time they were first seen.
    pub fn update(&self, mut found: Vec<Entry>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in &mut found {
            let same = |old: &&Entry| {
                (&old.topic_name, old.kind, &old.key) == (&entry.topic_name, entry.kind, &entry.key)
            };
            if let Some(old) = entries.iter().find(same) {
                entry.first_seen = old.first_seen;
            }
        }
        *entries = found;
    }

    /// All entries, by topic.
    pub fn all(&self) -> Vec<Entry> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Compares the rows with what Kafka shows. Kafka's internal topics are nobody's.
pub fn compare(topics: &[Topic], cluster: &Cluster, now: Timestamp) -> Vec<Entry> {
    let entry = |name: &str, kind, want: Option<String>, have: Option<String>| Entry {
        topic_name: name.to_owned(),
        kind,
        key: None,
        want,
        have,
        first_seen: now,
    };
    let mut found = Vec::new();
    let rows: BTreeMap<_, _> = topics
        .iter()
        .map(|topic| (topic.topic_name.as_str(), topic))
        .collect();
    for name in cluster.topics.keys().filter(|name| !name.starts_with("__")) {
        if !rows.contains_key(name.as_str()) {
            found.push(entry(name, "orphan", None, None));
        }
    }
    for topic in topics {
        let name = topic.topic_name.as_str();
        let there = matches!(topic.status, State::Active | State::Inactive);
        match cluster.topics.get(name) {
            None if there && topic.purge_started_at.is_none() => {
                found.push(entry(name, "missing", None, None));
            }
            Some(seen) if there => {
                let figures = [
                    (
                        "partitions",
                        topic.partitions.to_string(),
                        seen.partitions.to_string(),
                    ),
                    (
                        "replication",
                        topic.replication_factor.to_string(),
                        seen.replicas.to_string(),
                    ),
                ];
                let differing = figures.into_iter().filter(|(_, want, have)| want != have);
                found.extend(differing.map(|(kind, w, h)| entry(name, kind, Some(w), Some(h))));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::topic;
    use super::super::plan::{Cluster, Seen};
    use super::*;

    #[test]
    fn orphans_and_missing_and_changed_topics_are_reported() {
        let seen = |partitions| Seen {
            partitions,
            replicas: 1,
            led: true,
        };
        let cluster = Cluster {
            brokers: vec![1],
            topics: [
                ("t".to_owned(), seen(5)),
                ("wild".to_owned(), seen(1)),
                ("__consumer_offsets".to_owned(), seen(10)),
            ]
            .into(),
        };
        let mut gone = topic(State::Active);
        gone.topic_name = "gone".into();
        let now = Timestamp::from_millis(9);
        let found = compare(&[topic(State::Active), gone], &cluster, now);
        let kinds: Vec<_> = found
            .iter()
            .map(|e| (e.topic_name.as_str(), e.kind))
            .collect();
        assert_eq!(
            kinds,
            [("wild", "orphan"), ("t", "partitions"), ("gone", "missing")]
        );
    }
}
