//! The route table: what the admin API says about topics becomes what happens to their records.

use super::Publisher;
use super::block::TopicId;
use crate::flow::{FlowEvent, step};
use crate::spool::Held;
use sluice_model::lifecycle::State;
use sluice_model::producer::FlowState;
use sluice_model::topic::{Route, Routes};
use std::sync::Arc;
use std::time::Instant;

impl Publisher {
    /// Swaps the whole table.
    pub(super) fn apply_routes(&mut self, routes: Routes) {
        self.table_known = true;
        self.revision = routes.revision;
        self.routes = routes
            .topics
            .into_iter()
            .map(|route| (route.topic_name.clone(), route))
            .collect();
        for id in 0..self.topics.len() {
            let Some(name) = self.topics.get(id).map(|topic| Arc::clone(&topic.name)) else {
                continue;
            };
            // A missing route changes nothing: only an explicit status stops a topic.
            match self.routes.get(&*name).cloned() {
                Some(route) => self.apply_route(id, &route),
                None => {
                    // Whatever was asked for is not there: it is asked for again.
                    if let Some(topic) = self.topics.get_mut(id) {
                        topic.told = false;
                    }
                }
            }
        }
    }

    /// Applies one route to its topic.
    pub(super) fn apply_route(&mut self, id: TopicId, route: &Route) {
        let Some(topic) = self.topics.get(id) else {
            return;
        };
        if topic.topic_id.is_some_and(|known| known != route.topic_id) {
            self.begin_new_life(id);
        }
        self.note_owner(id, route.topic_id);
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        topic.on_stop = route.on_stop;
        let waited = matches!(topic.status, None | Some(State::Pending | State::Approved));
        if waited && matches!(route.status, State::Approved | State::Active) {
            let now = Instant::now();
            if topic.held_records() > 0 || topic.status.is_some() {
                topic.ledger.approved(now);
            }
        }
        topic.status = Some(route.status);
        let next = step(topic.state, FlowEvent::Routed(route.status));
        if next == topic.state {
            return;
        }
        tracing::info!(
            topic.name = route.topic_name,
            topic.id = route.topic_id,
            status = route.status.as_str(),
            "topic is {}",
            next.as_str()
        );
        topic.fence_open = route.status != State::Active;
        topic.has_leaders = false;
        topic.looking = None;
        topic.fresh(Instant::now());
        let was_open = matches!(topic.state, FlowState::Live | FlowState::Draining);
        if was_open {
            // What waits or flies without a copy is kept before the state changes, so that nothing
            // new can overtake it.
            self.spill(id);
        }
        if let Some(topic) = self.topics.get_mut(id) {
            topic.rewind |= was_open;
            topic.state = next;
        }
        self.list(id);
    }

    /// Notes the identity of a topic, also on disk with what is held of it.
    fn note_owner(&mut self, id: TopicId, topic_id: i64) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        if topic.topic_id == Some(topic_id) {
            return;
        }
        topic.topic_id = Some(topic_id);
        let other = |held: &Held| held.meta.topic_id != Some(topic_id);
        let Some(backlog) = topic.backlog.as_ref().filter(|b| other(&b.held)) else {
            return;
        };
        if backlog.held.log.is_being_made() {
            // A round that is under way may be writing the owner.
            self.await_round();
        }
        let topic = self.topics.get_mut(id);
        if let Some(backlog) = topic.and_then(|topic| topic.backlog.as_mut())
            && let Err(error) = backlog.held.set_topic_id(topic_id)
        {
            tracing::warn!(%error, "the log keeps its old owner on disk");
        }
    }

    /// The name was asked for again after its end: what is held belongs to the life that ended.
    fn begin_new_life(&mut self, id: TopicId) {
        self.spill(id);
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        tracing::info!(topic.name = &*topic.name, "the name was asked for again");
        topic.state = FlowState::Unknown;
        topic.has_leaders = false;
        topic.looking = None;
        let on_stop = topic.on_stop;
        if let Some(mut backlog) = topic.backlog.take() {
            backlog.held.log.rewind();
            self.leave(id, backlog, on_stop);
        }
    }
}
