//! What to do: a pure function of the rows, of what Kafka shows, and of the time.

use sluice_model::lifecycle::State;
use sluice_model::time::Timestamp;
use sluice_model::topic::Topic;
use std::collections::BTreeMap;

/// A topic as the brokers' metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Number of partitions.
    pub partitions: usize,
    /// The least number of replicas of any partition.
    pub replicas: usize,
    /// Whether every partition has a leader.
    pub led: bool,
}

/// The cluster as its metadata shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Ids of the brokers that are there.
    pub brokers: Vec<i32>,
    /// Topics by name.
    pub topics: BTreeMap<String, Seen>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create it in Kafka.
    Create(Topic),
    /// It is there: compare it with what was asked, and make it active.
    Confirm(Topic),
    /// Bring an approved change to it.
    Change(Topic),
    /// Commit to its deletion.
    StartPurge(Topic),
    /// Delete it from Kafka.
    Delete(Topic),
    /// It is gone from Kafka: write that down.
    Purged(Topic),
}

/// What to do with these rows now. `fenced` says whether every producer has let go of a topic.
pub fn plan(
    topics: &[Topic],
    cluster: &Cluster,
    fenced: impl Fn(&Topic) -> bool,
    now: Timestamp,
) -> Vec<Step> {
    let step = |topic: &Topic| {
        let seen = cluster.topics.get(&topic.topic_name);
        let due = topic.next_attempt_at.is_none_or(|at| at <= now);
        match (topic.status, seen) {
            (State::Approved, None) if due => Some(Step::Create(topic.clone())),
            (State::Approved, Some(_)) if due => Some(Step::Confirm(topic.clone())),
            (State::Active | State::Inactive, Some(_)) if due && changing(topic) => {
                Some(Step::Change(topic.clone()))
            }
            (State::Inactive, seen) => purge_step(topic, seen.is_some(), &fenced, due, now),
            _ => None,
        }
    };
    topics.iter().filter_map(step).collect()
}

/// Leaves deletions out while they are switched off, and those of topics that are never deleted.
pub fn without_deletions(steps: &mut Vec<Step>, deletions: bool) {
    steps.retain(|step| match step {
        Step::StartPurge(topic) => deletions && !topic.never_delete,
        Step::Delete(_) => deletions,
        Step::Create(_) | Step::Confirm(_) | Step::Change(_) | Step::Purged(_) => true,
    });
}

fn changing(topic: &Topic) -> bool {
    topic.change_request_id.is_some() && topic.purge_started_at.is_none()
}

/// What to alter so that a topic has the configs it shall have. Only what the change touches: a config
/// that somebody set in Kafka meanwhile is drift, and stays.
pub fn alterations(
    base: &BTreeMap<String, String>,
    want: &BTreeMap<String, String>,
    have: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<String>> {
    let set = want
        .iter()
        .filter(|(name, value)| have.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), Some(value.clone())));
    let unset = base
        .keys()
        .filter(|name| !want.contains_key(*name) && have.contains_key(*name))
        .map(|name| (name.clone(), None));
    set.chain(unset).collect()
}

fn purge_step(
    topic: &Topic,
    present: bool,
    fenced: impl Fn(&Topic) -> bool,
    due: bool,
    now: Timestamp,
) -> Option<Step> {
    if topic.purge_started_at.is_some() {
        return match present {
            true if due => Some(Step::Delete(topic.clone())),
            true => None,
            false => Some(Step::Purged(topic.clone())),
        };
    }
    let ripe = topic.purge_after.is_some_and(|at| at <= now);
    (ripe && fenced(topic)).then(|| Step::StartPurge(topic.clone()))
}

/// How an existing topic differs from what was asked, in words; `configs` are its values in Kafka.
pub fn differences(topic: &Topic, seen: &Seen, configs: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    if seen.partitions != usize::try_from(topic.partitions).unwrap_or_default() {
        found.push(format!(
            "partitions: {} asked, {} there",
            topic.partitions, seen.partitions
        ));
    }
    if seen.replicas != usize::try_from(topic.replication_factor).unwrap_or_default() {
        let asked = topic.replication_factor;
        found.push(format!(
            "replication_factor: {asked} asked, {} there",
            seen.replicas
        ));
    }
    for (name, asked) in &topic.configs {
        let there = configs.get(name).map_or("nothing", String::as_str);
        if there != asked {
            found.push(format!("{name}: {asked} asked, {there} there"));
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sluice_model::topic::OnStop;

    pub(crate) fn topic(status: State) -> Topic {
        let at = Timestamp::from_millis(0);
        Topic {
            topic_id: 1,
            topic_name: "t".into(),
            status,
            partitions: 3,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_by: "a".into(),
            requested_by: "a".into(),
            owner: None,
            description: String::new(),
            on_stop: OnStop::Hold,
            created_at: at,
            approved_at: None,
            activated_at: None,
            deactivated_at: None,
            ended_at: None,
            reason: None,
            purge_after: None,
            purge_started_at: None,
            change_request_id: None,
            kafka_id: None,
            never_delete: false,
            version: 1,
            attempts: 0,
            next_attempt_at: None,
            last_problem: None,
        }
    }

    fn there() -> Cluster {
        let seen = Seen {
            partitions: 3,
            replicas: 1,
            led: true,
        };
        Cluster {
            brokers: vec![1],
            topics: [("t".to_owned(), seen)].into(),
        }
    }

    fn steps(topic: &Topic, cluster: &Cluster, fenced: bool) -> Vec<Step> {
        plan(
            std::slice::from_ref(topic),
            cluster,
            |_| fenced,
            Timestamp::from_millis(100),
        )
    }

    #[test]
    fn approved_topics_are_created_or_confirmed() {
        let approved = topic(State::Approved);
        assert_eq!(
            steps(&approved, &Cluster::default(), true),
            [Step::Create(approved.clone())]
        );
        assert_eq!(
            steps(&approved, &there(), true),
            [Step::Confirm(approved.clone())]
        );
        let mut waiting = approved;
        waiting.next_attempt_at = Some(Timestamp::from_millis(101));
        assert!(steps(&waiting, &Cluster::default(), true).is_empty());
    }

    #[test]
    fn nothing_is_done_to_pending_or_active_or_ended_topics() {
        for status in [
            State::Pending,
            State::Active,
            State::Deleted,
            State::Rejected,
        ] {
            assert!(steps(&topic(status), &there(), true).is_empty(), "{status}");
            assert!(
                steps(&topic(status), &Cluster::default(), true).is_empty(),
                "{status}"
            );
        }
    }

    #[test]
    fn a_purge_needs_its_time_and_the_fence() {
        let mut inactive = topic(State::Inactive);
        assert!(
            steps(&inactive, &there(), true).is_empty(),
            "nobody asked for it"
        );
        inactive.purge_after = Some(Timestamp::from_millis(101));
        assert!(
            steps(&inactive, &there(), true).is_empty(),
            "the grace time runs"
        );
        inactive.purge_after = Some(Timestamp::from_millis(100));
        assert!(
            steps(&inactive, &there(), false).is_empty(),
            "a producer has not let go"
        );
        assert_eq!(
            steps(&inactive, &there(), true),
            [Step::StartPurge(inactive.clone())]
        );
        inactive.purge_started_at = Some(Timestamp::from_millis(100));
        assert_eq!(
            steps(&inactive, &there(), true),
            [Step::Delete(inactive.clone())]
        );
        assert_eq!(
            steps(&inactive, &Cluster::default(), true),
            [Step::Purged(inactive.clone())]
        );
    }

    #[test]
    fn an_approved_change_is_brought_to_kafka_once_it_is_there() {
        for status in [State::Active, State::Inactive] {
            let mut changing = topic(status);
            changing.change_request_id = Some(7);
            assert_eq!(
                steps(&changing, &there(), true),
                [Step::Change(changing.clone())]
            );
            assert!(steps(&changing, &Cluster::default(), true).is_empty());
            changing.purge_started_at = Some(Timestamp::from_millis(1));
            assert_eq!(
                steps(&changing, &there(), true).len(),
                usize::from(status == State::Inactive),
                "only the deletion goes on"
            );
        }
    }

    #[test]
    fn a_change_alters_only_what_it_names() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
            pairs.iter().map(owned).collect()
        };
        let base = map(&[("a", "1"), ("b", "1"), ("gone", "1")]);
        let want = map(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let have = map(&[("a", "1"), ("b", "1"), ("gone", "1"), ("by_hand", "9")]);
        let found = alterations(&base, &want, &have);
        let expected = [
            ("b".to_owned(), Some("2".to_owned())),
            ("c".to_owned(), Some("3".to_owned())),
            ("gone".to_owned(), None),
        ];
        assert_eq!(found, expected.into());
        assert!(alterations(&base, &want, &want).is_empty(), "a second time");
    }

    #[test]
    fn differences_are_named() {
        let mut asked = topic(State::Approved);
        asked.configs.insert("retention.ms".into(), "1000".into());
        let seen = Seen {
            partitions: 1,
            replicas: 2,
            led: true,
        };
        let there = [("retention.ms".to_owned(), "5".to_owned())].into();
        assert_eq!(
            differences(&asked, &seen, &there),
            [
                "partitions: 3 asked, 1 there",
                "replication_factor: 1 asked, 2 there",
                "retention.ms: 1000 asked, 5 there"
            ]
        );
    }
}
