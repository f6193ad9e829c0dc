//! Who still uses a topic: the proof of a fence, and the evidence that a deletion is decided by.

use crate::producer::ProducerSeen;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One consumer group that has read of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GroupUse {
    /// Its id.
    pub group: String,
    /// Its state in Kafka, such as stable or empty.
    pub state: String,
    /// Members that have partitions of the topic now.
    pub members: i64,
    /// Records that it has not read yet; none when it has committed nothing.
    #[serde(default)]
    pub lag: Option<i64>,
}

/// What Kafka shows of a topic's use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// When it was looked at.
    pub seen_at: Timestamp,
    /// Records that are there.
    pub records: i64,
    /// The sum of all partitions' ends: it grows with every write.
    pub end_offsets: i64,
    /// The largest timestamp of any record, which whoever wrote it may have set.
    #[serde(default)]
    pub last_write_at: Option<Timestamp>,
    /// Consumer groups that have members or offsets on it.
    #[serde(default)]
    pub groups: Vec<GroupUse>,
}

impl Usage {
    /// Groups that read it now.
    pub fn reading(&self) -> impl Iterator<Item = &GroupUse> {
        self.groups.iter().filter(|group| group.members > 0)
    }
}

/// One producer daemon and a fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Fenced {
    /// Which daemon.
    pub instance: String,
    /// When it was last heard.
    pub seen_at: Timestamp,
    /// Whether it was heard lately; one that was not does not count.
    pub fresh: bool,
    /// Whether it has let go: it routes by a table that has the fence, and nothing is in flight.
    pub fenced: bool,
    /// The revision that it routes by.
    pub revision: String,
    /// Records that it holds.
    pub held_records: u64,
    /// Records that Kafka has not acknowledged yet.
    pub in_flight: u64,
}

/// The answer of `GET /api/topics/{id}/fence`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Fence {
    /// Which topic.
    pub topic_id: i64,
    /// Its name.
    pub topic_name: String,
    /// Whether it is inactive, and every producer that was heard lately has let go of it.
    pub fenced: bool,
    /// When it was deactivated.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The revision that has the fence; none while there is no fence.
    #[serde(default)]
    pub revision: Option<String>,
    /// The fence in words: "3 of 3 producers fenced, 2 consumers still reading, lag 5".
    pub summary: String,
    /// The producer daemons.
    pub producers: Vec<Fenced>,
    /// What Kafka shows; none until it was looked at.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// The daemons beside a fence. `place` reads a revision of this epoch; without `fenced_at` there is none.
pub fn beside(
    producers: &[ProducerSeen],
    topic_name: &str,
    fenced_at: Option<i64>,
    place: impl Fn(&str) -> Option<i64>,
    heard_since: Timestamp,
) -> Vec<Fenced> {
    let one = |producer: &ProducerSeen| {
        let beat = &producer.heartbeat;
        let topic = beat.topics.iter().find(|t| t.topic_name == topic_name);
        let in_flight = topic.map_or(0, |topic| topic.in_flight);
        let confirmed = fenced_at
            .zip(place(&beat.revision))
            .is_some_and(|(fence, place)| place >= fence);
        Fenced {
            instance: beat.instance.clone(),
            seen_at: producer.seen_at,
            fresh: producer.seen_at >= heard_since,
            fenced: confirmed && in_flight == 0,
            revision: beat.revision.clone(),
            held_records: topic.map_or(0, |topic| topic.held_records),
            in_flight,
        }
    };
    producers.iter().map(one).collect()
}

/// The fence in words.
pub fn summary(producers: &[Fenced], usage: Option<&Usage>) -> String {
    let fresh: Vec<_> = producers.iter().filter(|producer| producer.fresh).collect();
    let fenced = fresh.iter().filter(|producer| producer.fenced).count();
    let mut words = format!("{fenced} of {} producers fenced", fresh.len());
    match usage {
        None => words += ", consumers are not known yet",
        Some(usage) => {
            let reading = usage.reading().map(|group| group.members).sum::<i64>();
            let lag: i64 = usage
                .groups
                .iter()
                .filter_map(|group| group.lag)
                .max()
                .unwrap_or(0);
            let what = if reading == 1 {
                "consumer"
            } else {
                "consumers"
            };
            let told = format!(", {reading} {what} still reading, lag {lag}");
            words.push_str(&told);
        }
    }
    words
}

/// The evidence of a deletion: put on its request by the system, and looked at anew for every decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Evidence {
    /// When it was gathered.
    pub gathered_at: Timestamp,
    /// What Kafka shows.
    pub usage: Usage,
    /// Bytes that its records take, about.
    #[serde(default)]
    pub bytes: Option<i64>,
    /// How the bytes are known.
    pub bytes_are: String,
    /// Producer daemons that sent to it within the configured days, and when last.
    pub producers: BTreeMap<String, Timestamp>,
    /// Records that producers hold for it.
    pub held_records: u64,
    /// Users that are subscribed to it.
    pub subscriptions: i64,
    /// The end offsets when all producers had let go, which nobody should write beyond.
    #[serde(default)]
    pub fenced_end_offsets: Option<i64>,
    /// Why it counts as in use; empty when it does not.
    pub in_use: Vec<String>,
}

impl Evidence {
    /// Judges whether the topic is in use in spite of its fence. What was found before says where its
    /// end was when all producers had let go.
    pub fn judge(&mut self, fenced: bool, before: Option<&Self>) {
        let end = self.usage.end_offsets;
        let known = before.and_then(|before| before.fenced_end_offsets);
        self.fenced_end_offsets = known.or_else(|| fenced.then_some(end));
        self.in_use.clear();
        for group in self.usage.reading() {
            let GroupUse { group, members, .. } = group;
            self.in_use.push(format!(
                "{members} members of the group {group} read it now"
            ));
        }
        if let Some(written) = known
            .map(|known| end - known)
            .filter(|written| *written > 0)
        {
            let words = format!("{written} records were written to it behind its fence");
            self.in_use.push(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::{Heartbeat, HeldTopic};

    fn producer(revision: &str, in_flight: u64, seen_at: i64) -> ProducerSeen {
        let topic = HeldTopic {
            topic_name: "t".into(),
            in_flight,
            ..HeldTopic::default()
        };
        ProducerSeen {
            heartbeat: Heartbeat {
                instance: format!("p{in_flight}"),
                revision: revision.into(),
                topics: vec![topic],
            },
            account: "producer".into(),
            seen_at: Timestamp::from_millis(seen_at),
        }
    }

    #[test]
    fn a_fence_is_told_with_its_proof() {
        let place = |revision: &str| revision.strip_prefix("e-")?.parse().ok();
        let heard = Timestamp::from_millis(100);
        let all = [
            producer("e-5", 0, 200),
            producer("e-6", 2, 200),
            producer("e-1", 1, 50),
        ];
        let found = beside(&all, "t", Some(5), place, heard);
        let told: Vec<_> = found.iter().map(|p| (p.fresh, p.fenced)).collect();
        assert_eq!(told, [(true, true), (true, false), (false, false)]);
        let usage = Usage {
            groups: vec![GroupUse {
                members: 2,
                lag: Some(7),
                ..GroupUse::default()
            }],
            ..Usage::default()
        };
        assert_eq!(
            summary(&found, Some(&usage)),
            "1 of 2 producers fenced, 2 consumers still reading, lag 7"
        );
        let open = beside(&all, "t", None, place, heard);
        assert!(
            open.iter().all(|producer| !producer.fenced),
            "no fence, no proof"
        );
    }

    #[test]
    fn a_topic_is_in_use_when_somebody_reads_it_or_writes_behind_the_fence() {
        let evidence = |end, members| Evidence {
            usage: Usage {
                end_offsets: end,
                groups: vec![GroupUse {
                    group: "g".into(),
                    members,
                    ..GroupUse::default()
                }],
                ..Usage::default()
            },
            ..Evidence::default()
        };
        let mut first = evidence(5, 0);
        first.judge(false, None);
        assert_eq!((first.fenced_end_offsets, first.in_use.len()), (None, 0));
        let mut second = evidence(7, 0);
        second.judge(true, Some(&first));
        assert_eq!(
            (second.fenced_end_offsets, second.in_use.len()),
            (Some(7), 0)
        );
        let mut third = evidence(9, 1);
        third.judge(true, Some(&second));
        assert_eq!(third.fenced_end_offsets, Some(7));
        assert_eq!(
            third.in_use,
            [
                "1 members of the group g read it now",
                "2 records were written to it behind its fence"
            ]
        );
    }
}
