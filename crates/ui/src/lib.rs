//! The console: pages, what they show, and the files that they load.
//!
//! Invariants: a page is a function of its view model and cannot fail; view models are built from
//! wire types of `sluice_model` alone; no page has inline script or style, and none names a foreign
//! origin. Reading order: [`assets`](asset), [`docs`], then the pages.

mod assets;
pub mod docs;
mod page;

pub use assets::{Asset, asset};
