//! One open stream: where it is, and what it says next. What it is of is kept up in [`follow`].

mod behind;
mod follow;
mod out;
mod source;

use crate::access::{self, Caller};
use crate::catalogue::{Changes, Snapshot};
use crate::context::Context;
use crate::stream::Permit;
use crate::stream::chunk::Chunk;
use crate::stream::cursor::Cursor;
use crate::stream::filter::Filter;
use crate::stream::log::Found;
use crate::stream::reader::Seen;
use actix_web::web::Bytes;
use behind::Search;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use out::Out;
pub(crate) use out::Style;
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_model::access::Role;
use sluice_service::http::problem::Failure;
use sluice_service::now;
use source::{BEHIND, Source, State, Work};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Time until something that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Milliseconds after which a browser connects again.
const RECONNECT_MS: u32 = 1000;
/// How often a stream looks at its clocks, at most.
const TICK: Duration = Duration::from_secs(1);
/// Time between two looks at whether the credential still stands.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60);

/// What a stream is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Topics by name.
    Topics(Vec<String>),
    /// Whatever a user subscribes to.
    User(String),
}

/// Where a stream without a cursor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// With what comes.
    Latest,
    /// With the first record that is there.
    Earliest,
    /// With the first record of an instant.
    Time(i64),
}

/// What happens to a viewer who falls out of a topic's log because it reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// It misses nothing: it reads on from Kafka, at its own pace.
    Pause,
    /// It skips to what is kept and is told what it missed.
    Gap,
    /// The stream ends; the client comes back with its cursor.
    Disconnect,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) who: Who,
    pub(super) from: From,
    pub(super) cursor: Option<Cursor>,
    pub(super) policy: Policy,
    pub(super) filter: Filter,
    pub(super) style: Style,
}

/// An open stream.
pub(super) struct Tail {
    context: Context,
    caller: Caller,
    who: Who,
    from: From,
    policy: Policy,
    filter: Arc<Filter>,
    cursor: Cursor,
    sources: Vec<Source>,
    turn: usize,
    work: Option<(Arc<str>, Work)>,
    bell: Arc<Notify>,
    catalogue: watch::Receiver<Arc<Snapshot>>,
    changes: watch::Receiver<Changes>,
    subscriptions: Option<follow::Wanted>,
    seen: (u64, u64),
    search: Search,
    out: Out,
    id: String,
    scratch: Vec<u8>,
    tick: Interval,
    heartbeat: Instant,
    verify: Instant,
    ends: Instant,
    retry: Option<Instant>,
    stop: LocalBoxFuture<'static, ()>,
    dirty: bool,
    opened: bool,
    over: bool,
    _permit: Permit,
}

impl Tail {
    /// Opens a stream: when it answers, every record from now on will come.
    ///
    /// # Errors
    /// 503 when the admin API or Kafka does not answer.
    pub(super) async fn open(
        context: Context,
        caller: Caller,
        asked: Asked,
        permit: Permit,
    ) -> Result<Self, Failure> {
        let settings = &context.settings.stream;
        let mut tick = interval(TICK.min(settings.heartbeat));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        let shutdown = context.shutdown.clone();
        let mut this = Self {
            who: asked.who,
            from: asked.from,
            policy: asked.policy,
            filter: Arc::new(asked.filter),
            cursor: asked.cursor.unwrap_or_default(),
            sources: Vec::new(),
            turn: 0,
            work: None,
            bell: Arc::default(),
            catalogue: context.catalogue.watch(),
            changes: context.catalogue.watch_changes(),
            subscriptions: None,
            seen: (0, 0),
            search: Search::default(),
            out: Out::new(asked.style),
            id: String::new(),
            scratch: Vec::new(),
            tick,
            heartbeat: started + settings.heartbeat,
            verify: started + VERIFY_INTERVAL,
            ends: started + settings.max_age,
            retry: None,
            stop: Box::pin(async move { shutdown.wait().await }),
            dirty: false,
            opened: false,
            over: false,
            context,
            caller,
            _permit: permit,
        };
        this.out.retry(RECONNECT_MS);
        this.sync().await?;
        this.opened = true;
        this.beat();
        Ok(this)
    }

    /// The stream as the body of an answer.
    pub(super) fn frames(self) -> impl Stream<Item = Result<Bytes, Infallible>> + 'static {
        futures_util::stream::unfold(self, |mut tail| async move {
            let bytes = tail.next().await?;
            Some((Ok(bytes), tail))
        })
    }

    /// The next piece; none at the end. It may be given up at any time and asked again.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.out.pop() {
                return Some(piece);
            }
            if self.over {
                return None;
            }
            self.fill();
            if self.out.is_empty() && !self.over {
                self.begin_work();
                self.wait().await;
            }
        }
    }

    /// Takes what waits at the ends of the topics, up to one write.
    fn fill(&mut self) {
        let mut moved = true;
        while moved && !self.over {
            moved = false;
            for _ in 0..self.sources.len() {
                if self.out.is_full() || self.over {
                    return;
                }
                self.turn = (self.turn + 1) % self.sources.len();
                moved |= self.advance(self.turn);
            }
        }
    }

    /// One step of a topic. False: nothing new.
    fn advance(&mut self, index: usize) -> bool {
        let Some(source) = self.sources.get_mut(index) else {
            return false;
        };
        let (State::Live(place), Some(feed)) = (&source.state, &source.feed) else {
            return false;
        };
        let place = *place;
        match feed.get(place) {
            Seen::Found(Found::End) => return false,
            Seen::Found(Found::Chunk(chunk)) => {
                source.state = State::Live(place + 1);
                let topic = Arc::clone(&source.topic);
                let filter = Arc::clone(&self.filter);
                self.say(&topic, &chunk, &filter);
            }
            Seen::Found(Found::Lost(first)) => self.fell_off(index, first),
            Seen::Ended(reason) => {
                tracing::debug!(
                    topic.name = &*source.topic,
                    reason,
                    "a stream lost its reader"
                );
                source.feed = None;
                source.state = BEHIND;
                source.rests_until = Some(Instant::now() + RETRY);
            }
        }
        true
    }

    /// The viewer was too slow: the records at its place are kept no more.
    fn fell_off(&mut self, index: usize, first: u64) {
        metrics::counter!("stream_slow_total", "policy" => match self.policy {
            Policy::Pause => "pause",
            Policy::Gap => "gap",
            Policy::Disconnect => "disconnect",
        })
        .increment(1);
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        match self.policy {
            Policy::Pause => {
                source.state = State::Behind {
                    resolved: true,
                    origin: None,
                };
            }
            Policy::Disconnect => self.end("slow"),
            Policy::Gap => {
                source.state = State::Live(first);
                let topic = Arc::clone(&source.topic);
                let oldest = source
                    .feed
                    .as_ref()
                    .map_or_else(Vec::new, |feed| feed.oldest());
                self.skip_to(&topic, &oldest);
            }
        }
    }

    /// Moves on to these offsets and says what is missing.
    fn skip_to(&mut self, topic: &str, next: &[i64]) {
        let place = self.cursor.place(topic).cloned().unwrap_or_default();
        let mut target = place.next.clone();
        for (partition, to) in (0_i32..).zip(next) {
            let index = usize::try_from(partition).unwrap_or_default();
            let from = place.next.get(index).copied().unwrap_or(0);
            if from >= *to {
                continue;
            }
            target.resize(target.len().max(index + 1), 0);
            if let Some(at) = target.get_mut(index) {
                *at = *to;
            }
            self.cursor.reach(topic, &target);
            self.gap(topic, partition, from, *to, "slow");
        }
    }

    fn gap(&mut self, topic: &str, partition: i32, from: i64, to: i64, reason: &'static str) {
        metrics::counter!("stream_gaps_total", "reason" => reason).increment(1);
        let data = json!({"topic": topic, "partition": partition, "from": from, "to": to, "reason": reason});
        self.event("gap", &data.to_string());
    }

    /// Says the records of a chunk that are new here.
    fn say(&mut self, topic: &str, chunk: &Chunk, filter: &Filter) {
        self.heartbeat = Instant::now() + self.context.settings.stream.heartbeat;
        let here = self.cursor.place(topic).map(|place| place.next.as_slice());
        let plain = self.out.takes_shared() && filter.is_empty() && self.cursor.len() == 1;
        if plain && here == Some(chunk.before()) {
            self.out.shared(chunk.text());
            self.cursor.reach(topic, chunk.after());
            return;
        }
        let (out, id, scratch) = (&mut self.out, &mut self.id, &mut self.scratch);
        chunk.walk(&mut self.cursor, filter, |cursor, json| {
            id.clear();
            cursor.write_to(scratch, id);
            out.event("record", id, json);
        });
    }

    fn event(&mut self, name: &str, data: &str) {
        self.id.clear();
        self.cursor.write_to(&mut self.scratch, &mut self.id);
        self.out.event(name, &self.id, data);
        self.heartbeat = Instant::now() + self.context.settings.stream.heartbeat;
    }

    fn beat(&mut self) {
        let data = json!({"timestamp": now()}).to_string();
        self.event("heartbeat", &data);
    }

    /// Ends the stream after what is gathered.
    fn end(&mut self, reason: &'static str) {
        metrics::counter!("stream_ends_total", "reason" => reason).increment(1);
        self.event("end", &json!({"reason": reason}).to_string());
        self.over = true;
    }

    /// Waits for something to say.
    async fn wait(&mut self) {
        let work = &mut self.work;
        let working = async {
            match work {
                Some((_, work)) => work.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut self.stop => self.end("shutdown"),
            done = working => self.worked(done),
            () = self.bell.notified() => {}
            changed = self.catalogue.changed() => self.dirty |= changed.is_ok(),
            changed = self.changes.changed() => {
                if changed.is_ok() && self.user_changed() {
                    self.subscriptions = None;
                    self.dirty = true;
                }
            }
            _ = self.tick.tick() => self.look_at_clocks().await,
        }
        if self.dirty && !self.over {
            self.bring_in_line().await;
        }
    }

    async fn look_at_clocks(&mut self) {
        let now = Instant::now();
        if now >= self.ends {
            self.end("max_age");
            return;
        }
        if now >= self.verify {
            self.verify = now + VERIFY_INTERVAL;
            let known = access::verify(&self.context, self.caller.token.clone()).await;
            let gone = match known {
                Ok(caller) => caller.need(Role::Viewer).is_err(),
                // The admin API is down: what was known stays good.
                Err(problem) => problem.status == 401,
            };
            if gone {
                self.end("unauthenticated");
                return;
            }
        }
        if self.retry.is_some_and(|retry| now >= retry) {
            self.dirty = true;
        }
        if now >= self.heartbeat {
            self.beat();
        }
    }

    fn told(&mut self, event: &str, topic: &str, reason: Option<&str>) {
        let mut data = json!({"topic": topic});
        if let Who::User(user) = &self.who {
            data["user_id"] = Value::from(user.as_str());
        }
        if let Some(reason) = reason {
            data["reason"] = Value::from(reason);
        }
        self.event(event, &data.to_string());
    }
}
