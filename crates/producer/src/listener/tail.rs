//! Files that grow: found by patterns, read line by line, followed over rotations and restarts. A position
//! moves only when every line before it is safe or in the quarantine.

mod file;
mod follow;
mod scan;
mod state;

use super::quiet::Quiet;
use crate::settings::{TailFrom, TailSettings};
use file::{FileId, Position};
use follow::{Followed, Status};
use scan::Found;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, spawn_blocking};

/// Files that are followed at one time.
const FILES_MAX: usize = 4096;
/// Time between looks for new files.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// Time for which a file that was rotated away and does not grow any more is kept open.
const ROTATED_IDLE_MAX: Duration = Duration::from_secs(30);

/// The input.
#[derive(Debug)]
pub(super) struct Tail {
    quiet: Quiet,
    settings: TailSettings,
    /// The file of the positions.
    state: PathBuf,
    /// The files that are followed, those that were found first before the others.
    files: RefCell<Vec<Rc<Followed>>>,
}

impl Tail {
    /// An input that follows nothing yet.
    pub(super) fn new(quiet: Quiet, settings: TailSettings, state: PathBuf) -> Self {
        Self {
            quiet,
            settings,
            state,
            files: RefCell::default(),
        }
    }

    /// A file that is followed.
    fn followed(&self, id: FileId) -> Option<Rc<Followed>> {
        let files = self.files.borrow();
        files.iter().find(|file| file.position().id == id).cloned()
    }

    fn positions(&self) -> Vec<Position> {
        self.files
            .borrow()
            .iter()
            .map(|file| file.position())
            .collect()
    }
}

/// Follows files until the wish to stop.
pub(super) async fn run(tail: Rc<Tail>) {
    let shutdown = tail.quiet.inlet.shutdown.clone();
    let state = tail.state.clone();
    let known = match spawn_blocking(move || state::load(&state)).await {
        Ok(Ok(known)) => known,
        failed => {
            tracing::error!(
                ?failed,
                "the positions of files cannot be read; files are not followed"
            );
            return;
        }
    };
    let mut work = Work {
        tail: Rc::clone(&tail),
        pumps: JoinSet::new(),
        dirty: Rc::new(Cell::new(false)),
    };
    work.begin(known).await;
    let mut ticks = tokio::time::interval(tail.settings.poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut scanned = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            _ = ticks.tick() => {}
        }
        while work.pumps.try_join_next().is_some() {}
        if scanned.elapsed() >= SCAN_EVERY {
            scanned = Instant::now();
            work.scan().await;
        }
        work.look().await;
        work.save().await;
    }
    while work.pumps.join_next().await.is_some() {}
    work.dirty.set(true);
    work.save().await;
}

struct Work {
    tail: Rc<Tail>,
    pumps: JoinSet<()>,
    dirty: Rc<Cell<bool>>,
}

impl Work {
    /// Takes up the files of the last run, and those that are there now.
    async fn begin(&self, known: Option<Vec<Position>>) {
        let first_run = known.is_none();
        let known = known.unwrap_or_default();
        let patterns = self.tail.settings.paths.clone();
        let mut found = blocking(move || scan::matching(&patterns, &HashSet::new(), FILES_MAX))
            .await
            .new;
        for position in known {
            let here = found.iter().position(|found| found.id == position.id);
            if let Some(here) = here {
                // Whether it is still the same file is looked at before it is read.
                let found = found.swap_remove(here);
                self.follow(&found, position, false);
                continue;
            }
            let searched = position.clone();
            match blocking(move || scan::rotated(&searched)).await {
                Some(moved) if moved.id == position.id => self.follow(&moved, position, true),
                _ => {
                    let path = position.path.display();
                    tracing::warn!(%path, offset = position.offset, "a file is gone since the last run");
                    metrics::counter!("producer_tail_files_gone_total").increment(1);
                }
            }
        }
        let at_end = self.tail.settings.from == TailFrom::End && first_run;
        for found in found {
            self.take_up(found, at_end).await;
        }
    }

    fn follow(&self, found: &Found, position: Position, rotated: bool) {
        let file = std::sync::Arc::clone(&found.file);
        let followed = Rc::new(Followed::new(file, position, rotated));
        self.tail.files.borrow_mut().push(followed);
        self.dirty.set(true);
    }

    /// Begins a file that was not known.
    async fn take_up(&self, found: Found, at_end: bool) {
        let start = Position::start(&found.path, found.id);
        tracing::info!(path = %found.path.display(), at_end, "file found");
        if !at_end {
            let position = self.copied(&found).await.unwrap_or(start);
            return self.follow(&found, position, false);
        }
        let (file, size) = (std::sync::Arc::clone(&found.file), found.size);
        match blocking(move || start.moved(&file, size)).await {
            Ok(position) => self.follow(&found, position, false),
            Err(error) => {
                tracing::warn!(path = %found.path.display(), %error, "a file cannot be read");
            }
        }
    }

    /// The position in a file that is a copy of one that is followed, as a rotation by copying makes it.
    async fn copied(&self, found: &Found) -> Option<Position> {
        let parent = found.path.parent();
        let beside: Vec<Position> = self
            .tail
            .positions()
            .into_iter()
            .filter(|position| position.is_marked() && position.path.parent() == parent)
            .collect();
        let (file, id) = (std::sync::Arc::clone(&found.file), found.id);
        blocking(move || {
            let original = beside.into_iter().find(|position| position.fits(&file))?;
            Some(original.in_copy(id))
        })
        .await
    }

    /// Looks for files that appeared, and for those that are not at their path any more.
    async fn scan(&self) {
        let patterns = self.tail.settings.paths.clone();
        let known: HashSet<FileId> = self.tail.positions().iter().map(|p| p.id).collect();
        let room = FILES_MAX.saturating_sub(known.len());
        let found = blocking(move || scan::matching(&patterns, &known, room)).await;
        for file in self.tail.files.borrow().iter() {
            file.set_rotated(!found.ids.contains(&file.position().id));
        }
        let found = found.new;
        for found in found {
            self.take_up(found, false).await;
        }
    }

    /// Looks which files have grown, and reads those.
    async fn look(&mut self) {
        let files = self.tail.files.borrow().clone();
        let open: Vec<_> = files.iter().map(|file| file.handle()).collect();
        let looks = blocking(move || {
            let look = |file: &std::sync::Arc<std::fs::File>| {
                let metadata = file.metadata().ok()?;
                Some((metadata.len(), metadata.modified().ok()))
            };
            open.iter().map(look).collect::<Vec<_>>()
        })
        .await;
        self.note_first_sight(&files, &looks).await;
        // A new file waits until the rotated one that had its path is read, so that lines keep their order.
        let mut reading: HashSet<PathBuf> = HashSet::new();
        let mut finished = Vec::new();
        for (file, look) in files.iter().zip(looks) {
            let Position { path, id, .. } = file.position();
            if reading.contains(&path) {
                continue;
            }
            match file.look(look, ROTATED_IDLE_MAX) {
                Status::Idle if !file.is_busy() => {}
                Status::Idle => {
                    reading.insert(path);
                }
                Status::Work { finish } => {
                    reading.insert(path);
                    self.pump(file, finish);
                }
                Status::Done => finished.push((id, path)),
            }
        }
        for (id, path) in finished {
            let mut files = self.tail.files.borrow_mut();
            files.retain(|file| file.position().id != id);
            tracing::info!(path = %path.display(), "a rotated file is read to its end");
            self.dirty.set(true);
        }
        metrics::gauge!("producer_tail_files").set(files.len() as f64);
    }

    /// Notes how files begin before their first line is read: a daemon that is killed then still knows the
    /// copy that a rotation makes of one.
    async fn note_first_sight(
        &self,
        files: &[Rc<Followed>],
        looks: &[Option<(u64, Option<std::time::SystemTime>)>],
    ) {
        for (file, look) in files.iter().zip(looks) {
            let position = file.position();
            let grown = look.is_some_and(|(size, _)| size > 0);
            if !grown || position.is_marked() || file.is_busy() {
                continue;
            }
            let open = file.handle();
            if let Ok(seen) = blocking(move || position.seen(&open)).await {
                file.set_position(seen);
                self.dirty.set(true);
            }
        }
        self.save().await;
    }

    fn pump(&mut self, file: &Rc<Followed>, finish: bool) {
        let (tail, file) = (Rc::clone(&self.tail), Rc::clone(file));
        let dirty = Rc::clone(&self.dirty);
        self.pumps.spawn_local(async move {
            follow::pump(&tail, &file, &dirty, finish).await;
        });
    }

    /// Writes the positions when one has moved.
    async fn save(&self) {
        if !self.dirty.replace(false) {
            return;
        }
        let positions = self.tail.positions();
        let path = self.tail.state.clone();
        if let Err(error) = blocking(move || state::save(&path, positions)).await {
            tracing::error!(%error, "the positions of files cannot be written; lines may repeat after a restart");
            metrics::counter!("producer_tail_state_failures_total").increment(1);
            self.dirty.set(true);
        }
    }
}

/// Runs what blocks beside the listener's thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // Helper threads end early only by a panic or with the runtime itself.
        Err(_) => std::future::pending().await,
    }
}
