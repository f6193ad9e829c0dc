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
use sluice_model::producer::TopicFlow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;

/// Time for the first route table before standard input is read, and for the drain after its end.
const ROUTES_MAX: Duration = Duration::from_secs(5);
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Time between looks at the status meanwhile.
const STATUS_EVERY: Duration = Duration::from_millis(20);
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
            known(&inlet).await;
            let status = Rc::clone(&inlet);
            let clean = stream::serve(inlet, kind, tokio::io::stdin(), tokio::io::sink()).await;
            tracing::info!(clean, "standard input ended");
            if !clean {
                whole.set(false);
            }
            drained(&status).await;
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

/// Waits until the topics are known, so that the first lines do not go to the spool for that alone.
async fn known(inlet: &Inlet) {
    let known = async {
        while !matches!(inlet.status().await, Ok(status) if !status.revision.is_empty()) {
            tokio::time::sleep(STATUS_EVERY).await;
        }
    };
    tokio::select! {
        () = inlet.shutdown.wait() => {}
        // Without the admin API lines are held: that is safe, too.
        _known_or_late = tokio::time::timeout(ROUTES_MAX, known) => {}
    }
}

/// Waits until nothing is held any more for topics that are active: who pipes lines in expects them in
/// Kafka, not in a spool that the next start drains.
async fn drained(inlet: &Inlet) {
    let waits =
        |topic: &TopicFlow| topic.status.as_deref() == Some("active") && topic.held_records > 0;
    let drained = async {
        while matches!(inlet.status().await, Ok(status) if status.in_flight > 0 || status.topics.iter().any(waits))
        {
            tokio::time::sleep(STATUS_EVERY).await;
        }
    };
    tokio::select! {
        () = inlet.shutdown.wait() => {}
        _drained_or_late = tokio::time::timeout(DRAIN_MAX, drained) => {}
    }
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
