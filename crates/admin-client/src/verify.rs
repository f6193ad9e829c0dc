//! Checking a client's bearer for the services that own no tokens: `whoami` with that very bearer.
//!
//! A good answer is cached for [`FRESH`]; while the admin API is down it stays good for
//! `stale_max`. Nothing is cached on disk, and only hashes of tokens are kept.

use crate::{Client, Error, call};
use sha2::{Digest as _, Sha256};
use sluice_model::access::Actor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is taken for current.
pub const FRESH: Duration = Duration::from_secs(60);
/// Credentials remembered at one time.
const CACHE_MAX: usize = 10_000;

/// Why a bearer is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The admin API does not know it.
    #[error("the token is not valid")]
    Invalid,
    /// The admin API does not answer, and the token was not seen before.
    #[error("the token cannot be checked now: {0}")]
    Unavailable(String),
}

/// Verifies bearers. Clones share the cache.
#[derive(Clone, Debug)]
pub struct Verifier {
    client: Client,
    stale_max: Duration,
    seen: Arc<Mutex<HashMap<[u8; 32], Seen>>>,
}

#[derive(Clone, Debug)]
struct Seen {
    actor: Actor,
    at: Instant,
}

impl Verifier {
    /// A verifier that accepts a remembered token for `stale_max` while the admin API is down.
    pub fn new(client: Client, stale_max: Duration) -> Self {
        Self {
            client,
            stale_max,
            seen: Arc::default(),
        }
    }

    /// Who a bearer is.
    ///
    /// # Errors
    /// When it is not valid, or cannot be checked and was not seen lately.
    pub async fn verify(&self, token: &str) -> Result<Actor, Rejection> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let remembered = self.cache(|seen| seen.get(&key).cloned());
        if let Some(seen) = remembered.as_ref().filter(|seen| seen.at.elapsed() < FRESH) {
            return Ok(seen.actor.clone());
        }
        match self.client.send(token, call::whoami()).await {
            Ok(actor) => {
                let seen = Seen {
                    actor: actor.clone(),
                    at: Instant::now(),
                };
                self.cache(|cache| remember(cache, key, seen));
                Ok(actor)
            }
            Err(Error::Problem(problem)) if matches!(problem.status, 401 | 403) => {
                self.cache(|seen| seen.remove(&key));
                Err(Rejection::Invalid)
            }
            Err(error) => match remembered {
                Some(seen) if seen.at.elapsed() < self.stale_max => Ok(seen.actor),
                _ => Err(Rejection::Unavailable(error.to_string())),
            },
        }
    }

    fn cache<T>(&self, work: impl FnOnce(&mut HashMap<[u8; 32], Seen>) -> T) -> T {
        work(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn remember(cache: &mut HashMap<[u8; 32], Seen>, key: [u8; 32], seen: Seen) {
    if cache.len() >= CACHE_MAX {
        cache.retain(|_, old| old.at.elapsed() < FRESH);
    }
    if cache.len() < CACHE_MAX {
        cache.insert(key, seen);
    }
}
