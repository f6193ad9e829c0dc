//! Sharing the work with other instances: which consumers are ours, for how long, and the task that renews
//! the lease, takes what is free and gives back what is too much.
//!
//! Workers are stopped before the lease ends, by this process's monotonic clock and by a thread that waits
//! for nothing; when the database says that the lease ended, they have ended already.

use super::share::shift;
use super::{Manager, Turn};
use crate::store::instances::{Place, Survey};
use sluice_service::health::Health;
use sluice_service::shutdown::Shutdown;
use sluice_service::sqlite::StoreError;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the registry: how soon a change through another instance is acted on.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The name of the dependency in the readiness probe.
const REGISTRY: &str = "registry";
/// A lease is renewed so many times while it lasts.
const RENEWALS: u32 = 4;
/// The last part of a lease is left for workers to end in.
const MARGIN: u32 = 3;
/// Time between two looks of the thread that stops workers.
const GUARD_INTERVAL: Duration = Duration::from_millis(100);
/// How long a look at the registry may be under way.
const ADOPTED_FOR: Duration = Duration::from_secs(2);
/// Consumers that are given back at one time.
const RELEASE_AT_ONCE: usize = 64;
/// Time between two reports for the other instances.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// What this instance has, shared between its tasks.
#[derive(Debug)]
pub struct Sharing {
    url: String,
    lease: Duration,
    health: Health,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Our identity while the lease lasts.
    id: Option<String>,
    renewed: Option<Instant>,
    /// Ours, with the generations that were seen last.
    owned: HashMap<String, i64>,
    /// Ours since a moment ago: a look at the registry that began before does not know them.
    adopted: HashMap<String, Instant>,
    /// On their way to others.
    leaving: HashSet<String>,
    /// What was reported last.
    told: HashMap<String, String>,
}

impl Sharing {
    /// For an instance at an address.
    pub fn new(url: String, lease: Duration, health: Health) -> Self {
        Self {
            url,
            lease,
            health,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }

    /// Our identity, while the lease lasts.
    pub fn id(&self) -> Option<String> {
        self.state().id.clone()
    }

    /// Whether a consumer is ours to run.
    pub fn owns(&self, id: &str) -> bool {
        let state = self.state();
        state.owned.contains_key(id) && !state.leaving.contains(id)
    }

    /// Notes that a consumer is ours.
    pub fn adopt(&self, id: &str, generation: i64) {
        let mut state = self.state();
        state.owned.insert(id.to_owned(), generation);
        state.adopted.insert(id.to_owned(), Instant::now());
    }

    /// Notes that a consumer was deleted.
    pub fn drop_one(&self, id: &str) {
        let mut state = self.state();
        state.owned.remove(id);
        state.adopted.remove(id);
        state.told.remove(id);
    }

    /// Whether the time is over in which we may be sure of the lease.
    fn over(&self, now: Instant) -> bool {
        let state = self.state();
        let sure = self.lease.saturating_sub(self.lease / MARGIN);
        state.id.is_some()
            && state
                .renewed
                .is_none_or(|renewed| now.duration_since(renewed) >= sure)
    }

    fn due(&self, now: Instant) -> bool {
        let renewed = self.state().renewed;
        renewed.is_none_or(|renewed| now.duration_since(renewed) >= self.lease / RENEWALS)
    }

    /// Gives everything up.
    fn abandon(&self) -> Option<String> {
        let mut state = self.state();
        std::mem::take(&mut *state).id
    }
}

/// What changed between two looks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// New here, or changed.
    changed: Vec<String>,
    /// Not ours any more.
    gone: Vec<String>,
}

fn difference(before: &HashMap<String, i64>, now: &HashMap<String, i64>) -> Difference {
    let changed = now
        .iter()
        .filter(|(id, generation)| before.get(*id) != Some(generation))
        .map(|(id, _)| id.clone());
    let gone = before.keys().filter(|id| !now.contains_key(*id)).cloned();
    Difference {
        changed: changed.collect(),
        gone: gone.collect(),
    }
}

impl Manager {
    /// How the work is shared; none when this process has all of it.
    pub fn sharing(&self) -> Option<&Arc<Sharing>> {
        self.sharing.as_ref()
    }

    /// Whether a consumer is this instance's to run.
    pub fn owns(&self, id: &str) -> bool {
        self.sharing.as_ref().is_none_or(|sharing| sharing.owns(id))
    }

    /// Where a consumer runs, if that is another instance.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn elsewhere(&self, id: &str) -> Result<Option<Place>, StoreError> {
        let Some(sharing) = &self.sharing else {
            return Ok(None);
        };
        if sharing.owns(id) {
            return Ok(None);
        }
        let place = self.parts.store.places(&[id.to_owned()]).await?.remove(id);
        Ok(place.filter(|place| sharing.id().as_ref() != Some(&place.instance)))
    }

    /// Shares the work until the stop. Leaving is the caller's, after the workers have ended.
    pub(super) async fn share(&self, sharing: Arc<Sharing>, shutdown: &Shutdown) {
        self.guard(&sharing, shutdown);
        let mut told = Instant::now();
        while !shutdown.requested() {
            match self.share_once(&sharing).await {
                Ok(()) => sharing.health.ok(REGISTRY),
                Err(error) => {
                    tracing::warn!(error = %error, "the shared registry does not answer");
                    metrics::counter!("registry_failures_total").increment(1);
                    sharing.health.degraded(REGISTRY, error.to_string());
                }
            }
            if told.elapsed() >= REPORT_INTERVAL {
                told = Instant::now();
                self.tell_others(&sharing).await;
            }
            tokio::select! {
                () = shutdown.wait() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// The thread that stops workers in time, whatever the rest of the process does.
    fn guard(&self, sharing: &Arc<Sharing>, shutdown: &Shutdown) {
        let (this, shared, shutdown) = (self.clone(), Arc::clone(sharing), shutdown.clone());
        let watch = move || {
            while !shutdown.requested() {
                if shared.over(Instant::now()) {
                    tracing::error!("the lease cannot be renewed: every consumer stops here");
                    metrics::counter!("registry_leases_lost_total").increment(1);
                    shared.abandon();
                    this.interrupt_all();
                }
                std::thread::park_timeout(GUARD_INTERVAL);
            }
        };
        // Not joined: it holds nothing and ends with the process.
        let started = std::thread::Builder::new()
            .name("lease-guard".into())
            .spawn(watch);
        if let Err(error) = started {
            tracing::error!(error = %error, "no thread to guard the lease; consumers do not run");
            sharing.abandon();
        }
    }

    async fn share_once(&self, sharing: &Arc<Sharing>) -> Result<(), StoreError> {
        let store = &self.parts.store;
        let Some(id) = sharing.id() else {
            return self.join(sharing).await;
        };
        if sharing.due(Instant::now()) {
            // The lease runs from before the question: the answer may have been under way for long.
            let asked = Instant::now();
            if store.renew(&id, sharing.lease_ms()).await? {
                if sharing.id().as_ref() != Some(&id) {
                    // Given up while the answer was under way: others need not wait for its end.
                    return store.leave(&id).await;
                }
                sharing.state().renewed = Some(asked);
            } else {
                tracing::error!("the lease has ended: every consumer stops here");
                sharing.abandon();
                self.interrupt_all();
                return Ok(());
            }
        }
        let survey = store.survey(&id).await?;
        if !survey.loads.contains_key(&id) {
            sharing.abandon();
            self.interrupt_all();
            return Ok(());
        }
        self.take_in(sharing, &survey);
        let shift = shift(&id, &survey.loads, survey.free);
        if shift.claim > 0 || survey.idle > 0 {
            store.claim(&id, shift.claim).await?;
            self.take_in(sharing, &store.survey(&id).await?);
        } else if shift.release > 0 && sharing.state().leaving.is_empty() {
            self.hand_over(sharing, id, &survey, shift.release);
        }
        Ok(())
    }

    async fn join(&self, sharing: &Arc<Sharing>) -> Result<(), StoreError> {
        let id = uuid::Uuid::new_v4().to_string();
        let asked = Instant::now();
        let store = &self.parts.store;
        store.join(&id, &sharing.url, sharing.lease_ms()).await?;
        store.name(Some(id.clone()));
        tracing::info!(instance = id, url = sharing.url, "shares the consumers");
        let mut state = sharing.state();
        state.renewed = Some(asked);
        state.id = Some(id);
        Ok(())
    }

    /// Starts what is new here, stops what is not ours any more.
    fn take_in(&self, sharing: &Sharing, survey: &Survey) {
        let difference = {
            let mut state = sharing.state();
            state
                .adopted
                .retain(|_, since| since.elapsed() < ADOPTED_FOR);
            let mine = survey.mine.iter();
            let mut mine: HashMap<String, i64> = mine
                .map(|(id, (generation, _))| (id.clone(), *generation))
                .collect();
            for id in state.adopted.keys() {
                let known = state.owned.get(id).copied().unwrap_or_default();
                mine.entry(id.clone()).or_insert(known);
            }
            let difference = difference(&state.owned, &mine);
            state.owned = mine;
            for id in &difference.gone {
                state.told.remove(id);
            }
            difference
        };
        for id in difference.changed.into_iter().chain(difference.gone) {
            let this = self.clone();
            tokio::spawn(async move { this.apply_in_background(&id).await });
        }
    }

    /// Stops some consumers here and lets others take them.
    fn hand_over(&self, sharing: &Arc<Sharing>, instance: String, survey: &Survey, count: i64) {
        let running = survey.mine.iter().filter(|(_, (_, runs))| *runs);
        let count = usize::try_from(count).unwrap_or(0).min(RELEASE_AT_ONCE);
        let mut ids: Vec<String> = running.map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids.truncate(count);
        sharing.state().leaving.extend(ids.iter().cloned());
        let (this, sharing) = (self.clone(), Arc::clone(sharing));
        tokio::spawn(async move {
            let stops = ids.iter().map(|id| async {
                let turn = this.turn(id).await;
                this.halt(&turn, id).await;
            });
            futures_util::future::join_all(stops).await;
            tracing::info!(consumers = ids.len(), "given to other instances");
            if let Err(error) = this.parts.store.release(&instance, ids.clone()).await {
                tracing::warn!(error = %error, "consumers not given back");
            }
            let mut state = sharing.state();
            for id in ids {
                state.leaving.remove(&id);
                state.owned.remove(&id);
            }
        });
    }

    /// Writes what changed about our consumers where other instances find it.
    async fn tell_others(&self, sharing: &Sharing) {
        let Some(instance) = sharing.id() else {
            return;
        };
        let Ok(rows) = self.parts.store.all_consumers().await else {
            return;
        };
        let mut reports = Vec::new();
        for row in rows.iter().filter(|row| sharing.owns(&row.id)) {
            let report = serde_json::json!(self.status(row)).to_string();
            let mut state = sharing.state();
            if state.told.get(&row.id) != Some(&report) {
                state.told.insert(row.id.clone(), report.clone());
                reports.push((row.id.clone(), report, row.generation));
            }
        }
        if !reports.is_empty()
            && let Err(error) = self.parts.store.report(&instance, reports).await
        {
            tracing::debug!(error = %error, "statuses not told");
            sharing.state().told.clear();
        }
    }

    /// Gives everything back, after the workers have ended.
    pub(super) async fn leave(&self, sharing: &Sharing) {
        if let Some(id) = sharing.abandon()
            && let Err(error) = self.parts.store.leave(&id).await
        {
            tracing::warn!(error = %error, "consumers move when the lease ends");
        }
    }

    fn interrupt_all(&self) {
        let ids: Vec<String> = self.slots().keys().cloned().collect();
        for id in ids {
            self.interrupt(&id);
        }
    }

    /// Stops the worker of a consumer that another instance has.
    pub(super) async fn stand_back(&self, _turn: &Turn, id: &str) {
        let slot = self.slot(id);
        slot.state().hold = Some("runs at another instance, or soon will".to_owned());
        self.stop_worker(&slot, id, false).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_end_before_the_lease_does() {
        let sharing = Sharing::new("http://h".into(), Duration::from_secs(9), Health::default());
        let start = Instant::now();
        assert!(
            !sharing.over(start),
            "without a lease there is nothing to lose"
        );
        {
            let mut state = sharing.state();
            state.id = Some("i".into());
            state.renewed = Some(start);
        }
        sharing.adopt("c", 1);
        assert!(sharing.owns("c"));
        assert!(!sharing.over(start + Duration::from_millis(5900)));
        assert!(sharing.over(start + Duration::from_secs(6)));
        assert!(sharing.due(start + Duration::from_millis(2300)));
        assert_eq!(sharing.abandon(), Some("i".into()));
        assert!(!sharing.owns("c"));
    }

    #[test]
    fn what_changed_and_what_is_gone_is_seen() {
        let before = HashMap::from([("a".into(), 1), ("b".into(), 1), ("c".into(), 1)]);
        let now = HashMap::from([("a".into(), 1), ("b".into(), 2), ("d".into(), 1)]);
        let mut seen = difference(&before, &now);
        seen.changed.sort();
        assert_eq!(seen.changed, ["b", "d"]);
        assert_eq!(seen.gone, ["c"]);
    }
}
