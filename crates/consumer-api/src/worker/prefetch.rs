//! What all consumers together may fetch ahead. A consumer takes its share when its client starts, for
//! librdkafka cannot change it later: the more is taken, the less the next one gets, down to a floor.

use std::sync::{Arc, Mutex, PoisonError};

/// The most for one consumer.
const SHARE_MAX: u64 = 8 * 1024 * 1024;
/// The least: enough to go on with.
const SHARE_MIN: u64 = 256 * 1024;
/// A consumer takes at most this part of what is left.
const PART: u64 = 8;

/// The budget of all consumers. Clones share it.
#[derive(Clone, Debug)]
pub struct Prefetch {
    free: Arc<Mutex<u64>>,
}

/// The share of one consumer; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    free: Arc<Mutex<u64>>,
    bytes: u64,
    taken: u64,
}

impl Prefetch {
    /// A budget.
    pub fn new(bytes: u64) -> Self {
        Self {
            free: Arc::new(Mutex::new(bytes)),
        }
    }

    /// Takes a share.
    pub fn reserve(&self) -> Share {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = (*free / PART).clamp(SHARE_MIN, SHARE_MAX);
        let taken = bytes.min(*free);
        *free -= taken;
        Share {
            free: Arc::clone(&self.free),
            bytes,
            taken,
        }
    }
}

impl Share {
    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += self.taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_consumers_get_much_and_many_stay_within_the_budget_and_their_floors() {
        let budget = 128 * 1024 * 1024;
        let prefetch = Prefetch::new(budget);
        let first = prefetch.reserve();
        assert_eq!(first.bytes(), SHARE_MAX);
        let many: Vec<_> = (0..1000).map(|_| prefetch.reserve()).collect();
        let sum: u64 = many.iter().map(Share::bytes).sum();
        assert!(sum <= budget + 1000 * SHARE_MIN, "{sum}");
        assert_eq!(many[999].bytes(), SHARE_MIN);
        drop((first, many));
        assert_eq!(prefetch.reserve().bytes(), SHARE_MAX, "all is given back");
    }
}
