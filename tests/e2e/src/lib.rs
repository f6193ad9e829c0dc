//! A real system for end-to-end tests: real Kafka and the real binaries, started through
//! `scripts/stack`, reached only by HTTP, TCP and Kafka.

pub mod daemon;
pub mod events;
pub mod http;
pub mod kafka;
pub mod lines;
pub mod stack;

use std::time::{Duration, Instant};

/// What a test fails with.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
/// The outcome of a test or of a step of it.
pub type Outcome<T = ()> = Result<T, Fault>;

/// The longest that a test waits for something that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds something; fails with what was awaited when it takes longer than [`SOON`].
///
/// # Errors
/// When the time is over, or `look` fails.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {SOON:?} in vain until {what}").into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Fails with a message unless a condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

/// Fails unless two values are equal, showing both.
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if *left != *right {
            return Err(format!("{}\n  left: {left:?}\n right: {right:?}", format!($($message)+)).into());
        }
    }};
}
