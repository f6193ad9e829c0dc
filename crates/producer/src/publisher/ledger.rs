//! What the publisher counts and times of one topic, for the people who watch it.

use std::time::{Duration, Instant};

/// Time between two measurements of the rates.
pub(super) const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The share of the newest measurement in a rate: what is older fades within some seconds.
const NEWEST: f64 = 0.4;

/// Counters and times of one topic. Delivered, held and in flight are counted where they happen.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Records that were not taken in.
    pub refused: u64,
    /// Records moved to a dead letter.
    pub dead_lettered: u64,
    /// Records thrown away on the admin's word.
    pub discarded: u64,
    /// Milliseconds from hearing of the approval to the first acknowledgement by Kafka.
    pub approve_to_first_delivery_ms: Option<u64>,
    /// Records that come in.
    pub arriving: Rate,
    /// Records that Kafka acknowledges.
    pub leaving: Rate,
    /// When the topic was met.
    pub born: Instant,
    approved: Option<Instant>,
}

impl Ledger {
    /// Of a topic that is met now.
    pub fn new(now: Instant) -> Self {
        Self {
            refused: 0,
            dead_lettered: 0,
            discarded: 0,
            approve_to_first_delivery_ms: None,
            arriving: Rate::new(now),
            leaving: Rate::new(now),
            born: now,
            approved: None,
        }
    }

    /// The approval of the topic was heard.
    pub fn approved(&mut self, now: Instant) {
        self.approved.get_or_insert(now);
        self.approve_to_first_delivery_ms = None;
    }

    /// Kafka acknowledged a record.
    pub fn delivered(&mut self, now: Instant) {
        if let Some(approved) = self.approved.take() {
            let took = now.saturating_duration_since(approved).as_millis();
            self.approve_to_first_delivery_ms = Some(took as u64);
        }
    }
}

/// Records per second, smoothed.
#[derive(Clone, Debug)]
pub struct Rate {
    at: Instant,
    total: u64,
    per_second: Option<f64>,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            at: now,
            total: 0,
            per_second: None,
        }
    }

    /// Measures, by the count of all records so far.
    pub fn measure(&mut self, total: u64, now: Instant) {
        let time = now.saturating_duration_since(self.at).as_secs_f64();
        if time <= 0.0 {
            return;
        }
        let newest = total.saturating_sub(self.total) as f64 / time;
        self.per_second = Some(match self.per_second {
            Some(before) => before + (newest - before) * NEWEST,
            None => newest,
        });
        self.at = now;
        self.total = total;
    }

    /// The rate in whole records.
    pub fn per_second(&self) -> u64 {
        self.per_second.unwrap_or_default().round() as u64
    }

    /// Seconds until so many records are through, if they get through at all.
    pub fn seconds_for(&self, records: u64) -> Option<u64> {
        let rate = self.per_second.filter(|rate| *rate >= 1.0)?;
        Some((records as f64 / rate).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_and_fades() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut rate = Rate::new(start);
        assert_eq!(rate.seconds_for(10), None);
        rate.measure(1000, at(1));
        assert_eq!(rate.per_second(), 1000);
        assert_eq!(rate.seconds_for(2500), Some(3));
        for second in 2..30 {
            rate.measure(1000, at(second));
        }
        assert_eq!(rate.per_second(), 0);
        assert_eq!(rate.seconds_for(2500), None);
        rate.measure(1000, at(29));
        assert_eq!(rate.per_second(), 0);
    }

    #[test]
    fn the_first_delivery_after_an_approval_is_timed_once() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut ledger = Ledger::new(start);
        ledger.delivered(at(1));
        assert_eq!(ledger.approve_to_first_delivery_ms, None);
        ledger.approved(at(10));
        ledger.approved(at(20));
        ledger.delivered(at(35));
        ledger.delivered(at(50));
        assert_eq!(ledger.approve_to_first_delivery_ms, Some(25));
    }
}
