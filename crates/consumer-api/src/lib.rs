//! The consumer API: managed Kafka consumers with processors, and the live tail.
//!
//! Routes (HTTP ↔ types) → app (one use case a file) → store (all SQL). The [`manager`] owns the
//! workers, one named thread per running consumer; [`follow`] keeps the [`catalogue`] of topics in line
//! with the admin API.
//!
//! Invariants: a record is committed after every processor holds it; a consumer is ACTIVE only with an
//! assignment and healthy sinks; only topics that are active in the admin API are read; nothing is
//! written outside the configured roots and destinations; this service creates no topic.

pub mod access;
pub mod app;
pub mod batch;
pub mod catalogue;
pub mod clusters;
pub mod confine;
pub mod context;
pub mod dead_letter;
pub mod follow;
pub mod governed;
pub mod manager;
pub mod openapi;
pub mod processors;
pub mod redact;
pub mod relay;
pub mod routes;
pub mod secrets;
pub mod service;
pub mod settings;
pub mod status;
pub mod store;
pub mod stream;
pub mod watermark;
pub mod worker;

pub use sluice_service::{destinations, outgoing};

use sluice_service::Identity;

/// What this daemon is called.
pub const IDENTITY: Identity = Identity {
    name: "sluice-consumer-api",
    version: env!("CARGO_PKG_VERSION"),
    defaults: include_str!("../../../config/consumer-api.toml"),
    env_prefix: "CONSUMER_API",
    more: "",
};
