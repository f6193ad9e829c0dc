use super::*;
use crate::processors::SinkError;
use crate::status::Fault;
use crate::watermark::Positions;
use crate::worker::Order;
use crate::worker::letters::Letter;
use proptest::prelude::*;
use sluice_model::consumer::FailureClass;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// A sink in memory: refuses some offsets, fails some times, and makes safe what it has only now and
/// then when it is lazy.
#[derive(Clone, Default)]
struct Memory {
    state: Arc<Mutex<State>>,
    lazy: bool,
    /// Whether it says which record it refuses.
    names: bool,
}

#[derive(Default)]
struct State {
    safe: Vec<i64>,
    loose: Vec<i64>,
    held: Positions,
    refuses: BTreeSet<i64>,
    fail: u32,
    writes: u32,
}

impl Memory {
    fn refusing(offsets: &[i64]) -> Self {
        let this = Self::default();
        this.state().refuses = offsets.iter().copied().collect();
        this
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn settle(&mut self) {
        if let Some(last) = self.loose.last() {
            let next = last + 1;
            self.held.advance("t", 0, next);
        }
        let loose = std::mem::take(&mut self.loose);
        self.safe.extend(loose);
    }
}

struct Opened(Memory, Positions);

impl Processor for Opened {
    fn open(&mut self) -> Result<Positions, SinkError> {
        let mut state = self.0.state();
        state.loose.clear();
        self.1 = state.held.clone();
        Ok(state.held.clone())
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let (lazy, names) = (self.0.lazy, self.0.names);
        let mut state = self.0.state();
        state.writes += 1;
        if state.fail > 0 {
            state.fail -= 1;
            return Err(SinkError::transient("no"));
        }
        if let Some(bad) = batch.iter().find(|e| state.refuses.contains(&e.offset)) {
            let error = SinkError::poison("not that");
            return Err(if names { error.of(bad) } else { error });
        }
        state.loose.extend(batch.iter().map(|e| e.offset));
        if !lazy {
            state.settle();
        }
        self.1 = state.held.clone();
        Ok(())
    }

    fn rewind(&mut self, _: &[(String, i32, i64)]) -> Result<(), SinkError> {
        Ok(())
    }

    fn durable(&self) -> Option<&Positions> {
        self.0.lazy.then_some(&self.1)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let mut state = self.0.state();
        state.settle();
        self.1 = state.held.clone();
        Ok(())
    }
}

/// A place for dead letters in memory.
#[derive(Clone, Default)]
struct Grave(Arc<Mutex<Vec<(i64, u32)>>>);

impl DeadLetters for Grave {
    fn write(&mut self, entry: &Entry<'_>, letter: &Letter<'_>) -> Result<(), SinkError> {
        self.0.lock().unwrap().push((entry.offset, letter.attempts));
        Ok(())
    }
}

impl Grave {
    fn offsets(&self) -> Vec<i64> {
        self.0.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

struct Bench {
    processors: Vec<(String, Box<dyn Processor>)>,
    letters: Option<Box<dyn DeadLetters>>,
    grave: Grave,
    breaker: Breaker,
    link: Link,
}

impl Bench {
    fn of(sinks: &[&Memory]) -> Self {
        let names = ["a", "b"];
        let opened = |(sink, name): (&&Memory, &str)| {
            let sink: Box<dyn Processor> = Box::new(Opened((*sink).clone(), Positions::default()));
            (name.to_owned(), sink)
        };
        let grave = Grave::default();
        Self {
            processors: sinks.iter().zip(names).map(opened).collect(),
            letters: Some(Box::new(grave.clone())),
            grave,
            breaker: Breaker::new(1000, 1000),
            link: Link::new(Order::Run),
        }
    }

    fn pipeline(&mut self) -> Pipeline<'_> {
        let burial = Burial {
            letters: self.letters.as_mut(),
            breaker: &mut self.breaker,
        };
        Pipeline::open(&mut self.processors, burial, &self.link).unwrap()
    }
}

fn batch(offsets: std::ops::Range<i64>) -> Vec<Entry<'static>> {
    let entry = |offset| Entry {
        topic: "t",
        partition: 0,
        offset,
        timestamp: None,
        key: None,
        value: None,
        headers: Vec::new(),
    };
    offsets.map(entry).collect()
}

fn fault(stop: Result<(), Stop>) -> Fault {
    match stop {
        Err(Stop::Fault(fault)) => fault,
        other => panic!("no fault: {other:?}"),
    }
}

#[test]
fn a_failing_second_processor_does_not_make_the_first_write_twice() {
    let (first, second) = (Memory::default(), Memory::default());
    second.state().fail = 2;
    let mut bench = Bench::of(&[&first, &second]);
    let link = Link::new(Order::Run);
    let mut pipeline = bench.pipeline();
    for _ in 0..2 {
        assert_eq!(fault(pipeline.write(&batch(0..4), &link)).stage, "b");
        assert_eq!(
            pipeline.committable("t", 0),
            None,
            "nothing may be committed yet"
        );
    }
    pipeline.write(&batch(0..4), &link).unwrap();
    assert_eq!(pipeline.committable("t", 0), Some(4));
    assert_eq!(first.state().safe, [0, 1, 2, 3]);
    assert_eq!(second.state().safe, [0, 1, 2, 3]);
}

#[test]
fn what_a_sink_holds_already_is_skipped() {
    let memory = Memory::default();
    memory.state().held.set("t", 0, 2);
    let mut bench = Bench::of(&[&memory]);
    let link = Link::new(Order::Run);
    bench.pipeline().write(&batch(0..4), &link).unwrap();
    assert_eq!(memory.state().safe, [2, 3]);
}

#[test]
fn a_poison_record_is_found_by_halving_and_the_others_are_written_in_order() {
    for names in [false, true] {
        let sink = Memory {
            names,
            ..Memory::refusing(&[700])
        };
        let mut bench = Bench::of(&[&sink]);
        let (grave, link) = (bench.grave.clone(), Link::new(Order::Run));
        let mut pipeline = bench.pipeline();
        pipeline.write(&batch(0..1000), &link).unwrap();
        assert_eq!(pipeline.committable("t", 0), Some(1000));
        assert_eq!(grave.offsets(), [700]);
        let writes = sink.state().writes;
        let most = if names { 3 } else { 2 * 10 + 1 };
        assert!(writes <= most, "{writes} writes");
        let want: Vec<_> = (0..1000).filter(|at| *at != 700).collect();
        assert_eq!(sink.state().safe, want);
        assert!(
            names || grave.0.lock().unwrap()[0].1 > 9,
            "attempts are counted"
        );
    }
}

#[test]
fn a_consumer_that_stops_at_poison_says_which_record_it_is_and_keeps_it() {
    let sink = Memory::refusing(&[2]);
    let mut bench = Bench::of(&[&sink]);
    bench.letters = None;
    let link = Link::new(Order::Run);
    let mut pipeline = bench.pipeline();
    let fault = fault(pipeline.write(&batch(0..4), &link));
    assert_eq!(fault.class, FailureClass::Poison);
    assert!(fault.message.contains("t/0 offset 2"), "{}", fault.message);
    assert_eq!(pipeline.committable("t", 0), Some(2), "not past it");
    sink.state().refuses.clear();
    pipeline.write(&batch(0..4), &link).unwrap();
    assert_eq!(sink.state().safe, [0, 1, 2, 3]);
}

#[test]
fn a_topic_is_not_drained_into_the_dead_letters() {
    let sink = Memory::refusing(&(0..100).collect::<Vec<_>>());
    let mut bench = Bench::of(&[&sink]);
    bench.breaker = Breaker::new(5, 100);
    let (grave, link) = (bench.grave.clone(), Link::new(Order::Run));
    let mut pipeline = bench.pipeline();
    for _ in 0..3 {
        let fault = fault(pipeline.write(&batch(0..100), &link));
        assert!(
            fault.message.contains("more than 5 of the last 100"),
            "{}",
            fault.message
        );
    }
    assert_eq!(grave.offsets(), [0, 1, 2, 3, 4]);
    pipeline.forgive();
    fault(pipeline.write(&batch(0..100), &link));
    assert_eq!(grave.offsets().len(), 10, "a user lets it try five more");
    sink.state().refuses.clear();
    pipeline.write(&batch(0..100), &link).unwrap();
    assert_eq!(pipeline.committable("t", 0), Some(100));
}

#[test]
fn only_what_is_durable_is_committed_and_what_a_sink_lost_is_read_again() {
    let sink = Memory {
        lazy: true,
        ..Memory::default()
    };
    let mut bench = Bench::of(&[&sink]);
    let link = Link::new(Order::Run);
    let mut pipeline = bench.pipeline();
    pipeline.write(&batch(5..10), &link).unwrap();
    assert_eq!(pipeline.committable("t", 0), Some(5), "nothing is safe");
    assert!(!pipeline.settled("t", 0));
    pipeline.flush().unwrap();
    assert_eq!(pipeline.committable("t", 0), Some(10));
    pipeline.write(&batch(10..15), &link).unwrap();
    sink.state().fail = 1;
    fault(pipeline.write(&batch(15..20), &link));
    assert!(matches!(
        pipeline.write(&batch(15..20), &link),
        Err(Stop::Rewind)
    ));
    assert_eq!(pipeline.committable("t", 0), Some(10));
    pipeline.write(&batch(10..20), &link).unwrap();
    pipeline.flush().unwrap();
    assert_eq!(sink.state().safe, (5..20).collect::<Vec<_>>());
    assert!(pipeline.settled("t", 0));
}

#[test]
fn partitions_that_are_given_away_keep_nothing_that_is_not_safe() {
    let sink = Memory {
        lazy: true,
        ..Memory::default()
    };
    let mut bench = Bench::of(&[&sink]);
    let link = Link::new(Order::Run);
    let mut pipeline = bench.pipeline();
    pipeline.write(&batch(0..5), &link).unwrap();
    pipeline.flush().unwrap();
    pipeline.write(&batch(5..9), &link).unwrap();
    pipeline.release(&[("t".to_owned(), 0)]);
    assert_eq!(pipeline.committable("t", 0), Some(5));
    pipeline.write(&batch(5..9), &link).unwrap();
}

proptest! {
    /// Whatever fails, whoever refuses, however lazy the sinks are: every record is in every sink exactly
    /// once and in order, or among the dead letters, and what may be committed never passes either.
    #[test]
    fn every_record_is_written_once_or_buried(
        refuses in prop::collection::btree_set(0_i64..60, 0..6),
        fails in prop::collection::vec((0_usize..2, 1_u32..3), 0..6),
        lazy in any::<[bool; 2]>(),
        flushes in prop::collection::vec(any::<bool>(), 12),
        size in 1_i64..20,
    ) {
        let sinks = lazy.map(|lazy| Memory { lazy, ..Memory::default() });
        sinks[1].state().refuses = refuses.clone();
        let mut bench = Bench::of(&[&sinks[0], &sinks[1]]);
        let (grave, link) = (bench.grave.clone(), Link::new(Order::Run));
        let mut pipeline = bench.pipeline();
        let (mut at, mut step, mut committed) = (0, 0, 0);
        let mut fails = fails.into_iter();
        for _ in 0..400 {
            if at >= 60 {
                match pipeline.flush() {
                    Ok(()) => break,
                    Err(_) => continue,
                }
            }
            if let Some((who, times)) = fails.next() {
                sinks[who].state().fail = times;
            }
            let to = (at + size).min(60);
            match pipeline.write(&batch(at..to), &link) {
                Ok(()) => at = to,
                Err(Stop::Fault(_)) => {}
                Err(Stop::Rewind) => at = pipeline.committable("t", 0).unwrap_or(committed),
            }
            step += 1;
            if flushes[step % flushes.len()] && pipeline.flush().is_err() {
                continue;
            }
            if let Some(next) = pipeline.committable("t", 0) {
                prop_assert!(next >= committed, "{next} after {committed}");
                committed = next;
                let dead = grave.offsets();
                for offset in 0..committed {
                    prop_assert!(sinks[0].state().safe.contains(&offset));
                    prop_assert!(sinks[1].state().safe.contains(&offset) || dead.contains(&offset));
                }
            }
        }
        prop_assert_eq!(at, 60);
        prop_assert_eq!(pipeline.committable("t", 0), Some(60));
        prop_assert_eq!(&sinks[0].state().safe, &(0..60).collect::<Vec<_>>());
        let want: Vec<_> = (0..60).filter(|at| !refuses.contains(at)).collect();
        prop_assert_eq!(&sinks[1].state().safe, &want);
        let dead: BTreeSet<_> = grave.offsets().into_iter().collect();
        prop_assert_eq!(dead, refuses);
    }
}
