//! What should happen to a consumer: a pure function of its row and the catalogue.

use crate::catalogue::Snapshot;
use crate::store::consumers::Row;
use sluice_model::consumer::Desired;
use sluice_model::lifecycle::State;

/// What should happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// No worker.
    Idle {
        /// Why, when it is wanted.
        hold: Option<String>,
        /// Whether a worker reads to the end first.
        drain: bool,
    },
    /// A worker for these topics (with their ids).
    Work {
        /// Whether it reads nothing.
        pause: bool,
        /// The topics that may be read now.
        topics: Vec<(String, i64)>,
    },
}

/// Decides. `governed` is none when the row's cluster is not configured any more.
pub(super) fn plan(row: &Row, governed: Option<bool>, snapshot: &Snapshot) -> Plan {
    let idle = |hold: Option<String>, drain| Plan::Idle { hold, drain };
    if row.desired == Desired::Stopped {
        return idle(None, false);
    }
    if row.processors.is_empty() {
        return idle(Some("it has no processors".to_owned()), false);
    }
    let pause = row.desired == Desired::Paused;
    match governed {
        None => idle(
            Some(format!(
                "the cluster {} is not configured any more",
                row.cluster
            )),
            false,
        ),
        Some(false) => Plan::Work {
            pause,
            topics: row.topics.iter().map(|t| (t.clone(), 0)).collect(),
        },
        Some(true) => {
            let active = row.topics.iter().filter(|topic| snapshot.is_active(topic));
            let topics: Vec<_> = active
                .map(|topic| (topic.clone(), snapshot.topic_id(topic)))
                .collect();
            if topics.is_empty() {
                let drain = row
                    .topics
                    .iter()
                    .any(|t| snapshot.state(t) == Some(State::Inactive));
                idle(Some(reason(row, snapshot)), drain)
            } else {
                Plan::Work { pause, topics }
            }
        }
    }
}

/// What is planned, unless the configuration refuses a topic of a cluster that nobody governs: it may
/// have changed since the consumer was created.
pub(super) fn confined(planned: Plan, refused: Option<&String>) -> Plan {
    match (&planned, refused) {
        (Plan::Work { .. }, Some(topic)) => Plan::Idle {
            hold: Some(format!(
                "the configuration does not let topic {topic} be read any more"
            )),
            drain: false,
        },
        _ => planned,
    }
}

fn reason(row: &Row, snapshot: &Snapshot) -> String {
    if !snapshot.known() {
        return "waits for the admin API to say which topics are active".to_owned();
    }
    let say = |topic: &String| match snapshot.state(topic) {
        Some(state) => format!("topic {topic} is {}", state.as_str()),
        None => format!("topic {topic} is not known"),
    };
    row.topics.iter().map(say).collect::<Vec<_>>().join(", ")
}

/// Whether a worker of one row does what the other row wants, the order apart.
pub(super) fn same_work(a: &Row, b: &Row) -> bool {
    let processors = |row: &Row| {
        let parts = row
            .processors
            .iter()
            .map(|p| (p.id.clone(), p.config.clone()));
        parts.collect::<Vec<_>>()
    };
    a.cluster == b.cluster
        && a.policies == b.policies
        && a.consumer_group == b.consumer_group
        && a.client_id == b.client_id
        && processors(a) == processors(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::consumer::Processor;
    use sluice_model::time::Timestamp;
    use sluice_model::topic::{OnStop, Route};

    fn row(desired: Desired, processors: usize) -> Row {
        let at = Timestamp::from_millis(0);
        let processor = Processor {
            id: "p".into(),
            processor_type: "file_sink".into(),
            config: serde_json::Map::new(),
            created_at: at,
            updated_at: at,
        };
        Row {
            seq: 1,
            id: "c".into(),
            cluster: "governed".into(),
            broker_ip: "h".into(),
            broker_port: 1,
            topics: vec!["a".into(), "b".into()],
            consumer_group: "g".into(),
            client_id: None,
            auto_start: true,
            owner: "o".into(),
            desired,
            generation: 1,
            processors: vec![processor; processors],
            policies: sluice_model::consumer::Policies::default(),
            created_at: at,
            updated_at: at,
        }
    }

    fn snapshot(states: &[(&str, State)]) -> Snapshot {
        let route = |(name, status): &(&str, State)| {
            let on_stop = OnStop::default();
            let topic_name = (*name).to_owned();
            let route = Route {
                topic_id: 5,
                topic_name,
                status: *status,
                partitions: 1,
                on_stop,
            };
            ((*name).to_owned(), route)
        };
        let topics = states.iter().map(route).collect();
        Snapshot {
            revision: Some("e-1".into()),
            topics,
            active: Vec::new(),
        }
    }

    fn idle(hold: &str, drain: bool) -> Plan {
        Plan::Idle {
            hold: Some(hold.to_owned()),
            drain,
        }
    }

    #[test]
    fn only_what_is_wanted_and_active_runs() {
        use Desired::{Paused, Running, Stopped};
        let none = Snapshot::default();
        let half = snapshot(&[("a", State::Active), ("b", State::Pending)]);
        let fenced = snapshot(&[("a", State::Inactive), ("b", State::Deleted)]);
        let work = |pause| Plan::Work {
            pause,
            topics: vec![("a".to_owned(), 5)],
        };
        for (row, governed, snapshot, want) in [
            (
                row(Stopped, 1),
                Some(true),
                &half,
                Plan::Idle {
                    hold: None,
                    drain: false,
                },
            ),
            (
                row(Running, 0),
                Some(true),
                &half,
                idle("it has no processors", false),
            ),
            (row(Running, 1), Some(true), &half, work(false)),
            (row(Paused, 1), Some(true), &half, work(true)),
            (
                row(Running, 1),
                Some(true),
                &fenced,
                idle("topic a is inactive, topic b is deleted", true),
            ),
            (
                row(Running, 1),
                Some(true),
                &none,
                idle(
                    "waits for the admin API to say which topics are active",
                    false,
                ),
            ),
            (
                row(Running, 1),
                None,
                &half,
                idle("the cluster governed is not configured any more", false),
            ),
        ] {
            assert_eq!(plan(&row, governed, snapshot), want);
        }
        let other = plan(&row(Running, 1), Some(false), &none);
        assert_eq!(
            other,
            Plan::Work {
                pause: false,
                topics: vec![("a".into(), 0), ("b".into(), 0)]
            }
        );
    }
}
