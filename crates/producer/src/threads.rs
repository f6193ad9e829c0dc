//! The three threads of the daemon: started here, joined here, nowhere else.

use crate::budget::Budget;
use crate::channels::channels;
use crate::listener::{self, BoundInputs};
use crate::publisher::Publisher;
use crate::settings::ProducerSettings;
use crate::spool::Spool;
use crate::watcher::{self, table};
use anyhow::{Context as _, anyhow};
use sluice_service::health::Health;
use sluice_service::shutdown::Shutdown;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time between looks at the threads.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the daemon until it is told to stop, or one of its threads ends.
///
/// # Errors
/// When something cannot be set up, a thread fails, or the stop takes too long.
pub fn run(settings: ProducerSettings) -> anyhow::Result<()> {
    // Installed before the first counter counts.
    let _recorder = sluice_service::telemetry::metrics();
    let shutdown = Shutdown::on_signals().context("install signal handlers")?;
    let health = Health::default();
    health.degraded("admin-api", "it has not answered yet");
    let dir = settings.spool.dir.clone();
    let (spool, found) =
        Spool::open(&dir).with_context(|| format!("open the spool {}", dir.display()))?;
    let routes = table::load(&dir);
    let revision = routes.as_ref().map(|routes| routes.revision.clone());
    let inputs = BoundInputs::bind(&settings)?;
    let budget = Budget::new(settings.memory.max_bytes);
    let (listener_ends, publisher_ends, watcher_ends) = channels();
    let instance = match settings.instance.as_str() {
        "" => crate::host_name(),
        name => name.to_owned(),
    };
    let settings = Arc::new(settings);
    let state = (health, shutdown.clone());
    let publisher = Publisher::new(
        &settings,
        instance,
        publisher_ends,
        (spool, found),
        routes,
        state.clone(),
    )?;

    let publisher = spawn("publisher", &shutdown, move || publisher.run())?;
    let watcher = {
        let (settings, state) = (Arc::clone(&settings), state.clone());
        spawn("topic-watcher", &shutdown, move || {
            watcher::run(&settings, &dir, revision, watcher_ends, state)
        })?
    };
    let listener = {
        let settings = Arc::clone(&settings);
        spawn("input-listener", &shutdown, move || {
            listener::run(&settings, inputs, listener_ends, budget, state)
        })?
    };
    join(
        [listener, publisher, watcher],
        &shutdown,
        Duration::from_secs(settings.shutdown_s),
    )
}

type Thread = (&'static str, JoinHandle<anyhow::Result<()>>);

fn spawn(
    name: &'static str,
    shutdown: &Shutdown,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Thread> {
    let stop = StopOnDrop(shutdown.clone());
    let body = move || {
        // A thread that ends, by a panic too, stops the daemon: the others are nothing without it.
        let _stop = stop;
        work().with_context(|| format!("thread {name}"))
    };
    let handle = thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("start thread {name}"))?;
    Ok((name, handle))
}

struct StopOnDrop(Shutdown);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

fn join(threads: [Thread; 3], shutdown: &Shutdown, stop_max: Duration) -> anyhow::Result<()> {
    let mut asked: Option<Instant> = None;
    while !threads.iter().all(|(_, handle)| handle.is_finished()) {
        thread::sleep(LOOK_EVERY);
        if shutdown.requested() {
            let since = asked.get_or_insert_with(Instant::now);
            anyhow::ensure!(
                since.elapsed() <= stop_max,
                "the stop took more than {stop_max:?}"
            );
        }
    }
    let mut outcome = Ok(());
    for (name, handle) in threads {
        let ended = handle
            .join()
            .unwrap_or_else(|_| Err(anyhow!("thread {name} panicked")));
        outcome = outcome.and(ended);
    }
    outcome
}
