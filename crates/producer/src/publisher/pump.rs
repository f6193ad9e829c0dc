//! Handing waiting records to librdkafka.

use super::Publisher;
use super::block::{Run, TopicId, opaque};
use super::kafka::NotSent;
use rdkafka::error::RDKafkaErrorCode;

/// Records between two looks at the delivery reports while handing over.
const COLLECT_EVERY: u32 = 4_000;

/// What ended a run of sends.
enum Stop {
    Room,
    Full,
    Stuck(RDKafkaErrorCode),
}

impl Publisher {
    /// Hands waiting records to librdkafka as far as there is room.
    pub(super) fn pump(&mut self, id: TopicId) {
        let mut given_up = Vec::new();
        let mut since_collect = 0;
        let stop = loop {
            let Some(topic) = self.topics.get_mut(id) else {
                return;
            };
            let Some(run) = topic.waiting.front().copied().filter(|_| topic.has_room()) else {
                break Stop::Room;
            };
            let (sent, stop) = self.send_run(id, run, &mut given_up);
            since_collect += sent;
            if since_collect >= COLLECT_EVERY || matches!(stop, Some(Stop::Full)) {
                since_collect = 0;
                self.kafka.collect(&mut self.reports);
            }
            if let Some(stop) = stop {
                break stop;
            }
        };
        for (slot, index, code) in given_up {
            self.give_up(id, slot, index, code);
            self.blocks.free_if_done(slot);
        }
        if let Stop::Stuck(code) = stop {
            self.stuck(id, &format!("Kafka says {code}"));
        }
    }

    /// Hands over what there is room for of the first waiting run.
    fn send_run(
        &mut self,
        id: TopicId,
        mut run: Run,
        given_up: &mut Vec<(u32, u32, RDKafkaErrorCode)>,
    ) -> (u32, Option<Stop>) {
        let Self {
            topics,
            blocks,
            kafka,
            ..
        } = self;
        let (Some(topic), Some(block)) = (topics.get_mut(id), blocks.get_mut(run.slot)) else {
            return (0, Some(Stop::Room));
        };
        let first = run.start;
        let limit = run.end.min(first + COLLECT_EVERY);
        let mut stop = None;
        while run.start < limit && topic.has_room() {
            let index = run.start;
            let Some(rec) = block.records.recs.get(index as usize) else {
                break;
            };
            if !block.acked.get(index) {
                match kafka.send(&topic.name, &block.records, rec, opaque(run.slot, index)) {
                    Ok(()) => {
                        block.flying += 1;
                        topic.flying += 1;
                        topic.flying_bytes += rec.size();
                    }
                    Err(NotSent::Full) => stop = Some(Stop::Full),
                    Err(NotSent::NotNow(code)) => stop = Some(Stop::Stuck(code)),
                    Err(NotSent::Never(code)) => given_up.push((run.slot, index, code)),
                }
                if stop.is_some() {
                    break;
                }
            }
            block.unsent = block.unsent.saturating_sub(1);
            run.start += 1;
        }
        let from_spool = block.is_from_spool();
        if block.in_spool(first).is_none() && run.start > first {
            topic.flight.push_back(Run {
                end: run.start,
                start: first,
                ..run
            });
        }
        let sent = run.start - first;
        if run.start >= run.end {
            topic.waiting.pop_front();
            if from_spool {
                blocks.free_if_done(run.slot);
            }
        } else if let Some(front) = topic.waiting.front_mut() {
            *front = run;
        }
        (sent, stop)
    }
}
