//! The topic watcher: the only thread that talks to the admin API about topics.
//!
//! One single-threaded runtime, so that a long poll, a heartbeat and a request for a topic run side by
//! side: a fence is confirmed at once, whatever the long poll waits for. The last table is kept on disk;
//! while the admin API is down it stays in force.

mod requests;
pub mod table;

use crate::channels::{News, Note, WatcherEnds};
use crate::mailbox::Mailbox;
use crate::settings::ProducerSettings;
use anyhow::Context as _;
use crossbeam_channel::{Sender, TrySendError};
use requests::Requests;
use sluice_admin_client::{Client, Error, call};
use sluice_model::producer::Heartbeat;
use sluice_service::backoff::delay;
use sluice_service::health::Health;
use sluice_service::secret::Secret;
use sluice_service::shutdown::Shutdown;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// Delays between tries while the admin API does not answer.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Time between tries to give the publisher a table while its channel is full.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// Time that the last heartbeat may take when the daemon stops.
const LAST_BEAT_MAX: Duration = Duration::from_secs(2);

/// What the watcher's tasks share.
struct Watch {
    client: Client,
    token_file: PathBuf,
    health: Health,
    shutdown: Shutdown,
}

impl Watch {
    /// The daemon's token; read anew each time, so that it can be replaced while it runs.
    fn token(&self) -> Result<Secret, Error> {
        Secret::from_file(&self.token_file)
            .map_err(|error| Error::Unexpected(format!("admin_api.token_file: {error}")))
    }

    async fn send<T>(&self, call: call::Call<T>) -> Result<T, Error> {
        let token = self.token()?;
        self.client.send(token.expose(), call).await
    }

    /// Sleeps, but not past the wish to stop.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.shutdown.wait() => {}
        }
    }
}

/// Watches until the wish to stop.
///
/// # Errors
/// When the runtime or the client cannot be set up.
pub fn run(
    settings: &ProducerSettings,
    spool: &Path,
    since: Option<String>,
    ends: WatcherEnds,
    (health, shutdown): (Health, Shutdown),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("topic-watcher-io")
        .build()
        .context("start the watcher's runtime")?;
    let client = Client::new(&settings.admin_api.url).context("admin_api.url")?;
    let token_file = settings.admin_api.token_file.clone();
    let watch = Rc::new(Watch {
        client,
        token_file,
        health,
        shutdown,
    });
    let WatcherEnds { news, notes } = ends;
    let (beats, latest) = watch::channel(None);
    let requests = Requests::new(settings.auto_request_names_max);
    runtime.block_on(async {
        tokio::join!(
            poll_routes(&watch, settings.watch.wait, spool, since, &news),
            send_beats(&watch, latest),
            read_notes(&watch, notes, beats, &requests),
            requests.run(&watch),
        );
    });
    Ok(())
}

async fn poll_routes(
    watch: &Watch,
    wait: Duration,
    spool: &Path,
    known: Option<String>,
    news: &Sender<News>,
) {
    // The first question is answered at once, whatever is known: it tells whether the API is there.
    let mut since: Option<String> = None;
    let mut failures = 0;
    let mut saved = known;
    while !watch.shutdown.requested() {
        let answer = tokio::select! {
            () = watch.shutdown.wait() => return,
            answer = watch.send(call::routes(since.as_deref(), wait)) => answer,
        };
        match answer {
            Ok(table) => {
                failures = 0;
                watch.health.ok("admin-api");
                let Some(routes) = table else {
                    tell(watch, news, News::Unchanged).await;
                    continue;
                };
                since = Some(routes.revision.clone());
                // The publisher first: records wait for this. A crash in between costs one look.
                tell(watch, news, News::Table(routes.clone())).await;
                if saved.as_ref() != Some(&routes.revision) {
                    match table::save(spool, &routes) {
                        Ok(()) => saved = since.clone(),
                        Err(error) => tracing::warn!(%error, "the routes cannot be kept on disk"),
                    }
                }
            }
            Err(error) => {
                failures += 1;
                watch.health.degraded("admin-api", error.to_string());
                watch.pause(delay(failures, RETRY_FIRST, RETRY_MAX)).await;
            }
        }
    }
}

async fn tell(watch: &Watch, news: &Sender<News>, mut letter: News) {
    while let Err(TrySendError::Full(back)) = news.try_send(letter) {
        letter = back;
        watch.pause(FULL_PAUSE).await;
        if watch.shutdown.requested() {
            return;
        }
    }
}

async fn read_notes(
    watch: &Watch,
    notes: Mailbox<Note>,
    beats: watch::Sender<Option<Heartbeat>>,
    requests: &Requests,
) {
    loop {
        let note = tokio::select! {
            () = watch.shutdown.wait() => return,
            note = notes.receive() => note,
        };
        match note {
            // Only the latest heartbeat matters.
            Some(Note::Heartbeat(beat)) => drop(beats.send_replace(Some(beat))),
            Some(Note::Unknown(stranger)) => requests.add(stranger),
            None => return,
        }
    }
}

async fn send_beats(watch: &Watch, mut latest: watch::Receiver<Option<Heartbeat>>) {
    loop {
        let changed = tokio::select! {
            () = watch.shutdown.wait() => break,
            changed = latest.changed() => changed,
        };
        if changed.is_err() {
            break;
        }
        let Some(beat) = latest.borrow_and_update().clone() else {
            continue;
        };
        if let Err(error) = watch.send(call::heartbeat(&beat)).await {
            metrics::counter!("producer_heartbeat_errors_total").increment(1);
            tracing::debug!(%error, "a heartbeat was not heard");
            watch.pause(RETRY_FIRST).await;
        }
    }
    let beat = latest.borrow().clone();
    if let Some(beat) = beat {
        // The last word before the stop; without it the last but one stands.
        let _not_heard =
            tokio::time::timeout(LAST_BEAT_MAX, watch.send(call::heartbeat(&beat))).await;
    }
}
