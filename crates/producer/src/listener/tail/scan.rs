//! Which files there are: those that the patterns name, and where a file went that was rotated. All of
//! it blocks and runs on helper threads.

use super::file::{self, FileId, Position};
use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Entries of a directory that are looked at when a rotated file is searched.
const SIBLINGS_MAX: usize = 10_000;

/// A file that a pattern names.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Which file.
    pub id: FileId,
    /// The file, open.
    pub file: Arc<File>,
    /// Its size.
    pub size: u64,
}

/// What the patterns name.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// Files that are not known, each once.
    pub new: Vec<Found>,
    /// Every file.
    pub ids: HashSet<FileId>,
}

/// The files that the patterns name; those that are not `known` are opened.
pub(super) fn matching(patterns: &[String], known: &HashSet<FileId>, max: usize) -> Matching {
    let mut all = Matching::default();
    let paths = patterns
        .iter()
        .filter_map(|pattern| glob::glob(pattern).ok());
    for path in paths.flatten().filter_map(Result::ok) {
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let id = FileId::of(&metadata);
        if !all.ids.insert(id) || known.contains(&id) {
            continue;
        }
        if all.new.len() >= max {
            metrics::counter!("producer_tail_files_ignored_total").increment(1);
            tracing::warn!(path = %path.display(), max, "too many files to follow");
            break;
        }
        match file::open(&path) {
            Ok(Some((file, metadata))) => all.new.push(Found {
                path,
                id: FileId::of(&metadata),
                file: Arc::new(file),
                size: metadata.len(),
            }),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "a file cannot be opened");
            }
        }
    }
    all
}

/// Where a file went that was read up to a position and is not at its path any more: the same file under
/// another name beside it, or a copy that was taken before it was truncated.
pub(super) fn rotated(position: &Position) -> Option<Found> {
    let directory = position.path.parent()?;
    let mut copies = Vec::new();
    for entry in std::fs::read_dir(directory)
        .ok()?
        .take(SIBLINGS_MAX)
        .flatten()
    {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let same = FileId::of(&metadata) == position.id;
        if !metadata.is_file() || metadata.len() < position.offset {
            continue;
        }
        if !same && !position.is_marked() {
            continue;
        }
        let Ok(Some((file, metadata))) = file::open(&entry.path()) else {
            continue;
        };
        if !position.fits(&file) {
            continue;
        }
        let found = Found {
            path: entry.path(),
            id: FileId::of(&metadata),
            file: Arc::new(file),
            size: metadata.len(),
        };
        if same {
            return Some(found);
        }
        copies.push((metadata.modified().ok(), found));
    }
    // Of several copies the newest is the one of this rotation.
    copies.sort_by_key(|(modified, _)| *modified);
    copies.pop().map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_found_by_inode_or_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let pattern = dir.path().join("*.log").display().to_string();
        let patterns = [pattern];
        let found = matching(&patterns, &HashSet::new(), 10);
        let known = found.ids.clone();
        assert_eq!((found.new.len(), known.len()), (1, 1));
        let again = matching(&patterns, &known, 10);
        assert!(again.new.is_empty() && again.ids == known);
        let found = &found.new[0];
        let start = Position::start(&path, found.id);
        let position = start.moved(&found.file, 4).unwrap();
        // Renamed.
        std::fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert!(!matching(&patterns, &known, 10).ids.contains(&position.id));
        let moved = rotated(&position).unwrap();
        assert_eq!(
            (moved.id, moved.path),
            (position.id, dir.path().join("a.log.1"))
        );
        // Copied and truncated, beside an older file with another content.
        std::fs::copy(dir.path().join("a.log.1"), dir.path().join("a.log.2")).unwrap();
        std::fs::remove_file(dir.path().join("a.log.1")).unwrap();
        std::fs::write(dir.path().join("a.log.3"), "one other\n").unwrap();
        let copy = rotated(&position).unwrap();
        assert_eq!(copy.path, dir.path().join("a.log.2"));
    }
}
