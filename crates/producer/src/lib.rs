//! The producer daemon: takes records in, keeps what may not flow yet, and sends what may.

pub mod batch;
pub mod budget;
pub mod flow;
pub mod headers;
pub mod line;
pub mod mailbox;
pub mod settings;
pub mod spool;

use sluice_service::Identity;

/// What this daemon is called and how it is configured.
pub const IDENTITY: Identity = Identity {
    name: "sluice-producer",
    version: env!("CARGO_PKG_VERSION"),
    defaults: include_str!("../../../config/producer.toml"),
    env_prefix: "PRODUCER",
};
