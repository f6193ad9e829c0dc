//! Private files and directories of this machine, for those who need no other disk.

use super::disk::{Disk as _, RealDisk};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Creates a directory and its parents; only the owner enters.
///
/// # Errors
/// When it cannot be created.
pub fn create_dir(path: &Path) -> io::Result<()> {
    RealDisk.create_dir(path)
}

/// Opens a file for appending, creating it when needed.
///
/// # Errors
/// When it cannot be opened.
pub fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}
