//! Drift: where Kafka and governance disagree. Reported here; somebody says what is to be done.

use super::cluster::SetConfigs;
use super::plan::{Cluster, Seen};
use sluice_model::drift::{Drift, DriftKey, DriftKind};
use sluice_model::lifecycle::State;
use sluice_model::time::Timestamp;
use sluice_model::topic::{Topic, TopicSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What takes longer to find out than a look at the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Configs that are set on topics, by topic.
    pub configs: SetConfigs,
    /// Kafka's ids, by topic.
    pub ids: BTreeMap<String, String>,
}

/// What is known now.
#[derive(Debug, Default)]
pub struct Board {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: Vec<Drift>,
    there: BTreeMap<String, TopicSpec>,
}

impl Board {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the result of a pass; entries that were known keep the time they were first seen.
    pub fn update(&self, mut found: Vec<Drift>, cluster: &Cluster, details: &Details) {
        let mut known = self.known();
        for entry in &mut found {
            if let Some(old) = known.entries.iter().find(|old| old.of == entry.of) {
                entry.first_seen = old.first_seen;
            }
        }
        let names: BTreeSet<&String> = found.iter().map(|entry| &entry.of.topic_name).collect();
        let there = names.into_iter().filter_map(|name| {
            let seen = cluster.topics.get(name)?;
            Some((name.clone(), spec(seen, details.configs.get(name))))
        });
        known.there = there.collect();
        known.entries = found;
    }

    /// All entries, by topic.
    pub fn all(&self) -> Vec<Drift> {
        self.known().entries.clone()
    }

    /// One entry, and what Kafka has under that name.
    pub fn find(&self, of: &DriftKey) -> Option<(Drift, Option<TopicSpec>)> {
        let known = self.known();
        let entry = known.entries.iter().find(|entry| entry.of == *of)?;
        Some((entry.clone(), known.there.get(&of.topic_name).cloned()))
    }
}

/// A topic of Kafka in the words of a request.
fn spec(seen: &Seen, configs: Option<&BTreeMap<String, String>>) -> TopicSpec {
    TopicSpec {
        partitions: i32::try_from(seen.partitions).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(seen.replicas).unwrap_or(i16::MAX),
        configs: configs.cloned().unwrap_or_default(),
    }
}

/// Compares the rows with what Kafka shows. Kafka's internal topics are nobody's.
pub fn compare(
    topics: &[Topic],
    cluster: &Cluster,
    details: &Details,
    now: Timestamp,
) -> Vec<Drift> {
    let rows: BTreeMap<_, _> = topics
        .iter()
        .map(|topic| (topic.topic_name.as_str(), topic))
        .collect();
    let names = cluster.topics.keys();
    let orphans = names.filter(|name| !name.starts_with("__") && !rows.contains_key(name.as_str()));
    let mut found: Vec<Drift> = orphans
        .map(|name| entry(name, DriftKind::Orphan, None, now))
        .collect();
    for topic in topics {
        if !matches!(topic.status, State::Active | State::Inactive) {
            continue;
        }
        let name = topic.topic_name.as_str();
        match cluster.topics.get(name) {
            None if topic.purge_started_at.is_none() => {
                found.push(entry(name, DriftKind::Missing, None, now));
            }
            // What differs while a change is on its way is no news.
            Some(seen) if topic.change_request_id.is_none() => {
                found.extend(differing(topic, seen, details, now));
            }
            _ => {}
        }
    }
    found
}

fn entry(
    name: &str,
    kind: DriftKind,
    differs: Option<(Option<String>, Option<String>)>,
    now: Timestamp,
) -> Drift {
    let (want, have) = differs.unwrap_or_default();
    Drift {
        of: DriftKey {
            topic_name: name.to_owned(),
            kind,
            key: None,
        },
        want,
        have,
        first_seen: now,
        ignored: None,
    }
}

fn differing(topic: &Topic, seen: &Seen, details: &Details, now: Timestamp) -> Vec<Drift> {
    let name = topic.topic_name.as_str();
    let figures = [
        (
            DriftKind::Partitions,
            Some(topic.partitions.to_string()),
            Some(seen.partitions.to_string()),
        ),
        (
            DriftKind::Replication,
            Some(topic.replication_factor.to_string()),
            Some(seen.replicas.to_string()),
        ),
        (
            DriftKind::Recreated,
            topic.kafka_id.clone(),
            details
                .ids
                .get(name)
                .cloned()
                .filter(|_| topic.kafka_id.is_some())
                .or_else(|| topic.kafka_id.clone()),
        ),
    ];
    let mut found: Vec<Drift> = figures
        .into_iter()
        .filter(|(_, want, have)| want != have)
        .map(|(kind, want, have)| entry(name, kind, Some((want, have)), now))
        .collect();
    let Some(configs) = details.configs.get(name) else {
        return found;
    };
    let keys: BTreeSet<&String> = topic.configs.keys().chain(configs.keys()).collect();
    for key in keys {
        let (want, have) = (topic.configs.get(key), configs.get(key));
        if want != have {
            let mut entry = entry(
                name,
                DriftKind::Config,
                Some((want.cloned(), have.cloned())),
                now,
            );
            entry.of.key = Some(key.clone());
            found.push(entry);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::topic;
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
        let found = compare(
            &[topic(State::Active), gone],
            &cluster,
            &Details::default(),
            now,
        );
        let kinds: Vec<_> = found
            .iter()
            .map(|e| (e.of.topic_name.as_str(), e.of.kind.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [("wild", "orphan"), ("t", "partitions"), ("gone", "missing")]
        );
    }

    #[test]
    fn configs_set_by_hand_and_topics_made_anew_are_reported() {
        let seen = Seen {
            partitions: 3,
            replicas: 1,
            led: true,
        };
        let cluster = Cluster {
            brokers: vec![1],
            topics: [("t".to_owned(), seen)].into(),
        };
        let mut row = topic(State::Active);
        row.configs.insert("retention.ms".into(), "1000".into());
        row.kafka_id = Some("one".into());
        let set = [("segment.ms".to_owned(), "5".to_owned())].into();
        let details = Details {
            configs: [("t".to_owned(), set)].into(),
            ids: [("t".to_owned(), "two".to_owned())].into(),
        };
        let now = Timestamp::from_millis(9);
        let found = compare(&[row.clone()], &cluster, &details, now);
        let told: Vec<_> = found
            .iter()
            .map(|e| {
                (
                    e.of.kind.as_str(),
                    e.of.key.as_deref(),
                    e.want.as_deref(),
                    e.have.as_deref(),
                )
            })
            .collect();
        let expected = [
            ("recreated", None, Some("one"), Some("two")),
            ("config", Some("retention.ms"), Some("1000"), None),
            ("config", Some("segment.ms"), None, Some("5")),
        ];
        assert_eq!(told, expected);
        row.change_request_id = Some(1);
        assert!(compare(&[row], &cluster, &details, now).is_empty());
    }
}
