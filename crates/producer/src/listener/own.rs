//! Inputs of the daemon itself: standard input, this machine's figures, samples.

use super::accept::fixed;
use super::inlet::{Inlet, Manner};
use super::quarantine::Quarantine;
use super::quiet::{Patience, Quiet};
use super::stream::{self, Kind};
use super::tail::{self, Tail};
use super::{generator, host};
use crate::assemble::{Assembler, plain};
use crate::batch::Span;
use crate::settings::ProducerSettings;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use tokio::task::spawn_local;

/// The file of the positions of files, in the spool's directory.
const TAIL_STATE: &str = "tail.json";

/// Starts the inputs that are switched on. The answer turns false when a line of standard input was refused,
/// or is not known to be safe.
pub(super) fn spawn(
    settings: &ProducerSettings,
    inlet: &Rc<Inlet>,
    quarantine: &Quarantine,
) -> Rc<Cell<bool>> {
    let whole = Rc::new(Cell::new(true));
    let inputs = &settings.inputs;
    if inputs.stdin.enabled {
        let kind = Kind {
            input: "stdin",
            topic: fixed(&inputs.stdin.topic),
            token: None,
            journal: false,
        };
        let inlet = Rc::clone(inlet);
        let whole = Rc::clone(&whole);
        spawn_local(async move {
            let shutdown = inlet.shutdown.clone();
            let clean = stream::serve(inlet, kind, tokio::io::stdin(), tokio::io::sink()).await;
            tracing::info!(clean, "standard input ended");
            if !clean {
                whole.set(false);
            }
            shutdown.request();
        });
    }
    if inputs.tail.enabled {
        let quiet = Quiet {
            inlet: Rc::clone(inlet),
            quarantine: quarantine.clone(),
            input: "tail",
            patience: Patience::Decisions,
            // What is not safe is read again from the file.
            journal: false,
        };
        let state = match inputs.tail.state.as_os_str() {
            none if none.is_empty() => settings.spool.dir.join(TAIL_STATE),
            _ => inputs.tail.state.clone(),
        };
        let tail = Tail::new(quiet, inputs.tail.clone(), state);
        spawn_local(tail::run(Rc::new(tail)));
    }
    if inputs.host.enabled {
        spawn_local(host::run(Rc::clone(inlet), inputs.host.clone()));
    }
    if inputs.generator.enabled {
        for kind in &inputs.generator.kinds {
            spawn_local(generator::run(
                Rc::clone(inlet),
                kind.clone(),
                inputs.generator.rate,
            ));
        }
    }
    whole
}

/// Sends one record of the daemon's own; waits until it is safe or refused, so that a full hold or a
/// slow Kafka slows the source down instead of filling memory.
pub(super) async fn send(
    inlet: &Inlet,
    input: &'static str,
    topic: &str,
    key: &str,
    value: String,
) {
    let mut assembler = Assembler::new(Bytes::from(value.into_bytes()), inlet.record_max);
    let length = assembler.place().block.len();
    let key = assembler.place().decoded(key.as_bytes());
    let pushed = assembler.topic(topic).and_then(|topic| {
        let rec = plain(topic, Some(Span::block(0, length)));
        assembler.push(crate::batch::Rec {
            key: Some(key),
            ..rec
        })
    });
    if let Err(refusal) = pushed {
        inlet.count_refused(input, &refusal);
        return;
    }
    let (records, bytes) = assembler.finish();
    let charge = inlet.budget.reserve(bytes).await;
    let Ok(pending) = inlet.submit(records, Manner::Brief, charge) else {
        return;
    };
    let Some(outcome) = pending.outcome().await else {
        return;
    };
    for (_, refusal) in &outcome.refused {
        tracing::debug!(
            input,
            topic,
            code = refusal.code.as_str(),
            "a record was refused"
        );
    }
}
