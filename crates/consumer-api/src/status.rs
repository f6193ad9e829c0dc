//! What is said about a consumer: a pure function of what is wanted, what holds it back and what its
//! worker reports. It never calls a consumer ACTIVE that has no assignment or whose sink fails.

use crate::processors::SinkError;
use sluice_model::consumer::{
    ConsumerError, Desired, FailureClass, Observed, ProcessorStatus, Status,
};
use sluice_model::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Failures that are remembered per consumer.
pub const ERRORS_MAX: usize = 50;
/// Bytes of one remembered failure.
const ERROR_BYTES_MAX: usize = 1000;
/// Seconds over which the rate of records is measured.
const RATE_SECONDS: usize = 10;

/// The stage of failures that are no processor's.
pub const KAFKA: &str = "kafka";

/// What a worker is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is no worker.
    #[default]
    Stopped,
    /// It opens sinks, connects and joins its group.
    Starting,
    /// It has an assignment and reads.
    Running,
    /// It has an assignment and does not read, because the user wants so.
    Paused,
    /// It finishes what is in flight.
    Stopping,
}

/// What fails now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `kafka`, or the type of a processor.
    pub stage: String,
    /// What kind of failure it is.
    pub class: FailureClass,
    /// What fails, in words.
    pub message: String,
    /// The shortest wait that the other side asks for.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A failure of Kafka's.
    pub fn kafka(message: impl Into<String>) -> Self {
        Self {
            stage: KAFKA.to_owned(),
            class: FailureClass::Transient,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A failure of a processor.
    pub fn of(stage: &str, error: SinkError) -> Self {
        Self {
            stage: stage.to_owned(),
            class: error.class,
            message: error.message,
            retry_after: error.retry_after,
        }
    }
}

/// What a worker tells about itself.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it is about.
    pub phase: Phase,
    /// What fails now.
    pub fault: Option<Fault>,
    /// Since when phase and fault are as they are.
    pub since: Timestamp,
    /// When it tries again.
    pub next_retry_at: Option<Timestamp>,
    /// Failures since it last worked.
    pub attempts: u32,
    /// Records read since the start.
    pub records: u64,
    /// Bytes read since the start.
    pub bytes: u64,
    /// The processors.
    pub processors: Vec<ProcessorStatus>,
    /// The last failures, newest first.
    pub errors: VecDeque<ConsumerError>,
    /// The next offset to read, by partition.
    pub positions: BTreeMap<(String, i32), i64>,
    /// The ends that Kafka told last, by partition.
    pub ends: BTreeMap<(String, i32), i64>,
    rates: VecDeque<(i64, u64)>,
}

impl Report {
    /// Enters a phase.
    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
    }

    /// Notes a failure; `retry_at` says when the next try is, if that is known.
    pub fn fail(&mut self, fault: Fault, now: Timestamp, retry_at: Option<Timestamp>) {
        let mut message = fault.message.clone();
        let mut cut = ERROR_BYTES_MAX.min(message.len());
        while !message.is_char_boundary(cut) {
            cut -= 1;
        }
        message.truncate(cut);
        if self
            .fault
            .as_ref()
            .is_none_or(|known| known.stage != fault.stage)
        {
            self.since = now;
        }
        self.errors.push_front(ConsumerError {
            at: now,
            stage: fault.stage.clone(),
            class: fault.class,
            message,
        });
        self.errors.truncate(ERRORS_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.next_retry_at = retry_at;
        self.fault = Some(fault);
    }

    /// Notes that what failed works again.
    pub fn recovered(&mut self, now: Timestamp) {
        if self.fault.take().is_some() {
            self.since = now;
            self.next_retry_at = None;
            self.attempts = 0;
        }
    }

    /// Counts what was read.
    pub fn read(&mut self, records: u64, bytes: u64, now: Timestamp) {
        self.records += records;
        self.bytes += bytes;
        let second = now.as_millis() / 1000;
        match self.rates.back_mut() {
            Some((at, count)) if *at == second => *count += records,
            _ => self.rates.push_back((second, records)),
        }
        while self.rates.len() > RATE_SECONDS + 1 {
            self.rates.pop_front();
        }
    }

    /// Records per second over the last whole seconds.
    pub fn rate(&self, now: Timestamp) -> f64 {
        let second = now.as_millis() / 1000;
        let from = second - RATE_SECONDS as i64;
        let recent = self
            .rates
            .iter()
            .filter(|(at, _)| (from..second).contains(at));
        recent.map(|(_, count)| *count).sum::<u64>() as f64 / RATE_SECONDS as f64
    }

    /// Records between what is written and the ends that Kafka told last.
    pub fn lag(&self) -> Option<i64> {
        let behind = self.positions.iter().filter_map(|(partition, position)| {
            self.ends.get(partition).map(|end| (end - position).max(0))
        });
        let known: Vec<i64> = behind.collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }
}

/// What is said first about a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Wanted and working, not wanted, or failing.
    pub status: Status,
    /// What is going on.
    pub observed: Observed,
    /// The same in one sentence.
    pub detail: String,
}

/// The status of a consumer. `hold` says why a wanted worker may not run.
pub fn view(desired: Desired, hold: Option<&str>, report: &Report) -> View {
    let observed = match (report.phase, &report.fault) {
        (Phase::Stopped, _) => Observed::Stopped,
        (Phase::Stopping, _) => Observed::Stopping,
        (_, Some(_)) => Observed::Retrying,
        (Phase::Starting, None) => Observed::Starting,
        (Phase::Running, None) => Observed::Running,
        (Phase::Paused, None) => Observed::Paused,
    };
    let status = match (desired, observed) {
        (Desired::Running, Observed::Running) => Status::Active,
        (Desired::Running, Observed::Retrying) => Status::Error,
        _ => Status::Inactive,
    };
    let detail = match (observed, hold, &report.fault) {
        (Observed::Stopped, Some(reason), _) if desired != Desired::Stopped => reason.to_owned(),
        (Observed::Stopped, _, _) if desired == Desired::Stopped => "stopped".to_owned(),
        (Observed::Stopped, _, _) => "about to start".to_owned(),
        (Observed::Stopping, Some(reason), _) => format!("finishing what is left: {reason}"),
        (Observed::Stopping, None, _) => "finishing what is in flight".to_owned(),
        (Observed::Retrying, _, Some(fault)) => {
            let again = report
                .next_retry_at
                .map(|at| format!("; tries again at {at}"));
            format!(
                "{} fails: {}{}",
                fault.stage,
                fault.message,
                again.unwrap_or_default()
            )
        }
        (Observed::Retrying | Observed::Starting, _, _) => "joining the consumer group".to_owned(),
        (Observed::Paused, _, _) => "paused: in the group, reading nothing".to_owned(),
        (Observed::Running, _, _) => "running".to_owned(),
    };
    View {
        status,
        observed,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn report(phase: Phase, failing: bool) -> Report {
        let mut report = Report::default();
        report.enter(phase, at(1));
        if failing {
            let fault = Fault::of("file_sink", SinkError::transient("disk full"));
            report.fail(fault, at(2), Some(at(1000)));
        }
        report
    }

    #[test]
    fn statuses_of_the_reference_document() {
        use Desired::{Paused, Running, Stopped};
        for (desired, phase, failing, want) in [
            (Running, Phase::Running, false, Status::Active),
            (Running, Phase::Running, true, Status::Error),
            (Running, Phase::Starting, false, Status::Inactive),
            (Running, Phase::Starting, true, Status::Error),
            (Running, Phase::Stopped, false, Status::Inactive),
            (Running, Phase::Stopping, true, Status::Inactive),
            (Paused, Phase::Paused, false, Status::Inactive),
            (Paused, Phase::Paused, true, Status::Inactive),
            (Stopped, Phase::Stopped, false, Status::Inactive),
            (Stopped, Phase::Running, false, Status::Inactive),
        ] {
            assert_eq!(
                view(desired, None, &report(phase, failing)).status,
                want,
                "{desired:?} {phase:?}"
            );
        }
    }

    #[test]
    fn the_detail_names_the_reason_and_the_next_try() {
        let failing = view(Desired::Running, None, &report(Phase::Running, true));
        assert_eq!(
            failing.detail,
            "file_sink fails: disk full; tries again at 1970-01-01T00:00:01.000Z"
        );
        let held = view(
            Desired::Running,
            Some("topic t is inactive"),
            &report(Phase::Stopped, false),
        );
        assert_eq!(
            (held.status, held.detail.as_str()),
            (Status::Inactive, "topic t is inactive")
        );
    }

    #[test]
    fn errors_are_bounded_and_newest_first() {
        let mut report = Report::default();
        for n in 0..60 {
            let message = format!("{n}{}", "ä".repeat(2000));
            report.fail(Fault::kafka(message), at(n), None);
        }
        assert_eq!(report.errors.len(), ERRORS_MAX);
        assert!(report.errors[0].message.starts_with("59"));
        assert!(report.errors[0].message.len() <= ERROR_BYTES_MAX);
        report.recovered(at(99));
        assert_eq!((report.attempts, report.since), (0, at(99)));
    }

    #[test]
    fn the_rate_is_of_the_last_ten_whole_seconds() {
        let mut report = Report::default();
        for second in 0..20 {
            report.read(100, 1, at(second * 1000 + 5));
        }
        assert!((report.rate(at(20_000)) - 100.0).abs() < 0.01);
        assert!(report.rate(at(40_000)).abs() < 0.01);
    }

    proptest! {
        /// ACTIVE means: wanted, has an assignment, nothing fails.
        #[test]
        fn active_never_lies(phase in 0_usize..5, failing: bool, desired in 0_usize..3, held: bool) {
            let phases = [Phase::Stopped, Phase::Starting, Phase::Running, Phase::Paused, Phase::Stopping];
            let wishes = [Desired::Running, Desired::Paused, Desired::Stopped];
            let hold = held.then_some("held");
            let view = view(wishes[desired], hold, &report(phases[phase], failing));
            let works = wishes[desired] == Desired::Running && phases[phase] == Phase::Running && !failing;
            prop_assert_eq!(view.status == Status::Active, works);
            prop_assert!(!view.detail.is_empty());
        }
    }
}
