//! The newest records of a topic, kept up to a number of bytes for all viewers together. A viewer holds
//! a number into it, so that one who is slow costs nothing; one who falls off its end is told.

use super::chunk::Chunk;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a viewer finds at its place.
#[derive(Clone, Debug)]
pub enum Found {
    /// Records.
    Chunk(Arc<Chunk>),
    /// Nothing new.
    End,
    /// They are gone already; the oldest that are kept are at this place.
    Lost(u64),
}

/// The newest records.
#[derive(Debug, Default)]
pub struct Log {
    chunks: VecDeque<Arc<Chunk>>,
    first: u64,
    bytes: usize,
    max: usize,
    next: Vec<i64>,
}

impl Log {
    /// An empty log from some offsets on.
    pub fn new(max: usize, next: Vec<i64>) -> Self {
        Self {
            max,
            next,
            ..Self::default()
        }
    }

    /// Adds records at the end; as many of the oldest go as are too much. The newest always stay.
    pub fn push(&mut self, chunk: Chunk) {
        chunk.after().clone_into(&mut self.next);
        self.bytes += chunk.cost();
        self.chunks.push_back(Arc::new(chunk));
        while self.bytes > self.max && self.chunks.len() > 1 {
            if let Some(oldest) = self.chunks.pop_front() {
                self.bytes -= oldest.cost();
                self.first += 1;
            }
        }
    }

    /// The place after the newest records.
    pub fn end(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// The next offset of every partition.
    pub fn next(&self) -> &[i64] {
        &self.next
    }

    /// The first offset of every partition that is kept.
    pub fn oldest(&self) -> &[i64] {
        self.chunks
            .front()
            .map_or(&self.next, |chunk| chunk.before())
    }

    /// What is at a place.
    pub fn get(&self, place: u64) -> Found {
        match place.checked_sub(self.first) {
            None => Found::Lost(self.first),
            Some(index) => usize::try_from(index)
                .ok()
                .and_then(|index| self.chunks.get(index))
                .map_or(Found::End, |chunk| Found::Chunk(Arc::clone(chunk))),
        }
    }

    /// The place from which somebody misses nothing who has read up to these offsets; none when some
    /// of it is not kept, or was never there.
    pub fn find(&self, next: &[i64]) -> Option<u64> {
        let at = |offsets: &[i64], partition: usize| offsets.get(partition).copied().unwrap_or(0);
        let (oldest, newest) = (self.oldest(), &self.next);
        let covered = (0..newest.len().max(next.len())).all(|partition| {
            (at(oldest, partition)..=at(newest, partition)).contains(&at(next, partition))
        });
        let ahead = |chunk: &Chunk| {
            chunk
                .after()
                .iter()
                .enumerate()
                .any(|(partition, after)| *after > at(next, partition))
        };
        let index = self.chunks.partition_point(|chunk| !ahead(chunk));
        covered.then(|| self.first + index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Entry;
    use crate::stream::chunk::Builder;
    use crate::stream::cursor::Place;

    fn filled(records: i64, max: usize) -> Log {
        let mut builder = Builder::new(
            "t".into(),
            Place {
                topic_id: 1,
                next: vec![10, 0],
            },
        );
        let mut log = Log::new(max, vec![10, 0]);
        for number in 0..records {
            let value = [b'x'; 100];
            builder.push(&Entry {
                topic: "t",
                partition: 0,
                offset: 10 + number,
                timestamp: None,
                key: None,
                value: Some(&value),
                headers: Vec::new(),
            });
            log.push(builder.take());
        }
        log
    }

    #[test]
    fn it_keeps_the_newest_records_within_its_bytes() {
        let log = filled(100, 4000);
        assert!(
            log.bytes <= 4000 && log.chunks.len() > 2,
            "{} chunks",
            log.chunks.len()
        );
        assert_eq!((log.end(), log.next()), (100, &[110, 0][..]));
        assert!(matches!(log.get(0), Found::Lost(first) if first == log.first));
        assert!(matches!(log.get(99), Found::Chunk(chunk) if chunk.after() == [110, 0]));
        assert!(matches!(log.get(100), Found::End));
        let one = filled(3, 1);
        assert!(
            matches!(one.get(2), Found::Chunk(_)),
            "the newest stays, however large it is"
        );
    }

    #[test]
    fn a_place_is_found_only_where_nothing_is_missed() {
        let log = filled(100, 4000);
        let oldest = log.oldest()[0];
        for (next, found) in [
            (vec![110, 0], Some(100)),
            (vec![109, 0], Some(99)),
            (vec![oldest, 0], Some(log.first)),
            (vec![oldest - 1, 0], None),
            (vec![111, 0], None),
            (vec![110], Some(100)),
            (vec![110, 1], None),
            (vec![110, 0, 1], None),
            (vec![-1, 0], None),
        ] {
            assert_eq!(log.find(&next), found, "{next:?}");
        }
        assert_eq!(
            Log::new(9, vec![5]).find(&[5]),
            Some(0),
            "an empty log covers its end"
        );
        assert_eq!(Log::new(9, vec![5]).find(&[4]), None);
    }
}
