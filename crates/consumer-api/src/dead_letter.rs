//! Dead letters: records that a processor will never take, kept with the reason.
//!
//! They go to the topic `<topic>.dlq` while the admin API has it active, else to a file of the consumer
//! under the first root. Both hold the record as it was, with headers that say where it came from and
//! what was wrong.

mod file;
mod request;

use crate::batch::Entry;
use crate::confine::Roots;
use crate::governed::Writer;
use crate::processors::SinkError;
use sluice_model::consumer::FailureClass;
use sluice_model::name::TopicName;
use std::path::PathBuf;

pub use request::{Requests, standings};

/// What the name of a dead-letter topic ends with.
pub const SUFFIX: &str = ".dlq";
/// The directory of the files, under the first root.
pub const DIRECTORY: &str = "dead-letters";

/// The topic that the record came from.
pub const HEADER_TOPIC: &str = "sluice.topic";
/// Its partition there.
pub const HEADER_PARTITION: &str = "sluice.partition";
/// Its offset there.
pub const HEADER_OFFSET: &str = "sluice.offset";
/// The consumer that could not write it.
pub const HEADER_CONSUMER: &str = "sluice.consumer";
/// What was wrong.
pub const HEADER_ERROR: &str = "sluice.error";
/// How often it was tried.
pub const HEADER_ATTEMPTS: &str = "sluice.attempts";
/// The processor that did not take it.
pub const HEADER_PROCESSOR: &str = "sluice.processor";

/// Bytes of the reason that a header keeps.
const ERROR_BYTES_MAX: usize = 2000;

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// The processor that does not take it.
    pub processor: &'a str,
    /// What it says.
    pub error: &'a str,
    /// How often it was tried.
    pub attempts: u32,
}

/// Where a dead letter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In Kafka.
    Topic {
        /// The dead-letter topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
    /// In the consumer's file.
    File(PathBuf),
}

/// Writes the dead letters of every consumer. Clones share it.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    writer: Writer,
    roots: Roots,
}

impl DeadLetters {
    /// Dead letters through a writer to the governed cluster, or under the first root.
    pub fn new(writer: Writer, roots: Roots) -> Self {
        Self { writer, roots }
    }

    /// Keeps a record; on return it is durable. Blocks, for a bounded time. After a crash it may be there
    /// twice: its headers name it.
    ///
    /// # Errors
    /// When it is nowhere safe; the record must not be passed over then.
    pub fn write(
        &self,
        consumer_id: &str,
        entry: &Entry<'_>,
        cause: &Cause<'_>,
    ) -> Result<Place, SinkError> {
        let extra = context_headers(consumer_id, entry, cause);
        let topic = topic_of(entry.topic).filter(|topic| self.writer.takes(topic));
        if let Some(topic) = topic {
            match self.writer.write(&topic, entry, &extra) {
                Ok((partition, offset)) => {
                    count("topic");
                    return Ok(Place::Topic {
                        topic,
                        partition,
                        offset,
                    });
                }
                // It can come right, and the topic is where people look.
                Err(error) if error.class == FailureClass::Transient => return Err(error),
                Err(error) => tracing::warn!(
                    consumer.id = consumer_id,
                    topic,
                    error = %error,
                    "the dead-letter topic does not take a record; the file does"
                ),
            }
        }
        let path = file::append(&self.roots, consumer_id, entry, &extra)?;
        count("file");
        Ok(Place::File(path))
    }

    /// The path of a consumer's file, there or not.
    pub fn file(&self, consumer_id: &str) -> PathBuf {
        self.roots.first().join(file::name(consumer_id))
    }
}

fn count(place: &'static str) {
    metrics::counter!("consumer_dead_letters_total", "place" => place).increment(1);
}

/// The dead-letter topic of a topic. None: it is one itself, or the name would be too long; then the file
/// is used.
pub fn topic_of(topic: &str) -> Option<String> {
    if topic.ends_with(SUFFIX) {
        return None;
    }
    let name = format!("{topic}{SUFFIX}");
    TopicName::parse(&name).ok().map(|_| name)
}

/// The headers that a dead letter gets after its own.
fn context_headers(
    consumer_id: &str,
    entry: &Entry<'_>,
    cause: &Cause<'_>,
) -> Vec<(&'static str, String)> {
    let mut end = cause.error.len().min(ERROR_BYTES_MAX);
    while !cause.error.is_char_boundary(end) {
        end -= 1;
    }
    vec![
        (HEADER_TOPIC, entry.topic.to_owned()),
        (HEADER_PARTITION, entry.partition.to_string()),
        (HEADER_OFFSET, entry.offset.to_string()),
        (HEADER_CONSUMER, consumer_id.to_owned()),
        (HEADER_ERROR, cause.error[..end].to_owned()),
        (HEADER_ATTEMPTS, cause.attempts.to_string()),
        (HEADER_PROCESSOR, cause.processor.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_one_dead_letter_topic_and_that_has_none() {
        assert_eq!(topic_of("orders").as_deref(), Some("orders.dlq"));
        assert_eq!(topic_of("orders.dlq"), None);
        assert_eq!(topic_of(&"x".repeat(248)), None);
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let entry = &crate::processors::conformance::entries(0..1)[0];
        let error = "ä".repeat(ERROR_BYTES_MAX);
        let cause = Cause {
            processor: "p",
            error: &error,
            attempts: 3,
        };
        let headers = context_headers("c", entry, &cause);
        assert_eq!(headers[4].1.len(), ERROR_BYTES_MAX);
        assert_eq!(headers[5], (HEADER_ATTEMPTS, "3".to_owned()));
    }
}
