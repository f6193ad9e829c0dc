//! Looks at Kafka's metadata: whether every partition of a topic has its leader.

use super::Publisher;
use super::block::TopicId;
use std::time::{Duration, Instant};

/// Time that one look at a topic's metadata may take; the publisher stands still meanwhile.
const LOOK_WAIT: Duration = Duration::from_millis(100);
/// Delays between looks while a topic has no leaders.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

impl Publisher {
    /// Looks whether Kafka's metadata shows all leaders of a topic.
    pub(super) fn look(&mut self, id: TopicId, now: Instant) -> bool {
        let Some(topic) = self.topics.get_mut(id) else {
            return false;
        };
        if now < topic.retry_at {
            return false;
        }
        if self.kafka_down {
            topic.retry_at = self.probe_at;
            return false;
        }
        match self.kafka.has_leaders(&topic.name, LOOK_WAIT) {
            Ok(true) => {
                topic.has_leaders = true;
                topic.fresh(now);
                true
            }
            Ok(false) => {
                topic.back_off(Instant::now(), LOOK_FIRST, LOOK_MAX);
                false
            }
            Err(error) => {
                topic.back_off(Instant::now(), LOOK_FIRST, LOOK_MAX);
                self.kafka_is_down(&format!("no broker answers: {error}"));
                false
            }
        }
    }
}
