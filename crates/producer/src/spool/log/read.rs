//! Reading a log: committed frames, a bounded chunk at a time.

use super::super::bits::Bits;
use super::super::disk::SharedFile;
use super::super::frame::{self, Found};
use super::{CHUNK_BYTES, Chunk, Log, Pos, ReadFrame, segment_path};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

impl Log {
    /// Reads the next committed frames and hands them out; damaged places are skipped (recovery has
    /// put them aside). `None` when nothing is left.
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
            let (chunk, used) = self.take_frames(&bytes);
            self.read.offset += used as u64;
            self.trim();
            if !chunk.frames.is_empty() {
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

    fn take_frames(&mut self, bytes: &Bytes) -> (Chunk, usize) {
        let mut chunk = Chunk {
            bytes: bytes.clone(),
            frames: Vec::new(),
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
                Found::Short(_) if at > 0 => break,
                Found::Short(_) | Found::Damaged => {
                    at += frame::resync(rest).unwrap_or(rest.len());
                }
            }
        }
        (chunk, at)
    }
}
