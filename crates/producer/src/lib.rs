//! The producer daemon: takes records in, keeps what may not flow yet, and sends what may.
//!
//! ```text
//! input-listener ──batches──▶ publisher ◀──routes── topic-watcher ──▶ admin API
//!       ◀──────────acks──────────┘ └────unknown names────▶┘
//! ```
//!
//! Invariants: three named OS threads, joined by bounded channels, and nothing shared but the channels
//! and the atomic memory budget. A record is acknowledged once it is safe: acknowledged by Kafka, or
//! synced to the spool. Nothing is handed to Kafka before its topic is active, and in no other order
//! than it came.
//!
//! Reading order: [`flow`] (what a topic's status means), [`batch`] and [`assemble`] (how records
//! travel), [`spool`], [`publisher`], [`listener`], [`watcher`], [`threads`].

pub mod assemble;
pub mod batch;
pub mod budget;
pub mod channels;
pub mod flow;
pub mod headers;
pub mod line;
pub mod listener;
pub mod mailbox;
pub mod publisher;
pub mod settings;
pub mod shape;
pub mod spool;
pub mod threads;
pub mod tools;
pub mod watcher;

use sluice_service::Identity;

/// What this daemon is called and how it is configured.
pub const IDENTITY: Identity = Identity {
    name: "sluice-producer",
    version: env!("CARGO_PKG_VERSION"),
    defaults: include_str!("../../../config/producer.toml"),
    env_prefix: "PRODUCER",
    more: tools::HELP,
};

/// This machine's name.
pub(crate) fn host_name() -> String {
    sysinfo::System::host_name().unwrap_or_else(|_| "localhost".to_owned())
}
