//! The bound on memory between the inputs and Kafka: bytes and batches, counted by one atomic each.
//!
//! The listener reserves before it reads, the publisher gives back when a batch is safe. Who finds no
//! room waits on the budget's own signal; nothing ever blocks a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Batches that may be on their way at one time; also the capacity of the channels that carry them.
pub const BATCHES_MAX: usize = 4096;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: AtomicUsize,
    batches: AtomicUsize,
    bytes_max: usize,
    freed: Notify,
    waiting: AtomicUsize,
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes and [`BATCHES_MAX`] batches.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Inner {
            bytes: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
            bytes_max,
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Takes room for one batch of `bytes`, if there is any.
    pub fn try_reserve(&self, bytes: usize) -> Option<Charge> {
        let taken = self.0.batches.fetch_add(1, Ordering::AcqRel);
        if taken >= BATCHES_MAX {
            self.0.batches.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let used = self.0.bytes.fetch_add(bytes, Ordering::AcqRel);
        if used + bytes > self.0.bytes_max {
            self.0.bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.0.batches.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Charge {
            budget: self.clone(),
            bytes,
        })
    }

    /// Waits for room for one batch of `bytes`.
    pub async fn reserve(&self, bytes: usize) -> Charge {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            self.0.waiting.fetch_add(1, Ordering::AcqRel);
            let charge = self.try_reserve(bytes);
            if charge.is_none() {
                freed.await;
            }
            self.0.waiting.fetch_sub(1, Ordering::AcqRel);
            if let Some(charge) = charge {
                return charge;
            }
        }
    }

    /// The bound on bytes.
    pub fn max(&self) -> usize {
        self.0.bytes_max
    }

    /// Bytes that are taken now.
    pub fn used(&self) -> usize {
        self.0.bytes.load(Ordering::Acquire)
    }

    fn signal(&self) {
        if self.0.waiting.load(Ordering::Acquire) > 0 {
            self.0.freed.notify_waiters();
        }
    }
}

impl Charge {
    /// Gives back what was reserved beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.budget.0.bytes.fetch_sub(back, Ordering::AcqRel);
        self.budget.signal();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.0.batches.fetch_sub(1, Ordering::AcqRel);
        self.budget.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_gives_more_than_it_has_and_takes_all_back() {
        let budget = Budget::new(100);
        let mut first = budget.try_reserve(60).unwrap();
        assert!(budget.try_reserve(41).is_none());
        first.shrink(10);
        let second = budget.try_reserve(90).unwrap();
        assert_eq!(budget.used(), 100);
        drop((first, second));
        assert_eq!(budget.used(), 0);
        let all: Vec<_> = (0..BATCHES_MAX)
            .map(|_| budget.try_reserve(0).unwrap())
            .collect();
        assert!(budget.try_reserve(0).is_none());
        drop(all);
        assert!(budget.try_reserve(0).is_some());
    }
}
