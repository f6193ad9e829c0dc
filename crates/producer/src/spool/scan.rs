//! Walking over the frames of a segment in bounded memory. Whatever stands in the file, the walk ends:
//! every step goes forward.

use super::disk::DiskFile;
use super::frame::{self, Found, HEADER_BYTES, Header};
use bytes::Bytes;
use std::io;

/// Bytes that are read at one time, except for one larger frame.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// Bytes of checksums that are worth trying in the damaged places of one segment.
const EFFORT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame.
    Frame {
        /// Where it begins.
        at: u64,
        /// What its header says.
        header: Header,
        /// Its records.
        payload: Bytes,
    },
    /// Bytes that are no frame, up to the next one or to the end.
    Damage {
        /// Where they begin.
        from: u64,
        /// Where they end.
        to: u64,
    },
}

/// A walk over a segment.
#[derive(Debug)]
pub struct Scan<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    window: Bytes,
    damage: Option<u64>,
    effort: u64,
}

impl<'a> Scan<'a> {
    /// A walk from `at` to `end`.
    pub fn new(file: &'a dyn DiskFile, at: u64, end: u64) -> Self {
        Self {
            file,
            at: at.min(end),
            end,
            window: Bytes::new(),
            damage: None,
            effort: 0,
        }
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if self.at >= self.end {
                let damage = self.damage.take();
                return Ok(damage.map(|from| Piece::Damage { from, to: self.end }));
            }
            match frame::look(&self.window) {
                Found::Frame(header) => {
                    if let Some(from) = self.damage.take() {
                        return Ok(Some(Piece::Damage { from, to: self.at }));
                    }
                    let whole = HEADER_BYTES + header.length;
                    let at = self.at;
                    let frame = self.window.split_to(whole);
                    self.at += whole as u64;
                    let payload = frame.slice(HEADER_BYTES..);
                    return Ok(Some(Piece::Frame {
                        at,
                        header,
                        payload,
                    }));
                }
                Found::Short(whole) if self.fill(whole)? => {}
                Found::Short(_) | Found::Damaged if !self.window.is_empty() => {
                    self.damage.get_or_insert(self.at);
                    let step = self.step();
                    self.at += step as u64;
                    drop(self.window.split_to(step));
                }
                Found::Short(_) | Found::Damaged => {
                    if !self.fill(HEADER_BYTES)? {
                        // The file is shorter than it was said to be.
                        self.end = self.at;
                    }
                }
            }
        }
    }

    /// How far to go from a place that is no frame.
    fn step(&mut self) -> usize {
        let length = self.window.len();
        let looked = frame::header(&self.window).map_or(0, |header| header.length.min(length));
        self.effort += looked as u64;
        if self.effort > EFFORT_BYTES_MAX {
            // Something made to look like frames: the rest is put aside as it is.
            self.at = self.end - length as u64;
            return length;
        }
        let to_edge = if self.at + length as u64 >= self.end {
            length
        } else {
            // The next frame may begin with the last bytes of the window.
            length.saturating_sub(frame::MAGIC.len() - 1).max(1)
        };
        frame::resync(&self.window).unwrap_or(to_edge)
    }

    /// Reads on, so that at least `whole` bytes stand in the window; `false` when there are not so many.
    fn fill(&mut self, whole: usize) -> io::Result<bool> {
        let left = self.end - self.at;
        let have = self.window.len();
        let want = (whole.max(WINDOW_BYTES) as u64).min(left) as usize;
        if want <= have {
            return Ok(false);
        }
        let mut bytes = vec![0; want];
        let (known, new) = bytes.split_at_mut(have);
        known.copy_from_slice(&self.window);
        self.file.read_at(new, self.at + have as u64)?;
        self.window = bytes.into();
        Ok(want >= whole)
    }
}
