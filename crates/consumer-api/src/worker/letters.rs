//! Where a worker puts records that a processor never takes.

use crate::batch::Entry;
use crate::dead_letter::{self, Cause};
use crate::processors::SinkError;

/// What is said about a dead letter.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'l> {
    /// The type of the processor that refused it.
    pub stage: &'l str,
    /// Why.
    pub error: &'l str,
    /// Writes that it was part of.
    pub attempts: u32,
}

/// A place for dead letters; a letter is safe when `write` returns.
pub trait DeadLetters: Send {
    /// Puts a record there.
    ///
    /// # Errors
    /// When it is not safe; the consumer does not go on before it is.
    fn write(&mut self, entry: &Entry<'_>, letter: &Letter<'_>) -> Result<(), SinkError>;
}

/// Dead letters in the topic or the file of a consumer.
#[derive(Debug)]
pub struct Kept {
    writer: dead_letter::DeadLetters,
    consumer_id: String,
}

impl Kept {
    /// Of one consumer.
    pub fn new(writer: &dead_letter::DeadLetters, consumer_id: &str) -> Self {
        Self {
            writer: writer.clone(),
            consumer_id: consumer_id.to_owned(),
        }
    }
}

impl DeadLetters for Kept {
    fn write(&mut self, entry: &Entry<'_>, letter: &Letter<'_>) -> Result<(), SinkError> {
        let cause = Cause {
            processor: letter.stage,
            error: letter.error,
            attempts: letter.attempts,
        };
        let place = self.writer.write(&self.consumer_id, entry, &cause)?;
        tracing::debug!(consumer.id = self.consumer_id, ?place, "dead letter kept");
        Ok(())
    }
}
