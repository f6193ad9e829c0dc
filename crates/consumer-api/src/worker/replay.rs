//! Writing records that are read beside the live consumer: no group, no commits, but the same care.

use super::breaker::Breaker;
use super::letters::DeadLetters;
use super::pipeline::{Burial, Pipeline};
use super::stage::Stop;
use super::{Link, Order};
use crate::batch::Entry;
use crate::processors::Processor;
use crate::status::Fault;
use sluice_model::consumer::FailureClass;
use sluice_service::backoff;
use std::time::{Duration, Instant};

/// Tries of one batch before the job fails.
const TRIES_MAX: u32 = 8;
/// Delay before the second try, and the longest one.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(20);
/// The longest look away from a cancellation.
const SLICE: Duration = Duration::from_millis(50);

/// Writes batches to the processors of a job; every batch is safe when it is written.
pub struct Writer<'p> {
    pipeline: Pipeline<'p>,
    link: &'p Link,
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Opens processors and lets `work` write to them.
///
/// # Errors
/// When they cannot be opened, or what `work` fails with.
pub fn with_writer<T>(
    processors: &mut [(String, Box<dyn Processor>)],
    letters: Option<Box<dyn DeadLetters>>,
    mut breaker: Breaker,
    work: impl FnOnce(&mut Writer<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let link = Link::new(Order::Run);
    let mut letters = letters;
    let burial = Burial {
        letters: letters.as_mut(),
        breaker: &mut breaker,
    };
    let opened = Pipeline::open(processors, burial, &link);
    let pipeline = opened.map_err(|stop| match stop {
        Stop::Fault(fault) => fault,
        Stop::Rewind => Fault::kafka("a sink was not ready"),
    })?;
    let mut writer = Writer {
        pipeline,
        link: &link,
    };
    work(&mut writer)
}

impl Writer<'_> {
    /// Writes a batch; transient failures are tried again for a while. `cancelled` ends the tries.
    ///
    /// # Errors
    /// The last failure.
    pub fn write(
        &mut self,
        batch: &[Entry<'_>],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Fault> {
        let mut tries = 0;
        loop {
            let written = self.pipeline.write(batch, self.link);
            match written.and_then(|()| self.pipeline.flush()) {
                Ok(()) => return Ok(()),
                // Every batch before was safe, so it is this one that is written again.
                Err(Stop::Rewind) if tries < TRIES_MAX => tries += 1,
                Err(Stop::Rewind) => return Err(Fault::kafka("a sink loses what it is given")),
                Err(Stop::Fault(fault)) => {
                    tries += 1;
                    let again = fault.class == FailureClass::Transient && tries < TRIES_MAX;
                    if !again || cancelled() {
                        return Err(fault);
                    }
                    let until = Instant::now() + backoff::delay(tries, RETRY_MIN, RETRY_MAX);
                    while Instant::now() < until && !cancelled() {
                        std::thread::park_timeout(SLICE);
                    }
                }
            }
        }
    }

    /// Records that became dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.link.report().dead_letters()
    }
}
