//! The reconciler: observe, plan, apply; one idempotent pass, started by a nudge and by a timer, with
//! no input, so that a restart or a lost nudge is nothing special.

pub mod apply;
pub mod cluster;
pub mod drift;
mod driver;
pub mod plan;
pub mod usage;

pub use driver::run;
