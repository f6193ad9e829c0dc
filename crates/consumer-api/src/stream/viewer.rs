//! What waits for one viewer: a queue with a bound in bytes. A live reader never waits for a viewer; one
//! that is too slow is cut off and resumes by its cursor. A viewer's own reader waits instead.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes that an event costs beside its text.
const OVERHEAD: usize = 64;

/// A record on its way to viewers, written once for all of them.
#[derive(Debug)]
pub struct Event {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The record as JSON.
    pub json: String,
}

/// Something for a viewer.
#[derive(Clone, Debug)]
pub enum Item {
    /// A record.
    Record(Arc<Event>),
    /// Records that are gone: topic, partition, from, to (the first that is there).
    Gap(Arc<str>, i32, i64, i64),
    /// The reader of a topic cannot go on, and why.
    Broken(Arc<str>, String),
}

impl Item {
    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Record(event) => event.json.len(),
                Self::Gap(..) => 0,
                Self::Broken(_, reason) => reason.len(),
            }
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    cut: bool,
    closed: bool,
}

/// One viewer.
#[derive(Debug)]
pub struct Viewer {
    queue: Mutex<Queue>,
    max: usize,
    filled: Notify,
    emptied: Condvar,
}

impl Viewer {
    /// A viewer for whom at most so many bytes wait.
    pub fn new(max: usize) -> Arc<Self> {
        let queue = Mutex::default();
        Arc::new(Self {
            queue,
            max,
            filled: Notify::new(),
            emptied: Condvar::new(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an item if there is room; without room the viewer is cut off after what it has. False: it
    /// takes nothing any more.
    pub fn offer(&self, item: Item) -> bool {
        let mut queue = self.queue();
        if queue.cut || queue.closed {
            return false;
        }
        // One item always fits, however large it is.
        let bytes = item.bytes();
        if queue.bytes + bytes > self.max && !queue.items.is_empty() {
            queue.cut = true;
            metrics::counter!("stream_disconnects_total", "reason" => "slow").increment(1);
        } else {
            queue.bytes += bytes;
            queue.items.push_back(item);
        }
        let taken = !queue.cut;
        drop(queue);
        self.filled.notify_one();
        taken
    }

    /// Gives an item as soon as there is room, at most for a time. The item comes back when there was
    /// none; nothing comes back from a viewer that is gone.
    pub fn give(&self, item: Item, wait: Duration) -> Option<Item> {
        let bytes = item.bytes();
        let full = |queue: &mut Queue| {
            !queue.closed && queue.bytes + bytes > self.max && !queue.items.is_empty()
        };
        let waited = self.emptied.wait_timeout_while(self.queue(), wait, full);
        let (mut queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return None;
        }
        if timeout.timed_out() {
            return Some(item);
        }
        queue.bytes += bytes;
        queue.items.push_back(item);
        drop(queue);
        self.filled.notify_one();
        None
    }

    /// The next item, if there is one; `Err` when the viewer was cut off and has everything it gets.
    ///
    /// # Errors
    /// When it was too slow.
    pub fn take(&self) -> Result<Option<Item>, Slow> {
        let mut queue = self.queue();
        let item = queue.items.pop_front();
        if let Some(item) = &item {
            queue.bytes -= item.bytes();
        }
        let slow = item.is_none() && queue.cut;
        drop(queue);
        self.emptied.notify_all();
        if slow { Err(Slow) } else { Ok(item) }
    }

    /// Waits until something may be there.
    pub async fn wait(&self) {
        self.filled.notified().await;
    }

    /// The viewer is gone.
    pub fn close(&self) {
        self.queue().closed = true;
        self.emptied.notify_all();
    }
}

/// A viewer that did not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, size: usize) -> Item {
        Item::Record(Arc::new(Event {
            topic: "t".into(),
            partition: 0,
            offset,
            json: "x".repeat(size),
        }))
    }

    #[test]
    fn a_slow_viewer_gets_what_it_has_and_is_then_cut_off() {
        let viewer = Viewer::new(1000);
        assert!(viewer.offer(record(0, 2000)), "one record always fits");
        assert!(!viewer.offer(record(1, 10)));
        assert!(
            !viewer.offer(record(2, 10)),
            "nothing after the gap, or the cursor would lie"
        );
        assert!(matches!(viewer.take(), Ok(Some(Item::Record(event))) if event.offset == 0));
        assert!(matches!(viewer.take(), Err(Slow)));
    }

    #[test]
    fn a_reader_of_its_own_waits_for_its_viewer() {
        let viewer = Viewer::new(100);
        assert!(viewer.give(record(0, 80), Duration::ZERO).is_none());
        assert!(
            viewer
                .give(record(1, 80), Duration::from_millis(5))
                .is_some()
        );
        assert!(viewer.take().unwrap().is_some());
        assert!(viewer.give(record(1, 80), Duration::ZERO).is_none());
        viewer.close();
        assert!(
            viewer
                .give(record(2, 80), Duration::from_secs(60))
                .is_none()
        );
    }
}
