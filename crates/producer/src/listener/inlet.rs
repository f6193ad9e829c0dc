//! The way from every input to the publisher and back: tickets for batches, one dispatcher for answers.

use crate::batch::{Batch, Outcome, Records, Ticket};
use crate::budget::{Budget, Charge};
use crate::channels::{Ask, Reply};
use crate::mailbox::Mailbox;
use crossbeam_channel::Sender;
use sluice_model::producer::ProducerStatus;
use sluice_service::shutdown::Shutdown;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Time that the publisher may take for a status.
const STATUS_MAX: Duration = Duration::from_secs(5);

/// How a batch is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The answer tells of every record.
    Detailed,
    /// The answer tells of refused records only.
    Brief,
    /// As brief; and the records are journaled first, because their sender cannot repeat them.
    Journaled,
}

/// What the tasks of the listener share.
#[derive(Debug)]
pub(super) struct Inlet {
    batches: Sender<Batch>,
    asks: Sender<Ask>,
    waiting: RefCell<HashMap<Ticket, oneshot::Sender<Reply>>>,
    next: Cell<Ticket>,
    refused: Cell<u64>,
    /// The memory budget.
    pub budget: Budget,
    /// Largest record.
    pub record_max: usize,
    /// The wish to stop.
    pub shutdown: Shutdown,
}

impl Inlet {
    /// An inlet into the publisher's channels.
    pub(super) fn new(
        (batches, asks): (Sender<Batch>, Sender<Ask>),
        budget: Budget,
        record_max: usize,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            batches,
            asks,
            waiting: RefCell::default(),
            next: Cell::new(1),
            refused: Cell::new(0),
            budget,
            record_max,
            shutdown,
        }
    }

    fn ticket(&self) -> (Ticket, oneshot::Receiver<Reply>) {
        let ticket = self.next.replace(self.next.get() + 1);
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(ticket, sender);
        (ticket, receiver)
    }

    /// Sends records to the publisher; the answer comes when all of them are safe or refused.
    ///
    /// # Errors
    /// When the publisher is gone.
    pub(super) fn submit(
        &self,
        records: Records,
        manner: Manner,
        charge: Charge,
    ) -> Result<Pending, Gone> {
        let (ticket, reply) = self.ticket();
        // The channel has room for every charge that the budget gives.
        if let Ok(()) = self.batches.try_send(Batch {
            ticket,
            detailed: manner == Manner::Detailed,
            journal: manner == Manner::Journaled,
            records,
            charge,
        }) {
            Ok(Pending(reply))
        } else {
            self.waiting.borrow_mut().remove(&ticket);
            Err(Gone)
        }
    }

    /// Asks how everything stands. What the inputs refused themselves is counted in.
    ///
    /// # Errors
    /// When the publisher does not answer.
    pub(super) async fn status(&self) -> Result<ProducerStatus, Gone> {
        let (ticket, reply) = self.ticket();
        if self.asks.try_send(Ask::Status(ticket)).is_err() {
            self.waiting.borrow_mut().remove(&ticket);
            return Err(Gone);
        }
        if let Ok(Ok(Reply::Status(_, mut status))) = tokio::time::timeout(STATUS_MAX, reply).await
        {
            status.refused += self.refused.get();
            Ok(*status)
        } else {
            self.waiting.borrow_mut().remove(&ticket);
            Err(Gone)
        }
    }

    /// Counts records that an input refused.
    pub(super) fn count_refused(&self, input: &'static str, refusal: &crate::batch::Refusal) {
        self.refused.set(self.refused.get() + 1);
        let labels = [("reason", refusal.code.as_str()), ("input", input)];
        metrics::counter!("producer_refused_input_records_total", &labels).increment(1);
    }
}

/// The publisher is gone or too busy to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// An answer that is on its way.
#[derive(Debug)]
pub(super) struct Pending(oneshot::Receiver<Reply>);

impl Pending {
    /// Waits for it; `None` when the publisher is gone.
    pub(super) async fn outcome(self) -> Option<Outcome> {
        match self.0.await {
            Ok(Reply::Outcome(outcome)) => Some(outcome),
            Ok(Reply::Status(..)) | Err(_) => None,
        }
    }
}

/// Hands the publisher's answers to those who wait for them, until the publisher is gone.
pub(super) async fn dispatch(inlet: Rc<Inlet>, replies: Mailbox<Reply>) {
    while let Some(reply) = replies.receive().await {
        let ticket = match &reply {
            Reply::Outcome(outcome) => outcome.ticket,
            Reply::Status(ticket, _) => *ticket,
        };
        let waiting = inlet.waiting.borrow_mut().remove(&ticket);
        if let Some(waiting) = waiting {
            // Nobody waits any more when a client went away; its records are safe all the same.
            let _client_left = waiting.send(reply);
        }
    }
    inlet.waiting.borrow_mut().clear();
}
