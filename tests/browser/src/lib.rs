//! The console in a real browser: see `tests/`.
