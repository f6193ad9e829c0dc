//! How far a consumer is: the next offset that each processor lacks, and the least of them, which is
//! what may be committed.

use std::collections::HashMap;

/// The next offset that is lacking, by topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    next: HashMap<String, HashMap<i32, i64>>,
}

impl Positions {
    /// The next offset of a partition, when something is known about it.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.next.get(topic)?.get(&partition).copied()
    }

    /// Sets the next offset of a partition.
    pub fn set(&mut self, topic: &str, partition: i32, next: i64) {
        match self.next.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(partition, next);
            }
            None => {
                self.next
                    .insert(topic.to_owned(), HashMap::from([(partition, next)]));
            }
        }
    }

    /// Forgets a partition.
    pub fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.next.get_mut(topic) {
            partitions.remove(&partition);
        }
    }

    /// Moves a partition forward; never back.
    pub fn advance(&mut self, topic: &str, partition: i32, next: i64) {
        if self.get(topic, partition).is_none_or(|old| old < next) {
            self.set(topic, partition, next);
        }
    }

    /// Whether a record is already held.
    pub fn holds(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.get(topic, partition).is_some_and(|next| offset < next)
    }

    /// Every partition that something is known about.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.next.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(|(partition, next)| (topic.as_str(), *partition, *next))
        })
    }
}

/// What may be committed for a partition: the least of what the processors lack next. A processor
/// that knows nothing about the partition holds nothing of it.
pub fn committable(processors: &[Positions], topic: &str, partition: i32) -> Option<i64> {
    let mut least = None;
    for positions in processors {
        let next = positions.get(topic, partition)?;
        least = Some(least.map_or(next, |least: i64| least.min(next)));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_slowest_processor_decides() {
        let mut fast = Positions::default();
        let mut slow = Positions::default();
        fast.set("t", 0, 10);
        assert_eq!(committable(&[fast.clone(), slow.clone()], "t", 0), None);
        slow.set("t", 0, 7);
        assert_eq!(committable(&[fast.clone(), slow.clone()], "t", 0), Some(7));
        slow.advance("t", 0, 3);
        assert_eq!(
            slow.get("t", 0),
            Some(7),
            "a position never goes back by itself"
        );
        assert!(fast.holds("t", 0, 9) && !fast.holds("t", 0, 10) && !fast.holds("t", 1, 0));
    }

    proptest! {
        /// However writes and failures of two processors interleave, nothing above a processor's own
        /// position is ever committed, and commits only grow.
        #[test]
        fn a_commit_never_passes_any_processor(steps in prop::collection::vec((0_usize..2, 0_i64..5), 1..60)) {
            let mut positions = [Positions::default(), Positions::default()];
            positions[0].set("t", 0, 0);
            positions[1].set("t", 0, 0);
            let mut last = 0;
            for (who, grow) in steps {
                let next = positions[who].get("t", 0).unwrap_or(0) + grow;
                positions[who].advance("t", 0, next);
                let commit = committable(&positions, "t", 0).unwrap();
                prop_assert!(positions.iter().all(|p| p.get("t", 0).unwrap() >= commit));
                prop_assert!(commit >= last);
                last = commit;
            }
        }
    }
}
