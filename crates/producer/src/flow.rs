//! What a topic's status means for its records: one pure function over state and event, and one for
//! the verdict on a new record.

use sluice_model::lifecycle::State;
use sluice_model::problem::Code;
use sluice_model::producer::FlowState;

/// What happens to the flow of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// The admin API said where the topic stands.
    Routed(State),
    /// The backlog is handed to Kafka to the last record, and Kafka's metadata shows every leader.
    HeadMetTail,
    /// Kafka does not acknowledge in time, or says that it cannot take records now.
    Stuck,
    /// Everything that was handed to Kafka came back, acknowledged or not.
    Returned,
}

/// The state after an event. Total: what means nothing in a state leaves it as it is.
pub const fn step(state: FlowState, event: FlowEvent) -> FlowState {
    match event {
        FlowEvent::Routed(State::Pending | State::Approved) => FlowState::Pending,
        FlowEvent::Routed(State::Inactive) => FlowState::Inactive,
        FlowEvent::Routed(State::Deleted | State::Rejected | State::Withdrawn | State::Expired) => {
            FlowState::Rejected
        }
        FlowEvent::Routed(State::Active) => match state {
            FlowState::Live | FlowState::Draining | FlowState::Paused => state,
            FlowState::Unknown | FlowState::Pending | FlowState::Inactive | FlowState::Rejected => {
                FlowState::Draining
            }
        },
        FlowEvent::HeadMetTail => match state {
            FlowState::Draining => FlowState::Live,
            other => other,
        },
        FlowEvent::Stuck => match state {
            FlowState::Live | FlowState::Draining => FlowState::Paused,
            other => other,
        },
        FlowEvent::Returned => match state {
            FlowState::Paused => FlowState::Draining,
            other => other,
        },
    }
}

/// What is done with a new record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Straight to Kafka.
    Send,
    /// Behind what is held already.
    Hold,
    /// Not taken.
    Refuse(Code),
}

/// The verdict on a record of a topic. `status` is what the admin API said last, if ever;
/// `hold_unknown` is whether records of names that nobody has asked for are kept.
pub const fn verdict(state: FlowState, status: Option<State>, hold_unknown: bool) -> Verdict {
    match state {
        FlowState::Live => Verdict::Send,
        FlowState::Pending | FlowState::Draining | FlowState::Paused | FlowState::Inactive => {
            Verdict::Hold
        }
        FlowState::Unknown if hold_unknown => Verdict::Hold,
        FlowState::Unknown => Verdict::Refuse(Code::UnknownTopic),
        FlowState::Rejected => Verdict::Refuse(match status {
            Some(State::Rejected) => Code::TopicRejected,
            Some(State::Withdrawn) => Code::TopicWithdrawn,
            Some(State::Expired) => Code::TopicExpired,
            Some(State::Deleted) => Code::TopicDeleted,
            Some(State::Pending | State::Approved | State::Active | State::Inactive) | None => {
                Code::TopicNotActive
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sluice_model::lifecycle::STATES;

    const FLOWS: [FlowState; 7] = [
        FlowState::Unknown,
        FlowState::Pending,
        FlowState::Draining,
        FlowState::Live,
        FlowState::Paused,
        FlowState::Inactive,
        FlowState::Rejected,
    ];

    #[test]
    fn nothing_is_live_before_its_backlog_is_drained() {
        for state in FLOWS.into_iter().filter(|state| *state != FlowState::Live) {
            for status in STATES {
                assert_ne!(step(state, FlowEvent::Routed(status)), FlowState::Live);
            }
            let live = step(state, FlowEvent::HeadMetTail) == FlowState::Live;
            assert_eq!(live, state == FlowState::Draining);
            assert_ne!(step(state, FlowEvent::Returned), FlowState::Live);
        }
    }

    #[test]
    fn only_an_explicit_status_stops_a_topic() {
        for state in [FlowState::Live, FlowState::Draining, FlowState::Paused] {
            for event in [
                FlowEvent::HeadMetTail,
                FlowEvent::Stuck,
                FlowEvent::Returned,
            ] {
                let next = step(state, event);
                assert!(!matches!(next, FlowState::Inactive | FlowState::Rejected));
            }
            assert_eq!(step(state, FlowEvent::Routed(State::Active)), state);
            assert_eq!(
                step(state, FlowEvent::Routed(State::Inactive)),
                FlowState::Inactive
            );
        }
    }

    #[test]
    fn stopped_topics_say_which_end_they_met() {
        for (status, code) in [
            (State::Rejected, Code::TopicRejected),
            (State::Withdrawn, Code::TopicWithdrawn),
            (State::Expired, Code::TopicExpired),
            (State::Deleted, Code::TopicDeleted),
        ] {
            let state = step(FlowState::Live, FlowEvent::Routed(status));
            assert_eq!(verdict(state, Some(status), true), Verdict::Refuse(code));
        }
        assert_eq!(verdict(FlowState::Inactive, None, false), Verdict::Hold);
        assert_eq!(
            verdict(FlowState::Unknown, None, false),
            Verdict::Refuse(Code::UnknownTopic)
        );
    }

    fn event() -> impl Strategy<Value = FlowEvent> {
        prop_oneof![
            proptest::sample::select(STATES.to_vec()).prop_map(FlowEvent::Routed),
            Just(FlowEvent::HeadMetTail),
            Just(FlowEvent::Stuck),
            Just(FlowEvent::Returned),
        ]
    }

    proptest! {
        #[test]
        fn records_are_sent_only_while_the_last_status_is_active(
            events in proptest::collection::vec(event(), 0..40)
        ) {
            let (mut state, mut status) = (FlowState::Unknown, None);
            for event in events {
                if let FlowEvent::Routed(now) = event {
                    status = Some(now);
                }
                state = step(state, event);
                if verdict(state, status, true) == Verdict::Send {
                    prop_assert_eq!(status, Some(State::Active));
                }
            }
        }
    }
}
