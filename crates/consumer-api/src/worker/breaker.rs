//! The circuit breaker of dead letters: when too many of the last records are refused, it is not the
//! records that are wrong, and going on would drain the topic into the dead letters.

use std::collections::VecDeque;

/// The longest window, in records.
pub const WINDOW_MAX: u64 = 1_000_000;

/// Counts records and the dead ones among the last of them. Records are numbered, so that a window of
/// any length costs only its dead letters.
#[derive(Debug)]
pub struct Breaker {
    max: u64,
    window: u64,
    seen: u64,
    dead: VecDeque<u64>,
    tripped: bool,
}

impl Breaker {
    /// Allows `max` dead letters among the last `window` records.
    pub fn new(max: u64, window: u64) -> Self {
        Self {
            max,
            window,
            seen: 0,
            dead: VecDeque::new(),
            tripped: false,
        }
    }

    /// Notes records that were taken. A tripped breaker closes: it works again.
    pub fn good(&mut self, records: u64) {
        self.seen += records;
        self.tripped = false;
        self.forget();
    }

    /// Whether one more record may become a dead letter. Once it may not, nothing may until a record is
    /// taken or a user says so.
    pub fn allows(&mut self) -> bool {
        self.forget();
        self.tripped = self.tripped || self.dead.len() as u64 >= self.max;
        !self.tripped
    }

    /// Notes a dead letter.
    pub fn bad(&mut self) {
        self.seen += 1;
        self.dead.push_back(self.seen);
    }

    /// Starts anew, because a user said so.
    pub fn reset(&mut self) {
        self.dead.clear();
        self.tripped = false;
    }

    /// The rule, in words.
    pub fn rule(&self) -> String {
        format!(
            "more than {} of the last {} records would be dead letters",
            self.max, self.window
        )
    }

    fn forget(&mut self) {
        let first = self.seen.saturating_sub(self.window);
        while self.dead.front().is_some_and(|at| *at <= first) {
            self.dead.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_opens_at_the_limit_and_closes_when_a_record_is_taken_or_a_user_says_so() {
        let mut breaker = Breaker::new(2, 10);
        for _ in 0..2 {
            assert!(breaker.allows());
            breaker.bad();
        }
        assert!(!breaker.allows());
        breaker.good(1);
        assert!(!breaker.allows(), "the two are still among the last ten");
        breaker.good(10);
        assert!(breaker.allows(), "they are out of the window");
        let mut none = Breaker::new(0, 10);
        assert!(!none.allows(), "no dead letter is allowed at all");
        breaker.bad();
        breaker.bad();
        assert!(!breaker.allows());
        breaker.reset();
        assert!(breaker.allows());
    }

    proptest! {
        /// No window of the last records ever holds more dead letters than allowed.
        #[test]
        fn no_window_holds_more_than_the_limit(
            max in 0_u64..5, window in 1_u64..20,
            steps in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut breaker = Breaker::new(max, window);
            let mut history = Vec::new();
            for good in steps {
                if good {
                    breaker.good(1);
                    history.push(false);
                } else if breaker.allows() {
                    breaker.bad();
                    history.push(true);
                }
                let from = history.len().saturating_sub(usize::try_from(window).unwrap());
                let dead = history[from..].iter().filter(|dead| **dead).count() as u64;
                prop_assert!(dead <= max, "{dead} of the last {window}");
            }
        }
    }
}
