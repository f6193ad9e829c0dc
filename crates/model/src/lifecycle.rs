//! The topic lifecycle: one pure function, total over state and event.
//!
//! ```text
//! pending ──approve──▶ approved ──provisioned──▶ active ◀──reactivate── inactive ──purged──▶ deleted
//!    ├─reject(reason)─▶ rejected   │                 └────deactivate(reason)────▶┘
//!    ├─withdraw───────▶ withdrawn ◀┘ cancel(reason)
//!    └─expire─────────▶ expired
//! ```

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a topic stands. Pending and approved topics do not exist in Kafka yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for; nobody has decided.
    Pending,
    /// A human, or a policy that a human wrote, said yes; Kafka does not serve it yet.
    Approved,
    /// Every partition has a leader: producers route, consumers read.
    Active,
    /// Fenced: producers hold, consumers drain. Kafka keeps the data.
    Inactive,
    /// Removed from Kafka.
    Deleted,
    /// Refused with a reason.
    Rejected,
    /// Taken back by the requester, or cancelled before it was created.
    Withdrawn,
    /// Nobody decided in time.
    Expired,
}

/// Every state, in the order of the lifecycle.
pub const STATES: [State; 8] = [
    State::Pending,
    State::Approved,
    State::Active,
    State::Inactive,
    State::Deleted,
    State::Rejected,
    State::Withdrawn,
    State::Expired,
];

impl State {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Deleted => "deleted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }

    /// An ended topic gives its name free: it can be asked for again, with a new id.
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Deleted | Self::Rejected | Self::Withdrawn | Self::Expired
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no topic status; the statuses are pending, approved, active, inactive, deleted, rejected, withdrawn, expired"
)]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = STATES.iter().find(|state| state.as_str() == text);
        found.copied().ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// What can happen to a topic. The last two are the reconciler's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An approver says yes.
    Approve,
    /// An approver says no, with a reason.
    Reject,
    /// The requester takes the request back.
    Withdraw,
    /// An approver stops an approved topic before it exists.
    Cancel,
    /// The request waited longer than the policy allows.
    Expire,
    /// An approver fences the topic.
    Deactivate,
    /// An approver lifts the fence.
    Reactivate,
    /// Kafka serves the topic as asked, with a leader for every partition.
    Provisioned,
    /// Kafka has no such topic any more.
    Purged,
}

/// Every event.
pub const EVENTS: [Event; 9] = [
    Event::Approve,
    Event::Reject,
    Event::Withdraw,
    Event::Cancel,
    Event::Expire,
    Event::Deactivate,
    Event::Reactivate,
    Event::Provisioned,
    Event::Purged,
];

impl Event {
    /// The verb on the wire, in the audit and in the API's path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Withdraw => "withdraw",
            Self::Cancel => "cancel",
            Self::Expire => "expire",
            Self::Deactivate => "deactivate",
            Self::Reactivate => "reactivate",
            Self::Provisioned => "provisioned",
            Self::Purged => "purged",
        }
    }
}

impl Event {
    /// Whether somebody may ask for it; the others happen by the clock or are the reconciler's.
    pub const fn is_a_decision(self) -> bool {
        !matches!(self, Self::Expire | Self::Provisioned | Self::Purged)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The facts about a topic that a step depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where it stands.
    pub state: State,
    /// The reconciler committed to delete it from Kafka; there is no way back.
    pub purge_started: bool,
}

/// What a step does to the row: the new state, the instants it stamps, and the schedules it clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Set when this step approves.
    pub approved_at: Option<Timestamp>,
    /// Set when this step activates.
    pub activated_at: Option<Timestamp>,
    /// Set when this step fences.
    pub deactivated_at: Option<Timestamp>,
    /// Set when this step ends the row.
    pub ended_at: Option<Timestamp>,
    /// A purge that was scheduled is called off.
    pub clears_purge: bool,
}

/// Why an event cannot happen now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic that is {state} does not take \"{event}\"{}", purge_note(*purge_started))]
pub struct Refusal {
    /// Where the topic stands.
    pub state: State,
    /// What was asked.
    pub event: Event,
    /// Deletion from Kafka has begun.
    pub purge_started: bool,
    /// What would be possible instead.
    pub allowed: Vec<Event>,
}

const fn purge_note(started: bool) -> &'static str {
    if started {
        ": its deletion from Kafka has begun"
    } else {
        ""
    }
}

/// One step of the lifecycle: total over every state and event, without IO.
///
/// # Errors
/// A [`Refusal`] that lists the events which the topic takes now.
pub fn step(facts: Facts, event: Event, now: Timestamp) -> Result<Transition, Refusal> {
    let Some(to) = target(facts, event) else {
        return Err(Refusal {
            state: facts.state,
            event,
            purge_started: facts.purge_started,
            allowed: allowed(facts),
        });
    };
    Ok(Transition {
        from: facts.state,
        to,
        approved_at: (to == State::Approved).then_some(now),
        activated_at: (to == State::Active).then_some(now),
        deactivated_at: (to == State::Inactive).then_some(now),
        ended_at: to.is_ended().then_some(now),
        clears_purge: event == Event::Reactivate,
    })
}

/// The decisions that somebody could make about a topic now.
pub fn decisions(facts: Facts) -> Vec<Event> {
    allowed(facts)
        .into_iter()
        .filter(|event| event.is_a_decision())
        .collect()
}

/// The events that a topic takes now.
pub fn allowed(facts: Facts) -> Vec<Event> {
    EVENTS
        .into_iter()
        .filter(|event| target(facts, *event).is_some())
        .collect()
}

const fn target(facts: Facts, event: Event) -> Option<State> {
    match (facts.state, event) {
        (State::Pending, Event::Approve) => Some(State::Approved),
        (State::Pending, Event::Reject) => Some(State::Rejected),
        (State::Pending, Event::Withdraw) | (State::Approved, Event::Cancel) => {
            Some(State::Withdrawn)
        }
        (State::Pending, Event::Expire) => Some(State::Expired),
        (State::Approved, Event::Provisioned) => Some(State::Active),
        (State::Active, Event::Deactivate) => Some(State::Inactive),
        (State::Inactive, Event::Reactivate) if !facts.purge_started => Some(State::Active),
        (State::Inactive, Event::Purged) if facts.purge_started => Some(State::Deleted),
        _ => None,
    }
}

/// The lifecycle as a Mermaid state diagram, made from [`step`] itself so that it cannot be wrong.
pub fn mermaid() -> String {
    let mut lines = vec![
        "stateDiagram-v2".to_owned(),
        "    [*] --> pending".to_owned(),
    ];
    for state in STATES {
        for event in EVENTS {
            let purging = event == Event::Purged;
            if let Some(to) = target(
                Facts {
                    state,
                    purge_started: purging,
                },
                event,
            ) {
                lines.push(format!("    {state} --> {to}: {event}"));
            }
        }
        if state.is_ended() {
            lines.push(format!("    {state} --> [*]"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1);

    fn go(state: State, event: Event) -> Option<State> {
        step(
            Facts {
                state,
                purge_started: false,
            },
            event,
            NOW,
        )
        .ok()
        .map(|t| t.to)
    }

    #[test]
    fn the_table_is_exactly_the_design() {
        let legal = [
            (State::Pending, Event::Approve, State::Approved),
            (State::Pending, Event::Reject, State::Rejected),
            (State::Pending, Event::Withdraw, State::Withdrawn),
            (State::Pending, Event::Expire, State::Expired),
            (State::Approved, Event::Provisioned, State::Active),
            (State::Approved, Event::Cancel, State::Withdrawn),
            (State::Active, Event::Deactivate, State::Inactive),
            (State::Inactive, Event::Reactivate, State::Active),
        ];
        for state in STATES {
            for event in EVENTS {
                let wanted = legal
                    .iter()
                    .find(|l| (l.0, l.1) == (state, event))
                    .map(|legal| legal.2);
                assert_eq!(go(state, event), wanted, "{state} + {event}");
            }
        }
    }

    #[test]
    fn a_purge_that_began_has_no_way_back() {
        let facts = Facts {
            state: State::Inactive,
            purge_started: true,
        };
        let refusal = step(facts, Event::Reactivate, NOW).unwrap_err();
        assert_eq!(refusal.allowed, vec![Event::Purged]);
        assert_eq!(step(facts, Event::Purged, NOW).unwrap().to, State::Deleted);
    }

    #[test]
    fn refusals_name_what_is_allowed() {
        let facts = Facts {
            state: State::Pending,
            purge_started: false,
        };
        let refusal = step(facts, Event::Deactivate, NOW).unwrap_err();
        assert_eq!(
            refusal.allowed,
            vec![
                Event::Approve,
                Event::Reject,
                Event::Withdraw,
                Event::Expire
            ]
        );
    }

    proptest! {
        /// Whatever happens, nothing leaves an ended state, and active is only reached
        /// through an approval or a reactivation of something that was approved.
        #[test]
        fn every_walk_respects_approval(events in prop::collection::vec(0..EVENTS.len(), 0..40)) {
            let mut facts = Facts { state: State::Pending, purge_started: false };
            let mut approved = false;
            for index in events {
                let event = EVENTS[index];
                let before = facts.state;
                if let Ok(transition) = step(facts, event, NOW) {
                    prop_assert!(!before.is_ended());
                    facts.state = transition.to;
                    approved |= event == Event::Approve;
                }
                if facts.state == State::Inactive && index % 2 == 0 {
                    facts.purge_started = true;
                }
                if matches!(facts.state, State::Active | State::Inactive) {
                    prop_assert!(approved);
                }
            }
        }
    }
}
