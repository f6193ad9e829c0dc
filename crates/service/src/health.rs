//! Health: what is broken, in words. Read by `/readyz`, `/api/health` and the console.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies that are in trouble now, and whether the service can serve without them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    inner: Arc<Mutex<BTreeMap<&'static str, Trouble>>>,
}

#[derive(Clone, Debug)]
struct Trouble {
    reason: String,
    fatal: bool,
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// `ready`, `degraded` or `unavailable`.
    pub status: &'static str,
    /// The dependencies in trouble that the service can do without for a while.
    pub degraded: Vec<&'static str>,
    /// Every trouble in words.
    pub reasons: BTreeMap<&'static str, String>,
}

impl Health {
    /// Says that a dependency works.
    pub fn ok(&self, name: &'static str) {
        let mut troubles = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.remove(name).is_some() {
            tracing::info!(dependency = name, "{name} works again");
        }
    }

    /// Says that a dependency is in trouble, but the service still serves.
    pub fn degraded(&self, name: &'static str, reason: impl Into<String>) {
        self.set(
            name,
            Trouble {
                reason: reason.into(),
                fatal: false,
            },
        );
    }

    /// Says that the service cannot serve.
    pub fn unavailable(&self, name: &'static str, reason: impl Into<String>) {
        self.set(
            name,
            Trouble {
                reason: reason.into(),
                fatal: true,
            },
        );
    }

    fn set(&self, name: &'static str, trouble: Trouble) {
        let mut troubles = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = troubles
            .get(name)
            .is_some_and(|old| old.fatal == trouble.fatal);
        if !known {
            tracing::warn!(
                dependency = name,
                reason = trouble.reason,
                "{name} is in trouble"
            );
        }
        troubles.insert(name, trouble);
    }

    /// The whole picture.
    pub fn readiness(&self) -> Readiness {
        let troubles = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fatal = troubles.values().any(|trouble| trouble.fatal);
        let degraded: Vec<_> = troubles
            .iter()
            .filter(|(_, t)| !t.fatal)
            .map(|(name, _)| *name)
            .collect();
        let status = match (fatal, degraded.is_empty()) {
            (true, _) => "unavailable",
            (false, false) => "degraded",
            (false, true) => "ready",
        };
        let reasons = troubles
            .iter()
            .map(|(name, t)| (*name, t.reason.clone()))
            .collect();
        Readiness {
            status,
            degraded,
            reasons,
        }
    }
}

impl Readiness {
    /// The HTTP status of the readiness probe.
    pub fn http_status(&self) -> u16 {
        if self.status == "unavailable" {
            503
        } else {
            200
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_is_ready_and_unavailable_is_not() {
        let health = Health::default();
        assert_eq!(health.readiness().status, "ready");
        health.degraded("kafka", "connection refused");
        assert_eq!(health.readiness().http_status(), 200);
        assert_eq!(health.readiness().degraded, ["kafka"]);
        health.unavailable("disk", "full");
        assert_eq!(health.readiness().http_status(), 503);
        health.ok("disk");
        health.ok("kafka");
        assert_eq!(health.readiness().status, "ready");
    }
}
