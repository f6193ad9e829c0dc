//! The live tail: viewers of topics. One Kafka reader a topic serves all who look at its end from one
//! bounded [`log`]; who is further back reads by turns from a small [`pool`] until it gets there.

pub mod chunk;
pub mod cursor;
pub mod filter;
pub mod log;
pub mod pool;
pub mod reader;
pub mod start;

use crate::clusters::Cluster;
use crate::settings::StreamSettings;
use cursor::Place;
use pool::Pool;
use reader::{Feed, Reader};
use sluice_model::problem::{Code, Problem};
use sluice_service::shutdown::Shutdown;
use start::{Gap, Start};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Kilobytes that a reader fetches ahead.
const PREFETCH_KIB: u32 = 2 * 1024;
/// Time between two looks for clients that nobody uses.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
/// Tries to attach to a reader that may end for want of viewers at just that moment.
const ATTACH_TRIES: u32 = 3;

/// All readers of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Hub {
    cluster: Arc<Cluster>,
    shared: Arc<Mutex<HashMap<String, Arc<Reader>>>>,
    streams: Arc<AtomicUsize>,
    streams_max: usize,
    log_bytes: usize,
    pool: Pool,
}

/// A place among a bounded number; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("stream_viewers").set(before.saturating_sub(1) as f64);
    }
}

impl Hub {
    /// A hub of the governed cluster.
    pub fn new(cluster: Arc<Cluster>, settings: &StreamSettings) -> Self {
        Self {
            pool: Pool::new(Arc::clone(&cluster), settings.catch_up_readers),
            cluster,
            shared: Arc::default(),
            streams: Arc::default(),
            streams_max: settings.viewers_max,
            log_bytes: settings.buffer_bytes,
        }
    }

    /// The clients that read further back.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Closes what nobody uses any more, until the stop.
    pub async fn run(self, shutdown: Shutdown) {
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let pool = self.pool.clone();
                if tokio::task::spawn_blocking(move || pool.sweep())
                    .await
                    .is_err()
                {
                    tracing::warn!("a fault of ours while idle clients were closed");
                }
            }
        };
        tokio::select! {
            () = shutdown.wait() => {}
            () = sweep => {}
        }
    }

    /// The right to open one stream.
    ///
    /// # Errors
    /// 429 when too many are open.
    pub fn admit(&self) -> Result<Permit, Problem> {
        let max = self.streams_max;
        let taken = self
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < max).then_some(n + 1)
            });
        let Ok(before) = taken else {
            metrics::counter!("stream_refused_total", "reason" => "viewers_max").increment(1);
            let detail = format!("{max} streams are open already; try again");
            return Err(Problem::new(Code::Busy, detail).retry_after(5));
        };
        metrics::gauge!("stream_viewers").set((before + 1) as f64);
        Ok(Permit(Arc::clone(&self.streams)))
    }

    /// Attaches a viewer to the end of a topic; it is rung when there is something new.
    ///
    /// # Errors
    /// When the system gives no thread for a reader.
    pub fn attach(&self, topic: &str, topic_id: i64, bell: &Arc<Notify>) -> Result<Feed, Problem> {
        for _ in 0..ATTACH_TRIES {
            let reader = self.reader(topic, topic_id)?;
            if let Some(feed) = reader.attach(bell) {
                return Ok(feed);
            }
        }
        Err(crate::app::kafka_problem("the topic cannot be read now"))
    }

    fn reader(&self, topic: &str, topic_id: i64) -> Result<Arc<Reader>, Problem> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = shared.get(topic).filter(|reader| reader.serves(topic_id)) {
            return Ok(Arc::clone(reader));
        }
        let reader = Reader::start(&self.cluster, topic, topic_id, self.log_bytes)?;
        shared.insert(topic.to_owned(), Arc::clone(&reader));
        Ok(reader)
    }

    /// Attaches a viewer to the end of a topic if somebody looks at it already.
    pub fn peek(&self, topic: &str, topic_id: i64, bell: &Arc<Notify>) -> Option<Feed> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = shared
            .get(topic)
            .filter(|reader| reader.serves(topic_id))
            .cloned();
        drop(shared);
        reader.and_then(|reader| reader.attach(bell))
    }

    /// The offsets to start from, and what is missing before them.
    ///
    /// # Errors
    /// 503 when Kafka does not answer in time.
    pub async fn resolve(
        &self,
        topic: Arc<str>,
        topic_id: i64,
        start: Start,
    ) -> Result<(Place, Vec<Gap>), Problem> {
        let cluster = Arc::clone(&self.cluster);
        let ask = self
            .pool
            .turn(move |_| start::resolve(&cluster, &topic, topic_id, &start));
        ask.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tail::Policy;
    use sluice_service::kafka::KafkaSettings;

    #[test]
    fn viewers_beyond_the_bound_are_told_to_come_back_and_places_are_given_back() {
        let kafka = KafkaSettings {
            bootstrap: "127.0.0.1:1".to_owned(),
            security_protocol: "plaintext".to_owned(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password_file: "".into(),
            ssl_ca_file: "".into(),
            properties: std::collections::BTreeMap::default(),
        };
        let settings = StreamSettings {
            buffer_bytes: 1,
            policy: Policy::Pause,
            heartbeat: SWEEP_INTERVAL,
            viewers_max: 2,
            max_age: SWEEP_INTERVAL,
            catch_up_readers: 1,
            scan_bytes_max: 1,
        };
        let hub = Hub::new(Arc::new(Cluster::new("governed", kafka, None)), &settings);
        let first = hub.admit().unwrap();
        let _second = hub.admit().unwrap();
        let refusal = hub.admit().unwrap_err();
        assert_eq!((refusal.status, refusal.code.as_str()), (429, "busy"));
        drop(first);
        assert!(hub.admit().is_ok());
    }
}
