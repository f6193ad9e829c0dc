//! The file of the positions: replaced as a whole, so that it is either the old one or the new one.

use super::file::Position;
use crate::spool::disk::{self, RealDisk};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The version of the file's form.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    files: Vec<Position>,
}

/// Reads the positions. A file that cannot be read is put aside: the daemon starts in any case.
///
/// # Errors
/// When it cannot be read or put aside.
pub(super) fn load(path: &Path) -> io::Result<Option<Vec<Position>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<State>(&bytes) {
        Ok(state) if state.version == VERSION => Ok(Some(state.files)),
        other => {
            let error = other.err().map(|error| error.to_string());
            let aside = path.with_extension("damaged");
            tracing::error!(path = %path.display(), aside = %aside.display(), error, "the positions cannot be read");
            std::fs::rename(path, aside)?;
            Ok(None)
        }
    }
}

/// Writes the positions, durably.
///
/// # Errors
/// When the disk does not take them.
pub(super) fn save(path: &Path, files: Vec<Position>) -> io::Result<()> {
    let state = State {
        version: VERSION,
        files,
    };
    let content = serde_json::to_vec(&state)?;
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => disk::replace(&RealDisk, dir, name, &content),
        _ => Err(io::ErrorKind::InvalidFilename.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::FileId;
    use super::*;

    #[test]
    fn positions_are_written_and_read_and_damage_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tail.json");
        assert_eq!(load(&path).unwrap(), None);
        let metadata = std::fs::metadata(dir.path()).unwrap();
        let position = Position::start(Path::new("/a b"), FileId::of(&metadata));
        save(&path, vec![position.clone()]).unwrap();
        assert_eq!(load(&path).unwrap(), Some(vec![position]));
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(load(&path).unwrap(), None);
        assert!(dir.path().join("tail.damaged").exists() && !path.exists());
    }
}
