//! The pages of governance.

mod access;
mod activity;
mod drift;
mod notices;
mod overview;
mod policy;
mod requests;
mod review;
mod topic;
mod topics;

pub use access::{AccessPage, access, first_token, setup};
pub use activity::{Audit, AuditWanted, Subscriptions, audit, producers, subscriptions};
pub use drift::drift;
pub use notices::{Notices, WebhookLine, notices};
pub use overview::{Deletions, Overview, overview};
pub use policy::{PolicyForm, PolicyPage, policy};
pub use requests::{Inbox, Tab, inbox, request};
pub use review::Surroundings;
pub use topic::{TopicPage, topic};
pub use topics::{Topics, topics};

use crate::bits::{bytes, count, span};
use sluice_model::producer::ProducerSeen;

/// What all producers together hold of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) producers: usize,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_ms: u64,
}

impl Held {
    /// Sums the last heartbeats up.
    pub(crate) fn of(topic: &str, producers: &[ProducerSeen]) -> Self {
        let mut held = Self::default();
        for part in producers.iter().flat_map(|seen| &seen.heartbeat.topics) {
            if part.topic_name == topic && part.held_records > 0 {
                held.producers += 1;
                held.records = held.records.saturating_add(part.held_records);
                held.bytes = held.bytes.saturating_add(part.held_bytes);
                held.oldest_ms = held.oldest_ms.max(part.oldest_held_ms);
            }
        }
        held
    }

    /// The same in words; nothing when nothing waits.
    pub(crate) fn words(&self) -> Option<String> {
        if self.producers == 0 {
            return None;
        }
        let producers = if self.producers == 1 {
            "producer holds"
        } else {
            "producers hold"
        };
        let records = if self.records == 1 {
            "record"
        } else {
            "records"
        };
        Some(format!(
            "{} {producers} {} {records} ({}), the oldest for {}",
            self.producers,
            count(self.records),
            bytes(self.bytes),
            span((self.oldest_ms / 1000) as i64),
        ))
    }
}

#[cfg(test)]
pub(crate) mod tests;
