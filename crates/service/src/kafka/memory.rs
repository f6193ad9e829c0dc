//! What the C library keeps of freed memory. Every client of librdkafka has four threads or more, and what
//! one of them allocates another one frees: with an arena per thread, a thousand clients that do nothing
//! keep 0.7 GB, most of it free.

#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "nobody wraps mallopt and malloc_trim")
)]

#[cfg(target_env = "gnu")]
mod gnu {
    use std::ffi::c_int;

    /// `M_ARENA_MAX` of malloc.h.
    const ARENA_MAX: c_int = -8;
    /// Enough for two cores' worth of clients not to wait for one another.
    const ARENAS: c_int = 2;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
        fn malloc_trim(keep: usize) -> c_int;
    }

    pub(super) fn share_arenas() {
        // SAFETY: it may be called at any time and only changes what is allocated later.
        unsafe { mallopt(ARENA_MAX, ARENAS) };
    }

    pub(super) fn give_back() {
        // SAFETY: it may be called at any time, from any thread.
        unsafe { malloc_trim(0) };
    }
}

/// Lets threads share a few arenas, unless `MALLOC_ARENA_MAX` says how many. For services with many
/// clients, before their threads start.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        gnu::share_arenas();
    }
}

/// Gives free memory back to the system. Takes milliseconds: call it now and then, from a thread that
/// nobody waits for.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    gnu::give_back();
}
