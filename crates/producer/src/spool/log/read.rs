//! Reading a log: committed frames, a bounded chunk at a time.

use super::super::bits::Bits;
use super::super::disk::SharedFile;
use super::super::frame::{self, Found};
use super::{CHUNK_BYTES, Chunk, Damage, Log, Pos, ReadFrame, segment_path};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

impl Log {
    /// Reads the next committed frames and hands them out. Damaged places are stepped over and handed out
    /// as well, maybe without any frame. `None` when nothing is left.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read_chunk(&mut self) -> io::Result<Option<Chunk>> {
        while self.read < self.committed {
            let segment_end = if self.read.segment == self.committed.segment {
                self.committed.offset
            } else {
                self.segment_len(self.read.segment)
            };
            if self.read.offset >= segment_end {
                self.read = self.next_segment_after(self.read.segment);
                continue;
            }
            let bytes = self.read_bytes(segment_end)?;
            let last = self.read.offset + bytes.len() as u64 >= segment_end;
            let (chunk, used) = self.take_frames(&bytes, last);
            self.read.offset += used as u64;
            self.trim();
            if !chunk.frames.is_empty() || !chunk.damage.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    pub(super) fn segment_len(&self, number: u64) -> u64 {
        self.segments
            .iter()
            .find(|segment| segment.number == number)
            .map_or(0, |found| found.len)
    }

    pub(super) fn next_segment_after(&self, number: u64) -> Pos {
        let next = self.segments.iter().find(|segment| segment.number > number);
        next.map_or(self.committed, |next| Pos {
            segment: next.number,
            offset: 0,
        })
    }

    /// Bytes from the read position on: a chunk, or one whole frame if that is larger.
    fn read_bytes(&mut self, segment_end: u64) -> io::Result<Bytes> {
        let Pos { segment, offset } = self.read;
        let left = (segment_end - offset) as usize;
        let file = self.open_reader(segment)?;
        let mut bytes = vec![0; left.min(CHUNK_BYTES)];
        file.read_at(&mut bytes, offset)?;
        if let Found::Short(whole) = frame::look(&bytes)
            && whole <= left
        {
            bytes = vec![0; whole];
            file.read_at(&mut bytes, offset)?;
        }
        Ok(bytes.into())
    }

    pub(super) fn open_reader(&mut self, segment: u64) -> io::Result<SharedFile> {
        if let Some((number, file)) = &self.reader
            && *number == segment
        {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_path(&self.dir, segment))?;
        self.reader = Some((segment, Arc::clone(&file)));
        Ok(file)
    }

    /// The frames of some bytes, and how many bytes they take; `last` when nothing comes behind them.
    fn take_frames(&mut self, bytes: &Bytes, last: bool) -> (Chunk, usize) {
        let mut chunk = Chunk {
            bytes: bytes.clone(),
            frames: Vec::new(),
            damage: Vec::new(),
        };
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            match frame::look(rest) {
                Found::Frame(header) => {
                    let whole = frame::HEADER_BYTES + header.length;
                    let start = Pos {
                        offset: self.read.offset + at as u64,
                        ..self.read
                    };
                    let end = Pos {
                        offset: start.offset + whole as u64,
                        ..start
                    };
                    let resolved = self
                        .ahead
                        .remove(&start)
                        .unwrap_or_else(|| Bits::new(header.count as usize));
                    let number = self.push_outstanding(start, end, header, resolved.clone());
                    let payload = at + frame::HEADER_BYTES;
                    chunk.frames.push(ReadFrame {
                        number,
                        payload,
                        header,
                        resolved,
                    });
                    at += whole;
                }
                Found::Short(_) if at > 0 && !last => break,
                Found::Short(_) | Found::Damaged => {
                    // The next frame may begin with the last bytes.
                    let edge = if last { 0 } else { frame::MAGIC.len() - 1 };
                    let all = rest.len().saturating_sub(edge).max(1);
                    let step = frame::resync(rest).unwrap_or(all);
                    let place = Pos {
                        offset: self.read.offset + at as u64,
                        ..self.read
                    };
                    chunk.step_over(place, bytes.slice(at..at + step));
                    at += step;
                }
            }
        }
        (chunk, at)
    }
}

impl Chunk {
    /// Notes bytes that are no frame; those that follow each other are one place.
    fn step_over(&mut self, at: Pos, bytes: Bytes) {
        if let Some(last) = self.damage.last_mut()
            && last.at.offset + last.bytes.len() as u64 == at.offset
        {
            last.bytes = [&last.bytes[..], &bytes[..]].concat().into();
            return;
        }
        self.damage.push(Damage { at, bytes });
    }
}
