//! What a stream is of: topics that come and go, subscriptions that are made and ended.

use super::source::{BEHIND, Source, State};
use super::{From, RETRY, Tail, Who};
use crate::catalogue::Snapshot;
use crate::stream::cursor::Place;
use crate::stream::start::{Gap, Start};
use sluice_admin_client::{Error, call};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The topics that a stream wants, with the instant from which it wants them.
pub(super) type Wanted = BTreeMap<String, Option<i64>>;

impl Tail {
    /// Attaches to what is wanted and active, and leaves what is not; says when that fails for now.
    pub(super) async fn bring_in_line(&mut self) {
        let Err(failure) = self.sync().await else {
            return;
        };
        tracing::debug!(error = %failure, "a stream is not in line");
        self.dirty = false;
        self.retry = Some(Instant::now() + RETRY);
        if matches!(failure.0.status, 401 | 403) {
            self.end("unauthenticated");
        }
    }

    pub(super) fn user_changed(&self) -> bool {
        match &self.who {
            Who::User(user) => self.changes.borrow().of(user) != self.seen,
            Who::Topics(_) => false,
        }
    }

    /// What the stream is of now.
    async fn wanted(&mut self) -> Result<Wanted, Failure> {
        if let Some(wanted) = &self.subscriptions {
            return Ok(wanted.clone());
        }
        let wanted: Wanted = match &self.who {
            Who::Topics(topics) => topics.iter().map(|topic| (topic.clone(), None)).collect(),
            Who::User(user) => {
                self.seen = self.changes.borrow_and_update().of(user);
                let call = call::subscriptions(Some(user));
                let asked = self.context.admin.send(self.caller.token.expose(), call);
                let found = asked.await.map_err(|error| match error {
                    Error::Problem(problem) => Failure(problem),
                    other => Problem::new(Code::Unavailable, other.to_string())
                        .retry_after(1)
                        .into(),
                })?;
                let since = |s: sluice_model::subscription::Subscription| {
                    (s.topic_name, Some(s.subscribed_at.as_millis()))
                };
                // What the credential is not for is not there for it.
                let reached = found
                    .into_iter()
                    .filter(|s| self.caller.actor.reaches(&s.topic_name));
                reached.map(since).collect()
            }
        };
        self.subscriptions = Some(wanted.clone());
        Ok(wanted)
    }

    /// Attaches to what is wanted and active, and leaves what is not.
    pub(super) async fn sync(&mut self) -> Result<(), Failure> {
        let wanted = self.wanted().await?;
        let snapshot = Arc::clone(&self.catalogue.borrow_and_update());
        let stays = |source: &Source| {
            wanted.contains_key(&*source.topic)
                && snapshot.is_active(&source.topic)
                && snapshot.topic_id(&source.topic) == source.topic_id
        };
        let gone = self.sources.iter().filter(|source| !stays(source));
        let gone: Vec<Arc<str>> = gone.map(|source| Arc::clone(&source.topic)).collect();
        for topic in gone {
            self.leave(&topic, wanted.contains_key(&*topic), &snapshot);
        }
        let mut retry = None;
        for (topic, since) in wanted {
            let known = self.sources.iter().any(|source| *source.topic == *topic);
            if known || !snapshot.is_active(&topic) {
                continue;
            }
            if let Err(failure) = self.attach(&topic, since, &snapshot).await {
                if !self.opened {
                    return Err(failure);
                }
                tracing::debug!(topic.name = topic, error = %failure, "not attached yet");
                retry = Some(Instant::now() + RETRY);
            }
        }
        self.retry = retry;
        self.dirty = false;
        Ok(())
    }

    fn leave(&mut self, topic: &str, still_wanted: bool, snapshot: &Snapshot) {
        self.sources.retain(|source| *source.topic != *topic);
        if self
            .work
            .as_ref()
            .is_some_and(|(working, _)| **working == *topic)
        {
            self.work = None;
        }
        let reason = if still_wanted {
            // The place is kept: what comes after a reactivation is not missed.
            match snapshot.state(topic) {
                Some(sluice_model::lifecycle::State::Active) => "recreated",
                state => state.map_or("unknown", |state| state.as_str()),
            }
        } else {
            self.cursor.remove(topic);
            "unsubscribed"
        };
        self.told("unsubscribed", topic, Some(reason));
    }

    /// Where to start with a topic.
    fn start(&self, topic: &str, since: Option<i64>, topic_id: i64) -> Start {
        match (self.cursor.place(topic), self.from) {
            (Some(place), _) if place.topic_id == topic_id => Start::At(place.clone()),
            // It was deleted and made again since: all of it is new.
            (Some(_), _) | (None, From::Earliest) => Start::Earliest,
            (None, From::Time(ms)) => Start::Time(since.filter(|_| self.opened).unwrap_or(ms)),
            // Nothing that came after the subscription may be missed.
            (None, From::Latest) if self.opened => since.map_or(Start::Latest, Start::Time),
            (None, From::Latest) => Start::Latest,
        }
    }

    async fn attach(
        &mut self,
        topic: &str,
        since: Option<i64>,
        snapshot: &Snapshot,
    ) -> Result<(), Failure> {
        let topic_id = snapshot.topic_id(topic);
        let start = self.start(topic, since, topic_id);
        let mut source = Source {
            topic: topic.into(),
            topic_id,
            feed: None,
            state: BEHIND,
            rests_until: None,
        };
        let (hub, bell) = (self.context.hub.clone(), Arc::clone(&self.bell));
        let (place, gaps) = match start {
            Start::Latest => {
                let feed = hub.attach(topic, topic_id, &bell)?;
                feed.ready().await?;
                let (at, next) = feed.end();
                source.state = State::Live(at);
                source.feed = Some(Arc::new(feed));
                (Place { topic_id, next }, Vec::new())
            }
            start => {
                source.feed = hub.peek(topic, topic_id, &bell).map(Arc::new);
                let kept = match &start {
                    Start::At(place) if source.join(place) => Some(place.clone()),
                    _ => None,
                };
                if let Some(place) = kept {
                    (place, Vec::new())
                } else {
                    source.state = State::Behind {
                        resolved: true,
                        origin: None,
                    };
                    hub.resolve(Arc::clone(&source.topic), topic_id, start)
                        .await?
                }
            }
        };
        self.cursor.put(topic, place);
        self.sources.push(source);
        if self.opened || matches!(self.who, Who::User(_)) {
            self.told("subscribed", topic, None);
        }
        for Gap {
            partition,
            from,
            to,
        } in gaps
        {
            self.gap(topic, partition, from, to, "retention");
        }
        Ok(())
    }
}
