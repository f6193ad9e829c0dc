//! The admin API's typed client: what can be called ([`call`]) apart from how ([`Client`] async,
//! [`blocking::Client`] for threads), and the check of other people's credentials ([`verify`]).
//!
//! Invariants: every call has a bound in time; answers may have members that this version does not
//! know; an error tells apart "said no" and "did not answer".

pub mod blocking;
pub mod call;
mod client;
mod error;
pub mod verify;

pub use client::Client;
pub use error::Error;
