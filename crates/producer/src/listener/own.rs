//! Inputs of the daemon itself: standard input, this machine's figures, samples.

use super::accept::fixed;
use super::inlet::{Inlet, Manner};
use super::stream::{self, Kind};
use super::{generator, host};
use crate::assemble::{Assembler, plain};
use crate::batch::Span;
use crate::settings::ProducerSettings;
use bytes::Bytes;
use std::rc::Rc;
use tokio::task::spawn_local;

/// Starts the inputs that are switched on.
pub(super) fn spawn(settings: &ProducerSettings, inlet: &Rc<Inlet>) {
    let inputs = &settings.inputs;
    if inputs.stdin.enabled {
        let kind = Kind {
            input: "stdin",
            topic: fixed(&inputs.stdin.topic),
            token: None,
            journal: false,
        };
        let inlet = Rc::clone(inlet);
        spawn_local(async move {
            let shutdown = inlet.shutdown.clone();
            let clean = stream::serve(inlet, kind, tokio::io::stdin(), tokio::io::sink()).await;
            tracing::info!(clean, "standard input ended");
            shutdown.request();
        });
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
