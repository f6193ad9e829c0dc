//! Why a consumer is not faster, in one sentence.

use super::{Phase, Report};
use sluice_model::time::Timestamp;
use std::time::Duration;

/// A stage that takes this part of the time or more is what everything waits for.
const BOUND: f64 = 0.5;
/// A write that takes this long is said to be stuck.
const LONG_WRITE: Duration = Duration::from_secs(5);

/// The sentence. `hold` says why a wanted worker may not run.
pub fn bottleneck(hold: Option<&str>, report: &Report, now: Timestamp) -> String {
    match (report.phase, &report.fault) {
        (Phase::Stopped, _) => {
            return match hold {
                Some(reason) => format!("not running: {reason}"),
                None => "not running".to_owned(),
            };
        }
        (_, Some(fault)) => return format!("failing: {}: {}", fault.stage, fault.message),
        (Phase::Starting, None) => return "waiting for partitions: joining the group".to_owned(),
        (Phase::Stopping, None) => return "finishing what is in flight".to_owned(),
        (Phase::Paused, None) => return "paused by a user".to_owned(),
        (Phase::Running, None) => {}
    }
    if let Some((stage, since)) = &report.busy
        && since.elapsed() >= LONG_WRITE
    {
        let seconds = since.elapsed().as_secs();
        return format!("sink-bound: {stage} has been writing one batch for {seconds} s");
    }
    if report.partitions == 0 {
        return "waiting for partitions: other members of the group have them all".to_owned();
    }
    let lag = report.lag().unwrap_or_default();
    if lag == 0 {
        return "nothing waits: every record that arrived is written".to_owned();
    }
    let rates = report.rates(now);
    let slowest = rates.writing.iter().enumerate();
    let slowest = slowest.max_by(|a, b| a.1.total_cmp(b.1));
    let at_rate = format!("{lag} records wait at {:.0} records/s", rates.records);
    match slowest {
        Some((place, part)) if *part >= BOUND => {
            let status = report.processors.get(place);
            let name = status.map_or("a processor", |status| status.processor_type.as_str());
            let percent = part * 100.0;
            format!("sink-bound: {name} writes {percent:.0} % of the time; {at_rate}")
        }
        _ if rates.records < 1.0 => format!("fetch-bound: nothing comes from Kafka; {at_rate}"),
        _ => format!("fetch-bound: Kafka delivers slower than the sinks write; {at_rate}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::SinkError;
    use crate::status::Fault;

    fn running(lag: i64) -> Report {
        let mut report = Report::default();
        report.enter(Phase::Running, Timestamp::from_millis(0));
        report.has_processors(["file_sink"].into_iter());
        report.partitions = 1;
        report.positions.insert(("t".into(), 0), 0);
        report.ends.insert(("t".into(), 0), lag);
        report
    }

    #[test]
    fn it_names_the_cause() {
        let now = Timestamp::from_millis(10_000);
        let says = |report: &Report| bottleneck(None, report, now);
        assert!(says(&Report::default()).starts_with("not running"));
        assert!(says(&running(0)).starts_with("nothing waits"));
        assert!(says(&running(5)).starts_with("fetch-bound: nothing comes"));
        let mut slow = running(5);
        for second in 0..10 {
            let at = Timestamp::from_millis(second * 1000);
            slow.wrote(0, 10, Duration::from_millis(900), true, at);
            slow.read(10, 10, at);
        }
        assert!(
            says(&slow).starts_with("sink-bound: file_sink writes 90 % of the time; 5 records")
        );
        let mut failing = running(5);
        let fault = Fault::of("file_sink", SinkError::transient("disk full"));
        failing.fail(fault, now, None);
        assert_eq!(says(&failing), "failing: file_sink: disk full");
        let mut alone = running(0);
        alone.partitions = 0;
        assert!(says(&alone).starts_with("waiting for partitions"));
        let held = bottleneck(Some("topic t is inactive"), &Report::default(), now);
        assert_eq!(held, "not running: topic t is inactive");
    }
}
