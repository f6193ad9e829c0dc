//! Places at which tests kill the process, to see that every step of a commit may be the last one.
//!
//! `SLUICE_CRASH_AT=NAME:N` ends a debug build without any cleaning up when it comes to the place NAME
//! for the N-th time (the first one unless said). Release builds have none of it.

use super::SinkError;

/// Passes a place.
///
/// # Errors
/// Only in unit tests, where a place that was armed fails instead of ending the process.
#[inline]
#[cfg_attr(
    not(test),
    expect(clippy::unnecessary_wraps, reason = "it fails in unit tests")
)]
#[cfg_attr(
    not(debug_assertions),
    expect(unused_variables, reason = "release builds have no such places")
)]
pub(super) fn pass(name: &str) -> Result<(), SinkError> {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(test)]
    unit::pass(name)?;
    Ok(())
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static TARGET: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    fn target() -> Option<(String, u64)> {
        let text = std::env::var("SLUICE_CRASH_AT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    }

    pub(super) fn pass(name: &str) {
        let Some((wanted, count)) = TARGET.get_or_init(target) else {
            return;
        };
        if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count {
            tracing::error!(place = name, "ends here, as SLUICE_CRASH_AT says");
            std::process::abort();
        }
    }
}

#[cfg(test)]
pub(super) mod unit {
    use super::SinkError;
    use std::cell::RefCell;

    thread_local! {
        static ARMED: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// Makes a place of this thread fail once.
    pub(in crate::processors) fn arm(name: &str) {
        ARMED.with_borrow_mut(|armed| *armed = Some(name.to_owned()));
    }

    /// Whether the armed place was never come to.
    pub(in crate::processors) fn disarm() -> bool {
        ARMED.with_borrow_mut(Option::take).is_some()
    }

    pub(super) fn pass(name: &str) -> Result<(), SinkError> {
        ARMED.with_borrow_mut(|armed| {
            if armed.as_deref() == Some(name) {
                *armed = None;
                return Err(SinkError::transient(format!("crash at {name}")));
            }
            Ok(())
        })
    }
}
