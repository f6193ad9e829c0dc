//! `dir`: `<dir>/<topic>/<partition>/<first>-<last>.<extension>`. What a file holds counts once it has
//! its name: the directory is the truth about offsets, and nobody else keeps any.

use super::super::{Processor, SinkError, Site};
use super::Shape;
use super::format::Lines;
use super::partition::Partition;
use crate::batch::Entry;
use crate::confine::Dir;
use crate::watermark::Positions;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::time::Instant;

/// Whose directory it is, for as long as it is open.
const LOCK: &str = ".sluice-lock";
/// Files that may grow at a time; before one more begins, the oldest is completed.
const GROWING_MAX: usize = 256;
/// A consumer's id is no longer.
const HOLDER_BYTES_MAX: u64 = 128;

/// The sink.
#[derive(Debug)]
pub(super) struct Rotated {
    dir: String,
    shape: Shape,
    site: Site,
    open: Option<Open>,
    /// What is durable: in files that have their names.
    held: Positions,
}

#[derive(Debug)]
struct Open {
    dir: Dir,
    _lock: File,
    partitions: HashMap<String, HashMap<i32, Partition>>,
    lines: Lines,
}

/// A topic as a directory's name: no name of Kafka's but the hidden ones needs a change.
fn topic_dir(topic: &str) -> Result<String, SinkError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if topic.is_empty() || !topic.bytes().all(plain) {
        return Err(SinkError::environment(format!(
            "{topic:?} is no name of a directory"
        )));
    }
    // Hidden names are ours.
    Ok(match topic.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => topic.to_owned(),
    })
}

/// Where a topic's directory may be: under its name, or beside that of an earlier topic of its name.
fn candidates(topic: &str, topic_id: i64) -> Result<[OsString; 2], SinkError> {
    let name = topic_dir(topic)?;
    Ok([name.clone().into(), format!("{name}~{topic_id}").into()])
}

impl Rotated {
    pub(super) fn new(dir: String, shape: Shape, site: Site) -> Self {
        Self {
            dir,
            shape,
            site,
            open: None,
            held: Positions::default(),
        }
    }

    fn lock(&self, dir: &Dir) -> Result<File, SinkError> {
        let mut file = dir.open_file(LOCK.as_ref())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                (&file).take(HOLDER_BYTES_MAX).read_to_string(&mut holder)?;
                let message = format!("{} is in use by the consumer {}", self.dir, holder.trim());
                return Err(SinkError::environment(message));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", self.site.consumer_id)?;
        Ok(file)
    }

    fn enter(&self) -> Result<Open, SinkError> {
        let dir = self.site.roots.open_dir(&self.dir)?;
        let lock = self.lock(&dir)?;
        Ok(Open {
            dir,
            _lock: lock,
            partitions: HashMap::new(),
            lines: Lines::default(),
        })
    }

    /// Every partition's directory of a topic that there is.
    fn partitions(dir: &Dir, topic: &str, id: i64) -> Result<HashMap<i32, Partition>, SinkError> {
        let mut found = HashMap::new();
        for name in candidates(topic, id)? {
            let Some(dir) = dir.existing_subdir(&name)? else {
                continue;
            };
            for name in dir.names()? {
                let name = name?;
                let Some(number) = name.to_str().and_then(|text| text.parse::<i32>().ok()) else {
                    continue;
                };
                if let Some(partition) = Partition::open(dir.subdir(&name)?, id)? {
                    found.insert(number, partition);
                }
            }
        }
        Ok(found)
    }
}

fn not_open() -> SinkError {
    SinkError::transient("the directory is not open")
}

impl Processor for Rotated {
    fn open(&mut self) -> Result<Positions, SinkError> {
        // The lock is the directory's: it must be given back before it can be taken again.
        self.open = None;
        let mut open = self.enter()?;
        let mut held = Positions::default();
        for (topic, id) in &self.site.topic_ids {
            let partitions = Self::partitions(&open.dir, topic, *id)?;
            for (number, partition) in &partitions {
                if let Some(next) = partition.next() {
                    held.set(topic, *number, next);
                }
            }
            open.partitions.insert(topic.clone(), partitions);
        }
        self.open = Some(open);
        self.held = held;
        Ok(self.held.clone())
    }

    /// Appends a batch; what fills a file is durable, the rest is not yet.
    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(not_open)?;
        for run in batch.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic) {
            let Some(first) = run.first() else { continue };
            open.make_room(first, &self.shape, &mut self.held)?;
            let mut lines = std::mem::take(&mut open.lines);
            let partition = open.partition(first.topic, first.partition, &self.site)?;
            partition.append(run, &self.shape, &mut lines)?;
            if let Some(next) = partition.next() {
                self.held.set(first.topic, first.partition, next);
            }
            open.lines = lines;
        }
        open.complete(&self.shape, Some(Instant::now()), &mut self.held)
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        self.open = None;
        let mut open = self.enter()?;
        for (topic, number, next) in targets {
            open.partition(topic, *number, &self.site)?.rewind(*next)?;
        }
        Ok(())
    }

    fn durable(&self) -> Option<&Positions> {
        Some(&self.held)
    }

    fn deadline(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        let all = open.partitions.values().flat_map(HashMap::values);
        all.filter_map(|partition| partition.due(&self.shape)).min()
    }

    fn tick(&mut self) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(not_open)?;
        open.complete(&self.shape, Some(Instant::now()), &mut self.held)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(not_open)?;
        open.complete(&self.shape, None, &mut self.held)
    }

    fn release(&mut self, partitions: &[(String, i32)]) -> Result<(), SinkError> {
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        for (topic, number) in partitions {
            let known = open.partitions.get_mut(topic);
            if let Some(partition) = known.and_then(|known| known.get_mut(number)) {
                partition.discard()?;
            }
        }
        Ok(())
    }
}

impl Open {
    /// The directory of a partition; made when it is not there yet.
    fn partition(
        &mut self,
        topic: &str,
        number: i32,
        site: &Site,
    ) -> Result<&mut Partition, SinkError> {
        if !self.partitions.contains_key(topic) {
            self.partitions.insert(topic.to_owned(), HashMap::new());
        }
        let Some(known) = self.partitions.get_mut(topic) else {
            return Err(SinkError::transient("a topic without a place"));
        };
        match known.entry(number) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                let id = site.topic_id(topic);
                let name = OsString::from(number.to_string());
                for candidate in candidates(topic, id)? {
                    let dir = self.dir.subdir(&candidate)?.subdir(&name)?;
                    if let Some(partition) = Partition::open(dir, id)? {
                        return Ok(free.insert(partition));
                    }
                }
                let path = self.dir.path().display();
                Err(SinkError::environment(format!(
                    "{path}: {topic}-{number} belongs to another topic"
                )))
            }
        }
    }

    /// Completes the oldest file when one more would be too many.
    fn make_room(
        &mut self,
        next: &Entry<'_>,
        shape: &Shape,
        held: &mut Positions,
    ) -> Result<(), SinkError> {
        let grows = |partition: &Partition| partition.due(shape).is_some();
        let known = self.partitions.get(next.topic);
        if known
            .and_then(|known| known.get(&next.partition))
            .is_some_and(grows)
        {
            return Ok(());
        }
        let all = self.partitions.values().flat_map(HashMap::values);
        let growing: Vec<_> = all.filter_map(|partition| partition.due(shape)).collect();
        match growing.iter().min() {
            Some(oldest) if growing.len() >= GROWING_MAX => {
                self.complete(shape, Some(*oldest), held)
            }
            _ => Ok(()),
        }
    }

    /// Completes the files that are due by then, or all of them.
    fn complete(
        &mut self,
        shape: &Shape,
        by: Option<Instant>,
        held: &mut Positions,
    ) -> Result<(), SinkError> {
        for (topic, partitions) in &mut self.partitions {
            for (number, partition) in partitions {
                let due = partition.due(shape);
                if due.is_some_and(|due| by.is_none_or(|by| due <= by)) {
                    partition.complete(shape)?;
                    if let Some(next) = partition.next() {
                        held.set(topic, *number, next);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_a_directory_of_its_own() {
        assert_eq!(topic_dir("a.b_c-1").unwrap(), "a.b_c-1");
        assert_eq!(topic_dir(".sluice-lock").unwrap(), "%2Esluice-lock");
        for bad in ["", "a/b", "..\0", "a~7", "ä"] {
            assert!(topic_dir(bad).is_err(), "{bad:?}");
        }
        assert_eq!(candidates("t", 7).unwrap()[1], "t~7");
    }
}
