//! Every interleaving of decisions, a reconciler that plans, acts and writes down, a producer, and crashes between
//! any two of these: the real `lifecycle::step` and `reconciler::plan::plan` decide, the checker looks everywhere.
//!
//! Invariants:
//! 1. Nothing is in Kafka that was not approved.
//! 2. A request has one outcome, and who was told of it was told the truth.
//! 3. An active topic is in Kafka.
//! 4. Kafka deletes only what is inactive, after an approved deletion whose commitment came first.
//! 5. Nothing is deleted under a record that is on its way: only after the producer has confirmed the fence.
//! 6. What was committed to deletion never comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use sluice_admin_api::reconciler::plan::{Cluster, Seen, Step, plan};
use sluice_model::lifecycle::{Event, Facts, State as Topic, step};
use sluice_model::time::Timestamp;
use sluice_model::topic::{OnStop, Topic as Row};
use stateright::{Checker as _, Model, Property};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often the topic is fenced at most.
const FENCES: u8 = 2;
/// How often the service dies at most.
const CRASHES: u8 = 2;
/// How long the checker may take.
const TIME: Duration = Duration::from_secs(60);

/// A planned step whose effect and whose writing down are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Planned {
    Create,
    Confirm,
    StartPurge { version: u8 },
    Delete,
    Purged,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    // The database.
    topic: Topic,
    version: u8,
    ever_approved: bool,
    purge_after: bool,
    purge_started: bool,
    // Kafka.
    there: bool,
    // The reconciler's memory: gone with a crash.
    planned: Option<Planned>,
    // The producer: the version of the routes that it heard, what they said, and whether a record is on its way.
    heard: (u8, Topic),
    on_its_way: bool,
    // What callers were told, and what must never happen.
    told: Vec<Event>,
    fences: u8,
    crashes: u8,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Decide(Event),
    ApproveDeletion,
    Plan,
    Act,
    Crash,
    Hear,
    Send,
    Delivered,
}

struct Governance;

fn row(world: &World) -> Row {
    let at = |flag: bool| flag.then(|| Timestamp::from_millis(0));
    Row {
        topic_id: 1,
        topic_name: "t".into(),
        status: world.topic,
        partitions: 1,
        replication_factor: 1,
        configs: BTreeMap::new(),
        created_by: "ben".into(),
        requested_by: "ben".into(),
        owner: None,
        description: String::new(),
        on_stop: OnStop::Hold,
        created_at: Timestamp::from_millis(0),
        approved_at: at(world.ever_approved),
        activated_at: None,
        deactivated_at: None,
        ended_at: None,
        reason: None,
        purge_after: at(world.purge_after),
        purge_started_at: at(world.purge_started),
        change_request_id: None,
        kafka_id: None,
        version: world.version.into(),
        attempts: 0,
        next_attempt_at: None,
        last_problem: None,
        never_delete: false,
    }
}

impl World {
    /// One event in one transaction, by the real step; a refusal changes nothing.
    fn happen(&mut self, event: Event) -> bool {
        let facts = Facts {
            state: self.topic,
            purge_started: self.purge_started,
        };
        let Ok(transition) = step(facts, event, Timestamp::from_millis(1)) else {
            return false;
        };
        if self.purge_started && transition.to != Topic::Deleted {
            self.wrong = Some("what was committed to deletion came back");
        }
        self.topic = transition.to;
        self.ever_approved |= transition.approved_at.is_some();
        self.purge_after &= !transition.clears_purge;
        self.version += 1;
        true
    }

    /// The fence holds: the producer heard this version or a later one, and nothing is on its way.
    fn fenced(&self) -> bool {
        self.heard == (self.version, self.topic) && !self.on_its_way
    }

    fn plan(&self) -> Option<Planned> {
        let seen = Seen {
            partitions: 1,
            replicas: 1,
            led: true,
        };
        let topics = self.there.then(|| ("t".to_owned(), seen));
        let cluster = Cluster {
            brokers: vec![1],
            topics: topics.into_iter().collect(),
        };
        let steps = plan(
            &[row(self)],
            &cluster,
            |_| self.fenced(),
            Timestamp::from_millis(1),
        );
        steps.first().map(|step| match step {
            Step::Create(_) => Planned::Create,
            Step::Confirm(_) | Step::Change(_) => Planned::Confirm,
            Step::StartPurge(topic) => Planned::StartPurge {
                version: u8::try_from(topic.version).unwrap(),
            },
            Step::Delete(_) => Planned::Delete,
            Step::Purged(_) => Planned::Purged,
        })
    }

    fn act(&mut self, planned: Planned) {
        match planned {
            Planned::Create => self.there = true,
            Planned::Confirm => {
                self.happen(Event::Provisioned);
            }
            // As `observe::start_purge`: only if nothing changed since it was planned.
            Planned::StartPurge { version } => {
                if self.version == version && self.topic == Topic::Inactive {
                    self.purge_started = true;
                    self.version += 1;
                }
            }
            Planned::Delete => {
                if self.topic != Topic::Inactive || !self.purge_started || !self.purge_after {
                    self.wrong = Some("deleted without a commitment");
                }
                if self.on_its_way {
                    self.wrong = Some("deleted under a record");
                }
                self.there = false;
            }
            Planned::Purged => {
                self.happen(Event::Purged);
            }
        }
    }
}

impl Model for Governance {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            topic: Topic::Pending,
            version: 1,
            ever_approved: false,
            purge_after: false,
            purge_started: false,
            there: false,
            planned: None,
            heard: (0, Topic::Pending),
            on_its_way: false,
            told: Vec::new(),
            fences: 0,
            crashes: 0,
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let decisions = [
            Event::Approve,
            Event::Reject,
            Event::Withdraw,
            Event::Expire,
            Event::Cancel,
        ];
        actions.extend(decisions.map(Action::Decide));
        if world.fences < FENCES {
            actions.push(Action::Decide(Event::Deactivate));
        }
        actions.push(Action::Decide(Event::Reactivate));
        actions.push(Action::ApproveDeletion);
        actions.push(if world.planned.is_some() {
            Action::Act
        } else {
            Action::Plan
        });
        if world.crashes < CRASHES && world.planned.is_some() {
            actions.push(Action::Crash);
        }
        actions.extend([Action::Hear, Action::Send, Action::Delivered]);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Decide(event) => {
                if !world.happen(event) {
                    return None;
                }
                match event {
                    Event::Approve | Event::Reject | Event::Withdraw | Event::Expire => {
                        world.told.push(event);
                    }
                    Event::Deactivate => world.fences += 1,
                    _ => {}
                }
            }
            Action::ApproveDeletion => {
                if world.topic != Topic::Inactive || world.purge_after {
                    return None;
                }
                world.purge_after = true;
                world.version += 1;
            }
            Action::Plan => world.planned = Some(world.plan()?),
            Action::Act => {
                let planned = world.planned.take()?;
                world.act(planned);
            }
            Action::Crash => {
                world.planned = None;
                world.crashes += 1;
            }
            Action::Hear => world.heard = (world.version, world.topic),
            Action::Send if world.heard.1 == Topic::Active => world.on_its_way = true,
            Action::Send => return None,
            Action::Delivered => world.on_its_way = false,
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "nothing is in Kafka that was not approved",
                |_, world: &World| !world.there || world.ever_approved,
            ),
            Property::always("a request has one outcome", |_, world: &World| {
                world.told.len() <= 1
            }),
            Property::always(
                "who was told was told the truth",
                |_, world: &World| match world.told.first() {
                    Some(Event::Approve) => !matches!(
                        world.topic,
                        Topic::Pending | Topic::Rejected | Topic::Expired
                    ),
                    Some(Event::Reject) => world.topic == Topic::Rejected,
                    Some(Event::Withdraw) => world.topic == Topic::Withdrawn,
                    Some(_) => world.topic == Topic::Expired,
                    None => world.topic == Topic::Pending,
                },
            ),
            Property::always("an active topic is in Kafka", |_, world: &World| {
                world.topic != Topic::Active || world.there
            }),
            Property::always("deletions keep their rules", |_, world: &World| {
                world.wrong.is_none()
            }),
            Property::sometimes("it becomes active", |_, world: &World| {
                world.topic == Topic::Active
            }),
            Property::sometimes("it is deleted after a crash", |_, world: &World| {
                world.topic == Topic::Deleted && world.crashes > 0
            }),
        ]
    }
}

#[test]
fn no_interleaving_breaks_an_invariant() {
    let checker = Governance.checker().timeout(TIME).spawn_bfs().join();
    assert!(checker.is_done(), "the model is too large for its time");
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100, "the model went nowhere");
}
