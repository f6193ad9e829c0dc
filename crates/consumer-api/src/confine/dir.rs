//! A directory by its handle: everything in it is reached by one name, and no link is followed.

use rustix::fs::{AtFlags, Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files and directories are their owner's alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_MODE: Mode = Mode::RWXU;
const OPEN_DIR: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Dir {
    handle: Arc<OwnedFd>,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory by its path; only for a root, whose path is the operator's.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle =
            rustix::fs::open(path, OPEN_DIR, Mode::empty()).map_err(|error| named(error, path))?;
        Ok(Self {
            handle: Arc::new(handle),
            path: path.to_owned(),
        })
    }

    /// Where it was when it was opened: for messages, and for libraries that know only paths.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory in this one; it is made when it is missing.
    ///
    /// # Errors
    /// When the name is no single name, or leads to anything but a directory.
    pub fn subdir(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.join(name)?;
        let open = || rustix::fs::openat(&self.handle, name, OPEN_DIR, Mode::empty());
        let handle = match open() {
            Err(rustix::io::Errno::NOENT) => {
                match rustix::fs::mkdirat(&self.handle, name, DIR_MODE) {
                    Ok(()) => self.sync()?,
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(named(error, &path)),
                }
                open()
            }
            other => other,
        };
        let handle = Arc::new(handle.map_err(|error| named(error, &path))?);
        Ok(Self { handle, path })
    }

    /// Opens a directory in this one, if it is there.
    ///
    /// # Errors
    /// When it is anything but a directory, or cannot be opened.
    pub fn existing_subdir(&self, name: &OsStr) -> io::Result<Option<Self>> {
        let path = self.join(name)?;
        match rustix::fs::openat(&self.handle, name, OPEN_DIR, Mode::empty()) {
            Ok(handle) => Ok(Some(Self {
                handle: Arc::new(handle),
                path,
            })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(named(error, &path)),
        }
    }

    /// Opens a file for reading and writing; it is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Makes a file that must not be there yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_file(&self, name: &OsStr) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file for reading, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be opened.
    pub fn read_file(&self, name: &OsStr) -> io::Result<Option<File>> {
        match self.file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn file(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let path = self.join(name)?;
        // Without waiting, should the name be a pipe.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(&self.handle, name, flags, FILE_MODE)
            .map(File::from)
            .map_err(|error| named(error, &path))
    }

    /// Renames a file within this directory, over what is there.
    ///
    /// # Errors
    /// When it is not renamed.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let path = self.join(from)?;
        self.join(to)?;
        rustix::fs::renameat(&self.handle, from, &self.handle, to)
            .map_err(|error| named(error, &path))
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// When it is there and is not removed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        let path = self.join(name)?;
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(named(error, &path)),
        }
    }

    /// Whether there is something of that name.
    ///
    /// # Errors
    /// When the directory does not say.
    pub fn has(&self, name: &OsStr) -> io::Result<bool> {
        let path = self.join(name)?;
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(named(error, &path)),
        }
    }

    /// Every name in it, one after the other.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
        let entries =
            rustix::fs::Dir::read_from(&self.handle).map_err(|error| named(error, &self.path))?;
        Ok(entries.filter_map(|entry| match entry {
            Ok(entry) => {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                (name != "." && name != "..").then(|| Ok(name.to_owned()))
            }
            Err(error) => Some(Err(error.into())),
        }))
    }

    /// Makes its names durable.
    ///
    /// # Errors
    /// When the system cannot.
    pub fn sync(&self) -> io::Result<()> {
        rustix::fs::fsync(&self.handle).map_err(|error| named(error, &self.path))
    }

    /// The path of a name; it must be one plain name.
    fn join(&self, name: &OsStr) -> io::Result<PathBuf> {
        let bytes = name.as_bytes();
        let plain = !bytes.is_empty() && !bytes.contains(&b'/') && !bytes.contains(&0);
        if plain && name != "." && name != ".." {
            Ok(self.path.join(name))
        } else {
            let message = format!("{} is no plain name", name.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

fn named(error: rustix::io::Errno, path: &Path) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
