//! The held records of one topic: append files ("segments") of frames, and how far they are dealt with.
//!
//! ```text
//!  dealt with      handed to Kafka, unanswered      held            written, not synced
//! ───────────┤ outstanding ─────────────────┤ read ────┤ committed ──────────┤ end
//! ```
//!
//! Invariant: cursor ≤ read ≤ committed ≤ end. Only what is committed is answered "held" or read.

mod read;
mod sync;

pub use sync::{CursorJob, SyncJob};

use super::bits::Bits;
use super::cursor::Cursor;
use super::disk::{Disk, SharedFile};
use super::frame::{self, Header};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment is closed at this size.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Most bytes that are read at one time, except for one larger frame.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// A frame that was handed to Kafka.
#[derive(Debug)]
pub struct Outstanding {
    /// Names it in this process.
    pub number: u64,
    /// Where it stands.
    pub start: Pos,
    /// Where the next one stands.
    pub end: Pos,
    /// What its header says.
    pub header: Header,
    /// Records that are dealt with.
    pub resolved: Bits,
    /// Records that are not.
    pub open: u32,
}

/// A frame that was read.
#[derive(Debug)]
pub struct ReadFrame {
    /// Names it in this process.
    pub number: u64,
    /// Where its payload stands in the chunk.
    pub payload: usize,
    /// What its header says.
    pub header: Header,
    /// Records that were dealt with before.
    pub resolved: Bits,
}

/// Bytes between frames that are no frame.
#[derive(Debug)]
pub struct Damage {
    /// Where they begin.
    pub at: Pos,
    /// The bytes.
    pub bytes: Bytes,
}

/// Frames that were read in one go.
#[derive(Debug)]
pub struct Chunk {
    /// Their bytes.
    pub bytes: Bytes,
    /// The frames in order.
    pub frames: Vec<ReadFrame>,
    /// What was stepped over.
    pub damage: Vec<Damage>,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) len: u64,
}

/// The log of one topic.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    pub(super) segments: VecDeque<Segment>,
    next_segment: u64,
    writer: Option<SharedFile>,
    reader: Option<(u64, SharedFile)>,
    /// Files other than the writer that the next sync takes, and whether there are new names.
    unsynced: Vec<SharedFile>,
    new_entries: bool,
    /// The owner, as long as it is not durable.
    fresh: Option<Vec<u8>>,
    end: Pos,
    committed: Pos,
    read: Pos,
    outstanding: VecDeque<Outstanding>,
    ahead: BTreeMap<Pos, Bits>,
    next_number: u64,
    /// Records that are not dealt with.
    pub held_records: u64,
    /// Their bytes on disk.
    pub held_bytes: u64,
    dirty: bool,
    cursor_dirty: bool,
    oldest: Option<(Pos, i64)>,
}

impl Log {
    /// A log in a directory, as recovery or creation found it.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        cursor: Cursor,
        next_segment: u64,
    ) -> Self {
        Self {
            disk,
            dir,
            segment_bytes: SEGMENT_BYTES,
            segments: VecDeque::new(),
            next_segment,
            writer: None,
            reader: None,
            unsynced: Vec::new(),
            new_entries: false,
            fresh: None,
            end: cursor.pos,
            committed: cursor.pos,
            read: cursor.pos,
            outstanding: VecDeque::new(),
            ahead: cursor.ahead,
            next_number: 0,
            held_records: 0,
            held_bytes: 0,
            dirty: false,
            cursor_dirty: false,
            oldest: None,
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Closes segments at another size, from the next one on.
    pub(super) fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// Says that the log's own name and owner are not durable yet.
    pub(super) fn is_fresh(&mut self, meta: Vec<u8>) {
        self.fresh = Some(meta);
    }

    /// Whether the log's own name and owner are not durable yet.
    pub fn is_being_made(&self) -> bool {
        self.fresh.is_some()
    }

    pub(super) fn recovered_to(&mut self, end: Pos) {
        self.end = end;
        self.committed = end;
    }

    pub(super) fn ahead_of(&self, pos: Pos) -> u32 {
        self.ahead.get(&pos).map_or(0, Bits::count)
    }

    /// Bytes of its files.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Whether every committed record was handed to Kafka.
    pub fn all_read(&self) -> bool {
        self.read == self.committed && self.committed == self.end
    }

    /// Whether nothing is held any more.
    pub fn is_empty(&self) -> bool {
        self.all_read() && self.outstanding.is_empty()
    }

    /// Whether something was written and not synced.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes a frame to the end; it counts from [`Log::commit`] on.
    ///
    /// # Errors
    /// When the disk does not take it; nothing of it stays then.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        if self
            .segments
            .back()
            .is_none_or(|last| last.len >= self.segment_bytes)
            || self.writer.is_none()
        {
            self.roll()?;
        }
        let (Some(file), Some(segment)) = (&self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("the log has no open segment"));
        };
        if let Err(error) = file.append(frame) {
            // A part may have been written: cut it off, or leave the file behind.
            if file.cut(segment.len).is_err() {
                self.unsynced
                    .extend(self.writer.take().filter(|_| self.dirty));
            }
            return Err(error);
        }
        segment.len += frame.len() as u64;
        self.end = Pos {
            segment: segment.number,
            offset: segment.len,
        };
        self.dirty = true;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let number = self.next_segment;
        let file = self.disk.append(&segment_path(&self.dir, number))?;
        file.cut(0)?;
        self.next_segment += 1;
        self.new_entries = true;
        // The full segment is synced together with the new one.
        self.unsynced
            .extend(self.writer.take().filter(|_| self.dirty));
        self.segments.push_back(Segment { number, len: 0 });
        self.writer = Some(file);
        let at_end = self.read == self.committed && self.committed == self.end;
        let begin = Pos {
            segment: number,
            offset: 0,
        };
        if at_end {
            self.read = begin;
            self.committed = begin;
        }
        self.end = begin;
        Ok(())
    }

    /// Marks the committed frame with this end as handed to Kafka already; used for records that were
    /// spilled while they were in flight. Frames must be marked in the order of their writing.
    pub fn mark_sent(&mut self, start: Pos, end: Pos, header: Header, resolved: Bits) -> u64 {
        self.read = end;
        self.push_outstanding(start, end, header, resolved)
    }

    /// Where the next frame will stand.
    ///
    /// # Errors
    /// When a new segment is needed and the disk does not take it.
    pub fn next_pos(&mut self) -> io::Result<Pos> {
        if self
            .segments
            .back()
            .is_none_or(|last| last.len >= self.segment_bytes)
            || self.writer.is_none()
        {
            self.roll()?;
        }
        Ok(self.end)
    }

    /// Where the last frame ends.
    pub fn end(&self) -> Pos {
        self.end
    }

    fn push_outstanding(&mut self, start: Pos, end: Pos, header: Header, resolved: Bits) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let open = header.count.saturating_sub(resolved.count());
        self.outstanding.push_back(Outstanding {
            number,
            start,
            end,
            header,
            resolved,
            open,
        });
        number
    }

    /// Marks one record of an outstanding frame as dealt with; tells whether it was not before.
    pub fn resolve(&mut self, number: u64, index: u32) -> bool {
        let Some(first) = self.outstanding.front().map(|first| first.number) else {
            return false;
        };
        let place = number
            .checked_sub(first)
            .and_then(|at| usize::try_from(at).ok());
        let Some(found) = place.and_then(|at| self.outstanding.get_mut(at)) else {
            return false;
        };
        if !found.resolved.set(index) {
            return false;
        }
        found.open = found.open.saturating_sub(1);
        self.held_records = self.held_records.saturating_sub(1);
        self.cursor_dirty = true;
        self.trim();
        true
    }

    fn trim(&mut self) {
        while let Some(done) = self.outstanding.front().filter(|frame| frame.open == 0) {
            let bytes = (frame::HEADER_BYTES + done.header.length) as u64;
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
            self.outstanding.pop_front();
        }
    }

    /// Goes back to the first frame that is not dealt with: everything open is handed out again.
    pub fn rewind(&mut self) {
        if let Some(first) = self.outstanding.front() {
            self.read = first.start;
        }
        for frame in self.outstanding.drain(..) {
            self.ahead.insert(frame.start, frame.resolved);
        }
    }

    /// How far everything is dealt with.
    pub fn cursor(&self) -> Cursor {
        let pos = self
            .outstanding
            .front()
            .map_or(self.read, |first| first.start);
        let mut ahead = self.ahead.clone();
        ahead.retain(|at, _| *at >= pos);
        let partly = self
            .outstanding
            .iter()
            .filter(|frame| frame.resolved.count() > 0);
        ahead.extend(partly.map(|frame| (frame.start, frame.resolved.clone())));
        Cursor { pos, ahead }
    }

    /// When the oldest held record was written, milliseconds since the epoch.
    pub fn oldest_ms(&mut self) -> Option<i64> {
        if self.held_records == 0 {
            return None;
        }
        if let Some(first) = self.outstanding.front() {
            return Some(first.header.born_ms);
        }
        let mut at = self.read;
        if at.offset >= self.segment_len(at.segment) {
            at = self.next_segment_after(at.segment);
        }
        if let Some((_, born)) = self.oldest.filter(|(pos, _)| *pos == at) {
            return Some(born);
        }
        let mut bytes = [0; frame::HEADER_BYTES];
        let file = self.open_reader(at.segment).ok()?;
        file.read_at(&mut bytes, at.offset).ok()?;
        let born = frame::header(&bytes)?.born_ms;
        self.oldest = Some((at, born));
        Some(born)
    }
}

/// The file of a segment.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.seg"))
}
