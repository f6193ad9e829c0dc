//! Batches of inputs that cannot answer: what is refused for a while is sent again, what is refused for
//! good goes to the quarantine. Nothing is dropped.

use super::inlet::{Inlet, Manner, Pending};
use super::quarantine::Quarantine;
use crate::batch::{Records, Refusal};
use sluice_model::problem::Code;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Pauses before refused records are sent again: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Which refusals are worth waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Those that pass by themselves: no room now.
    Room,
    /// Those too that a human can end: nobody asked for the topic, or it was stopped.
    Decisions,
    /// None: waiting would cost what arrives meanwhile.
    None,
}

impl Patience {
    /// Whether a record that was refused so is sent again.
    pub(super) fn waits(self, code: Code) -> bool {
        let room = matches!(code.status(), 429 | 503 | 507);
        let decision = matches!(code.status(), 404 | 409);
        match self {
            Self::Room => room,
            Self::Decisions => room || decision,
            Self::None => false,
        }
    }
}

/// What an input needs to be done with its batches.
#[derive(Debug)]
pub(super) struct Quiet {
    /// The way to the publisher.
    pub inlet: Rc<Inlet>,
    /// Where refused records go.
    pub quarantine: Quarantine,
    /// For logs and metrics.
    pub input: &'static str,
    /// Which refusals are worth waiting for.
    pub patience: Patience,
    /// Whether batches are journaled before they are produced.
    pub journal: bool,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Sent {
    records: Records,
    pending: Pending,
}

/// The publisher is gone, or the daemon stops: what was not safe yet is not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

impl Quiet {
    /// Sends records; waits for room in memory only.
    ///
    /// # Errors
    /// When the publisher is gone.
    pub(super) async fn send(&self, records: Records, bytes: usize) -> Result<Sent, Stopped> {
        let charge = self.inlet.budget.reserve(bytes).await;
        let manner = if self.journal {
            Manner::Journaled
        } else {
            Manner::Brief
        };
        let pending = self
            .inlet
            .submit(records.clone(), manner, charge)
            .map_err(|_gone| Stopped)?;
        Ok(Sent { records, pending })
    }

    /// Waits until every record of a batch is safe or in the quarantine. Batches of one source share a
    /// `turn`, so that those which are sent again keep their order.
    ///
    /// # Errors
    /// When the publisher is gone or the daemon stops first.
    pub(super) async fn settle(
        &self,
        mut sent: Sent,
        source: &str,
        turn: &Mutex<()>,
    ) -> Result<(), Stopped> {
        let mut held = None;
        let mut pause = PAUSE_FIRST;
        loop {
            let outcome = sent.pending.outcome().await.ok_or(Stopped)?;
            let mut again = Vec::new();
            for (index, refusal) in outcome.refused {
                if self.patience.waits(refusal.code) {
                    again.push((index, refusal));
                } else {
                    self.put_away(&sent.records, index, source, &refusal).await;
                }
            }
            let Some((_, reason)) = again.first() else {
                return Ok(());
            };
            if held.is_none() {
                held = Some(turn.lock().await);
                tracing::warn!(
                    input = self.input,
                    source,
                    records = again.len(),
                    code = reason.code.as_str(),
                    detail = reason.detail,
                    "records are refused for now; they are sent again until they are taken"
                );
            }
            metrics::counter!("producer_input_retries_total", "input" => self.input).increment(1);
            tokio::select! {
                () = self.inlet.shutdown.wait() => {
                    self.give_up(&sent.records, again, source).await;
                    return Err(Stopped);
                }
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
            let again: Vec<u32> = again.into_iter().map(|(index, _)| index).collect();
            let records = sent.records.only(&again);
            let bytes = records.recs.iter().map(crate::batch::Rec::size).sum();
            sent = self.send(records, bytes).await?;
        }
    }

    /// The daemon stops before records were taken. What can be read again is left where it is.
    async fn give_up(&self, records: &Records, again: Vec<(u32, Refusal)>, source: &str) {
        if self.patience == Patience::Decisions {
            return;
        }
        for (index, refusal) in again {
            self.put_away(records, index, source, &refusal).await;
        }
    }

    async fn put_away(&self, records: &Records, index: u32, source: &str, refusal: &Refusal) {
        let rec = records.recs.get(index as usize);
        let topic = rec.and_then(|rec| records.topics.get(rec.topic as usize));
        let value = rec
            .and_then(|rec| records.part(rec.value))
            .unwrap_or_default();
        let from = (self.input, source);
        self.quarantine
            .put(
                &self.inlet,
                from,
                topic.map(|topic| &**topic),
                refusal,
                value,
            )
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_tells_what_passes_from_what_stays() {
        for (code, room, decisions) in [
            (Code::Busy, true, true),
            (Code::HoldFull, true, true),
            (Code::StorageFull, true, true),
            (Code::Unavailable, true, true),
            (Code::UnknownTopic, false, true),
            (Code::TopicRejected, false, true),
            (Code::TooLarge, false, false),
            (Code::Invalid, false, false),
        ] {
            assert_eq!(Patience::Room.waits(code), room, "{code:?}");
            assert_eq!(Patience::Decisions.waits(code), decisions, "{code:?}");
            assert!(!Patience::None.waits(code));
        }
    }
}
