//! A batch through the processors, in turn. Each gets what it does not hold yet.

use super::Link;
use crate::batch::Entry;
use crate::processors::Processor;
use crate::status::Fault;
use crate::watermark::{Positions, committable};
use sluice_model::consumer::ProcessorStatus;
use std::time::Instant;

/// The processors of a consumer and what each of them holds.
pub(super) struct Pipeline<'j> {
    stages: &'j mut [(String, Box<dyn Processor>)],
    held: Vec<Positions>,
    open: Vec<bool>,
}

impl<'j> Pipeline<'j> {
    /// Opens every processor.
    pub(super) fn open(
        stages: &'j mut [(String, Box<dyn Processor>)],
        link: &Link,
    ) -> Result<Self, Fault> {
        let fresh = |name: &str| ProcessorStatus {
            processor_type: name.to_owned(),
            records: 0,
            failures: 0,
            last_batch_ms: 0.0,
        };
        if link.report().processors.len() != stages.len() {
            link.report().processors = stages.iter().map(|(name, _)| fresh(name)).collect();
        }
        let count = stages.len();
        let held = vec![Positions::default(); count];
        let mut this = Self {
            stages,
            held,
            open: vec![false; count],
        };
        for place in 0..count {
            this.open_stage(place)?;
        }
        Ok(this)
    }

    fn open_stage(&mut self, place: usize) -> Result<(), Fault> {
        let (name, processor) = &mut self.stages[place];
        self.held[place] = processor.open().map_err(|error| Fault::of(name, error))?;
        self.open[place] = true;
        Ok(())
    }

    /// Writes a batch through every processor. After an error it may be called again with the same
    /// records: nobody gets twice what it holds.
    pub(super) fn write(&mut self, batch: &[Entry<'_>], link: &Link) -> Result<(), Fault> {
        for place in 0..self.stages.len() {
            if !self.open[place] {
                self.open_stage(place)?;
            }
            self.write_stage(place, batch, link)?;
        }
        Ok(())
    }

    fn write_stage(&mut self, place: usize, batch: &[Entry<'_>], link: &Link) -> Result<(), Fault> {
        let held = &mut self.held[place];
        let lacks = |e: &Entry<'_>| !held.holds(e.topic, e.partition, e.offset);
        let lacking: Vec<Entry<'_>>;
        let todo = if batch.iter().all(lacks) {
            batch
        } else {
            lacking = batch.iter().filter(|e| lacks(e)).cloned().collect();
            let skipped = (batch.len() - lacking.len()) as u64;
            metrics::counter!("consumer_records_skipped_total", "reason" => "held_already")
                .increment(skipped);
            &lacking
        };
        if todo.is_empty() {
            return Ok(());
        }
        let (name, processor) = &mut self.stages[place];
        let started = Instant::now();
        let outcome = processor.write(todo);
        let took = started.elapsed();
        let mut report = link.report();
        if let Some(status) = report.processors.get_mut(place) {
            status.last_batch_ms = took.as_secs_f64() * 1000.0;
            match &outcome {
                Ok(()) => status.records += todo.len() as u64,
                Err(_) => status.failures += 1,
            }
        }
        drop(report);
        metrics::histogram!("consumer_batch_duration_seconds", "processor" => name.clone())
            .record(took.as_secs_f64());
        if let Err(error) = outcome {
            self.open[place] = false;
            return Err(Fault::of(name, error));
        }
        metrics::counter!("consumer_records_written_total", "processor" => name.clone())
            .increment(todo.len() as u64);
        for entry in todo {
            held.advance(entry.topic, entry.partition, entry.offset + 1);
        }
        Ok(())
    }

    /// What may be committed for a partition.
    pub(super) fn committable(&self, topic: &str, partition: i32) -> Option<i64> {
        committable(&self.held, topic, partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::SinkError;
    use crate::worker::Order;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Memory {
        rows: Arc<Mutex<Vec<i64>>>,
        fail: Arc<Mutex<u32>>,
        held: Positions,
    }

    impl Processor for Memory {
        fn open(&mut self) -> Result<Positions, SinkError> {
            Ok(self.held.clone())
        }
        fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
            let mut fail = self.fail.lock().unwrap();
            if *fail > 0 {
                *fail -= 1;
                return Err(SinkError::transient("no"));
            }
            self.rows
                .lock()
                .unwrap()
                .extend(batch.iter().map(|e| e.offset));
            self.held.advance("t", 0, batch.last().unwrap().offset + 1);
            Ok(())
        }
        fn rewind(&mut self, _: &[(String, i32, i64)]) -> Result<(), SinkError> {
            Ok(())
        }
    }

    fn batch() -> Vec<Entry<'static>> {
        let entry = |offset| Entry {
            topic: "t",
            partition: 0,
            offset,
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        (0..4).map(entry).collect()
    }

    #[test]
    fn a_failing_second_processor_does_not_make_the_first_write_twice() {
        let (first, second) = (Memory::default(), Memory::default());
        let (one, two) = (Arc::clone(&first.rows), Arc::clone(&second.rows));
        *second.fail.lock().unwrap() = 2;
        let mut stages: Vec<(String, Box<dyn Processor>)> = vec![
            ("a".into(), Box::new(first)),
            ("b".into(), Box::new(second)),
        ];
        let link = Link::new(Order::Run);
        let mut pipeline = Pipeline::open(&mut stages, &link).unwrap();
        for _ in 0..2 {
            assert_eq!(pipeline.write(&batch(), &link).unwrap_err().stage, "b");
            assert_eq!(
                pipeline.committable("t", 0),
                None,
                "nothing may be committed yet"
            );
        }
        pipeline.write(&batch(), &link).unwrap();
        assert_eq!(pipeline.committable("t", 0), Some(4));
        assert_eq!(*one.lock().unwrap(), [0, 1, 2, 3]);
        assert_eq!(*two.lock().unwrap(), [0, 1, 2, 3]);
        assert_eq!(link.report().processors[1].failures, 2);
    }

    #[test]
    fn what_a_sink_holds_already_is_skipped() {
        let mut memory = Memory::default();
        memory.held.set("t", 0, 2);
        let rows = Arc::clone(&memory.rows);
        let mut stages: Vec<(String, Box<dyn Processor>)> = vec![("a".into(), Box::new(memory))];
        let link = Link::new(Order::Run);
        Pipeline::open(&mut stages, &link)
            .unwrap()
            .write(&batch(), &link)
            .unwrap();
        assert_eq!(*rows.lock().unwrap(), [2, 3]);
    }
}
