//! How far a log is dealt with: a small file that is replaced as a whole.
//!
//! It may be older than the truth (then some records are sent again after a crash), never newer.

use super::bits::Bits;
use super::disk::{self, Disk, RealDisk};
use super::log::Pos;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of the file in a log's directory.
const FILE: &str = "cursor";

/// What is dealt with: everything before a position, and single records of blocks behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Everything before it is dealt with.
    pub pos: Pos,
    /// Records of blocks at or behind it that are, too.
    pub ahead: BTreeMap<Pos, Bits>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    segment: u64,
    offset: u64,
    ahead: Vec<(u64, u64, Vec<u64>)>,
}

/// Reads the cursor; a missing or damaged one is at the beginning.
pub fn load(disk: &dyn Disk, dir: &Path) -> Cursor {
    let Ok(bytes) = disk::read(disk, &dir.join(FILE)) else {
        return Cursor::default();
    };
    let text = String::from_utf8_lossy(&bytes);
    let parsed = text.split_once(' ').and_then(|(crc, json)| {
        let right = crc.parse::<u32>().ok()? == crc32fast::hash(json.as_bytes());
        serde_json::from_str::<Stored>(json)
            .ok()
            .filter(|stored| right && stored.version == 1)
    });
    let Some(stored) = parsed else {
        tracing::warn!(dir = %dir.display(), "the cursor is damaged: records may be sent again");
        return Cursor::default();
    };
    let ahead = stored
        .ahead
        .into_iter()
        .map(|(segment, offset, words)| (Pos { segment, offset }, Bits::from_words(words)));
    Cursor {
        pos: Pos {
            segment: stored.segment,
            offset: stored.offset,
        },
        ahead: ahead.collect(),
    }
}

/// Replaces the cursor, synced.
///
/// # Errors
/// When the disk does not take it; the old one stays then.
pub fn save(disk: &dyn Disk, dir: &Path, cursor: &Cursor) -> std::io::Result<()> {
    let ahead = cursor
        .ahead
        .iter()
        .map(|(pos, bits)| (pos.segment, pos.offset, bits.words().to_vec()))
        .collect();
    let stored = Stored {
        version: 1,
        segment: cursor.pos.segment,
        offset: cursor.pos.offset,
        ahead,
    };
    let json = serde_json::to_string(&stored)?;
    let text = format!("{} {json}", crc32fast::hash(json.as_bytes()));
    disk::replace(disk, dir, FILE, text.as_bytes())
}

/// Replaces a small file of this machine as a whole: written beside, synced, renamed.
///
/// # Errors
/// When the disk does not take it; the old one stays then.
pub fn replace(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    disk::replace(&RealDisk, dir, name, content)
}
