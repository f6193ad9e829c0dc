//! What is said about a consumer: a pure function of what is wanted, what holds it back and what its
//! worker reports. It never calls a consumer ACTIVE that has no assignment or whose sink fails.

mod bottleneck;
mod figures;

use crate::processors::SinkError;
pub use bottleneck::bottleneck;
use figures::{Figures, Rates};
use sluice_model::consumer::{
    ConsumerError, Desired, FailureClass, Gap, Observed, ProcessorStatus, Status,
};
use sluice_model::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Failures that are remembered per consumer.
pub const ERRORS_MAX: usize = 50;
/// Bytes of one remembered failure.
const ERROR_BYTES_MAX: usize = 1000;
/// A write that takes longer than this is no work any more: the sink is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

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
    /// The generation of the consumer that the worker works by; 0: there is no worker.
    pub generation: i64,
    /// Partitions that are assigned.
    pub partitions: usize,
    /// The processor that is writing now, and since when.
    pub busy: Option<(String, Instant)>,
    figures: Figures,
}

impl Report {
    /// Enters a phase.
    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
    }

    /// Remembers something that went wrong, without a failure now.
    pub fn note(&mut self, fault: Fault, gap: Option<Gap>, now: Timestamp) {
        let mut message = fault.message;
        let mut cut = ERROR_BYTES_MAX.min(message.len());
        while !message.is_char_boundary(cut) {
            cut -= 1;
        }
        message.truncate(cut);
        self.errors.push_front(ConsumerError {
            at: now,
            stage: fault.stage,
            class: fault.class,
            message,
            gap,
        });
        self.errors.truncate(ERRORS_MAX);
    }

    /// Notes a failure; `retry_at` says when the next try is, if that is known.
    pub fn fail(&mut self, fault: Fault, now: Timestamp, retry_at: Option<Timestamp>) {
        let same = |known: &Fault| known.stage == fault.stage;
        if !self.fault.as_ref().is_some_and(same) {
            self.since = now;
        }
        self.note(fault.clone(), None, now);
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

    /// Notes that no sink fails.
    pub fn sinks_recovered(&mut self, now: Timestamp) {
        let sinks = |fault: &Fault| fault.stage != KAFKA;
        if self.fault.as_ref().is_some_and(sinks) {
            self.recovered(now);
        }
    }

    /// Counts what was read.
    pub fn read(&mut self, records: u64, bytes: u64, now: Timestamp) {
        self.records += records;
        self.bytes += bytes;
        self.figures.read(records, bytes, now);
    }

    /// Names the processors; their figures stay when they are the same ones.
    pub fn has_processors<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let names: Vec<&str> = names.collect();
        let known = self.processors.iter().map(|p| p.processor_type.as_str());
        if !known.eq(names.iter().copied()) {
            self.processors = names.into_iter().map(fresh).collect();
        }
    }

    /// Counts a write of a processor, good or not.
    pub fn wrote(
        &mut self,
        place: usize,
        records: u64,
        took: Duration,
        good: bool,
        now: Timestamp,
    ) {
        self.figures.wrote(place, took, now);
        let Some(status) = self.processors.get_mut(place) else {
            return;
        };
        status.last_batch_ms = took.as_secs_f64() * 1000.0;
        if good {
            status.records += records;
            status.batches += 1;
        } else {
            status.failures += 1;
        }
        self.figures.latencies(place, status);
    }

    /// Counts a dead letter of a processor.
    pub fn buried(&mut self, place: usize, fault: Fault, record: &str, now: Timestamp) {
        if let Some(status) = self.processors.get_mut(place) {
            status.dead_letters += 1;
        }
        let message = format!("{record} became a dead letter: {}", fault.message);
        self.note(Fault { message, ..fault }, None, now);
    }

    /// Figures per second.
    pub fn rates(&self, now: Timestamp) -> Rates {
        self.figures.rates(now)
    }

    /// Dead letters since the start.
    pub fn dead_letters(&self) -> u64 {
        self.processors
            .iter()
            .map(|status| status.dead_letters)
            .sum()
    }

    /// How long a write has taken that should have ended.
    fn stuck(&self) -> Option<(&str, Duration)> {
        let (stage, since) = self.busy.as_ref()?;
        let took = since.elapsed();
        (took >= STUCK_AFTER).then_some((stage, took))
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

/// What is said about a processor that has done nothing yet.
pub fn fresh(name: &str) -> ProcessorStatus {
    ProcessorStatus {
        processor_type: name.to_owned(),
        ..ProcessorStatus::default()
    }
}

/// What is said first about a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Wanted and working, not wanted, or failing.
    pub status: Status,
    /// What is going on.
    pub observed: Observed,
    /// The same in one word, for programs.
    pub reason: &'static str,
    /// The same in one sentence.
    pub detail: String,
}

/// The status of a consumer. `hold` says why a wanted worker may not run.
pub fn view(desired: Desired, hold: Option<&str>, report: &Report) -> View {
    let observed = match (report.phase, &report.fault) {
        (Phase::Stopped, _) => Observed::Stopped,
        (Phase::Stopping, _) => Observed::Stopping,
        (_, Some(_)) => Observed::Retrying,
        (Phase::Running, None) if report.stuck().is_some() => Observed::Retrying,
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
        (Observed::Stopped, None, Some(fault)) => format!("stepped back: {}", fault.message),
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
        (Observed::Retrying, _, None) => {
            report.stuck().map_or_else(String::new, |(stage, took)| {
                format!("{stage} has not answered for {} s", took.as_secs())
            })
        }
        (Observed::Starting, _, _) => "joining the consumer group".to_owned(),
        (Observed::Paused, _, _) => "paused: in the group, reading nothing".to_owned(),
        (Observed::Running, _, _) => "running".to_owned(),
    };
    View {
        status,
        observed,
        reason: reason(desired, observed, hold, report),
        detail,
    }
}

fn reason(
    desired: Desired,
    observed: Observed,
    hold: Option<&str>,
    report: &Report,
) -> &'static str {
    match (observed, &report.fault) {
        (Observed::Stopped, _) if desired == Desired::Stopped => "stopped",
        (Observed::Stopped, Some(fault)) if hold.is_none() => fault.class.as_str(),
        (Observed::Stopped, _) => "held",
        (Observed::Stopping, _) => "stopping",
        (Observed::Retrying, Some(fault)) => fault.class.as_str(),
        (Observed::Retrying, None) => "stuck",
        (Observed::Starting, _) => "starting",
        (Observed::Paused, _) => "paused",
        (Observed::Running, _) => "running",
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
