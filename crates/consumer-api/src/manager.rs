//! Owns the workers: one turn at a time per consumer, desired state restored at the start, everything
//! stopped within a bound at the end.

pub mod lease;
mod plan;
mod present;
mod share;

use crate::catalogue::Catalogue;
use crate::clusters::Clusters;
use crate::confine::Roots;
use crate::dead_letter::DeadLetters;
use crate::destinations::Destinations;
use crate::outgoing::Outgoing;
use crate::processors::{Processor, SinkError, Site, kind};
use crate::secrets::Secrets;
use crate::settings::ConsumersSettings;
use crate::status::Report;
use crate::store::Store;
use crate::store::consumers::Row;
use crate::watermark::Positions;
use crate::worker::breaker::Breaker;
use crate::worker::letters;
use crate::worker::prefetch::Prefetch;
use crate::worker::{Job, Order, Worker};
use lease::Sharing;
use plan::{Plan, confined, plan};
use sluice_model::consumer::OnPoison;
use sluice_service::http::problem::Failure;
use sluice_service::shutdown::Shutdown;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, Semaphore};

/// Consumers that are brought in line at one time.
const APPLY_AT_ONCE: usize = 64;
/// Time between two looks at all consumers, beside those that a change starts.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Time that a drain gets beyond the time of a stop.
const DRAIN_EXTRA: Duration = Duration::from_secs(30);

/// What workers are made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The registry.
    pub store: Store,
    /// The clusters.
    pub clusters: Clusters,
    /// The topics.
    pub catalogue: Catalogue,
    /// Directories of files.
    pub roots: Roots,
    /// Network destinations.
    pub destinations: Destinations,
    /// HTTP out.
    pub http: Outgoing,
    /// Secrets that configurations refer to.
    pub secrets: Secrets,
    /// Where records go that no processor takes.
    pub dead_letters: DeadLetters,
    /// Batches, retries and stops.
    pub settings: ConsumersSettings,
    /// The runtime that drives the registry for the workers.
    pub runtime: Handle,
}

/// The manager. Clones share it.
#[derive(Clone, Debug)]
pub struct Manager {
    parts: Arc<Parts>,
    slots: Arc<Mutex<HashMap<String, Arc<Slot>>>>,
    at_once: Arc<Semaphore>,
    prefetch: Prefetch,
    sharing: Option<Arc<Sharing>>,
}

#[derive(Debug, Default)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    hold: Option<String>,
    /// The report of the worker before.
    last: Report,
}

#[derive(Debug)]
struct Running {
    worker: Worker,
    row: Row,
    topics: Vec<(String, i64)>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The exclusive right to change one consumer.
#[derive(Debug)]
pub struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl Manager {
    /// A manager without workers.
    pub fn new(parts: Parts, sharing: Option<Arc<Sharing>>) -> Self {
        let at_once = Arc::new(Semaphore::new(APPLY_AT_ONCE));
        let prefetch = Prefetch::new(parts.settings.prefetch_bytes);
        Self {
            prefetch,
            parts: Arc::new(parts),
            slots: Arc::default(),
            at_once,
            sharing,
        }
    }

    /// What workers are made from.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: &str) -> Arc<Slot> {
        Arc::clone(self.slots().entry(id.to_owned()).or_default())
    }

    /// Waits for the right to change a consumer.
    pub async fn turn(&self, id: &str) -> Turn {
        let turn = Arc::clone(&self.slot(id).turn);
        Turn {
            _guard: turn.lock_owned().await,
        }
    }

    /// Tells a worker to stop now, whatever it is waiting for: the turn comes free soon after.
    pub fn interrupt(&self, id: &str) {
        if let Some(running) = &self.slot(id).state().running {
            running.worker.link.order(Order::Stop);
        }
    }

    /// Ends the wait for the next try.
    pub fn kick(&self, id: &str) {
        if let Some(running) = &self.slot(id).state().running {
            running.worker.link.kick();
        }
    }

    /// Brings a consumer in line with its row and the catalogue. The caller has the turn.
    pub async fn apply(&self, turn: &Turn, row: &Row) {
        if !self.owns(&row.id) {
            return self.stand_back(turn, &row.id).await;
        }
        let slot = self.slot(&row.id);
        let cluster = self.parts.clusters.by_name(&row.cluster);
        let governed = cluster.map(|cluster| cluster.governed());
        let refused = cluster.and_then(|c| row.topics.iter().find(|topic| !c.carries(topic)));
        let planned = plan(row, governed, &self.parts.catalogue.now());
        match confined(planned, refused) {
            Plan::Idle { hold, drain } => {
                slot.state().hold.clone_from(&hold);
                let ran = slot.state().running.is_some();
                self.stop_worker(&slot, &row.id, drain).await;
                if ran && drain {
                    self.note_drained(&slot, &row.id, hold).await;
                }
            }
            Plan::Work { pause, topics } => {
                let order = if pause { Order::Pause } else { Order::Run };
                slot.state().hold = None;
                if Self::give_order(&slot, row, &topics, order) {
                    return;
                }
                self.stop_worker(&slot, &row.id, false).await;
                self.start_worker(&slot, row, topics, order).await;
            }
        }
    }

    /// Gives an order to the worker that already does the right thing. False: there is none.
    fn give_order(slot: &Slot, row: &Row, topics: &[(String, i64)], order: Order) -> bool {
        let state = slot.state();
        let Some(running) = &state.running else {
            return false;
        };
        let stands = matches!(running.worker.link.ordered(), Order::Run | Order::Pause);
        let fits = plan::same_work(&running.row, row) && running.topics == topics;
        if fits && stands && !running.worker.ended() {
            running.worker.link.report().generation = row.generation;
            running.worker.link.order(order);
        }
        fits && stands && !running.worker.ended()
    }

    async fn stop_worker(&self, slot: &Slot, id: &str, drain: bool) {
        let Some(done) = ({
            let state = slot.state();
            state.running.as_ref().map(|running| {
                let stop = !drain || running.worker.link.ordered() == Order::Stop;
                running
                    .worker
                    .link
                    .order(if stop { Order::Stop } else { Order::Drain });
                running.worker.done()
            })
        }) else {
            return;
        };
        let stop = self.parts.settings.stop_timeout;
        let limit = if drain { stop + DRAIN_EXTRA } else { stop };
        let mut done = done;
        let ended = tokio::time::timeout(limit, done.wait_for(|done| *done))
            .await
            .is_ok();
        let mut state = slot.state();
        if let Some(running) = state.running.take() {
            running.worker.link.order(Order::Stop);
            state.last = running.worker.link.report().clone();
            state.last.phase = crate::status::Phase::Stopped;
            state.last.fault = None;
            state.last.next_retry_at = None;
            state.last.busy = None;
            state.last.generation = 0;
            state.last.partitions = 0;
            state.last.since = sluice_service::now();
        }
        if !ended {
            // librdkafka's close can hang; the thread ends when it does, and holds nothing of ours.
            tracing::warn!(
                consumer.id = id,
                "a worker did not end in time and is left to itself"
            );
            metrics::counter!("consumer_workers_detached_total").increment(1);
        }
    }

    async fn start_worker(&self, slot: &Slot, row: &Row, topics: Vec<(String, i64)>, order: Order) {
        let Some(cluster) = self.parts.clusters.by_name(&row.cluster).cloned() else {
            return;
        };
        let epoch = match self.parts.store.begin_epoch(&row.id).await {
            Ok(epoch) => epoch,
            Err(failure) => {
                let reason = format!("the registry: {}; tries again soon", failure.0.detail);
                slot.state().hold = Some(reason);
                return;
            }
        };
        let policies = &row.policies;
        let kept = || letters::Kept::new(&self.parts.dead_letters, &row.id);
        let kept = (policies.on_poison == OnPoison::DeadLetter).then(kept);
        let job = Job {
            consumer_id: row.id.clone(),
            cluster,
            topics: topics.clone(),
            group: row.consumer_group.clone(),
            client_id: row
                .client_id
                .clone()
                .unwrap_or_else(|| format!("sluice-{}", row.id)),
            processors: self.processors(row, &topics, epoch),
            letters: kept.map(|kept| Box::new(kept) as Box<dyn letters::DeadLetters>),
            breaker: Breaker::new(policies.poison_max, policies.poison_window),
            auto_offset_reset: policies.auto_offset_reset,
            prefetch: self.prefetch.clone(),
            settings: self.parts.settings.clone(),
        };
        let mut state = slot.state();
        match Worker::start(job, order) {
            Ok(worker) => {
                {
                    let mut report = worker.link.report();
                    report.errors.clone_from(&state.last.errors);
                    report.generation = row.generation;
                }
                state.running = Some(Running {
                    worker,
                    row: row.clone(),
                    topics,
                });
            }
            Err(error) => {
                tracing::error!(consumer.id = row.id, error = %error, "no thread for a consumer");
                state.hold = Some(format!(
                    "the system gives no thread: {error}; tries again soon"
                ));
            }
        }
    }

    /// The processors of a consumer, ready to be opened; also for moving offsets. `epoch` comes from
    /// [`Store::begin_epoch`]: whoever began it last is the only one who writes.
    pub fn processors(
        &self,
        row: &Row,
        topics: &[(String, i64)],
        epoch: i64,
    ) -> Vec<(String, Box<dyn Processor>)> {
        let parts = &self.parts;
        let build = |processor: &sluice_model::consumer::Processor| {
            let site = Site {
                consumer_id: row.id.clone(),
                processor_id: processor.id.clone(),
                cluster: row.cluster.clone(),
                roots: parts.roots.clone(),
                destinations: parts.destinations.clone(),
                epoch,
                sinks: parts
                    .store
                    .sinks(parts.runtime.clone())
                    .fenced(&row.id, epoch),
                topic_ids: topics.iter().cloned().collect(),
                http: parts.http.clone(),
                secrets: parts.secrets.clone(),
                clusters: parts.clusters.clone(),
                catalogue: parts.catalogue.clone(),
                runtime: parts.runtime.clone(),
            };
            let built = kind(&processor.processor_type)
                .map_err(SinkError::environment)
                .and_then(|kind| kind.build(&processor.config, site));
            let built = built.unwrap_or_else(|error| Box::new(Broken(error)));
            (processor.processor_type.clone(), built)
        };
        row.processors.iter().map(build).collect()
    }

    /// Forgets a consumer that was deleted. The caller has the turn.
    pub async fn forget(&self, _turn: &Turn, id: &str) {
        let slot = self.slot(id);
        self.stop_worker(&slot, id, false).await;
        self.slots().remove(id);
        if let Some(sharing) = &self.sharing {
            sharing.drop_one(id);
        }
    }

    /// Stops the worker of a consumer; it is started again by [`Manager::apply`]. The caller has the turn.
    pub async fn halt(&self, _turn: &Turn, id: &str) {
        let slot = self.slot(id);
        self.stop_worker(&slot, id, false).await;
    }

    /// Restores every consumer and keeps all of them in line with the catalogue until the stop; then
    /// stops them, at most for the time of one stop.
    pub async fn run(self, shutdown: Shutdown) {
        if let Some(sharing) = self.sharing.clone() {
            tokio::join!(
                self.keep(&shutdown),
                self.share(Arc::clone(&sharing), &shutdown)
            );
            self.stop_all().await;
            self.leave(&sharing).await;
        } else {
            self.keep(&shutdown).await;
            self.stop_all().await;
        }
    }

    async fn keep(&self, shutdown: &Shutdown) {
        let mut catalogue = self.parts.catalogue.watch();
        while !shutdown.requested() {
            catalogue.mark_unchanged();
            let stopped = tokio::select! {
                () = shutdown.wait() => true,
                () = self.apply_all() => false,
            };
            if stopped {
                break;
            }
            tokio::select! {
                () = shutdown.wait() => {}
                _changed = catalogue.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    async fn apply_all(&self) {
        let rows = match self.parts.store.all_consumers().await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error = %error, "consumers cannot be read");
                return;
            }
        };
        let known: HashSet<String> = self.slots().keys().cloned().collect();
        let ours = |row: &Row| self.owns(&row.id) || known.contains(&row.id);
        let rows: Vec<Row> = rows.into_iter().filter(ours).collect();
        let count = |status| {
            rows.iter()
                .filter(|row| self.look(row).0.status == status)
                .count()
        };
        for status in [
            sluice_model::consumer::Status::Active,
            sluice_model::consumer::Status::Inactive,
            sluice_model::consumer::Status::Error,
        ] {
            let label = format!("{status:?}").to_lowercase();
            metrics::gauge!("consumers", "status" => label).set(count(status) as f64);
        }
        for row in rows {
            let this = self.clone();
            // Not waited for: one that drains must not keep the others from their turn.
            tokio::spawn(async move { this.apply_in_background(&row.id).await });
        }
    }

    async fn apply_in_background(&self, id: &str) {
        // Somebody who has the turn brings it in line anyway, and may take long.
        let Ok(guard) = Arc::clone(&self.slot(id).turn).try_lock_owned() else {
            return;
        };
        let Ok(_permit) = self.at_once.acquire().await else {
            return;
        };
        let turn = Turn { _guard: guard };
        if let Err(error) = self.apply_fresh(&turn, id).await {
            if error.0.status == 404 {
                // Deleted through another instance.
                return self.forget(&turn, id).await;
            }
            tracing::debug!(consumer.id = id, error = %error, "not brought in line");
        }
    }

    /// Applies the row as it is now: it may have changed while the turn was waited for.
    async fn apply_fresh(&self, turn: &Turn, id: &str) -> Result<(), Failure> {
        let row = self.parts.store.consumer(id).await?;
        self.apply(turn, &row).await;
        Ok(())
    }

    async fn stop_all(&self) {
        let slots: Vec<_> = self
            .slots()
            .iter()
            .map(|(id, slot)| (id.clone(), Arc::clone(slot)))
            .collect();
        for (id, _) in &slots {
            self.interrupt(id);
        }
        let stops = slots
            .iter()
            .map(|(id, slot)| self.stop_worker(slot, id, false));
        futures_util::future::join_all(stops).await;
    }
}

/// A processor whose configuration is not allowed any more.
struct Broken(SinkError);

impl Processor for Broken {
    fn open(&mut self) -> Result<Positions, SinkError> {
        Err(self.0.clone())
    }

    fn write(&mut self, _batch: &[crate::batch::Entry<'_>]) -> Result<(), SinkError> {
        Err(self.0.clone())
    }

    fn rewind(&mut self, _targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        Err(self.0.clone())
    }
}
