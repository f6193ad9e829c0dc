//! Places at which tests kill the process, to see that every step of a commit may be the last one; in unit tests
//! they fail instead.

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
pub(super) fn pass(name: &str) -> Result<(), SinkError> {
    sluice_service::failpoint::pass(name);
    #[cfg(test)]
    unit::pass(name)?;
    Ok(())
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
