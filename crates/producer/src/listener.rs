//! The input listener: every input as tasks of one single-threaded runtime.
//!
//! It never blocks on a channel. What finds no room in the memory budget is not read (streams) or
//! answered 429 (HTTP).

mod accept;
mod figures;
mod generator;
mod guard;
mod hello;
mod host;
mod http;
mod inlet;
mod own;
mod quarantine;
mod quiet;
mod reach;
mod reader;
mod stream;
mod syslog;
mod tail;

use crate::budget::Budget;
use crate::channels::ListenerEnds;
use crate::settings::ProducerSettings;
use accept::Bound;
use anyhow::Context as _;
use inlet::Inlet;
use quarantine::Quarantine;
use sluice_admin_client::Client;
use sluice_admin_client::verify::Verifier;
use sluice_service::health::Health;
use sluice_service::shutdown::Shutdown;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;

/// The addresses that the inputs were bound to, before the thread starts: a port that is taken stops
/// the daemon at once.
pub use accept::Bound as BoundInputs;

/// Part of the shutdown time that is left for the publisher.
const STOP_RESERVE: Duration = Duration::from_secs(1);

/// Runs the inputs until the wish to stop, and until every answer is sent or the time is over.
///
/// # Errors
/// When the runtime or an input cannot be set up.
pub fn run(
    settings: &ProducerSettings,
    bound: Bound,
    ends: ListenerEnds,
    budget: Budget,
    (health, shutdown): (Health, Shutdown),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("input-listener-io")
        .build()
        .context("start the listener's runtime")?;
    let stop_max = Duration::from_secs(settings.shutdown_s).saturating_sub(STOP_RESERVE);
    let tasks = LocalSet::new();
    let served = tasks.block_on(
        &runtime,
        serve(settings, bound, ends, budget, (health, shutdown), stop_max),
    );
    // A read of standard input that waits for a line cannot be ended; it must not keep the daemon.
    runtime.shutdown_background();
    served
}

async fn serve(
    settings: &ProducerSettings,
    bound: Bound,
    ends: ListenerEnds,
    budget: Budget,
    (health, shutdown): (Health, Shutdown),
    stop_max: Duration,
) -> anyhow::Result<()> {
    let record_max = settings.limits.record_max_bytes;
    let channels = (ends.batches, ends.asks);
    let inlet = Rc::new(Inlet::new(channels, budget, record_max, shutdown.clone()));
    let admin = Client::new(&settings.admin_api.url).context("admin_api.url")?;
    let verifier = Verifier::new(admin, settings.auth_stale_max);
    let http = Rc::new(http::Http::new(
        Rc::clone(&inlet),
        verifier,
        health,
        settings,
    ));
    let dispatcher = tokio::task::spawn_local(inlet::dispatch(Rc::clone(&inlet), ends.replies));
    let (quarantine, writing) = Quarantine::start(&settings.inputs.quarantine);
    let writing = tokio::task::spawn_local(writing);
    accept::spawn(bound, settings, &inlet, &http, &quarantine)?;
    let whole = own::spawn(settings, &inlet, &quarantine);
    drop((http, quarantine));
    shutdown.wait().await;
    tracing::info!("inputs stop");
    // Every task holds the inlet; when only the dispatcher is left, all of them have ended.
    let held = Rc::downgrade(&inlet);
    drop(inlet);
    let ended = async {
        while held.strong_count() > DISPATCHER {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(stop_max, ended).await.is_err() {
        tracing::warn!("inputs did not end in time; their last answers are not sent");
    }
    dispatcher.abort();
    if tokio::time::timeout(QUARANTINE_MAX, writing).await.is_err() {
        tracing::warn!("the quarantine is not written in time");
    }
    anyhow::ensure!(
        whole.get(),
        "not every line of standard input was taken; the log and the counters of refused records tell which"
    );
    Ok(())
}

/// Time for the last lines of the quarantine, while stopping.
const QUARANTINE_MAX: Duration = Duration::from_millis(500);
/// Time between looks at what still runs, while stopping.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The dispatcher's own hold on the inlet.
const DISPATCHER: usize = 1;
