//! Reading one file on: chunk by chunk, the next one when the last one is safe.

use super::file::{self, Chunk, Position};
use super::{Tail, blocking, scan};
use crate::assemble::{self, LINE_SLACK_BYTES, Lines};
use crate::batch::{Records, Refusal, Span};
use crate::headers;
use crate::listener::accept::fixed;
use crate::listener::quiet::Stopped;
use crate::settings::TailKey;
use bytes::Bytes;
use sluice_model::problem::Code;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;

/// Bytes of one read, at least.
const CHUNK_BYTES: usize = 512 * 1024;
/// The header with a line's file.
const FILE_HEADER: &str = "file";

/// What a file looks like from outside.
type Look = (u64, Option<SystemTime>);

/// A file that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    file: Arc<File>,
    position: RefCell<Position>,
    /// Whether its path leads elsewhere now.
    rotated: Cell<bool>,
    busy: Cell<bool>,
    finished: Cell<bool>,
    /// How it looked when nothing more could be read from it, and since when.
    read_up: Cell<Option<(Look, Instant)>>,
}

/// What is to be done about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing.
    Idle,
    /// It is to be read; with `finish` to its last byte, for no more will come.
    Work {
        /// Whether no more will come.
        finish: bool,
    },
    /// It is read to its end and rotated away.
    Done,
}

impl Followed {
    /// A file from a position on.
    pub(super) fn new(file: Arc<File>, position: Position, rotated: bool) -> Self {
        Self {
            file,
            position: RefCell::new(position),
            rotated: Cell::new(rotated),
            busy: Cell::new(false),
            finished: Cell::new(false),
            read_up: Cell::new(None),
        }
    }

    /// The position up to which everything is safe.
    pub(super) fn position(&self) -> Position {
        self.position.borrow().clone()
    }

    /// Notes what the file is known by.
    pub(super) fn set_position(&self, position: Position) {
        *self.position.borrow_mut() = position;
    }

    /// The open file.
    pub(super) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Whether it is being read.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Notes whether the path leads elsewhere now.
    pub(super) fn set_rotated(&self, rotated: bool) {
        self.rotated.set(rotated);
    }

    /// What is to be done, by how the file looks now.
    pub(super) fn look(&self, look: Option<Look>, idle_max: Duration) -> Status {
        if self.busy.get() {
            return Status::Idle;
        }
        if self.finished.get() {
            return Status::Done;
        }
        let Some(look) = look else {
            return Status::Done;
        };
        let status = match self.read_up.get() {
            Some((seen, since)) if seen == look => {
                if !self.rotated.get() || since.elapsed() < idle_max {
                    return Status::Idle;
                }
                Status::Work { finish: true }
            }
            _ => Status::Work { finish: false },
        };
        self.busy.set(true);
        self.read_up.set(Some((look, Instant::now())));
        status
    }
}

/// Reads a file until there is no whole line left.
pub(super) async fn pump(tail: &Tail, followed: &Followed, dirty: &Cell<bool>, finish: bool) {
    let mut last_look = followed.read_up.get();
    while !tail.quiet.inlet.shutdown.requested() {
        let file = followed.handle();
        let position = followed.position();
        let max = CHUNK_BYTES.max(tail.quiet.inlet.record_max + LINE_SLACK_BYTES);
        let from = position.clone();
        let chunk = blocking(move || file::read(&file, &from, max, finish)).await;
        let next = match chunk {
            Ok(Chunk::Nothing) => {
                followed.finished.set(finish);
                break;
            }
            Ok(Chunk::Replaced) => {
                let Ok(next) = replaced(tail, &position, dirty).await else {
                    last_look = None;
                    break;
                };
                next
            }
            Ok(Chunk::Lines(block, next)) => {
                if send(tail, &position, block).await.is_err() {
                    last_look = None;
                    break;
                }
                next
            }
            Ok(Chunk::TooLong(head, next)) => {
                let detail = format!("the line at byte {} is too long", position.offset);
                put_away(
                    tail,
                    &position,
                    &Refusal::new(Code::TooLarge, detail),
                    &head,
                )
                .await;
                next
            }
            Ok(Chunk::Skipped(next)) => next,
            Err(error) => {
                tracing::warn!(path = %position.path.display(), %error, "a file cannot be read");
                metrics::counter!("producer_tail_read_failures_total").increment(1);
                break;
            }
        };
        *followed.position.borrow_mut() = next;
        dirty.set(true);
    }
    followed.read_up.set(last_look);
    followed.busy.set(false);
}

/// What to do about a file that was truncated or written anew: the rest of the old content is read from
/// the copy that a rotation has made, then the file is begun again.
async fn replaced(
    tail: &Tail,
    position: &Position,
    dirty: &Cell<bool>,
) -> Result<Position, Stopped> {
    let searched = position.clone();
    let copy =
        blocking(move || scan::rotated(&searched).filter(|copy| copy.id != searched.id)).await;
    let path = position.path.display();
    let recovered = copy.is_some();
    tracing::info!(%path, offset = position.offset, recovered, "a file was truncated or replaced");
    let found = if recovered { "yes" } else { "no" };
    metrics::counter!("producer_tail_truncations_total", "copy_found" => found).increment(1);
    if let Some(copy) = copy {
        let of_copy = position.in_copy(copy.id);
        let known = tail.followed(copy.id);
        let rest = known.unwrap_or_else(|| {
            let rest = Rc::new(Followed::new(copy.file, of_copy, true));
            // It stays known, so that a pattern that names copies, too, does not send it once more.
            tail.files.borrow_mut().push(Rc::clone(&rest));
            rest
        });
        if !rest.busy.replace(true) {
            // Boxed, because reading the copy is the same work as reading the file.
            Box::pin(pump(tail, &rest, dirty, true)).await;
            if !rest.finished.replace(false) {
                return Err(Stopped);
            }
        }
    }
    Ok(Position::start(&position.path, position.id))
}

/// Sends lines and waits until all of them are safe or in the quarantine.
async fn send(tail: &Tail, position: &Position, block: Bytes) -> Result<(), Stopped> {
    let topic = fixed(&tail.settings.topic);
    let whole = block.clone();
    let lines = assemble::lines(block, topic.as_deref(), tail.quiet.inlet.record_max);
    if !lines.refused.is_empty() {
        let texts: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
        for (line, refusal) in &lines.refused {
            let text = texts.get(*line as usize).copied().unwrap_or_default();
            put_away(tail, position, refusal, text).await;
        }
    }
    let Lines { records, bytes, .. } = lines;
    if records.recs.is_empty() {
        return Ok(());
    }
    let path = position.path.to_string_lossy();
    let records = if topic.is_some() {
        labelled(records, &path, tail.settings.key)
    } else {
        records
    };
    let sent = tail.quiet.send(records, bytes).await?;
    tail.quiet.settle(sent, &path, &Mutex::new(())).await
}

/// Gives records the key and the header of their file.
fn labelled(records: Records, path: &str, key: TailKey) -> Records {
    let mut side = records.side.to_vec();
    let start = side.len();
    side.extend_from_slice(path.as_bytes());
    let key_span = (key == TailKey::Path).then(|| Span::side(start, side.len()));
    let start = side.len();
    headers::push(&mut side, FILE_HEADER, Some(path.as_bytes()));
    let header_span = Span::side(start, side.len());
    let mut records = Records {
        side: side.into(),
        ..records
    };
    for rec in &mut records.recs {
        rec.key = key_span;
        rec.headers = Some(header_span);
    }
    records
}

async fn put_away(tail: &Tail, position: &Position, refusal: &Refusal, data: &[u8]) {
    let path = position.path.to_string_lossy();
    let quiet = &tail.quiet;
    quiet
        .quarantine
        .put(&quiet.inlet, (quiet.input, &path), None, refusal, data)
        .await;
}
