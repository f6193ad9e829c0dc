//! How often somebody may try to sign in: per account and per address, in bounded memory.

use crate::settings::SessionSettings;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sluice_model::problem::{Code, Problem};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Buckets of one limiter. Accounts and addresses are spread over them by a keyed hash, so that memory
/// is bounded whatever is tried; two that share a bucket share its tries.
const BUCKETS: u64 = 16_384;
/// The part of an IPv6 address that one customer has.
const V6_PREFIX_BYTES: usize = 8;

type Limiter = RateLimiter<u64, HashMapStateStore<u64>, DefaultClock>;

/// The tries that are left. Clones share them.
#[derive(Clone)]
pub struct Throttle {
    accounts: Arc<Limiter>,
    addresses: Arc<Limiter>,
    hasher: RandomState,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Throttle {
    /// Limits as the settings have them.
    pub fn new(settings: &SessionSettings) -> Self {
        let limiter = |per_minute: u32| {
            let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
            Arc::new(RateLimiter::hashmap(Quota::per_minute(per_minute)))
        };
        Self {
            accounts: limiter(settings.attempts_per_account),
            addresses: limiter(settings.attempts_per_address),
            hasher: RandomState::new(),
        }
    }

    /// Takes one try of an address, and of an account if it is known which.
    ///
    /// # Errors
    /// 429 that says when there is another one.
    pub fn attempt(&self, account: Option<&str>, address: Option<IpAddr>) -> Result<(), Problem> {
        if let Some(address) = address {
            take(&self.addresses, self.hasher.hash_one(place(address)))?;
        }
        match account {
            Some(account) => take(&self.accounts, self.hasher.hash_one(account)),
            None => Ok(()),
        }
    }
}

fn take(limiter: &Limiter, key: u64) -> Result<(), Problem> {
    let Err(until) = limiter.check_key(&(key % BUCKETS)) else {
        return Ok(());
    };
    let wait = until.wait_time_from(DefaultClock::default().now());
    let seconds = u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    metrics::counter!("admin_sign_ins_total", "outcome" => "throttled").increment(1);
    let detail = format!("too many attempts to sign in; try again in {seconds} s");
    Err(Problem::new(Code::TooManyAttempts, detail).retry_after(seconds))
}

/// What counts as one address.
fn place(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets()[..V6_PREFIX_BYTES].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tries_end_for_an_account_and_for_an_address_and_memory_is_bounded() {
        let throttle = Throttle::new(&SessionSettings {
            idle: Duration::from_secs(1),
            max: Duration::from_secs(1),
            attempts_per_account: 3,
            attempts_per_address: 5,
        });
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|a| a.parse().unwrap());
        for _ in 0..3 {
            throttle.attempt(Some("ana"), Some(a)).unwrap();
        }
        let refused = throttle.attempt(Some("ana"), Some(b)).unwrap_err();
        assert_eq!(refused.status, 429);
        assert!(
            refused
                .retry_after_s
                .is_some_and(|wait| (1..=21).contains(&wait))
        );
        throttle.attempt(None, Some(b)).unwrap();
        assert_eq!(
            throttle.attempt(None, Some(a)).unwrap_err().status,
            429,
            "one customer"
        );
        for number in 0..40_000 {
            let _tried = throttle.attempt(Some(&number.to_string()), None);
        }
        assert!(throttle.accounts.len() as u64 <= BUCKETS);
    }
}
