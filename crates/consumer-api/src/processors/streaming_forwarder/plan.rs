//! Which records go together in one request, and in which order requests go: without IO.
//!
//! The cuts are remembered before the first request of a batch leaves, so that what is repeated after a
//! failure or a crash is the same requests with the same keys, however the records come then.

use crate::batch::Entry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Records of one partition that go together.
pub(super) type Group<'a, 'b> = Vec<&'a Entry<'b>>;

/// What fits into one request; a larger record goes alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// In which of so many lanes a record goes. Records of one key are in one lane and keep their order;
/// those without a key have none among each other.
pub(super) fn lane(lanes: u32, entry: &Entry<'_>) -> u32 {
    match entry.key {
        _ if lanes <= 1 => 0,
        Some(key) => crc32fast::hash(key) % lanes,
        None => u32::try_from(entry.offset.rem_euclid(lanes.into())).unwrap_or_default(),
    }
}

/// The records of a partition by lane.
pub(super) fn by_lane<'a, 'b>(lanes: u32, entries: Group<'a, 'b>) -> BTreeMap<u32, Group<'a, 'b>> {
    let mut found: BTreeMap<u32, Group<'a, 'b>> = BTreeMap::new();
    for entry in entries {
        found.entry(lane(lanes, entry)).or_default().push(entry);
    }
    found
}

/// The requests of one partition that may have been sent: the last offset of each, by lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    lanes: u32,
    ends: BTreeMap<u32, Vec<i64>>,
    /// Whether it holds more than was remembered.
    #[serde(skip)]
    new: bool,
}

impl Plan {
    /// Nothing was sent.
    pub(super) const fn of(lanes: u32) -> Self {
        Self {
            lanes,
            ends: BTreeMap::new(),
            new: false,
        }
    }

    /// A plan that was remembered; one of other lanes says nothing about these.
    pub(super) fn read(text: &str, lanes: u32) -> Self {
        let read = serde_json::from_str(text).ok();
        read.filter(|plan: &Self| plan.lanes == lanes)
            .unwrap_or(Self::of(lanes))
    }

    /// Forgets requests that were acknowledged.
    pub(super) fn pass(&mut self, next: i64) {
        for ends in self.ends.values_mut() {
            ends.retain(|end| *end >= next);
        }
        self.ends.retain(|_, ends| !ends.is_empty());
    }

    /// Whether it must be remembered before requests leave.
    pub(super) const fn is_new(&self) -> bool {
        self.new
    }

    /// It is remembered.
    pub(super) const fn settle(&mut self) {
        self.new = false;
    }

    /// Cuts the records of a lane into requests: those that were planned before are the same again.
    pub(super) fn cut<'a, 'b>(
        &mut self,
        lane: u32,
        entries: Group<'a, 'b>,
        limits: Limits,
    ) -> Vec<Group<'a, 'b>> {
        let planned = self.ends.entry(lane).or_default();
        let mut groups: Vec<(usize, Group<'a, 'b>)> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let size = entry.bytes();
            let slot = planned.partition_point(|end| *end < entry.offset);
            let repeats = slot < planned.len();
            match groups.last_mut() {
                Some((of, group))
                    if *of == slot
                        && (repeats
                            || (group.len() < limits.records && bytes + size <= limits.bytes)) =>
                {
                    group.push(entry);
                    bytes += size;
                }
                _ => {
                    groups.push((slot, vec![entry]));
                    bytes = size;
                }
            }
        }
        let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
        for last in groups.iter().filter_map(|group| group.last()) {
            if let Err(at) = planned.binary_search(&last.offset) {
                planned.insert(at, last.offset);
                self.new = true;
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::conformance::entries;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        records: 3,
        bytes: 1 << 20,
    };

    fn cut(plan: &mut Plan, offsets: std::ops::Range<i64>) -> Vec<(i64, i64)> {
        let batch = entries(offsets);
        let groups = plan.cut(0, batch.iter().collect(), LIMITS);
        let ends = |group: &Group<'_, '_>| (group[0].offset, group[group.len() - 1].offset);
        groups.iter().map(ends).collect()
    }

    #[test]
    fn what_was_planned_is_the_same_again_however_much_comes() {
        let mut plan = Plan::of(1);
        assert_eq!(cut(&mut plan, 0..5), [(0, 2), (3, 4)]);
        assert!(plan.is_new());
        let remembered = serde_json::to_string(&plan).unwrap();
        let mut after_a_crash = Plan::read(&remembered, 1);
        let again = cut(&mut after_a_crash, 0..9);
        assert_eq!(again, [(0, 2), (3, 4), (5, 7), (8, 8)]);
        let mut part = Plan::read(&remembered, 1);
        assert_eq!(
            cut(&mut part, 0..2),
            [(0, 1)],
            "a half that is looked at alone"
        );
        assert_eq!(cut(&mut part, 0..5), [(0, 1), (2, 2), (3, 4)]);
        part.pass(3);
        part.settle();
        assert_eq!(cut(&mut part, 3..5), [(3, 4)]);
        assert!(!part.is_new(), "nothing more to remember");
        assert_eq!(Plan::read(&remembered, 2), Plan::of(2), "of other lanes");
        assert_eq!(Plan::read("", 1), Plan::of(1));
    }

    proptest! {
        /// However retries, crashes and arrivals interleave, a request that was cut once is either
        /// repeated as it was, or cut further by a smaller batch; it never grows or shifts.
        #[test]
        fn requests_never_grow(sizes in prop::collection::vec((1_i64..12, any::<bool>()), 1..20)) {
            let mut plan = Plan::of(1);
            let mut known: BTreeMap<i64, i64> = BTreeMap::new();
            for (size, crash) in sizes {
                for (first, last) in cut(&mut plan, 0..size) {
                    if let Some(before) = known.insert(first, last) {
                        prop_assert!(last <= before);
                    }
                }
                if crash {
                    plan = Plan::read(&serde_json::to_string(&plan).unwrap(), 1);
                }
            }
        }

        /// Every record is in one lane, a key in one lane only, and a lane keeps the order.
        #[test]
        fn a_key_keeps_its_order(keys in prop::collection::vec(prop::option::of(0_u8..6), 1..60), lanes in 1_u32..9) {
            let keys: Vec<Option<[u8; 1]>> = keys.into_iter().map(|key| key.map(|k| [k])).collect();
            let mut batch = entries(0..i64::try_from(keys.len()).unwrap());
            for (entry, key) in batch.iter_mut().zip(&keys) {
                entry.key = key.as_ref().map(<[u8; 1]>::as_slice);
            }
            let found = by_lane(lanes, batch.iter().collect());
            prop_assert_eq!(found.values().map(Vec::len).sum::<usize>(), batch.len());
            let mut home: BTreeMap<&[u8], u32> = BTreeMap::new();
            for (lane, entries) in &found {
                prop_assert!(*lane < lanes);
                prop_assert!(entries.is_sorted_by_key(|entry| entry.offset));
                for key in entries.iter().filter_map(|entry| entry.key) {
                    prop_assert_eq!(*home.entry(key).or_insert(*lane), *lane);
                }
            }
        }
    }
}
