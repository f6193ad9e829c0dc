//! Where a partition is read from: a pure decision from what is committed, which topic it was committed
//! for, and what Kafka still has.

use sluice_model::consumer::{AutoOffsetReset, Gap};

/// What commits of ours begin with; the topic's id follows.
const MARK: &str = "sluice:";

/// The metadata of a commit: which topic the offset is of. A topic that is deleted and made again has
/// the same name and other records.
pub(super) fn mark(topic_id: i64) -> String {
    format!("{MARK}{topic_id}")
}

/// Whether a committed offset is of the topic as it is now. Offsets of other tools are trusted.
pub(super) fn same_topic(metadata: &str, topic_id: i64) -> bool {
    let marked = metadata.strip_prefix(MARK).and_then(|id| id.parse().ok());
    let marked: i64 = marked.unwrap_or_default();
    marked == 0 || topic_id == 0 || marked == topic_id
}

/// What to do with a position that Kafka has no record at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// Nothing is wrong with it.
    Here,
    /// Go on there; what lies between is gone.
    At(i64, Gap),
    /// The consumer wants to stop at a gap.
    Stop(Gap),
}

/// Judges a position by the first and the next offset that Kafka has.
pub(super) fn resume(
    (topic, partition): (&str, i32),
    position: i64,
    (low, high): (i64, i64),
    policy: AutoOffsetReset,
) -> Resume {
    if (low..=high).contains(&position) {
        return Resume::Here;
    }
    let lost = Gap {
        topic: topic.to_owned(),
        partition,
        from: position,
        // Behind the end: the log was cut, and what comes now was not read.
        to: if position < low { low } else { high },
    };
    match policy {
        AutoOffsetReset::Earliest => Resume::At(low, lost),
        AutoOffsetReset::Latest => Resume::At(high, Gap { to: high, ..lost }),
        AutoOffsetReset::None => Resume::Stop(lost),
    }
}

/// A gap in words.
pub(super) fn describe(gap: &Gap) -> String {
    let Gap {
        topic,
        partition,
        from,
        to,
    } = gap;
    if from < to {
        format!(
            "the records {from} to {} of {topic}/{partition} are gone from Kafka",
            to - 1
        )
    } else {
        format!("{topic}/{partition} ends at {to} in Kafka, before the position {from}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_of_a_topic_that_was_made_again_are_not_used() {
        for (metadata, topic_id, same) in [
            ("", 7, true),
            ("sluice:7", 7, true),
            ("sluice:6", 7, false),
            ("sluice:6", 0, true),
            ("sluice:0", 7, true),
            ("somebody else's", 7, true),
        ] {
            assert_eq!(
                same_topic(metadata, topic_id),
                same,
                "{metadata} {topic_id}"
            );
        }
        assert!(same_topic(&mark(9), 9));
    }

    proptest! {
        /// A position is kept exactly when Kafka has it; else the next one is, and the gap names what is lost.
        #[test]
        fn a_position_that_is_gone_is_never_used(position in 0_i64..50, low in 0_i64..50, len in 0_i64..50) {
            let high = low + len;
            for policy in [AutoOffsetReset::Earliest, AutoOffsetReset::Latest, AutoOffsetReset::None] {
                match resume(("t", 1), position, (low, high), policy) {
                    Resume::Here => prop_assert!(low <= position && position <= high),
                    Resume::At(next, gap) => {
                        prop_assert!(low <= next && next <= high && next != position);
                        prop_assert_eq!(gap.from, position);
                        prop_assert!(policy != AutoOffsetReset::None);
                    }
                    Resume::Stop(gap) => {
                        prop_assert!(policy == AutoOffsetReset::None && gap.from == position);
                    }
                }
            }
        }
    }
}
