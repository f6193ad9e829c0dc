//! What the spool needs of a file system, so that tests can put another one under it: one that is slow,
//! full or broken, or that loses at a crash everything that a real one may lose.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// A file that is open.
pub type SharedFile = Arc<dyn DiskFile>;

/// Operations on names. What is created is private to the owner of the process.
pub trait Disk: Debug + Send + Sync {
    /// Creates a directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// When it cannot be created.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, path: &Path) -> io::Result<SharedFile>;

    /// Opens a file for reading and appending, creating it when needed.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn append(&self, path: &Path) -> io::Result<SharedFile>;

    /// Renames a file over another one, atomically.
    ///
    /// # Errors
    /// When it cannot be renamed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes created, renamed and removed names of a directory durable.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that the file system of a directory has left for this process.
    ///
    /// # Errors
    /// When the file system does not say.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes a lock that ends with the answer.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be opened.
    fn lock(&self, path: &Path) -> io::Result<SharedFile>;
}

/// Operations on an open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Appends bytes; a failure may leave a part of them.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Fills a buffer from a place on.
    ///
    /// # Errors
    /// When the file cannot be read or is shorter.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;

    /// Its length.
    ///
    /// # Errors
    /// When the file system does not say.
    fn length(&self) -> io::Result<u64>;

    /// Cuts it to a length.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Makes its bytes durable.
    ///
    /// # Errors
    /// When the disk does not take it. What was written since the last success may be gone then,
    /// whatever a later call says.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<SharedFile> {
        Ok(Arc::new(File::open(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<SharedFile> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true).mode(0o600);
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<SharedFile> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let file = match options.open(path) {
            // A disk that became read-only still gives what it holds.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path)?,
            other => other?,
        };
        let taken = |_| io::Error::other(format!("another process has {}", path.display()));
        file.try_lock().map_err(taken)?;
        Ok(Arc::new(file))
    }
}

impl DiskFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&mut &*self).write_all(bytes)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Most bytes of a small file (cursor, meta).
const SMALL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The content of a small file.
///
/// # Errors
/// When it cannot be read, or is not small.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = file.length()?;
    if length > SMALL_BYTES_MAX {
        return Err(io::Error::other(format!("{} is too large", path.display())));
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a small file as a whole: written beside, synced, renamed.
///
/// # Errors
/// When the disk does not take it; the old one stays then.
pub fn replace(disk: &dyn Disk, dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let beside = dir.join(format!("{name}.new"));
    let file = disk.append(&beside)?;
    file.cut(0)?;
    file.append(content)?;
    file.sync()?;
    disk.rename(&beside, &dir.join(name))?;
    disk.sync_dir(dir)
}
