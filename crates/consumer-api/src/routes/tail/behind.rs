//! What a stream reads further back than the ends of its topics.

use super::source::{BEHIND, Done, Source, State};
use super::{RETRY, Tail};
use crate::stream::filter::Filter;
use crate::stream::pool::Fetched;
use serde_json::json;
use sluice_model::problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two reports of a search.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// What a search has looked at.
#[derive(Debug, Default)]
pub(super) struct Search {
    records: u64,
    matched: u64,
    bytes: u64,
    told: Option<Instant>,
    /// Whether it has gone on since.
    untold: bool,
}

impl Tail {
    /// Begins to read further back for one of the topics; one at a time, in turn.
    pub(super) fn begin_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        let count = self.sources.len();
        let mut turns = (1..=count).map(|step| (self.turn + step) % count);
        let Some(index) =
            turns.find(|index| self.sources.get(*index).is_some_and(Source::wants_work))
        else {
            return;
        };
        self.turn = index;
        if let Some(source) = self.sources.get(index) {
            let place = self
                .cursor
                .place(&source.topic)
                .cloned()
                .unwrap_or_default();
            let work = source.work(&self.context.hub, place, &self.filter);
            self.work = Some((Arc::clone(&source.topic), work));
        }
    }

    pub(super) fn worked(&mut self, done: Result<Done, Problem>) {
        let Some((topic, _)) = self.work.take() else {
            return;
        };
        let Some(index) = self.sources.iter().position(|source| source.topic == topic) else {
            return;
        };
        match done {
            Ok(done) => self.caught_up(index, done),
            Err(problem) => {
                tracing::debug!(
                    topic.name = &*topic,
                    problem = problem.detail,
                    "not read on yet"
                );
                if let Some(source) = self.sources.get_mut(index) {
                    source.state = BEHIND;
                    source.rests_until = Some(Instant::now() + RETRY);
                }
            }
        }
    }

    /// Takes what was read further back, and goes over to the shared reader when that is reached.
    fn caught_up(&mut self, index: usize, done: Done) {
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        let (topic, topic_id) = (Arc::clone(&source.topic), source.topic_id);
        source.rests_until = None;
        for gap in &done.gaps {
            self.gap(&topic, gap.partition, gap.from, gap.to, "retention");
        }
        let Done {
            place,
            origin,
            fetched,
            ..
        } = done;
        self.cursor.put(&topic, place);
        self.say(&topic, &fetched.chunk, &Filter::default());
        self.searched(&fetched);
        let proven = origin.as_ref().filter(|_| fetched.at_end);
        if let Some(origin) = proven {
            self.cursor.reach(&topic, origin);
        }
        let known = proven.is_none();
        let (hub, bell) = (&self.context.hub, &self.bell);
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        source.state = State::Behind {
            resolved: known && !fetched.lost,
            origin: origin.filter(|_| !fetched.at_end && !fetched.lost),
        };
        if fetched.at_end && source.feed.is_none() {
            match hub.attach(&topic, topic_id, bell) {
                Ok(feed) => source.feed = Some(Arc::new(feed)),
                Err(problem) => {
                    tracing::debug!(problem = problem.detail, "no reader yet");
                    source.rests_until = Some(Instant::now() + RETRY);
                }
            }
        } else if let Some(place) = self.cursor.place(&topic) {
            let joined = source.join(place);
            if joined && self.search.untold {
                self.progress();
            }
        }
    }

    /// Counts what a filtered stream looked at, says so now and then, and ends it at its bound.
    fn searched(&mut self, fetched: &Fetched) {
        if self.filter.is_empty() {
            return;
        }
        let search = &mut self.search;
        search.records += fetched.records;
        search.matched += fetched.chunk.len() as u64;
        search.bytes += fetched.bytes;
        let spent = search.bytes >= self.context.settings.stream.scan_bytes_max;
        let due = search
            .told
            .is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL);
        search.untold |= fetched.records > 0;
        if search.untold && (spent || due) {
            self.progress();
        }
        if spent {
            self.end("scan_budget");
        }
    }

    fn progress(&mut self) {
        let search = &mut self.search;
        search.told = Some(Instant::now());
        search.untold = false;
        let data =
            json!({"scanned": search.records, "matched": search.matched, "bytes": search.bytes});
        self.event("progress", &data.to_string());
    }
}
