//! The live tail: viewers of topics, each with a bounded buffer; one Kafka reader a topic for all who
//! look at its end, and a reader of their own for those who start further back.

pub mod cursor;
pub mod reader;
pub mod viewer;

use crate::clusters::Cluster;
use cursor::Cursor;
use reader::{Reader, Start};
use sluice_model::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use viewer::Viewer;

/// Streams that are open at one time.
const STREAMS_MAX: usize = 4096;
/// Readers that serve one stream each, at one time.
const PRIVATE_READERS_MAX: usize = 128;

/// All readers of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Hub {
    cluster: Arc<Cluster>,
    shared: Arc<Mutex<HashMap<String, Arc<Reader>>>>,
    streams: Arc<AtomicUsize>,
    private: Arc<AtomicUsize>,
}

/// A place among a bounded number; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(count: &Arc<AtomicUsize>, max: usize, what: &str) -> Result<Self, Problem> {
        let taken = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < max).then_some(n + 1)
        });
        if taken.is_ok() {
            Ok(Self(Arc::clone(count)))
        } else {
            let detail = format!("{max} {what} are open already; try again");
            Err(Problem::new(Code::Busy, detail).retry_after(5))
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hub {
    /// A hub of the governed cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            shared: Arc::default(),
            streams: Arc::default(),
            private: Arc::default(),
        }
    }

    /// The cluster that is read.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The right to open one stream.
    ///
    /// # Errors
    /// 429 when too many are open.
    pub fn admit(&self) -> Result<Permit, Problem> {
        let permit = Permit::take(&self.streams, STREAMS_MAX, "streams")?;
        metrics::gauge!("stream_viewers").set(self.streams.load(Ordering::Acquire) as f64);
        Ok(permit)
    }

    fn shared(&self) -> MutexGuard<'_, HashMap<String, Arc<Reader>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches a viewer to the end of a topic. The answer is where the end is: every record from there
    /// on will come. Blocks.
    ///
    /// # Errors
    /// 503 when Kafka does not answer in time.
    pub fn attach(
        &self,
        topic: &str,
        viewer: &Arc<Viewer>,
    ) -> Result<(Attachment, Cursor), Problem> {
        let mut refusal = None;
        // A reader may end for want of viewers just when one comes: the second try starts another.
        for _ in 0..2 {
            let reader = self.reader(topic)?;
            match reader.attach(viewer) {
                Ok(cursor) => {
                    let viewer = Arc::clone(viewer);
                    return Ok((
                        Attachment {
                            reader,
                            viewer,
                            _permit: None,
                        },
                        cursor,
                    ));
                }
                Err(problem) => refusal = Some(problem),
            }
        }
        Err(refusal.unwrap_or_else(|| crate::app::kafka_problem("the topic cannot be read now")))
    }

    fn reader(&self, topic: &str) -> Result<Arc<Reader>, Problem> {
        let mut shared = self.shared();
        shared.retain(|_, reader| !reader.ended());
        if let Some(reader) = shared.get(topic) {
            return Ok(Arc::clone(reader));
        }
        let reader = Reader::shared(&self.cluster, topic)?;
        shared.insert(topic.to_owned(), Arc::clone(&reader));
        Ok(reader)
    }

    /// Attaches a viewer to a reader of its own that starts further back. Blocks.
    ///
    /// # Errors
    /// 429 when too many have one, 503 when Kafka does not answer in time.
    pub fn attach_at(
        &self,
        topic: &str,
        start: Start,
        viewer: &Arc<Viewer>,
    ) -> Result<(Attachment, Cursor), Problem> {
        let permit = Permit::take(
            &self.private,
            PRIVATE_READERS_MAX,
            "streams that start further back",
        )?;
        let reader = Reader::private(&self.cluster, topic, start, viewer)?;
        let cursor = reader.attach(viewer)?;
        Ok((
            Attachment {
                reader,
                viewer: Arc::clone(viewer),
                _permit: Some(permit),
            },
            cursor,
        ))
    }
}

/// A viewer's place at a reader; dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    reader: Arc<Reader>,
    viewer: Arc<Viewer>,
    _permit: Option<Permit>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.reader.detach(&self.viewer);
    }
}
