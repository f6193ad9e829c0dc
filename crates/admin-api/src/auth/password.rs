//! Passwords: argon2id, computed beside the async threads, a few at a time.

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::{Failure, internal};
use sluice_service::secret::Secret;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// Memory of one hash in KiB. 19 MiB, two passes and one lane are OWASP's first choice for argon2id:
/// more memory would let fewer sign-ins happen at once, and more lanes help an attacker's machine more
/// than ours.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Hashes that are computed at one time: a core each, 38 MiB together.
const HASHES_MAX: usize = 2;
/// Callers that may wait for their turn.
const WAITING_MAX: usize = 64;

/// Where passwords are hashed and checked. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct Passwords {
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// The hash that stands for users that do not exist, so that they take as long as others.
    nobody: Arc<OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(HASHES_MAX)),
            waiting: Arc::default(),
            nobody: Arc::default(),
        }
    }
}

impl Passwords {
    /// The hash of a password, in the PHC format.
    ///
    /// # Errors
    /// 429 when too many wait already.
    pub async fn hash(&self, password: Secret) -> Result<String, Failure> {
        self.compute(move || hash(password.expose())).await?
    }

    /// Whether a password belongs to a hash. Without a hash it never does, in the same time.
    ///
    /// # Errors
    /// 429 when too many wait already.
    pub async fn verify(&self, password: Secret, known: Option<String>) -> Result<bool, Failure> {
        let nobody = Arc::clone(&self.nobody);
        let work = move || {
            let exists = known.is_some();
            let known = match known {
                Some(known) => known,
                None => match nobody.get() {
                    Some(made) => made.clone(),
                    None => nobody
                        .get_or_init(|| hash("nobody").unwrap_or_default())
                        .clone(),
                },
            };
            let fits = hasher()?.verify_password(password.expose().as_bytes(), known.as_str());
            Ok(fits.is_ok() && exists)
        };
        self.compute(work).await?
    }

    /// Makes the hash that stands for nobody before anybody asks, for the first time would take longer.
    pub fn prepare(&self) {
        self.nobody
            .get_or_init(|| hash("nobody").unwrap_or_default());
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let detail = "too many sign-ins wait for their turn";
            return Err(Problem::new(Code::Busy, detail).retry_after(1).into());
        }
        // Counts down also when the caller goes away while it waits.
        let _turn = Turn(Arc::clone(&self.waiting));
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|error| internal(&error))?;
        let done = tokio::task::spawn_blocking(move || {
            let _held_until_done = slot;
            work()
        });
        done.await.map_err(|error| internal(&error))
    }
}

#[derive(Debug)]
struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn hasher() -> Result<Argon2<'static>, Failure> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| internal(&error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, Failure> {
    let hash = hasher()?.hash_password(password.as_bytes());
    Ok(hash.map_err(|error| internal(&error))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_hash_alone_and_nobody_has_one() {
        let passwords = Passwords::default();
        let secret = |text: &str| Secret::new(text.to_owned());
        let known = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(
            known.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{known}"
        );
        for (password, known, fits) in [
            ("correct horse", Some(known.clone()), true),
            ("Correct horse", Some(known), false),
            ("nobody", None, false),
            ("x", Some("no hash".to_owned()), false),
        ] {
            let verified = passwords.verify(secret(password), known).await.unwrap();
            assert_eq!(verified, fits, "{password}");
        }
        assert_eq!(passwords.waiting.load(Ordering::Acquire), 0);
    }
}
