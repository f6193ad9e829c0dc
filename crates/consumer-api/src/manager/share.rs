//! How consumers are spread over instances: a pure function that every instance computes for itself.

use std::collections::BTreeMap;

/// What one instance should do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shift {
    /// Take so many of those that nobody has.
    pub(super) claim: i64,
    /// Give so many back.
    pub(super) release: i64,
}

/// Who has how many running consumers, and how many nobody has. Shares differ by one at most; those who
/// have more already keep the larger shares, so that as few as possible move.
pub(super) fn shift(me: &str, loads: &BTreeMap<String, i64>, free: i64) -> Shift {
    let Some(mine) = loads.get(me).copied() else {
        return Shift::default();
    };
    let total = loads.values().sum::<i64>() + free;
    let count = loads.len() as i64;
    let (share, larger) = (total / count, total % count);
    let before_me = loads
        .iter()
        .filter(|(id, load)| **load > mine || (**load == mine && id.as_str() < me))
        .count() as i64;
    let share = share + i64::from(before_me < larger);
    Shift {
        claim: (share - mine).clamp(0, free),
        release: (mine - share).max(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loads(of: &[i64]) -> BTreeMap<String, i64> {
        let named = of
            .iter()
            .enumerate()
            .map(|(n, load)| (format!("i{n:03}"), *load));
        named.collect()
    }

    #[test]
    fn an_instance_that_joins_gets_its_share_and_one_that_is_gone_is_replaced() {
        let joined = loads(&[4, 0]);
        assert_eq!(
            shift("i000", &joined, 0),
            Shift {
                claim: 0,
                release: 2
            }
        );
        assert_eq!(
            shift("i001", &joined, 2),
            Shift {
                claim: 2,
                release: 0
            }
        );
        // Five left by a third one.
        let left = loads(&[3, 2]);
        assert_eq!(shift("i000", &left, 5).claim, 2);
        assert_eq!(shift("i001", &left, 5).claim, 3);
        assert_eq!(shift("unknown", &left, 5), Shift::default());
        // One consumer stays where it is.
        assert_eq!(shift("i001", &loads(&[0, 1]), 0), Shift::default());
    }

    proptest! {
        /// Whatever the start, everybody has work after two turns, nothing is free, and no one moves again.
        #[test]
        fn shares_settle(start in proptest::collection::vec(0_i64..40, 1..8), mut free in 0_i64..60) {
            let mut loads = loads(&start);
            for _turn in 0..2 {
                let (view, all_free) = (loads.clone(), free);
                for (id, load) in &mut loads {
                    let given = shift(id, &view, all_free).release;
                    *load -= given;
                    free += given;
                }
                let view = loads.clone();
                let all_free = free;
                for (id, load) in &mut loads {
                    let taken = shift(id, &view, all_free).claim.min(free);
                    *load += taken;
                    free -= taken;
                }
            }
            prop_assert_eq!(free, 0);
            let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
            prop_assert!(most - least <= 1);
            for id in loads.keys() {
                prop_assert_eq!(shift(id, &loads, 0), Shift::default());
            }
        }
    }
}
