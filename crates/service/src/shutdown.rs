//! The one word that ends a daemon: SIGTERM or SIGINT, seen by threads and tasks alike.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// A handle on the wish to stop. Clones see the same wish.
#[derive(Clone, Debug)]
pub struct Shutdown {
    wish: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            wish: watch::Sender::new(false),
        }
    }
}

impl Shutdown {
    /// A handle that SIGTERM and SIGINT trigger.
    ///
    /// # Errors
    /// When the signal handlers or their thread cannot be set up.
    pub fn on_signals() -> std::io::Result<Self> {
        let this = Self::default();
        let handle = this.clone();
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    tracing::info!(signal, "stop requested");
                    handle.request();
                }
            })?;
        Ok(this)
    }

    /// Asks for the stop.
    pub fn request(&self) {
        self.wish.send_replace(true);
    }

    /// Whether the stop was asked for.
    pub fn requested(&self) -> bool {
        *self.wish.borrow()
    }

    /// Ends when the stop is asked for.
    pub async fn wait(&self) {
        let mut wish = self.wish.subscribe();
        // The sender lives in self, so the channel cannot close meanwhile.
        let _stopped = wish.wait_for(|stop| *stop).await;
    }
}
