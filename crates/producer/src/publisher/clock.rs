//! How old what is held is. Frames carry the time of the wall, because their age must outlive the
//! process; but that clock is set now and then, and nothing gets older by that.

use super::Publisher;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A difference between the clocks that is a jump and not a drift.
const JUMP_MS: i64 = 5_000;
/// Most time between two looks at it.
const LOOK_MS: i64 = 60_000;
/// Stretches between jumps that are remembered.
const STRETCHES_MAX: usize = 64;

impl Publisher {
    /// Looks whether somebody has set the clock.
    pub(super) fn look_at_clock(&mut self, now: Instant) {
        let wall_ms = sluice_service::now().as_millis();
        if let Some(jump_ms) = self.clock.observe(wall_ms, now) {
            metrics::counter!("producer_clock_jumps_total").increment(1);
            tracing::warn!(
                jump_ms,
                "the clock was set; what is held gets no older by that"
            );
        }
    }
}

/// A time without jumps, by what the wall showed.
#[derive(Debug)]
struct Stretch {
    start: i64,
    end: i64,
    /// By how much the wall had jumped until then.
    jumped: i64,
}

/// The clock of the wall, watched by one that nobody sets.
#[derive(Debug)]
pub(super) struct Clock {
    at: Instant,
    now: Stretch,
    before: VecDeque<Stretch>,
    /// Whether stretches were forgotten.
    forgot: bool,
}

impl Clock {
    /// A clock that shows this now.
    pub(super) fn new(wall_ms: i64, at: Instant) -> Self {
        Self {
            at,
            now: Stretch {
                // What an earlier process wrote.
                start: i64::MIN,
                end: wall_ms,
                jumped: 0,
            },
            before: VecDeque::new(),
            forgot: false,
        }
    }

    /// What the wall shows now. Answers by how many milliseconds it jumped, if it did.
    pub(super) fn observe(&mut self, wall_ms: i64, at: Instant) -> Option<i64> {
        let passed = at.saturating_duration_since(self.at);
        let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let jump = wall_ms.saturating_sub(self.now.end.saturating_add(passed));
        self.at = at;
        if jump.saturating_abs() < JUMP_MS {
            self.now.end = wall_ms;
            return None;
        }
        let next = Stretch {
            start: wall_ms,
            end: wall_ms,
            jumped: self.now.jumped.saturating_add(jump),
        };
        self.before
            .push_back(std::mem::replace(&mut self.now, next));
        if self.before.len() > STRETCHES_MAX {
            self.before.pop_front();
            self.forgot = true;
        }
        Some(jump)
    }

    /// How old something is that was written when the wall showed `born_ms`. When that may have been more
    /// than once, the latest of them counts: nothing is taken for older than it is.
    pub(super) fn age(&self, born_ms: i64) -> Duration {
        let steady = |wall: i64, stretch: &Stretch| wall.saturating_sub(stretch.jumped);
        let mut stretches = self.before.iter().chain([&self.now]);
        if self.forgot && stretches.clone().all(|stretch| born_ms < stretch.start) {
            return Duration::ZERO;
        }
        // Between two looks the clock went on.
        let born = stretches
            .clone()
            .filter(|s| s.start.saturating_sub(JUMP_MS) <= born_ms)
            .filter(|s| born_ms <= s.end.saturating_add(LOOK_MS))
            .map(|stretch| steady(born_ms, stretch))
            .max()
            .or_else(|| stretches.next_back().map(|now| steady(now.end, now)));
        let age = steady(self.now.end, &self.now).saturating_sub(born.unwrap_or(i64::MAX));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn ms(age: Duration) -> i64 {
        i64::try_from(age.as_millis()).unwrap()
    }

    #[test]
    fn a_jump_makes_nothing_older() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut clock = Clock::new(HOUR, start);
        assert_eq!(clock.observe(HOUR + 1_000, at(1_000)), None);
        assert_eq!(ms(clock.age(HOUR)), 1_000);
        // Forward by a day; then something is written, and time goes on.
        let day = 24 * HOUR;
        assert_eq!(clock.observe(HOUR + day + 2_000, at(2_000)), Some(day));
        assert_eq!(ms(clock.age(HOUR)), 2_000);
        clock.observe(HOUR + day + 7_000, at(7_000));
        assert_eq!(ms(clock.age(HOUR + day + 2_000)), 5_000);
        // And back again; also what was written meanwhile keeps its age.
        assert_eq!(clock.observe(HOUR + 8_000, at(8_000)), Some(-day));
        assert_eq!(ms(clock.age(HOUR)), 8_000);
        assert_eq!(ms(clock.age(HOUR + day + 2_000)), 6_000);
        assert_eq!(ms(clock.age(HOUR + 2 * day)), 0);
    }

    #[test]
    fn a_drift_is_no_jump() {
        let start = Instant::now();
        let mut clock = Clock::new(0, start);
        for second in 1..100_i64 {
            let at = start + Duration::from_secs(second as u64);
            assert_eq!(clock.observe(second * 1_010, at), None);
        }
        assert_eq!(ms(clock.age(0)), 99 * 1_010);
    }

    proptest! {
        /// Whatever is done to the clock, nothing is taken for older than it is.
        #[test]
        fn nothing_is_older_than_it_is(
            steps in proptest::collection::vec(
                (0_i64..50_000, prop_oneof![Just(0_i64), -10 * HOUR..10 * HOUR]),
                1..100,
            ),
        ) {
            let start = Instant::now();
            let (mut wall, mut mono) = (1_000 * HOUR, 0_i64);
            let mut clock = Clock::new(wall, start);
            let mut written = vec![(wall, mono)];
            for (passes, jump) in steps {
                // Jumps that are too small count as drift.
                let jump = if jump.abs() < JUMP_MS { 0 } else { jump };
                mono += passes;
                wall += passes + jump;
                clock.observe(wall, start + Duration::from_millis(mono as u64));
                for (born, when) in &written {
                    let age = ms(clock.age(*born));
                    prop_assert!(age <= mono - when, "{age} of {}", mono - when);
                }
                written.push((wall, mono));
            }
        }
    }
}
