//! Polling, and what comes between records.

use super::super::{Order, after};
use super::{Client, LOOK_INTERVAL, Session};
use crate::status::{Fault, KAFKA, Phase};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sluice_service::now;
use std::time::{Duration, Instant};

/// Events that are served between two looks at records.
const EVENTS_AT_ONCE: usize = 32;
/// Records that are taken between two looks at orders and clocks.
const TAKEN_AT_ONCE: usize = 1000;
/// Time that one look at Kafka may take.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

impl Session<'_, '_> {
    /// Takes the records that are there, or what happened instead.
    pub(super) fn poll(&mut self, wait: Duration) -> Result<(), Fault> {
        if !self.records.has_events() && !self.take() {
            // Records, events and orders end the wait; what came since the look above already did.
            std::thread::park_timeout(wait);
            self.take();
        }
        let mut served = 0;
        while served < EVENTS_AT_ONCE && self.records.has_events() {
            served += 1;
            match self.client.poll(Duration::ZERO) {
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(Fault::kafka(format!("the client cannot go on: {code}")));
                }
                Some(Err(error)) => note(self.client, error.rdkafka_error_code()),
                // Its partition was not led to the others yet; it is not read twice.
                Some(Ok(_record)) => self.watch.restart("a record came out of turn"),
                None => {}
            }
            self.change();
        }
        self.after_events()
    }

    /// Takes records that are there, up to a batch. False: there are none, or there is no room.
    fn take(&mut self) -> bool {
        let (records, bytes, _) = self.limits;
        if self.batch.bytes >= bytes {
            return false;
        }
        let room = records.saturating_sub(self.batch.messages.len());
        let client = self.client;
        let mut misled = false;
        let failed = |code| {
            misled = true;
            note(client, Some(code));
        };
        let taken = self
            .batch
            .fill(&mut self.records, room.min(TAKEN_AT_ONCE), failed);
        self.misled |= misled;
        if taken {
            self.last_message = Instant::now();
        }
        taken
    }

    /// Leads the records of partitions to us, wherever librdkafka has put them.
    pub(super) fn lead<'k>(&self, partitions: impl IntoIterator<Item = &'k (String, i32)>) {
        for (topic, partition) in partitions {
            self.records.lead(topic, *partition);
        }
    }

    /// Takes in what happened inside `poll`: a changed assignment, trouble, a lost position.
    fn after_events(&mut self) -> Result<(), Fault> {
        self.change();
        let (joined, epoch, empty, out_of_range) = {
            let mut group = self.client.context().group();
            let out_of_range = std::mem::take(&mut group.out_of_range);
            (
                group.joined,
                group.epoch,
                group.owned.is_empty(),
                out_of_range,
            )
        };
        if out_of_range {
            self.find_gaps()?;
        }
        if self.looked.elapsed() >= LOOK_INTERVAL {
            let trouble = self.client.context().group().trouble.is_some();
            let unexplained = joined && empty && self.empty_checked != epoch;
            if joined && (trouble || unexplained) {
                self.look(epoch);
            }
            self.looked = Instant::now();
            // A partition that was given away and taken again at once may have been put elsewhere since.
            self.lead(self.stored.keys());
            self.note_ends();
            self.watch()?;
        }
        self.tell(joined);
        Ok(())
    }

    /// Looks at Kafka: whether it answers again, and whether the topics are there.
    fn look(&mut self, epoch: u64) {
        let mut trouble = None;
        for (topic, _) in self.topics {
            match self.client.fetch_metadata(Some(topic), LOOK_TIMEOUT) {
                Ok(metadata) => {
                    let missing = metadata.topics().iter().all(|t| t.partitions().is_empty());
                    if missing {
                        trouble = Some(format!("the topic {topic} does not exist in Kafka"));
                    } else {
                        self.empty_checked = epoch;
                    }
                }
                // What is known already says more than a timeout.
                Err(_) if self.client.context().group().trouble.is_some() => return,
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        self.client.context().group().trouble = trouble;
    }

    /// Brings the report in line with the group.
    pub(super) fn tell(&self, joined: bool) {
        let trouble = self.client.context().group().trouble.clone();
        let order = self.link.ordered();
        let mut report = self.link.report();
        if matches!(order, Order::Run | Order::Pause) {
            let phase = match (joined, order) {
                (false, _) => Phase::Starting,
                (true, Order::Pause) => Phase::Paused,
                (true, _) => Phase::Running,
            };
            report.enter(phase, now());
        }
        report.partitions = self.stored.len();
        let kafka = report.fault.as_ref().filter(|fault| fault.stage == KAFKA);
        let (known, same) = (
            kafka.is_some(),
            kafka.map(|fault| &fault.message) == trouble.as_ref(),
        );
        match trouble {
            Some(_) if same => report.next_retry_at = Some(after(LOOK_INTERVAL)),
            Some(message) => {
                tracing::warn!(error = message, "Kafka does not serve a consumer");
                report.fail(Fault::kafka(message), now(), Some(after(LOOK_INTERVAL)));
            }
            // A sink's failure ends with a batch that is written, not here.
            None if joined && known => report.recovered(now()),
            None => {}
        }
    }

    /// Stops reading, or goes on; partitions that come later are treated alike.
    pub(super) fn set_paused(&mut self, pause: bool) {
        let epoch = self.client.context().group().epoch;
        if self.paused == Some((epoch, pause)) || (self.paused.is_none() && !pause) {
            return;
        }
        let Ok(assignment) = self.client.assignment() else {
            return;
        };
        let done = if pause {
            self.client.pause(&assignment)
        } else {
            self.client.resume(&assignment)
        };
        match done {
            Ok(()) => {
                self.paused = Some((epoch, pause));
                // It goes on where it believes to be.
                if self.misled && !pause {
                    self.rewind();
                }
            }
            Err(error) => tracing::warn!(error = %error, pause, "partitions not paused or resumed"),
        }
        let joined = self.client.context().group().joined;
        self.tell(joined);
    }
}

/// Errors that come in a record's place.
fn note(client: &Client, error: Option<Code>) {
    let mut group = client.context().group();
    match error {
        Some(
            code @ (Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed),
        ) => group.trouble = Some(code.to_string()),
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => group.out_of_range = true,
        _ => {}
    }
}
