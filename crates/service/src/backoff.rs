//! Growing delays between tries, with a bound.

use std::time::Duration;

/// The delay before try number `attempt` (from 1): `first`, doubled each time, at most `max`.
pub fn delay(attempt: u32, first: Duration, max: Duration) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    first.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound() {
        let at = |n| delay(n, Duration::from_secs(1), Duration::from_secs(60)).as_secs();
        assert_eq!(
            [at(0), at(1), at(2), at(3), at(7), at(u32::MAX)],
            [1, 1, 2, 4, 60, 60]
        );
    }
}
