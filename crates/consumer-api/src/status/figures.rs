//! Rates, latencies and where the time goes, over the last seconds.

use sluice_model::consumer::ProcessorStatus;
use sluice_model::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Seconds over which rates are measured.
const WINDOW_SECONDS: i64 = 10;
/// Batches whose latencies are remembered per processor.
const LATENCIES: usize = 256;

/// One second.
#[derive(Clone, Debug, Default)]
struct Second {
    at: i64,
    records: u64,
    bytes: u64,
    writing: Vec<Duration>,
}

/// Figures over the last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    seconds: VecDeque<Second>,
    latencies: Vec<VecDeque<f64>>,
}

/// Figures per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Records.
    pub records: f64,
    /// Bytes of their keys, values and headers.
    pub bytes: f64,
    /// The part of the time that each processor writes, from 0 to 1.
    pub writing: Vec<f64>,
}

impl Figures {
    fn second(&mut self, now: Timestamp) -> &mut Second {
        let at = now.as_millis().div_euclid(1000);
        if self.seconds.back().is_none_or(|last| last.at != at) {
            self.seconds.push_back(Second {
                at,
                ..Second::default()
            });
        }
        while self.seconds.len() as i64 > WINDOW_SECONDS + 1 {
            self.seconds.pop_front();
        }
        let last = self.seconds.len() - 1;
        &mut self.seconds[last]
    }

    /// Counts what was read.
    pub(super) fn read(&mut self, records: u64, bytes: u64, now: Timestamp) {
        let second = self.second(now);
        second.records += records;
        second.bytes += bytes;
    }

    /// Counts the time of a write.
    pub(super) fn wrote(&mut self, place: usize, took: Duration, now: Timestamp) {
        let second = self.second(now);
        if second.writing.len() <= place {
            second.writing.resize(place + 1, Duration::ZERO);
        }
        second.writing[place] += took;
        if self.latencies.len() <= place {
            self.latencies.resize(place + 1, VecDeque::new());
        }
        let latencies = &mut self.latencies[place];
        latencies.push_back(took.as_secs_f64() * 1000.0);
        if latencies.len() > LATENCIES {
            latencies.pop_front();
        }
    }

    /// The rates over the last whole seconds.
    pub(super) fn rates(&self, now: Timestamp) -> Rates {
        let to = now.as_millis().div_euclid(1000);
        let recent = self
            .seconds
            .iter()
            .filter(|second| (to - WINDOW_SECONDS..to).contains(&second.at));
        let mut rates = Rates::default();
        for second in recent {
            rates.records += second.records as f64 / WINDOW_SECONDS as f64;
            rates.bytes += second.bytes as f64 / WINDOW_SECONDS as f64;
            if rates.writing.len() < second.writing.len() {
                rates.writing.resize(second.writing.len(), 0.0);
            }
            for (sum, took) in rates.writing.iter_mut().zip(&second.writing) {
                *sum += took.as_secs_f64() / WINDOW_SECONDS as f64;
            }
        }
        rates
    }

    /// Writes the latencies of a processor into what is said about it.
    pub(super) fn latencies(&self, place: usize, status: &mut ProcessorStatus) {
        let Some(known) = self.latencies.get(place).filter(|known| !known.is_empty()) else {
            return;
        };
        let mut sorted: Vec<f64> = known.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len() - 1;
        status.p50_ms = sorted[last / 2];
        status.p99_ms = sorted[last * 99 / 100];
        status.max_ms = sorted[last];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn the_rate_is_of_the_last_ten_whole_seconds() {
        let mut figures = Figures::default();
        for second in 0..20 {
            figures.read(100, 1000, at(second * 1000 + 5));
            figures.wrote(1, Duration::from_millis(250), at(second * 1000 + 6));
        }
        let rates = figures.rates(at(20_000));
        assert!((rates.records - 100.0).abs() < 0.01 && (rates.bytes - 1000.0).abs() < 0.01);
        assert!((rates.writing[1] - 0.25).abs() < 0.01 && rates.writing[0].abs() < 0.01);
        assert!(figures.rates(at(40_000)).records.abs() < 0.01);
    }

    #[test]
    fn latencies_are_of_the_last_batches() {
        let mut figures = Figures::default();
        for ms in 0..1000 {
            figures.wrote(0, Duration::from_millis(ms), at(5));
        }
        let mut status = ProcessorStatus::default();
        figures.latencies(0, &mut status);
        assert!(status.p50_ms > 850.0 && status.p99_ms > 980.0 && status.max_ms > 998.0);
        assert!(status.p50_ms < status.p99_ms && status.p99_ms < status.max_ms);
        figures.latencies(7, &mut status);
    }
}
