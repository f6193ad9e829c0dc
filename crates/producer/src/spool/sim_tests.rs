//! The spool on a simulated disk, against a model: whatever fails and wherever the machine stops, what
//! was committed comes back in order, what was checkpointed does not, and the start never fails.
//!
//! `PROPTEST_CASES` raises the number of cases.

use super::sim::{Fault, SimDisk};
use super::tests::{drain, frame, meta, values};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Frames are some dozen bytes: segments roll after a few.
const SEGMENT: u64 = 300;
const DIR: &str = "/s";

#[derive(Clone, Debug)]
enum Op {
    /// Append a frame of so many records.
    Append(u8),
    /// Make everything written durable.
    Commit,
    /// Sync as a job while more is written.
    Overlapped(u8),
    /// Hand out a chunk and deal with so many of its records.
    Deliver(u8),
    /// Save the cursor.
    Checkpoint,
    /// Everything open is handed out again.
    Rewind,
    /// Stop without a word, lose nothing.
    Kill,
    /// The power is cut.
    PowerCut,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u8..6).prop_map(Op::Append),
        4 => Just(Op::Commit),
        2 => (1_u8..4).prop_map(Op::Overlapped),
        3 => (0_u8..12).prop_map(Op::Deliver),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Rewind),
        1 => Just(Op::Kill),
        1 => Just(Op::PowerCut),
    ]
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let fault = prop_oneof![3 => Just(Fault::Error), 1 => Just(Fault::Crash)];
    proptest::collection::vec((0_usize..120, fault), 0..6)
}

/// What must and may come back.
#[derive(Debug, Default)]
struct Model {
    next: u32,
    /// Written, not committed.
    open: Vec<u32>,
    /// Committed and not dealt with for sure.
    held: BTreeSet<u32>,
    /// Dealt with, but not checkpointed: may come again.
    dealt: BTreeSet<u32>,
    /// Dealt with and checkpointed: must not come again.
    gone: BTreeSet<u32>,
}

struct World {
    disk: SimDisk,
    held: Option<Held>,
    handed: Vec<(u64, u32, u32)>,
    given_up: u64,
    model: Model,
}

impl World {
    fn append(&mut self, count: u8) {
        if self.held.is_none() {
            // A disk that fails now may work at the next step.
            let spool = self.open_spool().ok();
            self.held = spool.and_then(|(mut spool, _)| spool.create(meta("t")).ok());
        }
        let numbers: Vec<u32> = (self.model.next..).take(usize::from(count)).collect();
        self.model.next += u32::from(count);
        let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let Some(held) = &mut self.held else { return };
        if held.log.append(&frame(&texts)).is_err() {
            held.log.roll_back();
            self.model.open.clear();
        } else {
            held.log.held_records += u64::from(count);
            self.model.open.extend(numbers);
        }
    }

    fn open_spool(&self) -> io::Result<(Spool, Found)> {
        Spool::open_with(Arc::new(self.disk.clone()), Path::new(DIR), SEGMENT)
    }

    fn commit(&mut self) {
        let Some(held) = &mut self.held else { return };
        match held.log.commit() {
            Ok(()) => self.model.held.extend(self.model.open.drain(..)),
            Err(_) => self.model.open.clear(),
        }
    }

    fn overlapped(&mut self, count: u8) {
        let Some(job) = self.held.as_mut().and_then(|held| held.log.begin_sync()) else {
            return;
        };
        let covered = self.model.open.len();
        self.append(count);
        let rolled_back = self.model.open.len() < covered;
        let Some(held) = &mut self.held else { return };
        match job.run() {
            Ok(()) if !rolled_back => {
                held.log.synced(job.upto);
                self.model.held.extend(self.model.open.drain(..covered));
            }
            _ => {
                held.log.roll_back();
                self.model.open.clear();
            }
        }
    }

    fn deliver(&mut self, count: u8) {
        let Some(held) = &mut self.held else { return };
        if let Ok(Some(chunk)) = held.log.read_chunk() {
            for (number, index, text) in values(&chunk) {
                self.handed.push((number, index, text.parse().unwrap()));
            }
        }
        let count = usize::from(count).min(self.handed.len());
        for (number, index, record) in self.handed.drain(..count) {
            held.log.resolve(number, index);
            self.model.held.remove(&record);
            self.model.dealt.insert(record);
        }
    }

    fn checkpoint(&mut self) {
        let Some(held) = &mut self.held else { return };
        if let Some(job) = held.log.begin_checkpoint() {
            let dealt = self.model.dealt.clone();
            if job.run().is_ok() {
                self.model.gone.extend(dealt);
                self.model.dealt.clear();
                held.log.checkpointed(job.pos()).ok();
            } else {
                held.log.checkpoint_failed();
            }
        }
    }

    /// Starts on what the disk has and checks it.
    fn restart(&mut self, disk: SimDisk) {
        self.held = None;
        self.handed.clear();
        self.disk = disk;
        let opened = self.open_spool();
        let (_, mut found) = opened.expect("the start never fails");
        if found.left_alone > self.given_up {
            // Its owner was not durable yet, so nothing of it was committed.
            assert!(
                self.model.held.is_empty(),
                "a log with committed records is given up"
            );
        }
        self.given_up = found.left_alone;
        assert!(found.held.len() <= 1, "one topic, one log");
        let mut back = Vec::new();
        if let Some(held) = found.held.first_mut() {
            assert_eq!(held.meta, meta("t"));
            let counted = held.log.held_records;
            back = drain(&mut held.log)
                .iter()
                .map(|(_, _, text)| text.parse().unwrap())
                .collect();
            held.log.rewind();
            assert_eq!(counted, back.len() as u64, "what is counted is what comes");
        }
        self.check(&back);
        self.held = found.held.pop();
    }

    fn check(&mut self, back: &[u32]) {
        let rising = back.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rising, "in order and none twice: {back:?}");
        let set: BTreeSet<u32> = back.iter().copied().collect();
        let lost: Vec<_> = self.model.held.difference(&set).collect();
        assert!(
            lost.is_empty(),
            "committed and lost: {lost:?} of {:?}; back {back:?}",
            self.model.held
        );
        let again: Vec<_> = self.model.gone.intersection(&set).collect();
        assert!(again.is_empty(), "checkpointed and sent again: {again:?}");
        // What was dealt with and does not come again is gone for good, as far as the next start knows.
        self.model.open.clear();
        self.model.dealt.clear();
        self.model.held = set;
    }
}

proptest! {
    #[test]
    fn whatever_fails_what_was_committed_comes_back_in_order(
        seed in any::<u64>(),
        ops in proptest::collection::vec(op(), 1..40),
        plan in faults(),
    ) {
        let disk = SimDisk::new(seed);
        let mut world = World { disk: disk.clone(), held: None, handed: Vec::new(), given_up: 0, model: Model::default() };
        drop(world.open_spool());
        disk.plan(&plan);
        for op in ops {
            match op {
                Op::Append(count) => world.append(count),
                Op::Commit => world.commit(),
                Op::Overlapped(count) => world.overlapped(count),
                Op::Deliver(count) => world.deliver(count),
                Op::Checkpoint => world.checkpoint(),
                Op::Rewind => {
                    if let Some(held) = &mut world.held {
                        held.log.rewind();
                        world.handed.clear();
                    }
                }
                Op::Kill | Op::PowerCut => {
                    let disk = world.disk.crash();
                    world.restart(disk);
                }
            }
        }
        let disk = world.disk.crash();
        world.restart(disk);
    }

    /// Recovery of anything: it ends, does not fail, and gives whole frames only.
    #[test]
    fn recovery_takes_any_bytes_for_a_segment(
        seed in any::<u64>(),
        frames in proptest::collection::vec(1_usize..4, 0..12),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0_u8..5, any::<proptest::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..60)), 1..8),
    ) {
        let disk = SimDisk::new(seed);
        let mut world = World { disk: disk.clone(), held: None, handed: Vec::new(), given_up: 0, model: Model::default() };
        for count in frames {
            world.append(count as u8);
        }
        world.commit();
        world.held = None;
        let written = world.model.next;
        for (file, kind, at, bytes) in changes {
            let files = disk.files();
            if files.is_empty() {
                break;
            }
            let path = files[file.index(files.len())].clone();
            disk.damage(&path, |content| {
                let at = at.index(content.len() + 1);
                match kind {
                    0 => content.truncate(at),
                    1 => { content.splice(at..at, bytes); }
                    2 => { content.splice(at..(at + bytes.len()).min(content.len()), bytes); }
                    3 => *content = bytes,
                    _ => { content.splice(at..at, frame::MAGIC); }
                }
            });
        }
        let (_, mut found) = world.open_spool().expect("the start never fails");
        for held in &mut found.held {
            for (_, _, text) in drain(&mut held.log) {
                prop_assert!(text.parse::<u32>().unwrap() < written);
            }
        }
    }
}
