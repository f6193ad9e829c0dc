//! One named thread per consumer: poll → batch → processors in turn → commit, until it is told to stop.
//!
//! The thread itself retries whatever fails, for ever, with growing delays; it ends only when it is told
//! to. A record is committed after every processor holds it durably.

pub mod breaker;
pub mod context;
pub mod letters;
mod pipeline;
pub mod prefetch;
pub mod replay;
mod session;
mod stage;
mod start;

use crate::clusters::Cluster;
use crate::processors::Processor;
use crate::settings::ConsumersSettings;
use crate::status::{Fault, Phase, Report};
use breaker::Breaker;
use letters::DeadLetters;
use prefetch::Prefetch;
use sluice_model::consumer::{AutoOffsetReset, FailureClass};
use sluice_model::time::Timestamp;
use sluice_service::{backoff, now};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest a thread that drains or waits for its client looks away.
pub const SLICE: Duration = Duration::from_millis(50);
/// A failure after this much healthy time starts again at the shortest delay.
const HEALTHY: Duration = Duration::from_secs(300);

/// What a worker is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Read and write.
    Run = 0,
    /// Stay in the group, read nothing.
    Pause = 1,
    /// Read to the end of what is there, then stop.
    Drain = 2,
    /// Write what is in flight if that works at once, then stop.
    Stop = 3,
}

/// Orders and report: what a worker shares with its manager.
#[derive(Debug)]
pub struct Link {
    order: AtomicU8,
    kicks: AtomicU64,
    report: Mutex<Report>,
    /// Who is woken by orders.
    thread: OnceLock<Thread>,
}

impl Link {
    fn new(order: Order) -> Self {
        Self {
            order: AtomicU8::new(order as u8),
            kicks: AtomicU64::new(0),
            report: Mutex::default(),
            thread: OnceLock::new(),
        }
    }

    /// Gives an order.
    pub fn order(&self, order: Order) {
        self.order.store(order as u8, Ordering::Release);
        self.wake();
    }

    /// The order that stands.
    pub fn ordered(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Run,
            1 => Order::Pause,
            2 => Order::Drain,
            _ => Order::Stop,
        }
    }

    /// Ends the wait for the next try: a user says that the cause is gone.
    pub fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn kicked(&self) -> u64 {
        self.kicks.load(Ordering::Acquire)
    }

    /// The report, to read or to write.
    pub fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker works on.
pub struct Job {
    /// Which consumer.
    pub consumer_id: String,
    /// Where it reads.
    pub cluster: Arc<Cluster>,
    /// The topics that it may read now, with their ids; 0 where nobody governs topics.
    pub topics: Vec<(String, i64)>,
    /// Its group.
    pub group: String,
    /// Its name in Kafka.
    pub client_id: String,
    /// Where it writes: the type and the processor, in turn.
    pub processors: Vec<(String, Box<dyn Processor>)>,
    /// Where records go that a processor never takes; none: it stops at them.
    pub letters: Option<Box<dyn DeadLetters>>,
    /// How many of them there may be.
    pub breaker: Breaker,
    /// What happens when Kafka has deleted what comes next.
    pub auto_offset_reset: AutoOffsetReset,
    /// Its share of what is fetched ahead.
    pub prefetch: Prefetch,
    /// Batches and retries.
    pub settings: ConsumersSettings,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("consumer_id", &self.consumer_id)
            .finish_non_exhaustive()
    }
}

/// A worker that runs.
#[derive(Debug)]
pub struct Worker {
    /// Orders and report.
    pub link: Arc<Link>,
    done: watch::Receiver<bool>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(job: Job, order: Order) -> std::io::Result<Self> {
        let link = Arc::new(Link::new(order));
        let (tell, done) = watch::channel(false);
        let shared = Arc::clone(&link);
        link.report().enter(Phase::Starting, now());
        let short: String = job.consumer_id.chars().take(8).collect();
        let thread = std::thread::Builder::new()
            .name(format!("consumer-{short}"))
            .spawn(move || {
                run(job, &shared);
                shared.report().enter(Phase::Stopped, now());
                tell.send_replace(true);
            })?;
        link.thread.get_or_init(|| thread.thread().clone());
        Ok(Self { link, done })
    }

    /// Whether the thread has ended.
    pub fn ended(&self) -> bool {
        *self.done.borrow()
    }

    /// Tells when the thread ends.
    pub fn done(&self) -> watch::Receiver<bool> {
        self.done.clone()
    }

    /// Waits for the thread's end, at most so long. False: it did not end and is left to itself.
    pub async fn join(&self, limit: Duration) -> bool {
        let mut done = self.done.clone();
        matches!(
            tokio::time::timeout(limit, done.wait_for(|done| *done)).await,
            Ok(Ok(_))
        )
    }
}

/// Growing delays that start anew after a healthy time.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    healthy_since: Option<Instant>,
    first: Duration,
    first_environment: Duration,
    max: Duration,
}

impl Backoff {
    /// Delays from `first` to `max`; where somebody must mend something first, from `environment`.
    pub fn new(first: Duration, environment: Duration, max: Duration) -> Self {
        Self {
            attempts: 0,
            healthy_since: None,
            first,
            first_environment: environment.min(max),
            max,
        }
    }

    /// The delay before the next try after a failure: longer when it cannot come right by itself, and
    /// not shorter than the other side asks for.
    pub fn delay_of(&mut self, fault: &Fault) -> Duration {
        let delay = self.delay();
        let delay = match fault.class {
            FailureClass::Transient => delay,
            _ => backoff::delay(self.attempts, self.first_environment, self.max),
        };
        delay.max(fault.retry_after.unwrap_or_default().min(self.max))
    }

    /// The delay before the next try.
    pub fn delay(&mut self) -> Duration {
        if self
            .healthy_since
            .take()
            .is_some_and(|since| since.elapsed() >= HEALTHY)
        {
            self.attempts = 0;
        }
        self.attempts = self.attempts.saturating_add(1);
        backoff::delay(self.attempts, self.first, self.max)
    }

    /// Notes that it works now.
    pub fn healthy(&mut self) {
        self.healthy_since.get_or_insert_with(Instant::now);
    }

    /// Starts anew, because a user said so.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

fn after(delay: Duration) -> Timestamp {
    now().plus_millis(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

fn run(mut job: Job, link: &Arc<Link>) {
    let settings = &job.settings;
    let mut backoff = Backoff::new(
        settings.retry_min,
        settings.retry_environment,
        settings.retry_max,
    );
    tracing::info!(consumer.id = job.consumer_id, topics = ?job.topics, "consumer starts");
    while matches!(link.ordered(), Order::Run | Order::Pause) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            session::run(&mut job, link, &mut backoff)
        }));
        let fault = match outcome {
            Ok(Ok(())) => break,
            Ok(Err(fault)) => fault,
            Err(_panic) => Fault {
                stage: "consumer".to_owned(),
                class: FailureClass::Transient,
                message: "a fault of ours; see the log".to_owned(),
                retry_after: None,
            },
        };
        let delay = backoff.delay_of(&fault);
        tracing::warn!(
            consumer.id = job.consumer_id,
            stage = fault.stage,
            error = fault.message,
            retry_ms = delay.as_millis() as u64,
            "consumer fails"
        );
        metrics::counter!("consumer_failures_total", "stage" => fault.stage.clone()).increment(1);
        {
            let mut report = link.report();
            // Fenced: another one does the work, so this one rests and is no failure.
            let fenced = fault.class == FailureClass::Fenced;
            let phase = if fenced {
                Phase::Stopped
            } else {
                Phase::Starting
            };
            report.enter(phase, now());
            report.busy = None;
            report.fail(fault, now(), Some(after(delay)));
        }
        if wait(link, delay, &mut backoff) {
            job.breaker.reset();
        }
    }
    tracing::info!(consumer.id = job.consumer_id, "consumer stopped");
}

/// Waits for the next try, an order to end, or a kick. True: it was a kick.
fn wait(link: &Link, delay: Duration, backoff: &mut Backoff) -> bool {
    let (until, kicks) = (Instant::now() + delay, link.kicked());
    while Instant::now() < until && matches!(link.ordered(), Order::Run | Order::Pause) {
        if link.kicked() != kicks {
            backoff.reset();
            return true;
        }
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
    false
}

#[cfg(test)]
mod tests;
