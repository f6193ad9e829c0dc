//! What the admin API says about topics and subscriptions, in memory: the last word stays good while
//! the admin API is down.

use serde::{Deserialize, Serialize};
use sluice_model::lifecycle::State;
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::{ActiveTopic, Route};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// Users whose last change is remembered; beyond it all of them count as changed.
const USERS_MAX: usize = 10_000;

/// The topics at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The admin API's revision; none before the first answer.
    pub revision: Option<String>,
    /// The newest topic of every name.
    pub topics: BTreeMap<String, Route>,
    /// The active topics, as the admin API describes them.
    pub active: Vec<ActiveTopic>,
}

impl Snapshot {
    /// Whether the admin API was ever heard.
    pub fn known(&self) -> bool {
        self.revision.is_some()
    }

    /// Where a topic stands; none when nobody asked for it.
    pub fn state(&self, topic: &str) -> Option<State> {
        self.topics.get(topic).map(|route| route.status)
    }

    /// Whether a topic may be read.
    pub fn is_active(&self, topic: &str) -> bool {
        self.state(topic) == Some(State::Active)
    }

    /// The id of a topic.
    pub fn topic_id(&self, topic: &str) -> i64 {
        self.topics.get(topic).map_or(0, |route| route.topic_id)
    }

    /// Why a topic cannot be read now, with the way out.
    pub fn refusal(&self, topic: &str) -> Option<Problem> {
        if !self.known() {
            let detail =
                "the admin API has not answered yet, so it is not known which topics are active";
            return Some(Problem::new(Code::Unavailable, detail).retry_after(1));
        }
        let (code, words) = match self.state(topic) {
            Some(State::Active) => return None,
            None => (
                Code::UnknownTopic,
                "was never asked for; ask for it with POST /api/topics of the admin API",
            ),
            Some(State::Pending) => (
                Code::TopicPending,
                "waits for its approval; try again after it",
            ),
            Some(State::Approved) => (
                Code::TopicNotActive,
                "is approved and being created in Kafka; try again in a moment",
            ),
            Some(State::Inactive) => (
                Code::TopicNotActive,
                "is inactive; an approver can reactivate it",
            ),
            Some(State::Rejected) => (
                Code::TopicRejected,
                "was rejected; it can be asked for again",
            ),
            Some(State::Withdrawn) => (
                Code::TopicWithdrawn,
                "was withdrawn; it can be asked for again",
            ),
            Some(State::Expired) => (
                Code::TopicExpired,
                "was not decided in time; it can be asked for again",
            ),
            Some(State::Deleted) => (Code::TopicDeleted, "was deleted; it can be asked for again"),
        };
        Some(Problem::new(code, format!("topic {topic} {words}")))
    }
}

/// How often each user's subscriptions have changed since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    everybody: u64,
    users: HashMap<String, u64>,
}

impl Changes {
    /// A number that changes when the user's subscriptions may have.
    pub fn of(&self, user: &str) -> (u64, u64) {
        (
            self.everybody,
            self.users.get(user).copied().unwrap_or_default(),
        )
    }
}

/// The live catalogue. Clones share it.
#[derive(Clone, Debug)]
pub struct Catalogue {
    topics: watch::Sender<Arc<Snapshot>>,
    changes: watch::Sender<Changes>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            topics: watch::Sender::new(Arc::default()),
            changes: watch::Sender::new(Changes::default()),
        }
    }
}

impl Catalogue {
    /// The topics now.
    pub fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.topics.borrow())
    }

    /// Follows the topics.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.topics.subscribe()
    }

    /// Replaces the topics.
    pub fn put(&self, snapshot: Snapshot) {
        self.topics.send_if_modified(|known| {
            let changed = **known != snapshot;
            if changed {
                *known = Arc::new(snapshot);
            }
            changed
        });
    }

    /// Follows the subscriptions.
    pub fn watch_changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Notes that a user's subscriptions changed, or everybody's may have.
    pub fn touch(&self, user: Option<&str>) {
        self.changes.send_modify(|changes| match user {
            Some(user) if changes.users.len() < USERS_MAX || changes.users.contains_key(user) => {
                *changes.users.entry(user.to_owned()).or_default() += 1;
            }
            _ => {
                changes.everybody += 1;
                changes.users.clear();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, status: State) -> (String, Route) {
        let on_stop = sluice_model::topic::OnStop::default();
        let route = Route {
            topic_id: 1,
            topic_name: name.into(),
            status,
            partitions: 1,
            on_stop,
        };
        (name.to_owned(), route)
    }

    #[test]
    fn every_state_but_active_is_refused_with_its_own_code() {
        let mut snapshot = Snapshot::default();
        assert_eq!(snapshot.refusal("a").unwrap().status, 503);
        snapshot.revision = Some("e-1".into());
        assert_eq!(snapshot.refusal("a").unwrap().code, "unknown_topic");
        for state in sluice_model::lifecycle::STATES {
            snapshot.topics = BTreeMap::from([route("a", state)]);
            let refusal = snapshot.refusal("a");
            assert_eq!(refusal.is_none(), state == State::Active);
            assert!(
                refusal.is_none_or(
                    |problem| problem.status == 409 && problem.detail.contains("topic a")
                )
            );
        }
    }

    #[test]
    fn a_change_of_one_user_is_only_seen_by_that_user() {
        let catalogue = Catalogue::default();
        let watch = catalogue.watch_changes();
        let (ana, ben) = (watch.borrow().of("ana"), watch.borrow().of("ben"));
        catalogue.touch(Some("ana"));
        assert_ne!(watch.borrow().of("ana"), ana);
        assert_eq!(watch.borrow().of("ben"), ben);
        catalogue.touch(None);
        assert_ne!(watch.borrow().of("ben"), ben);
    }
}
