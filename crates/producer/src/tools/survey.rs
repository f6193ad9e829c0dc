//! Reading a spool without owning it: nothing is written, not even the lock.

use crate::batch::Rec;
use crate::spool::bits::Bits;
use crate::spool::cursor::{self, Cursor};
use crate::spool::disk::{Disk as _, RealDisk};
use crate::spool::frame;
use crate::spool::log::{Pos, segment_path};
use crate::spool::recover::segment_numbers;
use crate::spool::scan::{Piece, Scan};
use crate::spool::{Meta, read_meta};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// A log as it stands on disk.
#[derive(Debug)]
pub(super) struct LogOnDisk {
    /// Its directory's name.
    pub(super) name: String,
    /// Its owner, or why that is not known.
    pub(super) meta: Result<Meta, String>,
    /// How far it is dealt with.
    pub(super) cursor: Cursor,
    /// Its segments.
    pub(super) segments: Vec<u64>,
    dir: PathBuf,
}

/// What stands in a log.
#[derive(Debug)]
pub(super) enum Entry {
    /// A whole frame.
    Frame {
        /// When it was written.
        born_ms: i64,
        /// Its payload.
        payload: Bytes,
        /// Its records.
        recs: Vec<Rec>,
        /// Those that are dealt with.
        resolved: Bits,
        /// Whether all of them are.
        behind: bool,
    },
    /// Something that is no frame.
    Damage {
        /// Where.
        segment: u64,
        /// From which byte.
        from: u64,
        /// To which byte.
        to: u64,
        /// Whether it is the end of the last segment: a write that was interrupted, or is going on.
        torn: bool,
    },
}

/// The logs of a spool.
pub(super) fn logs(spool: &Path) -> io::Result<Vec<LogOnDisk>> {
    let topics = spool.join("topics");
    let mut names = RealDisk.list(&topics)?;
    names.retain(|name| name.parse::<u64>().is_ok());
    names.sort_unstable();
    let mut logs = Vec::new();
    for name in names {
        let dir = topics.join(&name);
        let segments = match segment_numbers(&RealDisk, &dir) {
            Ok(segments) => segments,
            // A daemon that is running removes what is drained.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        logs.push(LogOnDisk {
            name,
            meta: read_meta(&RealDisk, &dir).map_err(|error| error.to_string()),
            cursor: cursor::load(&RealDisk, &dir),
            segments,
            dir,
        });
    }
    Ok(logs)
}

impl LogOnDisk {
    /// The topic, or where the log stands.
    pub(super) fn topic(&self) -> &str {
        match &self.meta {
            Ok(meta) => &meta.topic_name,
            Err(_) => "?",
        }
    }

    /// Bytes of its files.
    pub(super) fn disk_bytes(&self) -> u64 {
        let lengths = self.segments.iter().map(|number| {
            let file = RealDisk.open(&segment_path(&self.dir, *number))?;
            file.length()
        });
        lengths.filter_map(io::Result::ok).sum()
    }

    /// Walks over everything in it, a frame at a time.
    pub(super) fn walk(
        &self,
        mut each: impl FnMut(Entry) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let last = self.segments.last();
        for segment in &self.segments {
            let file = match RealDisk.open(&segment_path(&self.dir, *segment)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let length = file.length()?;
            let mut scan = Scan::new(&*file, 0, length);
            while let Some(piece) = scan.next_piece()? {
                each(match piece {
                    Piece::Frame {
                        at,
                        header,
                        payload,
                    } => self.frame(*segment, at, header, payload),
                    Piece::Damage { from, to } => Entry::Damage {
                        segment: *segment,
                        from,
                        to,
                        torn: Some(segment) == last && to == length,
                    },
                })?;
            }
        }
        Ok(())
    }

    fn frame(&self, segment: u64, at: u64, header: frame::Header, payload: Bytes) -> Entry {
        let pos = Pos {
            segment,
            offset: at,
        };
        let none = || Bits::new(header.count as usize);
        let resolved = self.cursor.ahead.get(&pos).cloned();
        Entry::Frame {
            born_ms: header.born_ms,
            recs: frame::records(&payload, 0, header.length),
            payload,
            resolved: resolved.unwrap_or_else(none),
            behind: pos < self.cursor.pos,
        }
    }
}
