//! Delivery reports: what became of records that were handed to Kafka.

use super::Publisher;
use super::block::{TopicId, of_opaque};
use super::kafka::{Kafka, Report, is_permanent};
use crate::batch::{Fate, Refusal};
use crate::flow::{FlowEvent, step};
use rdkafka::error::RDKafkaErrorCode;
use sluice_model::problem::Code;
use std::time::{Duration, Instant};

/// Delays before a topic that Kafka does not take records of is tried again.
pub(super) const STUCK_RETRY_FIRST: Duration = Duration::from_millis(200);
pub(super) const STUCK_RETRY_MAX: Duration = Duration::from_secs(10);

impl Publisher {
    /// Takes the reports that librdkafka has.
    pub(super) fn take_reports(&mut self) {
        let mut reports = std::mem::take(&mut self.reports);
        self.kafka.collect(&mut reports);
        if !reports.is_empty() {
            self.apply_reports(&reports);
            reports.clear();
        }
        self.reports = reports;
    }

    fn apply_reports(&mut self, reports: &[Report]) {
        let now = Instant::now();
        let mut delivered = 0_u64;
        for report in reports {
            let (slot, index) = of_opaque(report.opaque);
            let Some(block) = self.blocks.get_mut(slot) else {
                continue;
            };
            let Some(id) = block.topic_of(index) else {
                continue;
            };
            block.flying = block.flying.saturating_sub(1);
            let size = block.rec(index).map_or(0, crate::batch::Rec::size);
            if let Some(topic) = self.topics.get_mut(id) {
                topic.flying = topic.flying.saturating_sub(1);
                topic.flying_bytes = topic.flying_bytes.saturating_sub(size);
                self.kafka.gave_back(size);
                if block.is_from_spool() {
                    self.tide.gave_back(size);
                }
                if !topic.listed {
                    topic.listed = true;
                    self.active.push(id);
                }
            }
            match report.error {
                None => {
                    delivered += 1;
                    self.delivered(id, slot, index, report, now);
                }
                Some(code) => self.failed(id, slot, index, code),
            }
            self.blocks.free_if_done(slot);
        }
        if delivered > 0 {
            self.last_delivery = now;
            if self.kafka_down {
                self.kafka_is_up();
            }
        }
    }

    fn delivered(&mut self, id: TopicId, slot: u32, index: u32, report: &Report, now: Instant) {
        let Some(block) = self.blocks.get_mut(slot) else {
            return;
        };
        block.acked.set(index);
        let place = block.in_spool(index);
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        topic.progress = now;
        topic.ledger.delivered(now);
        if place.is_none() {
            self.tide.waited(now.saturating_duration_since(block.born));
        }
        let counts = if let Some(place) = place {
            let mut logs = topic.backlog.iter_mut().chain(&mut topic.retired);
            let found = logs.find(|backlog| backlog.number == place.log);
            // A log that is gone was discarded or moved meanwhile: its records are counted there.
            found.is_some_and(|backlog| backlog.held.log.resolve(place.frame, place.index))
        } else {
            topic.in_flight = topic.in_flight.saturating_sub(1);
            true
        };
        if counts {
            topic.delivered += 1;
            self.totals.delivered += 1;
        }
        if place.is_none_or(|place| !place.answered) {
            let fate = Fate::Delivered {
                partition: report.partition,
                offset: report.offset,
            };
            self.settle(slot, index, fate);
        }
    }

    fn failed(&mut self, id: TopicId, slot: u32, index: u32, code: RDKafkaErrorCode) {
        metrics::counter!("producer_delivery_errors_total", "error" => format!("{code:?}"))
            .increment(1);
        // A time that Kafka refuses is the record's fault only if its sender gave it: else it is this
        // machine's clock that is wrong, and the record waits until it is right.
        let block = self.blocks.get(slot);
        let own_clock = code == RDKafkaErrorCode::InvalidTimestamp
            && block
                .and_then(|block| block.rec(index))
                .is_some_and(|rec| rec.timestamp <= 0);
        if is_permanent(code) && !own_clock {
            self.give_up(id, slot, index, code);
        } else {
            self.stuck(id, &format!("Kafka says {code}"));
        }
    }

    /// Takes a record that Kafka will never accept out of the flow, into the dead-letter file.
    pub(super) fn give_up(&mut self, id: TopicId, slot: u32, index: u32, code: RDKafkaErrorCode) {
        let reason = format!("Kafka refuses the record: {code}");
        let Some(block) = self.blocks.get_mut(slot) else {
            return;
        };
        let place = block.in_spool(index);
        if place.is_some_and(|place| place.answered) && !block.is_from_spool() {
            // Its bytes are in the spool only; it is met again when the topic drains.
            self.stuck(id, &reason);
            return;
        }
        let letters = vec![index];
        if let Err(error) = self.dead_letter(id, slot, &letters, &reason) {
            self.storage_failed(&error.to_string());
            self.stuck(id, &reason);
            return;
        }
        let Some(block) = self.blocks.get_mut(slot) else {
            return;
        };
        block.acked.set(index);
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        topic.ledger.dead_lettered += 1;
        if let Some(place) = place {
            let mut logs = topic.backlog.iter_mut().chain(&mut topic.retired);
            if let Some(backlog) = logs.find(|backlog| backlog.number == place.log) {
                backlog.held.log.resolve(place.frame, place.index);
            }
        } else {
            topic.in_flight = topic.in_flight.saturating_sub(1);
        }
        if place.is_none_or(|place| !place.answered) {
            let code = match code {
                RDKafkaErrorCode::MessageSizeTooLarge => Code::TooLarge,
                _ => Code::Invalid,
            };
            self.settle(slot, index, Fate::Refused(Refusal::new(code, reason)));
        }
        self.totals.dead_lettered += 1;
    }

    /// Kafka does not take records of a topic now: what is in flight goes to the spool, and the topic
    /// is tried again later.
    pub(super) fn stuck(&mut self, id: TopicId, reason: &str) {
        self.all_stuck(&[id], reason);
    }

    /// The same for many topics at once.
    pub(super) fn all_stuck(&mut self, ids: &[TopicId], reason: &str) {
        for topic in ids.iter().filter_map(|id| self.topics.get(*id)) {
            if step(topic.state, FlowEvent::Stuck) != topic.state {
                tracing::warn!(
                    topic.name = &*topic.name,
                    reason,
                    "records are held: {reason}"
                );
            }
        }
        for id in self.spill_all(ids) {
            let Some(topic) = self.topics.get_mut(id) else {
                continue;
            };
            let next = step(topic.state, FlowEvent::Stuck);
            if next != topic.state {
                topic.state = next;
                topic.back_off(Instant::now(), STUCK_RETRY_FIRST, STUCK_RETRY_MAX);
            }
            topic.rewind = true;
            topic.has_leaders = false;
            topic.looking = None;
            self.list(id);
        }
    }

    /// A producer that met a fatal error can do nothing more: a new one takes over, from the spool.
    pub(super) fn restart_kafka(&mut self, reason: &str) {
        tracing::error!(reason, "the Kafka producer failed for good and is replaced");
        metrics::counter!("producer_kafka_restarts_total").increment(1);
        let all = self.topics.iter().enumerate();
        let open = all.filter(|(_, topic)| topic.flying > 0 || topic.in_flight > 0);
        let ids: Vec<TopicId> = open.map(|(id, _)| id).collect();
        self.all_stuck(&ids, reason);
        let fresh = match Kafka::start(&self.kafka_config) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, "no new Kafka producer can be started");
                return;
            }
        };
        self.kafka.purge();
        self.take_reports();
        self.kafka = fresh;
        self.tide.ground();
        // Whatever the old one did not report will not be reported any more.
        self.probing = false;
        for topic in &mut self.topics {
            topic.looking = None;
            topic.flying = 0;
            topic.flying_bytes = 0;
        }
        self.blocks.ground();
    }
}
