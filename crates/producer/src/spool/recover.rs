//! Finding a log again after a stop of any kind. Recovery never refuses to start: a torn end is cut
//! off, a damaged block is put aside and stepped over, and nothing is kept in memory but counts.

use super::cursor;
use super::disk::{Disk, DiskFile};
use super::frame::HEADER_BYTES;
use super::log::{Log, Pos, Segment, segment_path};
use super::quarantine;
use super::scan::{Piece, Scan, WINDOW_BYTES};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The log, ready to be read from its cursor.
    pub log: Log,
    /// Damaged places that were put aside.
    pub quarantined: u64,
    /// Bytes that were cut off the end.
    pub torn_bytes: u64,
}

/// Recovers the log in `dir`; damaged blocks are copied to `quarantine`.
///
/// # Errors
/// When the directory cannot be read at all.
pub fn recover(disk: &Arc<dyn Disk>, dir: PathBuf, quarantine: &Path) -> io::Result<Recovered> {
    let cursor = cursor::load(&**disk, &dir);
    let numbers = segment_numbers(&**disk, &dir)?;
    let last = numbers.last().copied();
    let next = last.unwrap_or_default().max(cursor.pos.segment) + 1;
    let from = cursor.pos;
    let mut log = Log::new(Arc::clone(disk), dir, cursor, next);
    let mut found = Totals::default();
    for number in numbers {
        let start = if number == from.segment {
            from.offset
        } else {
            0
        };
        let scan = SegmentScan {
            disk: &**disk,
            dir: log.dir(),
            quarantine,
            number,
            is_last: Some(number) == last,
        };
        let scanned = if number < from.segment {
            scan.length()
        } else {
            scan.run(start, &log, &mut found)
        };
        // A segment that cannot be read stays where it is; the others are not kept back by it.
        let len = scanned.unwrap_or_else(|error| {
            tracing::error!(%error, segment = number, dir = %log.dir().display(), "a segment cannot be read");
            found.quarantined += 1;
            0
        });
        log.segments.push_back(Segment { number, len });
        if number >= from.segment {
            log.recovered_to(Pos {
                segment: number,
                offset: len,
            });
        }
    }
    log.held_records = found.records;
    log.held_bytes = found.bytes;
    Ok(Recovered {
        log,
        quarantined: found.quarantined,
        torn_bytes: found.torn,
    })
}

/// The numbers of the segments in a directory, in order.
///
/// # Errors
/// When the directory cannot be read.
pub fn segment_numbers(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u64>> {
    let names = disk.list(dir)?;
    let stems = names.iter().filter_map(|name| name.strip_suffix(".seg"));
    let mut numbers: Vec<u64> = stems.filter_map(|stem| stem.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[derive(Debug, Default)]
struct Totals {
    records: u64,
    bytes: u64,
    quarantined: u64,
    torn: u64,
}

struct SegmentScan<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    quarantine: &'a Path,
    number: u64,
    is_last: bool,
}

impl SegmentScan<'_> {
    fn length(&self) -> io::Result<u64> {
        self.disk
            .open(&segment_path(self.dir, self.number))?
            .length()
    }

    /// Scans a segment; returns the length that counts.
    fn run(&self, start: u64, log: &Log, found: &mut Totals) -> io::Result<u64> {
        let path = segment_path(self.dir, self.number);
        let file = self.disk.open(&path)?;
        let len = file.length()?;
        let mut scan = Scan::new(&*file, start, len);
        while let Some(piece) = scan.next_piece()? {
            match piece {
                Piece::Frame { at, header, .. } => {
                    let pos = Pos {
                        segment: self.number,
                        offset: at,
                    };
                    found.records += u64::from(header.count.saturating_sub(log.ahead_of(pos)));
                    found.bytes += (HEADER_BYTES + header.length) as u64;
                }
                Piece::Damage { from, to } if self.is_last && to == len => {
                    // The write that the crash interrupted: nobody was told that it is safe.
                    found.torn += len - from;
                    if let Err(error) = self.cut(&path, from) {
                        tracing::warn!(%error, path = %path.display(), "a torn end stays in its file");
                    }
                    return Ok(from);
                }
                Piece::Damage { from, to } => self.put_aside(&*file, from, to, found),
            }
        }
        Ok(len)
    }

    fn cut(&self, path: &Path, to: u64) -> io::Result<()> {
        let file = self.disk.append(path)?;
        file.cut(to)?;
        file.sync()
    }

    fn put_aside(&self, file: &dyn DiskFile, from: u64, to: u64, found: &mut Totals) {
        found.quarantined += 1;
        let log = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let name = quarantine::name(&log, self.number, from);
        let kept = super::read_meta(self.disk, self.dir).and_then(|meta| {
            quarantine::keep_with(self.disk, self.quarantine, &name, &meta, |out| {
                copy_bytes(file, from, to, out)
            })
        });
        match kept {
            Ok(()) => tracing::error!(
                block = name,
                bytes = to - from,
                "a damaged block of the spool was put aside"
            ),
            Err(error) => tracing::error!(
                %error,
                segment = self.number,
                offset = from,
                "a damaged block of the spool is stepped over and could not be copied"
            ),
        }
    }
}

fn copy_bytes(file: &dyn DiskFile, from: u64, to: u64, out: &dyn DiskFile) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; (to - at).min(WINDOW_BYTES as u64) as usize];
        file.read_at(&mut bytes, at)?;
        out.append(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}
