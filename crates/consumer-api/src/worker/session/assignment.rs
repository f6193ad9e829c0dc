//! Partitions that come and go: nothing is read before it is clear from where, and nothing is given
//! away before what was written of it is safe and stored.

use super::super::context::{Change, give, pairs, take};
use super::super::stage::Stop;
use super::super::start::{describe, mark, same_topic};
use super::{LOOK_INTERVAL, Session};
use crate::status::Fault;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluice_model::consumer::{FailureClass, Gap};
use sluice_service::now;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time that the question for committed offsets may take.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that the look at the last commit may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

impl Session<'_, '_> {
    /// Carries out what the group decided.
    pub(super) fn change(&mut self) {
        let change = self.client.context().group().changes.pop_front();
        match change {
            None => {}
            Some(Change::Revoke { partitions, lost }) => self.revoke(&partitions, lost),
            Some(Change::Assign(partitions)) => {
                if let Err(error) = self.assign(&partitions) {
                    // librdkafka waits; so the question is asked again.
                    let mut group = self.client.context().group();
                    group.trouble = Some(error);
                    group.joined = true;
                    group.changes.push_front(Change::Assign(partitions));
                    drop(group);
                    self.looked = Instant::now();
                    self.tell(true);
                    // Not a wait that events end: they go on coming.
                    std::thread::sleep(LOOK_INTERVAL / 4);
                }
            }
        }
    }

    fn topic_id(&self, topic: &str) -> i64 {
        let found = self.topics.iter().find(|(name, _)| name == topic);
        found.map_or(0, |(_, id)| *id)
    }

    fn assign(&mut self, partitions: &TopicPartitionList) -> Result<(), String> {
        let mut list = partitions.clone();
        let mut starts = BTreeMap::new();
        if partitions.count() > 0 {
            let committed = self
                .client
                .committed_offsets(partitions.clone(), COMMITTED_TIMEOUT)
                .map_err(|error| format!("the offsets of the group are not known: {error}"))?;
            for element in committed.elements() {
                let key = (element.topic().to_owned(), element.partition());
                element
                    .error()
                    .map_err(|error| format!("the offset of {}/{}: {error}", key.0, key.1))?;
                let start = self.start(&key, element.offset(), element.metadata());
                let offset = start.map_or(Offset::Beginning, Offset::Offset);
                list.set_partition_offset(&key.0, key.1, offset)
                    .map_err(|error| error.to_string())?;
                starts.insert(key, start);
            }
        }
        self.lead(starts.keys());
        take(self.client, &list).map_err(|error| format!("the assignment: {error}"))?;
        tracing::info!(partitions = list.count(), "assigned");
        {
            let mut report = self.link.report();
            for (key, start) in &starts {
                match start {
                    Some(start) => report.positions.insert(key.clone(), *start),
                    None => report.positions.remove(key),
                };
            }
            let mut group = self.client.context().group();
            group.owned.extend(starts.keys().cloned());
            group.joined = true;
            group.trouble = None;
            group.epoch += 1;
        }
        self.stored.extend(starts);
        self.watch.progress();
        Ok(())
    }

    /// Where a partition starts; none: at its first record.
    fn start(&self, key: &(String, i32), committed: Offset, metadata: &str) -> Option<i64> {
        let Offset::Offset(at) = committed else {
            return None;
        };
        if same_topic(metadata, self.topic_id(&key.0)) {
            return Some(at);
        }
        let message = format!(
            "the topic {} was made again: {}/{} is read from its start, not from {at}",
            key.0, key.0, key.1
        );
        tracing::warn!("{message}");
        self.link.report().note(Fault::kafka(message), None, now());
        None
    }

    fn revoke(&mut self, partitions: &TopicPartitionList, lost: bool) {
        let gone = pairs(partitions);
        if !lost && self.link.report().fault.is_none() {
            let written = self.write_once().and_then(|()| self.pipeline.flush());
            match written {
                Ok(()) => {}
                // They are read again from what is safe, by whoever has them then.
                Err(Stop::Rewind) => self.rewind(),
                Err(Stop::Fault(fault)) => {
                    tracing::warn!(
                        stage = fault.stage,
                        error = fault.message,
                        "what was read is not written before partitions go; it is read again"
                    );
                }
            }
        }
        self.forget(&gone);
        self.pipeline.release(&gone);
        if !lost {
            self.store();
        }
        // From here on no late write can store an offset of theirs.
        self.stored.retain(|key, _| !gone.contains(key));
        if let Err(error) = give(self.client, partitions) {
            tracing::warn!(error = %error, "partitions not given away");
        }
        tracing::info!(partitions = gone.len(), lost, "revoked");
        let mut group = self.client.context().group();
        group.owned.retain(|key| !gone.contains(key));
        group.epoch += 1;
        // A lost assignment means that the group does not know us any more.
        group.joined = !lost;
    }

    /// Carries out a change at the very end, when nobody will read or write.
    pub(super) fn abandon(&self, change: &Change) {
        let done = match change {
            Change::Assign(partitions) => take(self.client, partitions),
            Change::Revoke { partitions, .. } => give(self.client, partitions),
        };
        if let Err(error) = done {
            tracing::debug!(error = %error, "a change of the assignment at the end");
        }
    }

    /// Drops records of partitions that are not ours any more.
    pub(super) fn forget(&mut self, gone: &[(String, i32)]) {
        let is_gone =
            |topic: &str, partition: i32| gone.iter().any(|(t, p)| t == topic && *p == partition);
        let before = self.batch.messages.len();
        self.batch
            .messages
            .retain(|m| !is_gone(m.topic(), m.partition()));
        let dropped = (before - self.batch.messages.len()) as u64;
        metrics::counter!("consumer_records_skipped_total", "reason" => "revoked")
            .increment(dropped);
        if self.batch.messages.is_empty() {
            self.batch.clear();
        }
        let mut report = self.link.report();
        report
            .positions
            .retain(|(topic, partition), _| !is_gone(topic, *partition));
        report
            .ends
            .retain(|(topic, partition), _| !is_gone(topic, *partition));
    }

    /// Lets librdkafka commit what every processor holds safely.
    pub(super) fn store(&mut self) {
        let mut list = TopicPartitionList::new();
        let mut report = self.link.report();
        let pipeline = &self.pipeline;
        for ((topic, partition), stored) in &mut self.stored {
            let next = pipeline.committable(topic, *partition);
            let Some(next) = next.filter(|next| stored.is_none_or(|old| old < *next)) else {
                continue;
            };
            let topic_id = self.topics.iter().find(|(name, _)| name == topic);
            add(
                &mut list,
                (topic, *partition),
                next,
                topic_id.map_or(0, |t| t.1),
            );
            *stored = Some(next);
            let key = (topic.clone(), *partition);
            let end = report.ends.entry(key.clone()).or_insert(next);
            *end = (*end).max(next);
            report.positions.insert(key, next);
        }
        drop(report);
        self.hand_over(&list);
    }

    /// Moves partitions past what is no record: markers of transactions, compacted away.
    pub(super) fn store_ends(&mut self, ends: Vec<((String, i32), i64)>) {
        let mut list = TopicPartitionList::new();
        for (key, next) in ends {
            let topic_id = self.topic_id(&key.0);
            let Some(stored) = self.stored.get_mut(&key) else {
                continue;
            };
            if stored.is_none_or(|old| old < next) {
                add(&mut list, (&key.0, key.1), next, topic_id);
                *stored = Some(next);
                self.link.report().positions.insert(key, next);
            }
        }
        self.hand_over(&list);
    }

    fn hand_over(&self, list: &TopicPartitionList) {
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.client.store_offsets(list) {
            // A partition that was taken away meanwhile: its next owner reads the records again.
            tracing::debug!(error = %error, "offsets not stored");
            metrics::counter!("consumer_commit_failures_total", "reason" => "not_owned")
                .increment(1);
        }
    }

    /// Commits what is stored and reads it back, so that a stop does not end with a guess.
    pub(super) fn commit_and_check(&self) {
        let mut list = TopicPartitionList::new();
        let mut ask = TopicPartitionList::new();
        for ((topic, partition), stored) in &self.stored {
            let Some(next) = stored else { continue };
            add(&mut list, (topic, *partition), *next, self.topic_id(topic));
            ask.add_partition(topic, *partition);
        }
        if list.count() == 0 || !self.client.context().group().joined {
            return;
        }
        let outcome = self
            .client
            .commit(&list, CommitMode::Sync)
            .and_then(|()| self.client.committed_offsets(ask, CHECK_TIMEOUT));
        let problem = match outcome {
            Ok(found) => {
                let off = found.elements().into_iter().find(|element| {
                    let key = (element.topic().to_owned(), element.partition());
                    let wanted = self.stored.get(&key).copied().flatten();
                    wanted.is_some_and(|next| element.offset() != Offset::Offset(next))
                });
                off.map(|e| {
                    let (topic, partition) = (e.topic(), e.partition());
                    format!(
                        "Kafka has {:?} committed for {topic}/{partition}",
                        e.offset()
                    )
                })
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            let message = format!(
                "the last commit is not confirmed ({problem}); records may be read again, and are \
                 skipped where the sink knows them"
            );
            tracing::warn!("{message}");
            metrics::counter!("consumer_commit_failures_total", "reason" => "not_confirmed")
                .increment(1);
            self.link.report().note(Fault::kafka(message), None, now());
        }
    }

    /// Tells that records are gone from Kafka.
    pub(super) fn note_gap(&self, gap: Gap, then: &str) {
        let message = format!("{}; {then}", describe(&gap));
        tracing::warn!("{message}");
        let lost = u64::try_from(gap.to - gap.from).unwrap_or_default();
        metrics::counter!("consumer_gap_records_total").increment(lost);
        let fault = Fault {
            class: FailureClass::Environment,
            ..Fault::kafka(message)
        };
        self.link.report().note(fault, Some(gap), now());
    }
}

fn add(list: &mut TopicPartitionList, (topic, partition): (&str, i32), next: i64, topic_id: i64) {
    let mut element = list.add_partition(topic, partition);
    if element.set_offset(Offset::Offset(next)).is_ok() {
        element.set_metadata(mark(topic_id));
    }
}
