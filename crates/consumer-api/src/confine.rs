//! Where sinks may write: only under the configured roots, symbolic links and `..` included.
//!
//! A path is checked as text when a consumer is made. When it is used, the way from the root's handle
//! down is opened name by name without following a link, so that one that appeared meanwhile does not
//! lead out.

mod dir;

pub use dir::Dir;

use sluice_model::problem::{Code, FieldError, Problem, field};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

/// The longest path that a sink may name, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// The directories that sinks may write under, absolute and without symbolic links.
#[derive(Clone, Debug)]
pub struct Roots {
    dirs: Vec<Dir>,
}

/// Why a path is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no usable path at all.
    Invalid(String),
    /// It leads out of every root.
    Outside(String),
}

impl Fault {
    /// As a field error.
    pub fn at(self, pointer: &str) -> FieldError {
        match self {
            Self::Invalid(message) | Self::Outside(message) => field(pointer, message),
        }
    }
}

impl Roots {
    /// Creates the roots where they are missing.
    ///
    /// # Errors
    /// When a root cannot be created or resolved.
    pub fn open(roots: &[PathBuf]) -> io::Result<Self> {
        let mut dirs = Vec::with_capacity(roots.len());
        for root in roots {
            DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            dirs.push(Dir::open(&fs_err::canonicalize(root)?)?);
        }
        Ok(Self { dirs })
    }

    /// The first root: what relative paths are under.
    pub fn first(&self) -> &Path {
        self.dirs.first().map_or(Path::new("."), Dir::path)
    }

    /// Checks a path of a file as a user wrote it; nothing is created.
    ///
    /// # Errors
    /// When it is no path of a file, or leads out of the roots.
    pub fn resolve(&self, text: &str) -> Result<PathBuf, Fault> {
        let names_dir = || Fault::Invalid("names a directory, not a file".to_owned());
        let real = self.real_path(text)?;
        if text.ends_with('/') || self.is_root(&real) || real.is_dir() {
            return Err(names_dir());
        }
        Ok(real)
    }

    /// Checks a path of a directory as a user wrote it; nothing is created.
    ///
    /// # Errors
    /// When it is no path of a directory below a root.
    pub fn resolve_dir(&self, text: &str) -> Result<PathBuf, Fault> {
        let real = self.real_path(text)?;
        if self.is_root(&real) {
            let message = "names a root itself; name a directory under it";
            return Err(Fault::Invalid(message.to_owned()));
        }
        if real.exists() && !real.is_dir() {
            return Err(Fault::Invalid("names a file, not a directory".to_owned()));
        }
        Ok(real)
    }

    /// The path without links; it is in a root.
    fn real_path(&self, text: &str) -> Result<PathBuf, Fault> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX || text.contains('\0') {
            let message = format!("is a path of 1 to {PATH_BYTES_MAX} bytes without NUL");
            return Err(Fault::Invalid(message));
        }
        let path = Path::new(text);
        let climbs = path
            .components()
            .any(|part| matches!(part, Component::ParentDir));
        if climbs {
            return Err(self.outside(text));
        }
        let path = if path.is_absolute() {
            path.to_owned()
        } else {
            self.first().join(path)
        };
        let real = real(&path).map_err(|error| {
            if self.holds(&path) {
                Fault::Invalid(format!("cannot be used: {error}"))
            } else {
                self.outside(text)
            }
        })?;
        if self.holds(&real) {
            Ok(real)
        } else {
            Err(self.outside(text))
        }
    }

    fn is_root(&self, path: &Path) -> bool {
        self.dirs.iter().any(|dir| dir.path() == path)
    }

    fn holds(&self, path: &Path) -> bool {
        self.dirs.iter().any(|dir| path.starts_with(dir.path()))
    }

    fn outside(&self, text: &str) -> Fault {
        let roots: Vec<_> = self
            .dirs
            .iter()
            .map(|dir| dir.path().display().to_string())
            .collect();
        Fault::Outside(format!(
            "{text:?} is outside the directories that sinks may write under ({}); a relative path \
             is under the first",
            roots.join(", ")
        ))
    }

    /// Opens (or creates) a file that [`Roots::resolve`] accepts, for reading and writing, for its
    /// owner alone; missing directories are made.
    ///
    /// # Errors
    /// When the file cannot be opened, or is outside after all.
    pub fn open_file(&self, text: &str) -> io::Result<(File, PathBuf)> {
        let path = self.resolve(text).map_err(refused)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused(self.outside(text)));
        };
        let dir = self.walk(parent, text)?;
        let file = dir.open_file(name)?;
        if !file.metadata()?.is_file() {
            return Err(refused(Fault::Invalid(format!("{text:?} is no file"))));
        }
        Ok((file, path))
    }

    /// Opens (or creates) a directory that [`Roots::resolve_dir`] accepts.
    ///
    /// # Errors
    /// When it cannot be opened, or is outside after all.
    pub fn open_dir(&self, text: &str) -> io::Result<Dir> {
        let path = self.resolve_dir(text).map_err(refused)?;
        self.walk(&path, text)
    }

    /// From the root's handle down to a directory; what is missing is made.
    fn walk(&self, path: &Path, text: &str) -> io::Result<Dir> {
        let found = self
            .dirs
            .iter()
            .find_map(|root| Some((root, path.strip_prefix(root.path()).ok()?)));
        let Some((root, below)) = found else {
            return Err(refused(self.outside(text)));
        };
        let mut dir = root.clone();
        for name in below {
            dir = dir.subdir(name)?;
        }
        Ok(dir)
    }
}

fn refused(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, fault.at("").message)
}

/// The path with every symbolic link of its existing part resolved.
fn real(path: &Path) -> io::Result<PathBuf> {
    let mut rest = Vec::new();
    let mut known = path;
    loop {
        match known.symlink_metadata() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(name), Some(parent)) = (known.file_name(), known.parent()) else {
                    return Err(error);
                };
                rest.push(name);
                known = parent;
            }
            Err(error) => return Err(error),
        }
    }
    let mut real = known.canonicalize()?;
    real.extend(rest.iter().rev());
    Ok(real)
}

/// The problem for a set of path faults; being outside a root names itself.
pub fn problem(errors: Vec<FieldError>) -> Problem {
    Problem::from_errors(Code::PathOutsideRoot, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(dir: &Path) -> Roots {
        Roots::open(&[dir.join("a"), dir.join("b")]).unwrap()
    }

    #[test]
    fn relative_paths_are_under_the_first_root_and_absolute_ones_under_any() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(
            roots.resolve("x/y.jsonl").unwrap(),
            real.join("a/x/y.jsonl")
        );
        let other = real.join("b/z");
        assert_eq!(roots.resolve(other.to_str().unwrap()).unwrap(), other);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        std::os::unix::fs::symlink("/etc", dir.path().join("a/link")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/x", dir.path().join("a/dangling")).unwrap();
        for text in [
            "/etc/passwd",
            "../x",
            "x/../../y",
            "link/passwd",
            "/path/to/file.log",
            "a/..",
        ] {
            assert!(
                matches!(roots.resolve(text), Err(Fault::Outside(_))),
                "{text}"
            );
        }
        for text in ["", ".", "x/", "dangling", "a\0b"] {
            assert!(roots.resolve(text).is_err(), "{text:?}");
        }
        let sibling = format!("{}-evil/x", roots.first().display());
        assert!(matches!(roots.resolve(&sibling), Err(Fault::Outside(_))));
    }

    #[test]
    fn files_are_private_and_their_directories_are_made() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        let (file, path) = roots.open_file("deep/er/f.jsonl").unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(path.ends_with("a/deep/er/f.jsonl"));
    }

    #[test]
    fn a_link_that_appears_after_the_check_does_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        let elsewhere = tempfile::tempdir().unwrap();
        let first = roots.open_dir("d").unwrap();
        first.subdir("sub".as_ref()).unwrap();
        std::fs::remove_dir(first.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), first.path().join("sub")).unwrap();
        assert!(
            first.subdir("sub".as_ref()).is_err(),
            "a link is no directory"
        );
        assert!(roots.open_file("d/sub/f").is_err());
        std::os::unix::fs::symlink(elsewhere.path().join("x"), first.path().join("f")).unwrap();
        assert!(first.open_file("f".as_ref()).is_err());
        assert!(first.create_file("f".as_ref()).is_err());
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        for name in ["..", ".", "", "a/b", "a\0"] {
            assert!(first.subdir(name.as_ref()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn directories_are_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path());
        for text in [".", "", "../a", "/tmp", "/"] {
            assert!(roots.resolve_dir(text).is_err(), "{text:?}");
        }
        roots.open_file("file").unwrap();
        assert!(roots.resolve_dir("file").is_err());
        assert!(roots.resolve_dir("x/y/").is_ok());
    }
}
