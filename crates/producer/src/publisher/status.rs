//! How everything stands, from one moment: the answer of `/status`, and heartbeats.

use super::Publisher;
use super::clock::Clock;
use super::ledger::MEASURE_EVERY;
use super::topic::Topic;
use crate::batch::Ticket;
use crate::channels::{Note, Reply, Stranger};
use crate::flow::{FlowEvent, step};
use sluice_model::producer::{
    FlowState, Heartbeat, HeldTopic, ProducerStatus, SpoolStatus, TopicFlow,
};
use sluice_model::topic::{DESCRIPTION_CHARS_MAX, Route};
use std::time::Instant;

impl Publisher {
    /// Answers a question about the status.
    pub(super) fn answer_status(&mut self, ticket: Ticket) {
        let status = self.status();
        self.reply(Reply::Status(ticket, Box::new(status)));
    }

    /// The status. What is on its way to the disk is not accepted yet, and counts nowhere.
    fn status(&mut self) -> ProducerStatus {
        let Self { topics, clock, .. } = self;
        let mut topics: Vec<TopicFlow> =
            topics.iter_mut().map(|topic| flow(topic, clock)).collect();
        let unmet = self
            .routes
            .values()
            .filter(|route| !self.by_name.contains_key(&*route.topic_name));
        topics.extend(unmet.map(routed));
        let totals = self.totals;
        ProducerStatus {
            instance: self.limits.instance.clone(),
            accepted: totals.accepted,
            recovered: totals.recovered,
            delivered: totals.delivered,
            held: topics.iter().map(|topic| topic.held_records).sum(),
            in_flight: topics.iter().map(|topic| topic.in_flight).sum(),
            dead_lettered: totals.dead_lettered,
            discarded: totals.discarded,
            refused: totals.refused,
            revision: self.revision.clone(),
            routes_age_ms: self.heard.elapsed().as_millis() as u64,
            spool: SpoolStatus {
                held_bytes: topics.iter().map(|topic| topic.held_bytes).sum(),
                disk_bytes: self.topics.iter().map(Topic::disk_bytes).sum(),
                max_bytes: self.limits.hold_max,
                max_topic_bytes: self.limits.hold_topic_max,
                quarantined_blocks: totals.quarantined_blocks,
                problem: self.storage_problem.clone(),
            },
            topics,
        }
    }

    /// Sends what is held and in flight to the watcher.
    pub(super) fn send_heartbeat(&mut self, now: Instant) {
        self.heartbeat_due = false;
        self.heartbeat_at = now + self.limits.heartbeat;
        let Self { topics, clock, .. } = self;
        let topics = topics
            .iter_mut()
            .filter_map(|topic| beat(topic, clock))
            .collect();
        let heartbeat = Heartbeat {
            instance: self.limits.instance.clone(),
            revision: self.revision.clone(),
            topics,
        };
        if self
            .ends
            .notes
            .try_send(Note::Heartbeat(heartbeat))
            .is_err()
        {
            tracing::debug!("the watcher is busy; the next heartbeat says it all");
        }
    }
}

impl Publisher {
    /// Measures the rates of all topics, and has those asked for that nobody knows.
    pub(super) fn measure(&mut self, now: Instant) {
        let mut strangers = Vec::new();
        for (id, topic) in self.topics.iter_mut().enumerate() {
            let ledger = &topic.ledger;
            let left = topic.delivered + ledger.dead_lettered + ledger.discarded;
            let came = left + topic.in_flight + topic.held_records();
            topic.ledger.leaving.measure(topic.delivered, now);
            topic.ledger.arriving.measure(came, now);
            let seen = now.saturating_duration_since(topic.ledger.born) >= MEASURE_EVERY;
            if topic.state == FlowState::Unknown && !topic.told && seen && came > 0 {
                strangers.push(id);
            }
        }
        if !self.limits.auto_request || !self.table_known {
            return;
        }
        for id in strangers {
            let Some(topic) = self.topics.get_mut(id) else {
                continue;
            };
            let stranger = stranger(topic, &self.limits.instance, now);
            topic.told = self.ends.notes.try_send(Note::Unknown(stranger)).is_ok();
        }
    }
}

/// What came for a name that nobody has asked for. The shape of a record, never its contents.
fn stranger(topic: &Topic, instance: &str, now: Instant) -> Stranger {
    let seconds = now
        .saturating_duration_since(topic.ledger.born)
        .as_secs()
        .max(1);
    let (records, bytes) = (topic.held_records(), topic.held_bytes());
    let rate = topic.ledger.arriving.per_second();
    let shape = topic.shape.as_deref().unwrap_or("unknown");
    let description = format!(
        "asked for by the producer daemon {instance}: {records} records ({bytes} bytes) came within \
         {seconds} s, {rate} a second now; they look like: {shape}"
    );
    Stranger {
        name: topic.name.to_string(),
        description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
    }
}

fn flow(topic: &mut Topic, clock: &Clock) -> TopicFlow {
    TopicFlow {
        topic_name: topic.name.to_string(),
        state: topic.state,
        status: topic.status.map(|status| status.as_str().to_owned()),
        held_records: topic.held_records(),
        held_bytes: topic.held_bytes(),
        oldest_held_ms: topic.oldest_held_ms(clock),
        in_flight: topic.in_flight,
        delivered: topic.delivered,
        refused: topic.ledger.refused,
        dead_lettered: topic.ledger.dead_lettered,
        discarded: topic.ledger.discarded,
        records_per_s: topic.ledger.arriving.per_second(),
        drain_eta_s: drain_eta(topic),
        approve_to_first_delivery_ms: topic.ledger.approve_to_first_delivery_ms,
    }
}

/// Seconds until nothing is held any more, by the rate at which Kafka acknowledges now.
fn drain_eta(topic: &Topic) -> Option<u64> {
    let held = topic.held_records();
    match topic.state {
        FlowState::Draining => topic.ledger.leaving.seconds_for(held),
        FlowState::Live => (held == 0).then_some(0),
        FlowState::Unknown
        | FlowState::Pending
        | FlowState::Paused
        | FlowState::Inactive
        | FlowState::Rejected => None,
    }
}

/// A topic of the table of which no record has come: where its first one would go.
fn routed(route: &Route) -> TopicFlow {
    let arriving = step(FlowState::Unknown, FlowEvent::Routed(route.status));
    TopicFlow {
        topic_name: route.topic_name.clone(),
        state: step(arriving, FlowEvent::HeadMetTail),
        status: Some(route.status.as_str().to_owned()),
        ..TopicFlow::default()
    }
}

fn beat(topic: &mut Topic, clock: &Clock) -> Option<HeldTopic> {
    // Also what flies with a copy in the spool counts here: a purge must wait for it.
    let in_flight = topic.in_flight.max(u64::from(topic.flying));
    let held_records = topic.held_records();
    let records_per_s = topic.ledger.arriving.per_second();
    // What merely flows is told, too: who wants to delete a topic sees who sends to it.
    (held_records > 0 || in_flight > 0 || records_per_s > 0).then(|| HeldTopic {
        topic_name: topic.name.to_string(),
        held_records,
        held_bytes: topic.held_bytes(),
        oldest_held_ms: topic.oldest_held_ms(clock),
        in_flight,
        records_per_s,
    })
}
