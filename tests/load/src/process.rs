//! What a process of the stack takes: memory, threads, processor time.

use crate::bench::Bench;
use sluice_e2e::Outcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks at the memory.
const LOOK: Duration = Duration::from_millis(100);
/// Kernel ticks of a second of processor time; Linux fixes them for user space.
const TICKS: f64 = 100.0;

/// A process, by its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u64);

impl Process {
    /// A service of the stack, such as `consumer_api`.
    pub(crate) fn of(bench: &Bench, service: &str) -> Outcome<Self> {
        let pid = bench.number(&format!("/{service}/pid"));
        Ok(Self(pid.ok_or_else(|| {
            format!("stack.json has no pid of {service}")
        })?))
    }

    /// The process of an id.
    pub(crate) const fn by_id(id: u64) -> Self {
        Self(id)
    }

    /// Seconds from the machine's start until now.
    pub(crate) fn uptime() -> Outcome<f64> {
        let text = std::fs::read_to_string("/proc/uptime")?;
        let word = text.split_whitespace().next();
        Ok(word.ok_or("an uptime without it")?.parse()?)
    }

    /// Seconds from the machine's start until the process began.
    pub(crate) fn started(self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name stands in brackets and may contain blanks.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = rest.split_whitespace().nth(19);
        let ticks: f64 = ticks.ok_or("a stat without it")?.parse()?;
        Ok(ticks / TICKS)
    }

    fn status(self, name: &str) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        Ok(word.ok_or("a status without it")?.parse()?)
    }

    /// Resident memory in MB.
    pub(crate) fn rss_mb(self) -> Outcome<u64> {
        Ok(self.rss_kb()? / 1024)
    }

    /// Resident memory in kB.
    pub(crate) fn rss_kb(self) -> Outcome<u64> {
        self.status("VmRSS")
    }

    /// Threads.
    pub(crate) fn threads(self) -> Outcome<u64> {
        self.status("Threads")
    }

    /// Seconds of processor time since its start.
    pub(crate) fn cpu_s(self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name stands in brackets and may contain blanks.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = rest.split_whitespace().skip(11).take(2);
        let ticks: Vec<f64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / TICKS)
    }

    /// Watches the memory until it is asked for its peak.
    pub(crate) fn watch(self) -> Outcome<Peak> {
        let (stop, peak) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&peak));
        let thread = std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    seen.fetch_max(self.rss_mb().unwrap_or_default(), Ordering::AcqRel);
                    std::thread::sleep(LOOK);
                }
            })?;
        Ok(Peak {
            stop,
            most: peak,
            thread,
        })
    }
}

/// A process whose memory is watched.
#[derive(Debug)]
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Peak {
    /// The most memory that it took meanwhile, in MB.
    pub(crate) fn mb(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        let _it_only_looks = self.thread.join();
        self.most.load(Ordering::Acquire)
    }
}
