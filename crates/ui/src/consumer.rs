//! The pages of consumption.

mod catalogue;
mod live;
mod managed;

pub use catalogue::{Catalogue, catalogue};
pub use live::{Live, live};
pub use managed::{ConsumerPage, NewConsumer, consumer, consumers, new_consumer};

#[cfg(test)]
mod tests;
