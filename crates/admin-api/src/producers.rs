//! The last heartbeat of each producer daemon. Kept in memory: it is worth nothing after a restart,
//! when every daemon reports again within seconds.

use sluice_model::producer::{Heartbeat, ProducerSeen};
use sluice_model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Daemons that are remembered at one time.
pub const INSTANCES_MAX: usize = 1000;
/// Topics of one heartbeat.
pub const TOPICS_MAX: usize = 100_000;

/// The daemons that were heard.
#[derive(Debug, Default)]
pub struct Producers {
    seen: Mutex<BTreeMap<String, ProducerSeen>>,
    uses: Mutex<BTreeMap<(String, String), Timestamp>>,
}

/// Topics and daemons whose use is remembered between two notes of it.
const USES_MAX: usize = 100_000;

impl Producers {
    /// Takes a heartbeat; the longest silent daemon makes room for a new one.
    pub fn hear(&self, heartbeat: Heartbeat, account: &str, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= INSTANCES_MAX && !seen.contains_key(&heartbeat.instance) {
            let silent = seen.values().min_by_key(|p| p.seen_at);
            if let Some(instance) = silent.map(|p| p.heartbeat.instance.clone()) {
                seen.remove(&instance);
            }
        }
        let instance = heartbeat.instance.clone();
        self.note(&heartbeat, now);
        let entry = ProducerSeen {
            heartbeat,
            account: account.to_owned(),
            seen_at: now,
        };
        seen.insert(instance, entry);
    }

    fn note(&self, heartbeat: &Heartbeat, now: Timestamp) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in &heartbeat.topics {
            let key = (topic.topic_name.clone(), heartbeat.instance.clone());
            if uses.len() < USES_MAX || uses.contains_key(&key) {
                uses.insert(key, now);
            } else {
                metrics::counter!("admin_api_producer_uses_dropped_total", "reason" => "full")
                    .increment(1);
            }
        }
    }

    /// Who told of records of what since the last time: `(topic, instance, when)`.
    pub fn take_uses(&self) -> Vec<(String, String, Timestamp)> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *uses).into_iter();
        taken
            .map(|((topic, instance), at)| (topic, instance, at))
            .collect()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<ProducerSeen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

/// The daemons that stand in the way of a purge: heard lately, and not yet routing by a revision at or
/// after the fence, or with records of the topic in flight. `place` reads a revision of this epoch.
pub fn unfenced(
    producers: &[ProducerSeen],
    topic_name: &str,
    fenced_at: i64,
    place: impl Fn(&str) -> Option<i64>,
    heard_since: Timestamp,
) -> Vec<String> {
    let blocks = |producer: &&ProducerSeen| {
        let fresh = producer.seen_at >= heard_since;
        let confirmed = place(&producer.heartbeat.revision).is_some_and(|place| place >= fenced_at);
        let topic = producer
            .heartbeat
            .topics
            .iter()
            .find(|topic| topic.topic_name == topic_name);
        let in_flight = topic.is_some_and(|topic| topic.in_flight > 0);
        fresh && (!confirmed || in_flight)
    };
    producers
        .iter()
        .filter(blocks)
        .map(|producer| producer.heartbeat.instance.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::producer::HeldTopic;

    fn producer(revision: &str, in_flight: u64, seen_at: i64) -> ProducerSeen {
        let topic = HeldTopic {
            topic_name: "t".into(),
            in_flight,
            ..HeldTopic::default()
        };
        ProducerSeen {
            heartbeat: Heartbeat {
                instance: "p".into(),
                revision: revision.into(),
                topics: vec![topic],
            },
            account: "producer".into(),
            seen_at: Timestamp::from_millis(seen_at),
        }
    }

    fn blocks(producer: ProducerSeen) -> bool {
        let place = |revision: &str| revision.strip_prefix("e-")?.parse().ok();
        !unfenced(&[producer], "t", 5, place, Timestamp::from_millis(100)).is_empty()
    }

    #[test]
    fn a_purge_waits_for_fresh_daemons_that_have_not_confirmed() {
        assert!(blocks(producer("e-4", 0, 200)), "routes by an older table");
        assert!(
            blocks(producer("other-9", 0, 200)),
            "routes by another epoch"
        );
        assert!(blocks(producer("e-5", 1, 200)), "has records in flight");
        assert!(!blocks(producer("e-5", 0, 200)), "confirmed");
        assert!(!blocks(producer("e-4", 7, 99)), "not heard any more");
    }
}
