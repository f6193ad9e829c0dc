//! Finding a log again after a stop of any kind. Recovery never refuses to start: a torn end is cut
//! off, a damaged block is put aside and stepped over, and nothing is kept in memory but counts.

use super::cursor;
use super::files;
use super::frame::{self, Found, HEADER_BYTES};
use super::log::{Log, Pos, Segment, segment_path};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are read at one time, except for one larger frame.
const WINDOW_BYTES: u64 = 1024 * 1024;

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
pub fn recover(dir: PathBuf, quarantine: &Path) -> io::Result<Recovered> {
    let cursor = cursor::load(&dir);
    let mut numbers = segment_numbers(&dir)?;
    numbers.sort_unstable();
    let next = numbers
        .last()
        .copied()
        .unwrap_or(cursor.pos.segment)
        .max(cursor.pos.segment)
        + 1;
    let from = cursor.pos;
    let mut log = Log::new(dir, cursor, next);
    let mut found = Totals::default();
    let last = numbers.last().copied();
    for number in numbers {
        let start = if number == from.segment {
            from.offset
        } else {
            0
        };
        let mut scan = Scan {
            dir: log.dir.clone(),
            quarantine: quarantine.to_path_buf(),
            number,
            is_last: Some(number) == last,
        };
        let len = if number < from.segment {
            std::fs::metadata(segment_path(&log.dir, number))?.len()
        } else {
            scan.segment(start, &log, &mut found)?
        };
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

fn segment_numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    Ok(numbers)
}

#[derive(Debug, Default)]
struct Totals {
    records: u64,
    bytes: u64,
    quarantined: u64,
    torn: u64,
}

struct Scan {
    dir: PathBuf,
    quarantine: PathBuf,
    number: u64,
    is_last: bool,
}

impl Scan {
    /// Scans a segment; returns the length that counts.
    fn segment(&mut self, start: u64, log: &Log, found: &mut Totals) -> io::Result<u64> {
        let path = segment_path(&self.dir, self.number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        let mut at = start.min(len);
        let mut damage: Option<u64> = None;
        while at < len {
            let bytes = window(&file, at, len)?;
            match frame::look(&bytes) {
                Found::Frame(header) => {
                    if let Some(from) = damage.take() {
                        self.put_aside(&file, from, at, found);
                    }
                    let pos = Pos {
                        segment: self.number,
                        offset: at,
                    };
                    let whole = (HEADER_BYTES + header.length) as u64;
                    found.records += u64::from(header.count.saturating_sub(log.ahead_of(pos)));
                    found.bytes += whole;
                    at += whole;
                }
                Found::Short(_) | Found::Damaged => {
                    damage.get_or_insert(at);
                    at += frame::resync(&bytes).map_or(bytes.len() as u64, |next| next as u64);
                }
            }
        }
        let Some(from) = damage else { return Ok(len) };
        if self.is_last {
            // The write that the crash interrupted: nobody was told that it is safe.
            file.set_len(from)?;
            file.sync_data()?;
            found.torn += len - from;
            return Ok(from);
        }
        self.put_aside(&file, from, len, found);
        Ok(len)
    }

    fn put_aside(&self, file: &File, from: u64, to: u64, found: &mut Totals) {
        found.quarantined += 1;
        let log = self
            .dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = format!("{log}-{:010}-{from}.bin", self.number);
        let target = self.quarantine.join(name);
        let copied = files::create_dir(&self.quarantine).and_then(|()| {
            if target.exists() {
                Ok(())
            } else {
                copy(file, from, to, &target)
            }
        });
        match copied {
            Ok(()) => tracing::error!(
                path = %target.display(),
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

/// Bytes from `at` on: a window, or one whole frame if that is larger.
fn window(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let left = len - at;
    let mut bytes = vec![0; left.min(WINDOW_BYTES) as usize];
    file.read_exact_at(&mut bytes, at)?;
    if let Found::Short(whole) = frame::look(&bytes)
        && whole as u64 <= left
    {
        bytes = vec![0; whole];
        file.read_exact_at(&mut bytes, at)?;
    }
    Ok(bytes)
}

fn copy(file: &File, from: u64, to: u64, target: &Path) -> io::Result<()> {
    let mut out = files::create(target)?;
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; (to - at).min(WINDOW_BYTES) as usize];
        file.read_exact_at(&mut bytes, at)?;
        io::Write::write_all(&mut out, &bytes)?;
        at += bytes.len() as u64;
    }
    out.sync_data()
}
