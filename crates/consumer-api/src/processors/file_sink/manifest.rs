//! What a partition's directory holds, in a small file with a checksum.
//!
//! It names the next offset and the file that the last rotation was about to give its name. Opening
//! reads this alone, so a million files cost nothing, and files that somebody has taken away since are
//! not written again.

use crate::confine::Dir;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};

/// Its name, and the one under which it is written.
pub(super) const NAME: &str = ".sluice-manifest";
const NEW_NAME: &str = ".sluice-manifest.new";
/// More than a manifest ever is.
const BYTES_MAX: u64 = 4096;

/// The content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Which topic the name stood for.
    pub(super) topic_id: i64,
    /// The next offset that the directory lacks.
    pub(super) next_offset: i64,
    /// The whole file whose renaming makes this true.
    pub(super) pending: Option<Pending>,
}

/// A file that is whole and synced, and gets its name next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The hidden name that it has.
    pub(super) part: String,
    /// The name that it gets.
    pub(super) file: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A manifest that is whole.
    Whole(Manifest),
    /// None.
    Missing,
    /// One that cannot be read.
    Broken,
}

impl Manifest {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        let sum = crc32fast::hash(&text);
        writeln!(text, "\n{sum:08x}")?;
        Ok(text)
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (body, sum) = text.strip_suffix('\n')?.split_once('\n')?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        if crc32fast::hash(body.as_bytes()) != sum {
            return None;
        }
        serde_json::from_str(body).ok()
    }

    /// Reads the manifest of a directory.
    pub(super) fn read(dir: &Dir) -> io::Result<Found> {
        let Some(file) = dir.read_file(OsStr::new(NAME))? else {
            return Ok(Found::Missing);
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text)?;
        Ok(Self::decode(&text).map_or(Found::Broken, Found::Whole))
    }

    /// Puts it in place of the one before; durable on return.
    pub(super) fn write(&self, dir: &Dir) -> io::Result<()> {
        let new = OsStr::new(NEW_NAME);
        dir.remove(new)?;
        let mut file = dir.create_file(new)?;
        file.write_all(&self.encode()?)?;
        file.sync_all()?;
        dir.rename(new, OsStr::new(NAME))?;
        dir.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_manifest_is_read_back_and_damage_is_seen(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let manifest = Manifest {
                topic_id: 7,
                next_offset: 150,
                pending: Some(Pending { part: "p".into(), file: "f".into() }),
            };
            let mut text = manifest.encode().unwrap();
            prop_assert_eq!(Manifest::decode(&text), Some(manifest.clone()));
            let place = place.index(text.len());
            text[place] ^= 1_u8 << bit;
            // Only the case of a checksum's letter may change without a change of what is meant.
            prop_assert!(Manifest::decode(&text).is_none_or(|read| read == manifest));
            prop_assert_eq!(Manifest::decode(&text[..place]), None);
        }
    }
}
