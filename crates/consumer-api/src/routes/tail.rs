//! One open stream: which topics it is attached to, where it is, and what it says next.

use crate::access::Caller;
use crate::catalogue::{Changes, Snapshot};
use crate::context::Context;
use crate::stream::cursor::Cursor;
use crate::stream::reader::Start;
use crate::stream::viewer::{Item, Viewer};
use crate::stream::{Attachment, Permit};
use actix_web::web::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use sluice_admin_client::{Error, call};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use sluice_service::now;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Bytes of events that are written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// Time until the topics are brought in line again after that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Milliseconds after which a browser connects again.
const RECONNECT_MS: u32 = 1000;

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
}

/// An open stream.
pub(super) struct Tail {
    context: Context,
    caller: Caller,
    who: Who,
    from: From,
    viewer: Arc<Viewer>,
    cursor: Cursor,
    attached: BTreeMap<String, Attachment>,
    catalogue: watch::Receiver<Arc<Snapshot>>,
    changes: watch::Receiver<Changes>,
    seen: (u64, u64),
    out: String,
    heartbeat: Instant,
    retry: Option<Instant>,
    opened: bool,
    over: bool,
    _permit: Permit,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.viewer.close();
    }
}

/// The topics that a stream wants, with the instant from which it wants them.
type Wanted = BTreeMap<String, Option<i64>>;

impl Tail {
    /// Opens a stream: when it answers, every record from now on will come.
    ///
    /// # Errors
    /// 503 when the admin API or Kafka does not answer.
    pub(super) async fn open(
        context: Context,
        caller: Caller,
        who: Who,
        from: From,
        cursor: Option<Cursor>,
        permit: Permit,
    ) -> Result<Self, Failure> {
        let (catalogue, changes) = (context.catalogue.watch(), context.catalogue.watch_changes());
        let viewer = Viewer::new(context.settings.stream.buffer_bytes);
        let heartbeat = Instant::now() + context.settings.stream.heartbeat;
        let mut this = Self {
            context,
            caller,
            who,
            from,
            viewer,
            cursor: cursor.unwrap_or_default(),
            attached: BTreeMap::new(),
            catalogue,
            changes,
            seen: (0, 0),
            out: format!("retry: {RECONNECT_MS}\n\n"),
            heartbeat,
            retry: None,
            opened: false,
            over: false,
            _permit: permit,
        };
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

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.fill();
            if !self.out.is_empty() {
                return Some(Bytes::from(std::mem::take(&mut self.out)));
            }
            if self.over {
                return None;
            }
            self.wait().await;
        }
    }

    /// Takes what waits, up to one write.
    fn fill(&mut self) {
        while self.out.len() < WRITE_BYTES && !self.over {
            match self.viewer.take() {
                Ok(Some(item)) => self.say(item),
                Ok(None) => break,
                Err(_slow) => {
                    // The client comes back with the id of the last event and misses nothing.
                    self.out
                        .push_str(": too slow, connect again with Last-Event-ID\n\n");
                    self.over = true;
                }
            }
        }
    }

    fn say(&mut self, item: Item) {
        match item {
            Item::Record(event) => {
                if self
                    .cursor
                    .pass(&event.topic, event.partition, event.offset)
                {
                    self.event("record", &event.json);
                }
            }
            Item::Gap(topic, partition, from, to) => {
                metrics::counter!("stream_gaps_total", "reason" => "retention").increment(1);
                let data =
                    json!({"topic": &*topic, "partition": partition, "from": from, "to": to});
                self.event("gap", &data.to_string());
            }
            Item::Broken(topic, reason) => {
                tracing::debug!(topic.name = &*topic, reason, "a stream lost its reader");
                self.attached.remove(&*topic);
                self.retry = Some(Instant::now() + RETRY);
            }
        }
    }

    fn event(&mut self, name: &str, data: &str) {
        use std::fmt::Write as _;
        let id = self.cursor.write();
        let _infallible = write!(self.out, "event: {name}\nid: {id}\ndata: {data}\n\n");
        self.heartbeat = Instant::now() + self.context.settings.stream.heartbeat;
    }

    fn beat(&mut self) {
        let data = json!({"timestamp": now()}).to_string();
        self.event("heartbeat", &data);
    }

    /// Waits for something to say.
    async fn wait(&mut self) {
        let retry = self
            .retry
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        let resync = tokio::select! {
            () = self.context.shutdown.wait() => {
                self.over = true;
                return;
            }
            () = self.viewer.wait() => false,
            () = sleep_until(self.heartbeat) => {
                self.beat();
                false
            }
            () = sleep_until(retry) => true,
            changed = self.catalogue.changed() => changed.is_ok(),
            changed = self.changes.changed() => changed.is_ok() && self.user_changed(),
        };
        if resync && let Err(failure) = self.sync().await {
            tracing::debug!(error = %failure, "a stream ends");
            self.over = matches!(failure.0.status, 401 | 403);
            self.retry = Some(Instant::now() + RETRY);
        }
    }

    fn user_changed(&self) -> bool {
        match &self.who {
            Who::User(user) => self.changes.borrow().of(user) != self.seen,
            Who::Topics(_) => false,
        }
    }

    /// What the stream is of now.
    async fn wanted(&mut self) -> Result<Wanted, Failure> {
        match &self.who {
            Who::Topics(topics) => Ok(topics.iter().map(|topic| (topic.clone(), None)).collect()),
            Who::User(user) => {
                self.seen = self.changes.borrow_and_update().of(user);
                let call = call::subscriptions(Some(user));
                let found = self
                    .context
                    .admin
                    .send(self.caller.token.expose(), call)
                    .await;
                let found = found.map_err(|error| match error {
                    Error::Problem(problem) => Failure(problem),
                    other => Problem::new(Code::Unavailable, other.to_string())
                        .retry_after(1)
                        .into(),
                })?;
                let since = |s: sluice_model::subscription::Subscription| {
                    (s.topic_name, Some(s.subscribed_at.as_millis()))
                };
                Ok(found.into_iter().map(since).collect())
            }
        }
    }

    /// Attaches to what is wanted and active, and leaves what is not.
    async fn sync(&mut self) -> Result<(), Failure> {
        self.retry = None;
        let wanted = self.wanted().await?;
        let snapshot = Arc::clone(&self.catalogue.borrow_and_update());
        let gone: Vec<String> = self
            .attached
            .keys()
            .filter(|topic| !wanted.contains_key(*topic) || !snapshot.is_active(topic))
            .cloned()
            .collect();
        for topic in gone {
            self.leave(&topic, wanted.contains_key(&topic), &snapshot);
        }
        let fresh = wanted
            .into_iter()
            .filter(|(topic, _)| snapshot.is_active(topic) && !self.attached.contains_key(topic));
        let fresh: Vec<_> = fresh.collect();
        for (topic, since) in fresh {
            if let Err(failure) = self.attach(&topic, since, &snapshot).await {
                if !self.opened {
                    return Err(failure);
                }
                tracing::debug!(topic.name = topic, error = %failure, "not attached yet");
                self.retry = Some(Instant::now() + RETRY);
            }
        }
        Ok(())
    }

    fn leave(&mut self, topic: &str, still_wanted: bool, snapshot: &Snapshot) {
        self.attached.remove(topic);
        let reason = if still_wanted {
            // The place is kept: what comes after a reactivation is not missed.
            snapshot
                .state(topic)
                .map_or("unknown", |state| state.as_str())
        } else {
            self.cursor.remove(topic);
            "unsubscribed"
        };
        self.told("unsubscribed", topic, Some(reason));
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

    /// Where to start with a topic.
    fn start(&self, topic: &str, since: Option<i64>, topic_id: i64) -> Start {
        match self.cursor.place(topic) {
            Some(place) if place.topic_id == topic_id => Start::At(place.clone()),
            // It was deleted and made again since: all of it is new.
            Some(_) => Start::Earliest,
            None if self.from == From::Earliest => Start::Earliest,
            // Nothing that came after the subscription may be missed.
            None if self.opened => since.map_or(Start::Latest, Start::Time),
            None => Start::Latest,
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
        let (hub, viewer, name) = (
            self.context.hub.clone(),
            Arc::clone(&self.viewer),
            topic.to_owned(),
        );
        let attach = tokio::task::spawn_blocking(move || match start {
            Start::Latest => hub.attach(&name, &viewer),
            start => hub.attach_at(&name, start, &viewer),
        });
        let attached = attach
            .await
            .map_err(|error| sluice_service::http::problem::internal(&error))?;
        let (attachment, at) = attached?;
        if let Some(place) = at.place(topic) {
            let mut place = place.clone();
            place.topic_id = topic_id;
            self.cursor.put(topic, place);
        }
        self.attached.insert(topic.to_owned(), attachment);
        if self.opened || matches!(self.who, Who::User(_)) {
            self.told("subscribed", topic, None);
        }
        Ok(())
    }
}
