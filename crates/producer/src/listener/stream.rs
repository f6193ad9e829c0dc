//! Lines over a byte stream (TCP, Unix socket, standard input), with cumulative acknowledgements when
//! the client asks for them.

use super::guard::TokenCheck;
use super::hello::{self, HELLO_BYTES_MAX, Hello};
use super::inlet::{Inlet, Manner, Pending};
use super::reach::Reach;
use super::reader::Reader;
use crate::assemble::{self, Framed, Framer, LINE_SLACK_BYTES, Lines};
use crate::batch::Refusal;
use bytes::Bytes;
use sluice_model::problem::Code;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

/// Bytes of one stream on their way to safety; beyond it the stream is not read.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Blocks of one stream on their way.
const WINDOW_BLOCKS: usize = 512;
/// Time within which a client that must give a token gives it.
const HELLO_MAX: Duration = Duration::from_secs(30);
/// Time that a client may take to receive an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Refusals that are kept for a client that did not ask for acknowledgements.
const QUIET_REFUSALS_MAX: usize = 100;

/// What one stream is.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// For logs and metrics.
    pub input: &'static str,
    /// The topic of every line, when it is fixed.
    pub topic: Option<Arc<str>>,
    /// The check of the token that the hello must carry, where one is needed.
    pub token: TokenCheck,
    /// Whether lines are journaled before they are produced, when their sender asks for no answers.
    pub journal: bool,
}

/// One step of the answers, in the order of the lines.
enum Step {
    Greeted,
    Block(Block),
    /// The greeting was no good.
    Bad(Refusal),
}

/// A block of lines whose fate is being waited for.
struct Block {
    first_line: u64,
    lines: LineNumbers,
    pending: Option<Pending>,
    bytes: u32,
}

struct LineNumbers {
    line_of: Option<Vec<u32>>,
    refused: Vec<(u32, Refusal)>,
    count: u32,
}

/// Serves a stream to its end. Tells whether its end was reached, nothing was refused and everything is
/// safe.
pub(super) async fn serve<R, W>(inlet: Rc<Inlet>, kind: Kind, reader: R, writer: W) -> bool
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let window = Semaphore::new(WINDOW_BYTES);
    let (steps, todo) = mpsc::channel(WINDOW_BLOCKS);
    let read = read_all(&inlet, &kind, reader, steps, &window);
    let answer = answer_all(&inlet, &kind, writer, todo, &window);
    let (ended, clean) = tokio::join!(read, answer);
    ended && clean
}

/// Reads a stream to its end; tells whether it was reached.
async fn read_all<R: AsyncRead + Unpin>(
    inlet: &Inlet,
    kind: &Kind,
    reader: R,
    steps: mpsc::Sender<Step>,
    window: &Semaphore,
) -> bool {
    let mut reader = Reader::new(reader);
    let mut framer = Framer::new(inlet.record_max + LINE_SLACK_BYTES);
    let mut lines_before = 0;
    let mut manner = None;
    let hello_until = Instant::now() + HELLO_MAX;
    loop {
        let greeting = manner.is_none() && kind.token.is_some();
        let read = tokio::select! {
            biased;
            () = inlet.shutdown.wait() => return false,
            () = steps.closed() => return false,
            read = reader.read(&mut framer.buffer) => read,
            () = sleep_until(hello_until), if greeting => {
                let _writer_left = steps.send(Step::Bad(no_token())).await;
                return false;
            }
        };
        let ended = match read {
            Ok(count) => count == 0,
            Err(error) => {
                tracing::debug!(input = kind.input, %error, "stream ends");
                return false;
            }
        };
        loop {
            let framed = if ended {
                framer.rest()
            } else {
                framer.next_block()
            };
            let Some(framed) = framed else { break };
            let (framed, (manner, reach)) = match &manner {
                Some(known) => (Some(framed), known),
                None => match greet(kind, framed, &steps).await {
                    Some((framed, found)) => (framed, &*manner.insert(found)),
                    None => return false,
                },
            };
            let Some(framed) = framed else { continue };
            let lines = assembled(inlet, kind, framed, reach);
            let first = (lines_before, *manner);
            let Some(count) = submit(inlet, lines, first, &steps, window).await else {
                return false;
            };
            lines_before += u64::from(count);
        }
        if greeting && manner.is_none() && framer.buffer.len() > HELLO_BYTES_MAX {
            let _writer_left = steps.send(Step::Bad(no_token())).await;
            return false;
        }
        if ended {
            return true;
        }
    }
}

fn no_token() -> Refusal {
    let detail = "the first line must be {\"hello\": {\"token\": \"...\"}}";
    Refusal::new(Code::Unauthenticated, detail)
}

/// Takes a greeting off the first block, and tells how batches of this stream are treated and which
/// topics they may name. `None` when the stream must end.
async fn greet(
    kind: &Kind,
    framed: Framed,
    steps: &mpsc::Sender<Step>,
) -> Option<(Option<Framed>, (Manner, Reach))> {
    let quiet = if kind.journal {
        Manner::Journaled
    } else {
        Manner::Brief
    };
    let first = match &framed {
        Framed::TooLong => None,
        Framed::Lines(block) => {
            let end = memchr::memchr(b'\n', block).map_or(block.len(), |at| at + 1);
            hello::read(block.get(..end).unwrap_or_default()).map(|hello| (hello, end))
        }
    };
    let admitted = match &first {
        Some((Err(fault), _)) => Err(Refusal::new(Code::Invalid, fault.clone())),
        Some((Ok(hello), _)) => admit(kind, hello.token.as_deref()).await,
        None => admit(kind, None).await,
    };
    let reach = match admitted {
        Ok(reach) => reach,
        Err(refusal) => {
            let _writer_left = steps.send(Step::Bad(refusal)).await;
            return None;
        }
    };
    let (Some((Ok(Hello { cumulative, .. }), end)), Framed::Lines(mut block)) =
        (first, framed.clone())
    else {
        return Some((Some(framed), (quiet, reach)));
    };
    drop(block.split_to(end));
    let rest = (!block.is_empty()).then_some(Framed::Lines(block));
    if !cumulative {
        return Some((rest, (quiet, reach)));
    }
    // A writer that is gone ends the reading at the next look.
    let _writer_left = steps.send(Step::Greeted).await;
    Some((rest, (Manner::Brief, reach)))
}

/// Lets a client pass whose token is good, where one is needed; elsewhere it is not looked at.
async fn admit(kind: &Kind, token: Option<&str>) -> Result<Reach, Refusal> {
    let Some(check) = &kind.token else {
        return Ok(Reach::default());
    };
    let token = token.ok_or_else(no_token)?;
    // Boxed: it is large, and most streams never need it.
    let checked = Box::pin(check.sender_of(token)).await;
    checked.map_err(|problem| {
        let code = match problem.status {
            401 => Code::Unauthenticated,
            403 => Code::Forbidden,
            _ => Code::Unavailable,
        };
        Refusal::new(code, problem.detail.clone())
    })
}

/// Turns a block into records, and counts what is none.
fn assembled(inlet: &Inlet, kind: &Kind, framed: Framed, reach: &Reach) -> Lines {
    let mut lines = match framed {
        Framed::Lines(block) => assemble::lines(block, kind.topic.as_deref(), inlet.record_max),
        Framed::TooLong => too_long(inlet.record_max),
    };
    reach.leave_out(&mut lines);
    for (_, refusal) in &lines.refused {
        inlet.count_refused(kind.input, refusal);
    }
    lines
}

/// Sends a block on its way; gives the number of its lines, or none when the stream must end.
async fn submit(
    inlet: &Inlet,
    lines: Lines,
    (first_line, manner): (u64, Manner),
    steps: &mpsc::Sender<Step>,
    window: &Semaphore,
) -> Option<u32> {
    let Lines {
        records,
        bytes,
        line_of,
        refused,
        count,
    } = lines;
    let bytes = bytes.min(WINDOW_BYTES);
    let permit = window.acquire_many(bytes as u32).await.ok()?;
    permit.forget();
    let pending = if records.recs.is_empty() {
        None
    } else {
        let charge = inlet.budget.reserve(bytes).await;
        Some(inlet.submit(records, manner, charge).ok()?)
    };
    let lines = LineNumbers {
        line_of,
        refused,
        count,
    };
    let block = Block {
        first_line,
        lines,
        pending,
        bytes: bytes as u32,
    };
    steps.send(Step::Block(block)).await.ok()?;
    Some(count)
}

fn too_long(record_max: usize) -> Lines {
    let detail = format!("the line is longer than a record of {record_max} bytes needs");
    let mut lines = assemble::lines(Bytes::new(), None, record_max);
    lines
        .refused
        .push((0, Refusal::new(Code::TooLarge, detail)));
    lines.count = 1;
    lines
}

async fn answer_all<W: AsyncWrite + Unpin>(
    inlet: &Inlet,
    kind: &Kind,
    mut writer: W,
    mut todo: mpsc::Receiver<Step>,
    window: &Semaphore,
) -> bool {
    let mut acks = false;
    let mut clean = true;
    let mut quiet = String::new();
    let mut quiet_count = 0;
    while let Some(step) = todo.recv().await {
        let text = match step {
            Step::Greeted => {
                acks = true;
                acked_line(0)
            }
            Step::Bad(refusal) => {
                inlet.count_refused(kind.input, &refusal);
                let line = refused_line(0, &refusal);
                let _client_left = send(&mut writer, &line).await;
                clean = false;
                break;
            }
            Step::Block(block) => {
                let bytes = block.bytes as usize;
                let last = block.first_line + u64::from(block.lines.count);
                let Some(refused) = refusals(block).await else {
                    clean = false;
                    break;
                };
                window.add_permits(bytes);
                clean &= refused.is_empty();
                let mut text = String::new();
                for (line, refusal) in &refused {
                    if acks {
                        text.push_str(&refused_line(*line, refusal));
                    } else if quiet_count < QUIET_REFUSALS_MAX {
                        quiet_count += 1;
                        quiet.push_str(&refused_line(*line, refusal));
                    }
                }
                if let Some((line, refusal)) = refused.first().filter(|_| !acks) {
                    log_refused(kind, *line, refused.len(), refusal);
                }
                if acks {
                    text += &acked_line(last);
                }
                text
            }
        };
        if !text.is_empty() && !send(&mut writer, &text).await {
            // Nobody listens: what was read already goes its way, nothing more is read.
            clean = false;
            break;
        }
    }
    todo.close();
    window.close();
    // A client that did not greet is answered only now: an earlier answer to one that does not read
    // could reset the connection and take unread lines with it.
    if !quiet.is_empty() && !inlet.shutdown.requested() {
        let _client_left = send(&mut writer, &quiet).await;
    }
    let _already_closed = writer.shutdown().await;
    clean
}

/// The refused lines of a block, in order, once everything else in it is safe. `None` when the publisher
/// is gone: then nothing is known.
async fn refusals(block: Block) -> Option<Vec<(u64, Refusal)>> {
    let Block {
        first_line,
        lines,
        pending,
        ..
    } = block;
    let number = |line: u32| first_line + u64::from(line) + 1;
    let mut refused: Vec<_> = lines
        .refused
        .into_iter()
        .map(|(line, refusal)| (number(line), refusal))
        .collect();
    if let Some(pending) = pending {
        for (index, refusal) in pending.outcome().await?.refused {
            let line = match &lines.line_of {
                Some(known) => known.get(index as usize).copied().unwrap_or_default(),
                None => index,
            };
            refused.push((number(line), refusal));
        }
        refused.sort_by_key(|(line, _)| *line);
    }
    Some(refused)
}

fn acked_line(lines: u64) -> String {
    format!("{{\"acked\": {lines}}}\n")
}

fn refused_line(line: u64, refusal: &Refusal) -> String {
    let answer = serde_json::json!({
        "refused": line, "code": refusal.code.as_str(), "detail": refusal.detail,
    });
    format!("{answer}\n")
}

fn log_refused(kind: &Kind, line: u64, count: usize, refusal: &Refusal) {
    tracing::warn!(
        input = kind.input,
        line,
        count,
        code = refusal.code.as_str(),
        detail = refusal.detail,
        "lines were refused and their sender did not ask for answers"
    );
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, text: &str) -> bool {
    let written = async {
        writer.write_all(text.as_bytes()).await?;
        writer.flush().await
    };
    matches!(tokio::time::timeout(ANSWER_MAX, written).await, Ok(Ok(())))
}
