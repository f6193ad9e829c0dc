//! Disks that are slow or full: topics that need no disk do not notice.

use crate::harness::{cluster, delivered, held, refusal, start_on};
use sluice_model::lifecycle::State;
use sluice_model::problem::Code;
use sluice_model::topic::OnStop;
use sluice_producer::spool::disk::{Disk, DiskFile, RealDisk, SharedFile};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time of one sync.
const SYNC: Duration = Duration::from_millis(100);

/// A disk whose syncs are slow, whose writes fail, or that says that it is full.
#[derive(Clone, Debug, Default)]
struct Odd {
    slow: bool,
    full: Arc<AtomicBool>,
    failing_syncs: Arc<AtomicU64>,
    tight: Arc<AtomicBool>,
}

#[derive(Debug)]
struct OddFile(SharedFile, Odd);

impl Odd {
    fn opened(&self, file: SharedFile) -> SharedFile {
        Arc::new(OddFile(file, self.clone()))
    }
}

impl Disk for Odd {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }
    fn open(&self, path: &Path) -> io::Result<SharedFile> {
        RealDisk.open(path)
    }
    fn append(&self, path: &Path) -> io::Result<SharedFile> {
        RealDisk.append(path).map(|file| self.opened(file))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let tight = self.tight.load(Ordering::Relaxed);
        Ok(if tight { 1000 } else { u64::MAX })
    }
    fn lock(&self, path: &Path) -> io::Result<SharedFile> {
        RealDisk.lock(path)
    }
}

impl DiskFile for OddFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.1.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.append(bytes)
    }
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_at(into, at)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }
    fn sync(&self) -> io::Result<()> {
        if self.1.slow {
            std::thread::sleep(SYNC);
        }
        let failing = &self.1.failing_syncs;
        let fails =
            failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if fails.is_ok() {
            return Err(io::Error::other("EIO"));
        }
        self.0.sync()
    }
}

const TABLE: [(i64, &str, State, OnStop); 3] = [
    (1, "orders", State::Active, OnStop::Hold),
    (2, "warm", State::Active, OnStop::Hold),
    (3, "later", State::Pending, OnStop::Hold),
];

#[test]
fn a_slow_sync_does_not_keep_back_a_live_topic() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let disk = Odd {
        slow: true,
        ..Odd::default()
    };
    let mut daemon = start_on(&cluster, dir.path(), &[], Arc::new(disk));
    daemon.until_kafka_answers();
    daemon.routes(&TABLE);
    assert_eq!(delivered(&daemon.send("orders", 0..1)), 1);
    let mut times = Vec::new();
    for number in 0..20 {
        let pending = daemon.submit("later", number..number + 1);
        let begun = Instant::now();
        let live = daemon.submit("orders", number..number + 1);
        let mut both = [false, false];
        while both != [true, true] {
            let outcome = daemon.outcome();
            if outcome.ticket == live {
                times.push(begun.elapsed());
                assert_eq!(delivered(&outcome.fates), 1);
            }
            both = [
                both[0] || outcome.ticket == live,
                both[1] || outcome.ticket == pending,
            ];
        }
    }
    times.sort_unstable();
    assert!(
        times[10] < SYNC / 2,
        "live records wait for the disk of others: {times:?}"
    );
    assert_eq!(daemon.status().held, 20);
    daemon.stop();
}

#[test]
fn a_failed_sync_is_made_good_in_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let disk = Odd::default();
    let mut daemon = start_on(&cluster, dir.path(), &[], Arc::new(disk.clone()));
    daemon.routes(&TABLE);
    assert_eq!(held(&daemon.send("later", 0..5), "pending"), 5);
    disk.failing_syncs.store(1, Ordering::Relaxed);
    assert_eq!(held(&daemon.send("later", 5..10), "pending"), 5);
    disk.failing_syncs.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(
        refusal(&daemon.send("later", 10..15)),
        Some(Code::StorageFull)
    );
    disk.failing_syncs.store(0, Ordering::Relaxed);
    assert_eq!(held(&daemon.send("later", 15..20), "pending"), 5);
    assert_eq!(daemon.status().held, 15);
    daemon.stop();
}

#[test]
fn a_full_disk_refuses_what_needs_it_and_lets_live_topics_flow() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["orders", "warm"]);
    let disk = Odd::default();
    let mut daemon = start_on(&cluster, dir.path(), &[], Arc::new(disk.clone()));
    daemon.until_kafka_answers();
    daemon.routes(&TABLE);
    for word in [&disk.full, &disk.tight] {
        word.store(true, Ordering::Relaxed);
        let end = Instant::now() + crate::harness::PATIENCE;
        while refusal(&daemon.send("later", 0..1)) != Some(Code::StorageFull) {
            assert!(Instant::now() < end, "the full disk is not noticed");
        }
        for journal in [false, true] {
            daemon.journal = journal;
            assert_eq!(delivered(&daemon.send("orders", 0..10)), 10);
        }
        daemon.journal = false;
        word.store(false, Ordering::Relaxed);
        let end = Instant::now() + crate::harness::PATIENCE;
        while held(&daemon.send("later", 0..1), "pending") != 1 {
            assert!(
                Instant::now() < end,
                "the disk with room again is not noticed"
            );
        }
    }
    daemon.stop();
}

#[test]
fn many_topics_that_are_stuck_at_once_make_no_queue_at_a_slow_disk() {
    const TOPICS: usize = 32;
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..TOPICS).map(|n| format!("topic.{n}")).collect();
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.extend(["orders", "warm"]);
    let cluster = cluster(&all);
    let disk = Odd {
        slow: true,
        ..Odd::default()
    };
    let mut daemon = start_on(&cluster, dir.path(), &[], Arc::new(disk));
    daemon.until_kafka_answers();
    let table: Vec<_> = (10..)
        .zip(&all)
        .map(|(id, name)| (id, *name, State::Active, OnStop::Hold))
        .collect();
    daemon.routes(&table);
    for name in &names {
        let end = Instant::now() + crate::harness::PATIENCE;
        while delivered(&daemon.send(name, 0..1)) == 0 {
            assert!(Instant::now() < end, "{name} does not flow");
        }
    }
    daemon.until("all is live", |status| status.held == 0);
    cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    for name in &names {
        daemon.submit(name, 1..2);
    }
    for _ in &names {
        assert_eq!(held(&daemon.outcome().fates, "active"), 1);
    }
    let took = begun.elapsed();
    // Each takes two syncs: one after the other that is 6.4 s.
    assert!(took < SYNC * 40, "{took:?} for {TOPICS} topics");
    daemon.stop();
}
