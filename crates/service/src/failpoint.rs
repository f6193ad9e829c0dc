//! Places at which tests kill the process, to see that every step may be the last one.
//!
//! `SLUICE_CRASH_AT=NAME:N` ends a debug build without any cleaning up when it comes to the place NAME
//! for the N-th time (the first one unless said). Release builds have none of it.

/// Passes a place.
#[inline]
#[cfg_attr(
    not(debug_assertions),
    expect(unused_variables, reason = "release builds have no such places")
)]
pub fn pass(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
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
