//! The console: pages, what they show, and the files that they load.
//!
//! Invariants: a page is a function of its view model and cannot fail; view models are built from
//! wire types of `sluice_model` alone; no page has inline script or style, and none names a foreign
//! origin. Every change is a plain link or form, so that pages work without JavaScript.
//!
//! Reading order: [`page`] (the frame around every page), [`bits`] (badges, times, amounts), then
//! [`admin`], [`consumer`] and [`docs`].

pub mod admin;
mod assets;
pub mod bits;
pub mod consumer;
pub mod docs;
pub mod form;
pub mod page;

pub use assets::{Asset, asset};

#[cfg(test)]
mod tests;
