//! The words of Sluice: wire types, the topic lifecycle, policy, names and problem codes.
//!
//! Invariants: no IO, no clock, no randomness, no async runtime and no framework. Everything that
//! decides is a function of its arguments, so every decision can be tested by a table.
//!
//! Reading order: [`name`], [`lifecycle`], [`topic`], [`request`], [`policy`], [`access`], then the
//! wire types of the data plane ([`record`], [`producer`], [`consumer`]) and the error vocabulary
//! ([`problem`], [`body`]).

pub mod access;
pub mod apply;
pub mod audit;
pub mod body;
pub mod consumer;
pub mod drift;
pub mod lifecycle;
pub mod name;
pub mod notice;
pub mod page;
pub mod policy;
pub mod problem;
pub mod producer;
pub mod record;
pub mod request;
pub mod scope;
pub mod subscription;
pub mod time;
pub mod token;
pub mod topic;
pub mod usage;
pub mod user;
