//! One topic of a stream: at the topic's end together with all others, or on the way there.

use crate::stream::Hub;
use crate::stream::cursor::Place;
use crate::stream::filter::Filter;
use crate::stream::pool::{Ask, Fetched};
use crate::stream::reader::Feed;
use crate::stream::start::{Gap, Start};
use sluice_model::problem::Problem;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;

/// Where a viewer stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// At this place of the shared log.
    Live(u64),
    /// Further back.
    Behind {
        /// Whether it is known that the next records are there.
        resolved: bool,
        /// Where the shared log began when reading up to the ends began. Between the last record that is
        /// read and the log there may be offsets without records; an end that is seen after this proves it.
        origin: Option<Vec<i64>>,
    },
}

/// Further back, and nothing is known.
pub(super) const BEHIND: State = State::Behind {
    resolved: false,
    origin: None,
};

/// One topic of a stream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: i64,
    pub(super) feed: Option<Arc<Feed>>,
    pub(super) state: State,
    /// After a failure it rests until then.
    pub(super) rests_until: Option<Instant>,
}

impl Source {
    /// Whether it should read on by itself now.
    pub(super) fn wants_work(&self) -> bool {
        matches!(self.state, State::Behind { .. })
            && self.rests_until.is_none_or(|until| until <= Instant::now())
    }

    /// Goes over to the shared log, if that has everything after the place.
    pub(super) fn join(&mut self, place: &Place) -> bool {
        let found = self.feed.as_ref().and_then(|feed| feed.find(&place.next));
        if let Some(found) = found {
            self.state = State::Live(found);
        }
        found.is_some()
    }

    /// The next piece of reading further back.
    pub(super) fn work(&self, hub: &Hub, place: Place, filter: &Arc<Filter>) -> Work {
        let (resolved, origin) = match &self.state {
            State::Behind { resolved, origin } => (*resolved, origin.clone()),
            State::Live(_) => (true, None),
        };
        let (hub, topic, topic_id) = (hub.clone(), Arc::clone(&self.topic), self.topic_id);
        let (feed, filter) = (self.feed.clone(), Arc::clone(filter));
        Box::pin(async move {
            let (mut place, mut gaps, mut origin) = (place, Vec::new(), origin);
            if !resolved {
                let start = Start::At(place);
                (place, gaps) = hub.resolve(Arc::clone(&topic), topic_id, start).await?;
            }
            let fresh = origin.is_none();
            if let Some(feed) = feed.filter(|_| fresh) {
                feed.ready().await?;
                origin = Some(feed.oldest());
            }
            let ask = Ask {
                topic,
                place: place.clone(),
                filter,
                fresh: fresh && origin.is_some(),
            };
            let fetched = hub.pool().fetch(ask).await?;
            Ok(Done {
                place,
                gaps,
                origin,
                fetched,
            })
        })
    }
}

/// What a piece of work came to.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) place: Place,
    pub(super) gaps: Vec<Gap>,
    pub(super) origin: Option<Vec<i64>>,
    pub(super) fetched: Fetched,
}

/// A piece of work under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Done, Problem>>>>;
