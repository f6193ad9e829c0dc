//! One file that is followed: what it is known by, and reading whole lines from a position. All of it
//! blocks and runs on helper threads.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes at the beginning and before the position that a file is known by.
const MARK_BYTES: usize = 1024;
/// Names of files that are compressed, and the bytes that they begin with.
const COMPRESSED_NAMES: [&str; 8] = ["gz", "bz2", "xz", "zst", "lz4", "lzma", "Z", "zip"];
const COMPRESSED_HEADS: [&[u8]; 5] = [
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
];

/// Which file of the machine, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    /// Of a file.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }
}

/// A stretch of bytes by its length and checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    len: u32,
    crc: u32,
}

impl Mark {
    fn of(bytes: &[u8]) -> Self {
        Self {
            len: bytes.len() as u32,
            crc: crc32fast::hash(bytes),
        }
    }
}

/// How far a file was read, and what it is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The path under which it was found; also the key of its lines.
    pub path: PathBuf,
    /// Which file.
    pub id: FileId,
    /// Everything before it is safe.
    pub offset: u64,
    /// Whether the line at the position is too long and being skipped.
    pub skipping: bool,
    head: Mark,
    tail: Mark,
}

impl Position {
    /// The beginning of a file.
    pub(super) fn start(path: &Path, id: FileId) -> Self {
        Self {
            path: path.to_path_buf(),
            id,
            offset: 0,
            skipping: false,
            head: Mark::default(),
            tail: Mark::default(),
        }
    }

    /// The same position in a copy of the file.
    pub(super) fn in_copy(&self, id: FileId) -> Self {
        Self { id, ..self.clone() }
    }

    /// The same position with the beginning that the file has now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn seen(&self, file: &File) -> io::Result<Self> {
        Ok(Self {
            head: Mark::of(&read_at(file, 0, MARK_BYTES)?),
            ..self.clone()
        })
    }

    /// The same file at another offset, with the marks that it has there now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn moved(&self, file: &File, offset: u64) -> io::Result<Self> {
        Ok(self
            .moved_behind(file, offset, &[])?
            .unwrap_or_else(|| self.clone()))
    }

    /// The same, behind bytes that were read; `None` when these are not there any more.
    fn moved_behind(&self, file: &File, offset: u64, read: &[u8]) -> io::Result<Option<Self>> {
        let length = offset.min(MARK_BYTES as u64);
        let head = read_at(file, 0, length as usize)?;
        let tail = read_at(file, offset - length, length as usize)?;
        let last = read.get(read.len().saturating_sub(MARK_BYTES)..);
        let there = tail.len() as u64 == length && tail.ends_with(last.unwrap_or_default());
        if !there || !self.fits(file) {
            return Ok(None);
        }
        Ok(Some(Self {
            offset,
            head: Mark::of(&head),
            tail: Mark::of(&tail),
            ..self.clone()
        }))
    }

    /// Whether a file is the one that was read up to here: same beginning, same bytes before the position.
    pub(super) fn fits(&self, file: &File) -> bool {
        let marked = |offset: u64, mark: Mark| {
            read_at(file, offset, mark.len as usize).is_ok_and(|bytes| Mark::of(&bytes) == mark)
        };
        let before = self.offset.saturating_sub(u64::from(self.tail.len));
        marked(0, self.head) && marked(before, self.tail)
    }

    /// Whether the marks tell one file from another.
    pub(super) fn is_marked(&self) -> bool {
        self.head.len > 0
    }
}

/// What stands behind a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Whole lines; the last one may be without its line feed when the file is finished.
    Lines(Bytes, Position),
    /// A line that is too long begins here; its first bytes.
    TooLong(Bytes, Position),
    /// A part of such a line.
    Skipped(Position),
    /// No whole line yet.
    Nothing,
    /// The file is shorter than the position, or another one.
    Replaced,
}

/// Reads what stands behind a position, up to `max` bytes. A finished file ends with its last byte,
/// another one with its last line feed.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(
    file: &File,
    position: &Position,
    max: usize,
    finished: bool,
) -> io::Result<Chunk> {
    let size = file.metadata()?.len();
    if size < position.offset || !position.fits(file) {
        return Ok(Chunk::Replaced);
    }
    let length = (size - position.offset).min(max as u64) as usize;
    let mut bytes = read_at(file, position.offset, length)?;
    let rest_of_file = position.offset + bytes.len() as u64 >= size;
    let end = match memchr::memrchr(b'\n', &bytes) {
        _ if position.skipping => return skip(file, position, &bytes),
        Some(feed) if !(finished && rest_of_file) => feed + 1,
        None if bytes.len() >= max => {
            let next = position.moved(file, position.offset + bytes.len() as u64)?;
            bytes.truncate(MARK_BYTES);
            let next = Position {
                skipping: true,
                ..next
            };
            return Ok(Chunk::TooLong(bytes.into(), next));
        }
        None if !finished => return Ok(Chunk::Nothing),
        _ => bytes.len(),
    };
    if end == 0 {
        return Ok(Chunk::Nothing);
    }
    bytes.truncate(end);
    // The file may have been cut while it was read.
    let next = position.moved_behind(file, position.offset + end as u64, &bytes)?;
    Ok(next.map_or(Chunk::Replaced, |next| Chunk::Lines(bytes.into(), next)))
}

fn skip(file: &File, position: &Position, bytes: &[u8]) -> io::Result<Chunk> {
    if bytes.is_empty() {
        return Ok(Chunk::Nothing);
    }
    let feed = memchr::memchr(b'\n', bytes);
    let end = feed.map_or(bytes.len(), |feed| feed + 1);
    let next = position.moved(file, position.offset + end as u64)?;
    Ok(Chunk::Skipped(Position {
        skipping: feed.is_none(),
        ..next
    }))
}

fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Opens a regular file that is not compressed; `None` for anything else.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // O_NONBLOCK on Linux: opening a pipe would wait for its other end.
    const NONBLOCK: i32 = 0o4000;
    let extension = path.extension().and_then(|extension| extension.to_str());
    if extension.is_some_and(|extension| COMPRESSED_NAMES.contains(&extension)) {
        return Ok(None);
    }
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    let longest = COMPRESSED_HEADS.iter().map(|head| head.len()).max();
    let head = read_at(&file, 0, longest.unwrap_or(0))?;
    let compressed = COMPRESSED_HEADS.iter().any(|known| head.starts_with(known));
    Ok((metadata.is_file() && !compressed).then_some((file, metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &File, position: &Position, max: usize, finished: bool) -> (String, Position) {
        match read(file, position, max, finished).unwrap() {
            Chunk::Lines(bytes, next) => (String::from_utf8(bytes.to_vec()).unwrap(), next),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_lines_are_read_and_replaced_files_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "one\ntwo\npart").unwrap();
        let (file, metadata) = open(&path).unwrap().unwrap();
        let start = Position::start(&path, FileId::of(&metadata));
        let (text, after) = lines(&file, &start, 100, false);
        assert_eq!((text.as_str(), after.offset), ("one\ntwo\n", 8));
        assert_eq!(read(&file, &after, 100, false).unwrap(), Chunk::Nothing);
        assert_eq!(lines(&file, &after, 100, true).0, "part");
        // A cut that is grown over is noticed by what stands before the position.
        std::fs::write(&path, "TWO\none\nand more\n").unwrap();
        assert_eq!(read(&file, &after, 100, false).unwrap(), Chunk::Replaced);
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(read(&file, &after, 100, false).unwrap(), Chunk::Replaced);
        assert!(!after.fits(&file));
    }

    #[test]
    fn a_file_of_which_nothing_was_read_is_known_by_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let (file, metadata) = open(&path).unwrap().unwrap();
        let start = Position::start(&path, FileId::of(&metadata));
        assert!(!start.is_marked());
        let seen = start.seen(&file).unwrap();
        assert!(seen.is_marked() && seen.offset == 0);
        assert_eq!(lines(&file, &seen, 100, false).0, "one\ntwo\n");
        // Copied and truncated before a line was noted.
        let copy = dir.path().join("a.log.1");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(read(&file, &seen, 100, false).unwrap(), Chunk::Replaced);
        let found = super::super::scan::rotated(&seen).unwrap();
        assert_eq!(found.path, copy);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, format!("{}\nnext\n", "x".repeat(25))).unwrap();
        let (file, metadata) = open(&path).unwrap().unwrap();
        let start = Position::start(&path, FileId::of(&metadata));
        let Chunk::TooLong(head, next) = read(&file, &start, 10, false).unwrap() else {
            panic!("taken");
        };
        assert_eq!(&head[..], b"xxxxxxxxxx");
        let Chunk::Skipped(next) = read(&file, &next, 10, false).unwrap() else {
            panic!("not skipped");
        };
        assert!(next.skipping);
        let Chunk::Skipped(next) = read(&file, &next, 10, false).unwrap() else {
            panic!("not skipped");
        };
        assert!(!next.skipping);
        assert_eq!(lines(&file, &next, 10, false).0, "next\n");
    }

    #[test]
    fn compressed_files_and_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("a.log.1.gz", &b"x"[..]),
            ("b.log", b"\x1f\x8b\x08"),
            ("c.zst", b""),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert!(open(&path).unwrap().is_none(), "{name}");
        }
        assert!(open(dir.path()).unwrap().is_none());
    }
}
