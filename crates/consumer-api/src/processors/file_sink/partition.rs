//! One partition's directory: files with their offsets in the name, and at most one that grows.
//!
//! A file grows under a hidden name. When it is complete it is synced, the manifest that names it is
//! written, it is renamed, and the directory is synced. A crash before the manifest leaves a leftover
//! that is removed; a crash after it leaves a renaming that opening carries out.

use super::super::{SinkError, failpoint};
use super::Shape;
use super::format::Lines;
use super::manifest::{Found, Manifest, Pending};
use crate::batch::Entry;
use crate::confine::Dir;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::Instant;

/// The hidden names of files that grow. Two, so that the file after a rotation is not mistaken for the
/// one that the manifest names.
const PARTS: [&str; 2] = [".sluice-part-0", ".sluice-part-1"];
/// Bytes gathered before they are handed to the system.
const BUFFER_BYTES: usize = 256 * 1024;
/// Digits of an offset in a name, so that names sort as offsets do.
const OFFSET_DIGITS: usize = 20;
/// How hard zstd tries.
const ZSTD_LEVEL: i32 = 3;

/// The directory of a partition.
#[derive(Debug)]
pub(super) struct Partition {
    dir: Dir,
    topic_id: i64,
    /// The next offset that is durably lacking, if anything is known.
    next: Option<i64>,
    part: Option<Part>,
    /// Which hidden name the next file gets.
    slot: usize,
}

/// A file that grows.
struct Part {
    first: i64,
    last: i64,
    records: u64,
    bytes: u64,
    since: Instant,
    name: &'static str,
    writer: Writer,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part({}-{})", self.first, self.last)
    }
}

enum Writer {
    Plain(BufWriter<File>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Writer {
    fn new(file: File, zstd: bool) -> std::io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        if !zstd {
            return Ok(Self::Plain(file));
        }
        let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self::Zstd(encoder))
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn sync(self) -> std::io::Result<()> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        let file = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

/// One frame of zstd with these bytes.
pub(super) fn frame(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(bytes.len() / 2), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The name of a complete file.
fn file_name(first: i64, last: i64, extension: &str) -> String {
    format!("{first:0OFFSET_DIGITS$}-{last:0OFFSET_DIGITS$}.{extension}")
}

/// The last offset that a name tells.
fn last_of(name: &OsStr) -> Option<i64> {
    let (first, rest) = name.to_str()?.split_once('-')?;
    let (last, _extension) = rest.split_once('.')?;
    let digits = |text: &str| {
        (text.len() == OFFSET_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then_some(())
    };
    digits(first)?;
    digits(last)?;
    last.parse().ok()
}

impl Partition {
    /// Opens a directory and undoes or completes what a crash interrupted. None: it belongs to an
    /// earlier topic of the same name.
    pub(super) fn open(dir: Dir, topic_id: i64) -> Result<Option<Self>, SinkError> {
        let mut this = Self {
            dir,
            topic_id,
            next: None,
            part: None,
            slot: 0,
        };
        match Manifest::read(&this.dir)? {
            Found::Whole(manifest) if manifest.topic_id != topic_id => return Ok(None),
            Found::Whole(manifest) => this.resume(&manifest)?,
            found => {
                this.next = this.last_name()?.map(|last| last + 1);
                if found == Found::Broken || this.next.is_some() {
                    let path = this.dir.path().display();
                    tracing::warn!(%path, next = this.next, "no whole manifest; names of files tell");
                    metrics::counter!("consumer_manifests_rebuilt_total").increment(1);
                }
            }
        }
        for part in PARTS {
            this.dir.remove(part.as_ref())?;
        }
        Ok(Some(this))
    }

    fn resume(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        self.next = Some(manifest.next_offset);
        let Some(pending) = &manifest.pending else {
            return Ok(());
        };
        if self.dir.has(pending.part.as_ref())? {
            self.dir
                .rename(pending.part.as_ref(), pending.file.as_ref())?;
            self.dir.sync()?;
        }
        self.slot = usize::from(pending.part == PARTS[0]);
        Ok(())
    }

    /// The greatest offset that a complete file holds.
    fn last_name(&self) -> Result<Option<i64>, SinkError> {
        let mut greatest = None;
        for name in self.dir.names()? {
            greatest = greatest.max(last_of(&name?));
        }
        Ok(greatest)
    }

    /// The next offset that is durably lacking.
    pub(super) const fn next(&self) -> Option<i64> {
        self.next
    }

    /// When the file that grows is to be completed for its age alone.
    pub(super) fn due(&self, shape: &Shape) -> Option<Instant> {
        self.part.as_ref().map(|part| part.since + shape.age)
    }

    /// Whether a record is in a file already, durably or not.
    fn has(&self, offset: i64) -> bool {
        self.next.is_some_and(|next| offset < next)
            || self.part.as_ref().is_some_and(|part| offset <= part.last)
    }

    /// Appends records of this partition, as many files as they fill.
    pub(super) fn append(
        &mut self,
        entries: &[Entry<'_>],
        shape: &Shape,
        lines: &mut Lines,
    ) -> Result<(), SinkError> {
        let known = entries.iter().take_while(|entry| self.has(entry.offset));
        let mut rest = entries.get(known.count()..).unwrap_or_default();
        while let (Some(first), true) = (rest.first(), !rest.is_empty()) {
            let slot = self.slot;
            let mut part = match self.part.take() {
                Some(part) => part,
                None => self.begin(first.offset, slot, shape, lines)?,
            };
            let fits = room(&part, shape, rest);
            let (now, later) = rest.split_at(fits);
            lines.bytes.clear();
            lines.encode(shape.format, now)?;
            part.writer.write_all(&lines.bytes)?;
            part.records += now.len() as u64;
            part.bytes += lines.bytes.len() as u64;
            part.last = now.last().map_or(part.last, |entry| entry.offset);
            let full = part.records >= shape.records || part.bytes >= shape.bytes;
            self.part = Some(part);
            failpoint::pass("file_sink.appended")?;
            if full {
                self.complete(shape)?;
            }
            rest = later;
        }
        Ok(())
    }

    fn begin(
        &self,
        first: i64,
        slot: usize,
        shape: &Shape,
        lines: &mut Lines,
    ) -> Result<Part, SinkError> {
        let name = PARTS[slot % PARTS.len()];
        self.dir.remove(name.as_ref())?;
        let mut writer = Writer::new(self.dir.create_file(name.as_ref())?, shape.zstd)?;
        lines.bytes.clear();
        lines.header(shape.format);
        writer.write_all(&lines.bytes)?;
        Ok(Part {
            first,
            last: first - 1,
            records: 0,
            bytes: lines.bytes.len() as u64,
            since: Instant::now(),
            name,
            writer,
        })
    }

    /// Completes the file that grows: on return its records are durable.
    pub(super) fn complete(&mut self, shape: &Shape) -> Result<(), SinkError> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let file = file_name(part.first, part.last, &shape.extension());
        let manifest = Manifest {
            topic_id: self.topic_id,
            next_offset: part.last + 1,
            pending: Some(Pending {
                part: part.name.to_owned(),
                file: file.clone(),
            }),
        };
        part.writer.sync()?;
        failpoint::pass("file_sink.synced")?;
        manifest.write(&self.dir)?;
        failpoint::pass("file_sink.manifest")?;
        self.dir.rename(part.name.as_ref(), file.as_ref())?;
        failpoint::pass("file_sink.renamed")?;
        self.dir.sync()?;
        failpoint::pass("file_sink.dir_synced")?;
        self.slot = usize::from(part.name == PARTS[0]);
        self.next = Some(part.last + 1);
        Ok(())
    }

    /// Forgets the file that grows: its records belong to somebody else now, or are written again.
    pub(super) fn discard(&mut self) -> Result<(), SinkError> {
        match self.part.take() {
            Some(part) => Ok(self.dir.remove(part.name.as_ref())?),
            None => Ok(()),
        }
    }

    /// Moves the next offset, because a user did. Complete files stay.
    pub(super) fn rewind(&mut self, next_offset: i64) -> Result<(), SinkError> {
        self.discard()?;
        let manifest = Manifest {
            topic_id: self.topic_id,
            next_offset,
            pending: None,
        };
        manifest.write(&self.dir)?;
        self.next = Some(next_offset);
        Ok(())
    }
}

/// How many of the records the file that grows takes: at least one.
fn room(part: &Part, shape: &Shape, entries: &[Entry<'_>]) -> usize {
    let by_count = shape.records.saturating_sub(part.records);
    let mut bytes = part.bytes;
    let mut fits = 0;
    for entry in entries {
        bytes += entry.bytes() as u64;
        if fits > 0 && (fits as u64 >= by_count || bytes > shape.bytes) {
            break;
        }
        fits += 1;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_offsets_and_nothing_else_does() {
        let name = file_name(100, 149, "jsonl.zst");
        assert_eq!(name, "00000000000000000100-00000000000000000149.jsonl.zst");
        assert_eq!(last_of(name.as_ref()), Some(149));
        for other in [
            "a-b.jsonl",
            ".sluice-part-0",
            "1-2.jsonl",
            "00000000000000000100",
        ] {
            assert_eq!(last_of(other.as_ref()), None, "{other}");
        }
    }
}
