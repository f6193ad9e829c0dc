//! A file system in memory that may lose at a crash everything that a real one may lose: pages and names
//! that were not synced, in any order, whole or torn; and what a failed sync left behind for ever.

use super::disk::{Disk, DiskFile, SharedFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Small, so that most frames stand on several pages.
const PAGE: usize = 64;

/// What happens at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails; a write leaves a part, a sync loses pages for ever.
    Error,
    /// Everything stops, and every later operation fails.
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// A name that is set, or removed.
type Change = (PathBuf, Option<Node>);

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What the process sees.
    seen: Vec<u8>,
    /// What is on the platter for sure.
    durable: Vec<u8>,
    /// Pages that were written since the last sync, successful or not.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Changes of names that are not durable: the directory, and what is set or removed.
    pending: Vec<(PathBuf, Vec<Change>)>,
    faults: BTreeMap<usize, Fault>,
    operations: usize,
    crashed: bool,
    random: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("simulated: {what}"))
}

fn page(bytes: &[u8], at: usize) -> &[u8] {
    let end = bytes.len().min((at + 1) * PAGE);
    bytes.get(at * PAGE..end).unwrap_or_default()
}

/// Copies a page; the target grows with zeros.
fn copy_page(from: &[u8], into: &mut Vec<u8>, at: usize) {
    let source = page(from, at);
    let end = at * PAGE + source.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[at * PAGE..end].copy_from_slice(source);
}

impl State {
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    /// Counts an operation; tells whether it must fail.
    fn step(&mut self) -> io::Result<bool> {
        self.operations += 1;
        match self.faults.get(&self.operations) {
            Some(Fault::Crash) => self.crashed = true,
            Some(Fault::Error) if !self.crashed => return Ok(true),
            Some(Fault::Error) | None => {}
        }
        if self.crashed {
            return Err(broken("the machine is off"));
        }
        Ok(false)
    }

    fn whole(&mut self) -> io::Result<()> {
        if self.step()? {
            Err(broken("error"))
        } else {
            Ok(())
        }
    }

    fn rename_ops(&mut self, dir: &Path, ops: Vec<Change>) {
        for (path, node) in &ops {
            match node {
                Some(node) => self.seen.insert(path.clone(), *node),
                None => self.seen.remove(path),
            };
        }
        self.pending.push((dir.to_path_buf(), ops));
    }

    fn file(&mut self, path: &Path) -> io::Result<usize> {
        match self.seen.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync(&mut self, inode: usize, fails: bool) {
        let mut file = std::mem::take(&mut self.inodes[inode]);
        if !fails {
            file.durable.resize(file.seen.len(), 0);
        }
        for at in std::mem::take(&mut file.dirty) {
            if !fails || self.random(2) == 0 {
                copy_page(&file.seen, &mut file.durable, at);
            }
        }
        self.inodes[inode] = file;
    }

    /// What the machine finds after a crash.
    fn image(&mut self) -> Self {
        let mut names = self.durable.clone();
        let pending = std::mem::take(&mut self.pending);
        let prefix = (self.random(2) == 0).then(|| self.random(pending.len() + 1));
        for (at, (_, ops)) in pending.iter().enumerate() {
            let kept = match prefix {
                Some(length) => at < length,
                None => self.random(2) == 0,
            };
            for (path, node) in ops.iter().filter(|_| kept) {
                match node {
                    Some(node) => names.insert(path.clone(), *node),
                    None => names.remove(path),
                };
            }
        }
        let known = names.clone();
        names.retain(|path, _| {
            path.ancestors().skip(1).all(|up| {
                up.as_os_str().is_empty() || up == Path::new("/") || known.contains_key(up)
            })
        });
        let mut inodes = Vec::new();
        for at in 0..self.inodes.len() {
            let file = self.inodes[at].clone();
            let (least, most) = (
                file.seen.len().min(file.durable.len()),
                file.seen.len().max(file.durable.len()),
            );
            let length = match self.random(3) {
                0 => file.durable.len(),
                1 => file.seen.len(),
                _ => least + self.random(most - least + 1),
            };
            let mut bytes = file.durable.clone();
            for at in &file.dirty {
                if self.random(2) == 0 {
                    copy_page(&file.seen, &mut bytes, *at);
                }
            }
            bytes.resize(length, 0);
            inodes.push(Inode {
                seen: bytes.clone(),
                durable: bytes,
                dirty: BTreeSet::new(),
            });
        }
        Self {
            inodes,
            seen: names.clone(),
            durable: names,
            random: self.random,
            ..Self::default()
        }
    }
}

impl SimDisk {
    /// An empty disk; the seed decides what a crash takes.
    pub(super) fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.with(|state| state.random = seed | 1);
        disk
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what happens at operations from now on.
    pub(super) fn plan(&self, faults: &[(usize, Fault)]) {
        self.with(|state| {
            let now = state.operations;
            state.faults = faults
                .iter()
                .map(|(at, fault)| (now + 1 + at, *fault))
                .collect();
        });
    }

    /// The disk after a crash, if there was one or not.
    pub(super) fn crash(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(State::image))))
    }

    /// Every file, to be damaged.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.with(|state| {
            let files = state.seen.iter().filter(|(_, node)| **node != Node::Dir);
            files.map(|(path, _)| path.clone()).collect()
        })
    }

    /// Changes a file behind everybody's back.
    pub(super) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.with(|state| {
            if let Ok(inode) = state.file(path) {
                change(&mut state.inodes[inode].seen);
            }
        });
    }

    fn opened(&self, inode: usize) -> SharedFile {
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
        })
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.whole()?;
            let mut up: Vec<&Path> = path.ancestors().collect();
            up.reverse();
            for dir in up {
                let parent = dir.parent().unwrap_or(Path::new("/"));
                if dir != Path::new("/") && !state.seen.contains_key(dir) {
                    state.rename_ops(parent, vec![(dir.to_path_buf(), Some(Node::Dir))]);
                }
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.with(|state| {
            state.whole()?;
            if !state.seen.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let inside = state
                .seen
                .keys()
                .filter(|known| known.parent() == Some(path));
            let names = inside.filter_map(|known| known.file_name());
            Ok(names
                .map(|name| name.to_string_lossy().into_owned())
                .collect())
        })
    }

    fn open(&self, path: &Path) -> io::Result<SharedFile> {
        self.with(|state| {
            state.whole()?;
            state.file(path)
        })
        .map(|inode| self.opened(inode))
    }

    fn append(&self, path: &Path) -> io::Result<SharedFile> {
        self.with(|state| {
            state.whole()?;
            if let Ok(inode) = state.file(path) {
                return Ok(inode);
            }
            let dir = path.parent().unwrap_or(Path::new("/"));
            if !state.seen.contains_key(dir) {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.rename_ops(dir, vec![(path.to_path_buf(), Some(Node::File(inode)))]);
            Ok(inode)
        })
        .map(|inode| self.opened(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|state| {
            state.whole()?;
            let inode = state.file(from)?;
            let dir = to.parent().unwrap_or(Path::new("/")).to_path_buf();
            let ops = vec![
                (from.to_path_buf(), None),
                (to.to_path_buf(), Some(Node::File(inode))),
            ];
            state.rename_ops(&dir, ops);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.whole()?;
            state.file(path)?;
            let dir = path.parent().unwrap_or(Path::new("/")).to_path_buf();
            state.rename_ops(&dir, vec![(path.to_path_buf(), None)]);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.whole()?;
            if state.seen.keys().any(|known| known.parent() == Some(path)) {
                return Err(broken("the directory is not empty"));
            }
            let dir = path.parent().unwrap_or(Path::new("/")).to_path_buf();
            state.rename_ops(&dir, vec![(path.to_path_buf(), None)]);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.whole()?;
            let pending = std::mem::take(&mut state.pending);
            let (synced, rest): (Vec<_>, Vec<_>) =
                pending.into_iter().partition(|(dir, _)| dir == path);
            for (name, node) in synced.into_iter().flat_map(|(_, ops)| ops) {
                match node {
                    Some(node) => state.durable.insert(name, node),
                    None => state.durable.remove(&name),
                };
            }
            state.pending = rest;
            Ok(())
        })
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, path: &Path) -> io::Result<SharedFile> {
        self.append(path)
    }
}

impl DiskFile for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.disk.with(|state| {
            let fails = state.step()?;
            let taken = if fails {
                state.random(bytes.len() + 1)
            } else {
                bytes.len()
            };
            let file = &mut state.inodes[self.inode];
            let from = file.seen.len() / PAGE;
            file.seen.extend_from_slice(&bytes[..taken]);
            file.dirty.extend(from..file.seen.len().div_ceil(PAGE));
            if fails {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        })
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.disk.with(|state| {
            state.whole()?;
            let seen = &state.inodes[self.inode].seen;
            let found = seen.get(at as usize..at as usize + into.len());
            into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.with(|state| {
            state.whole()?;
            Ok(state.inodes[self.inode].seen.len() as u64)
        })
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.disk.with(|state| {
            state.whole()?;
            let file = &mut state.inodes[self.inode];
            file.seen.resize(length as usize, 0);
            let pages = file.seen.len().div_ceil(PAGE);
            file.dirty.retain(|at| *at < pages);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.with(|state| {
            let fails = state.step()?;
            state.sync(self.inode, fails);
            if fails {
                Err(broken("EIO on sync"))
            } else {
                Ok(())
            }
        })
    }
}
