//! The streaming mode of v3: records come in as they are sent, and each is reported in order as soon as
//! its fate is known, while the request is still open.

use super::super::answer::Answer;
use super::super::send::{Underway, begin};
use super::super::{Http, gone};
use super::cutter::{Cut, Cutter};
use super::record::{self, Shape};
use super::{INPUT, Target, push_report, report};
use crate::assemble::LINE_SLACK_BYTES;
use crate::batch::{Fate, Refusal};
use crate::listener::reach::Reach;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sluice_model::problem::Code;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// Blocks of one stream on their way, and blocks of reports that the client did not take yet.
const BLOCKS_MAX: usize = 64;
const REPORTS_MAX: usize = 64;
/// Time that a stream may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Time that a client may take to receive a report.
const REPORT_MAX: Duration = Duration::from_secs(30);

/// Starts a stream; the answer begins at once.
pub(super) fn serve(http: &Rc<Http>, (target, reach): (Target, Reach), body: Incoming) -> Answer {
    let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
    let http = Rc::clone(http);
    spawn_local(async move {
        let (blocks, underway) = mpsc::channel(BLOCKS_MAX);
        let reading = read_all(&http, (&target, &reach), body, blocks);
        let answering = answer_all(&target, underway, reports);
        tokio::join!(reading, answering);
    });
    Answer::stream(200, "application/json", outgoing)
}

type Block = (Underway, Vec<Shape>);

async fn read_all(
    http: &Http,
    place: (&Target, &Reach),
    mut body: Incoming,
    blocks: mpsc::Sender<Block>,
) {
    // Base64 and the names of members make an object longer than its record.
    let object_max = http.inlet.record_max * 2 + LINE_SLACK_BYTES;
    let mut buffer = BytesMut::new();
    let mut cutter = Cutter::default();
    loop {
        let frame = tokio::select! {
            () = http.inlet.shutdown.wait() => return,
            () = blocks.closed() => return,
            frame = tokio::time::timeout(SILENCE_MAX, body.frame()) => frame,
        };
        let ended = match frame {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    buffer.extend_from_slice(&data);
                }
                false
            }
            Ok(None) => true,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a stream of records breaks off");
                return;
            }
            Err(_silent) => return,
        };
        let mut cut = cutter.cut(&buffer, ended);
        if cut.broken.is_none() && buffer.len() - cut.consumed > object_max {
            cut.broken = Some("a record is too large");
        }
        let last = ended || cut.broken.is_some();
        if !cut.objects.is_empty() || cut.broken.is_some() {
            let block = buffer.split_to(cut.consumed).freeze();
            if submit(http, place, &block, &cut, &blocks).await.is_none() {
                return;
            }
        } else if cut.consumed > 0 {
            drop(buffer.split_to(cut.consumed));
        }
        if last {
            return;
        }
    }
}

/// Sends a block on its way; none when the stream must end.
async fn submit(
    http: &Http,
    (target, reach): (&Target, &Reach),
    block: &Bytes,
    cut: &Cut,
    blocks: &mpsc::Sender<Block>,
) -> Option<()> {
    let (parsed, shapes) = record::read(&target.topic, block, cut, http.inlet.record_max);
    let charge = http.inlet.budget.reserve(parsed.bytes).await;
    let underway = begin(http, (parsed, reach), charge, INPUT).ok()?;
    blocks.send((underway, shapes)).await.ok()
}

async fn answer_all(
    target: &Target,
    mut underway: mpsc::Receiver<Block>,
    reports: mpsc::Sender<Bytes>,
) {
    while let Some((block, shapes)) = underway.recv().await {
        let fates = block.fates().await.unwrap_or_else(|_| {
            let lost = Refusal::new(Code::Unavailable, gone().detail.clone());
            vec![Fate::Refused(lost); shapes.len()]
        });
        let mut text = Vec::new();
        for (fate, shape) in fates.iter().zip(&shapes) {
            push_report(&mut text, &report(target, fate, shape));
        }
        let sent = tokio::time::timeout(REPORT_MAX, reports.send(text.into())).await;
        if !matches!(sent, Ok(Ok(()))) {
            // Nobody listens: what was read already goes its way, nothing more is read.
            return;
        }
    }
}
