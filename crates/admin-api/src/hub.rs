//! The revision that long polls wait for.
//!
//! A revision is `EPOCH-N`: N is the place of the newest change in the feed, EPOCH is new with every
//! start of the process, so that a database restored from a backup cannot answer with a number that
//! a client has seen before for another content.

use sluice_service::shutdown::Shutdown;
use std::time::Duration;
use tokio::sync::watch;

/// The newest places of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Of changes about topics.
    pub topics: i64,
    /// Of all changes.
    pub all: i64,
}

impl Heads {
    const fn of(self, follow: Follow) -> i64 {
        match follow {
            Follow::Topics => self.topics,
            Follow::All => self.all,
        }
    }
}

/// Which head a poll follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Changes about topics.
    Topics,
    /// All changes.
    All,
}

/// Where waiting polls hear of changes. Clones share it.
#[derive(Clone, Debug)]
pub struct Hub {
    epoch: String,
    heads: watch::Sender<Heads>,
    shutdown: Shutdown,
}

impl Hub {
    /// A hub for one start of the process.
    pub fn new(shutdown: Shutdown) -> Self {
        let epoch = uuid::Uuid::new_v4()
            .simple()
            .to_string()
            .chars()
            .take(8)
            .collect();
        Self {
            epoch,
            heads: watch::Sender::new(Heads::default()),
            shutdown,
        }
    }

    /// Tells the polls where the feed stands.
    pub fn publish(&self, heads: Heads) {
        self.heads.send_if_modified(|known| {
            let changed = *known != heads;
            *known = heads;
            changed
        });
    }

    /// The revision of a place of the feed.
    pub fn revision(&self, place: i64) -> String {
        format!("{}-{place}", self.epoch)
    }

    /// The place of a revision of this epoch.
    pub fn place(&self, revision: &str) -> Option<i64> {
        revision
            .strip_prefix(&self.epoch)?
            .strip_prefix('-')?
            .parse()
            .ok()
    }

    /// The current revision.
    pub fn current(&self, follow: Follow) -> String {
        self.revision(self.head(follow))
    }

    /// The newest place of the feed.
    pub fn head(&self, follow: Follow) -> i64 {
        self.heads.borrow().of(follow)
    }

    /// Waits until the revision differs from `since`; says whether it does. Ends at once when the
    /// service stops.
    pub async fn wait(&self, follow: Follow, since: &str, wait: Duration) -> bool {
        let mut heads = self.heads.subscribe();
        let differs = heads.wait_for(|heads| self.revision(heads.of(follow)) != since);
        tokio::select! {
            outcome = tokio::time::timeout(wait, differs) => matches!(outcome, Ok(Ok(_))),
            () = self.shutdown.wait() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poll_ends_with_the_change_or_with_its_time() {
        let hub = Hub::new(Shutdown::default());
        let since = hub.current(Follow::Topics);
        assert!(
            !hub.wait(Follow::Topics, &since, Duration::from_millis(5))
                .await
        );
        assert!(
            hub.wait(Follow::Topics, "other-0", Duration::ZERO).await,
            "a foreign epoch differs"
        );
        let waiting = {
            let (hub, since) = (hub.clone(), since.clone());
            tokio::spawn(async move {
                hub.wait(Follow::Topics, &since, Duration::from_secs(30))
                    .await
            })
        };
        hub.publish(Heads { topics: 0, all: 1 });
        hub.publish(Heads { topics: 2, all: 2 });
        assert!(waiting.await.unwrap());
        assert_eq!(hub.place(&hub.revision(7)), Some(7));
    }

    #[tokio::test]
    async fn a_stop_ends_polls_at_once() {
        let shutdown = Shutdown::default();
        let hub = Hub::new(shutdown.clone());
        shutdown.request();
        let since = hub.current(Follow::All);
        assert!(!hub.wait(Follow::All, &since, Duration::from_secs(60)).await);
    }
}
