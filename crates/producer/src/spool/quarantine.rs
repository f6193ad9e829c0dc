//! Damaged blocks of the spool, as they were found: `LOG-SEGMENT-OFFSET.bin`, and beside it a `.json` that
//! says whose records they were. What still parses can be printed and sent again (`spool dump
//! --quarantine`).

use super::Meta;
use super::disk::Disk;
use std::io;
use std::path::Path;

/// The ending of the blocks.
pub const BLOCK: &str = ".bin";
/// The ending of their owners.
pub const OWNER: &str = ".json";

/// The name of a block's files, without their endings.
pub fn name(log: &str, segment: u64, offset: u64) -> String {
    format!("{log}-{segment:010}-{offset}")
}

/// Keeps a damaged block, unless it is there already.
///
/// # Errors
/// When the disk does not take it.
pub fn keep(disk: &dyn Disk, dir: &Path, name: &str, meta: &Meta, bytes: &[u8]) -> io::Result<()> {
    keep_with(disk, dir, name, meta, |out| out.append(bytes))
}

/// The same with bytes that `write` brings.
///
/// # Errors
/// When the disk does not take it.
pub fn keep_with(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    meta: &Meta,
    write: impl FnOnce(&dyn super::disk::DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    disk.create_dir(dir)?;
    let file = format!("{name}{BLOCK}");
    if disk.list(dir)?.contains(&file) {
        return Ok(());
    }
    // The owner comes first: a block without one could not be sent again.
    let owner = disk.append(&dir.join(format!("{name}{OWNER}")))?;
    owner.cut(0)?;
    owner.append(&serde_json::to_vec(meta)?)?;
    owner.sync()?;
    let target = dir.join(file);
    let out = disk.append(&target)?;
    let kept = write(&*out).and_then(|()| out.sync());
    if kept.is_err() {
        // Half a copy would pass for a whole one at the next start.
        let _best_effort = disk.remove_file(&target);
    }
    kept
}
