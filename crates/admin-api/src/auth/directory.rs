//! The credentials that count now, in memory: tokens by their hashes, with what their accounts may do.

use super::oidc::Oidc;
use super::oidc::claims::is_jwt;
use crate::settings::{Auth, Settings};
use crate::store::access::{Access, Standing};
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_model::token::TokenInfo;
use sluice_service::secret::{hash, same};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Where a token comes from, as its row says.
pub mod source {
    /// The configuration.
    pub const BOOTSTRAP: &str = "bootstrap";
    /// An admin.
    pub const API: &str = "api";
    /// The user itself.
    pub const PERSONAL: &str = "personal";
    /// A sign-in.
    pub const SESSION: &str = "session";
}

/// The tokens that are valid, by their hashes.
#[derive(Debug, Default)]
pub struct Tokens {
    inner: RwLock<Inner>,
    auth_off: bool,
    anonymous_read: bool,
    session_idle_ms: i64,
    oidc: Option<Oidc>,
}

#[derive(Debug, Default)]
struct Inner {
    by_hash: HashMap<[u8; 32], Known>,
    access: Access,
}

/// One token in memory.
#[derive(Debug)]
struct Known {
    token_id: i64,
    source: String,
    actor: Actor,
    disabled: bool,
    /// Milliseconds of its last use; 0 for none.
    last: AtomicI64,
    /// The same while it is not noted yet.
    used: AtomicI64,
}

/// What a valid token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is, and what it may do.
    pub actor: Actor,
    /// Which token it is, if it is one of the store.
    pub token_id: Option<i64>,
    /// Where it comes from.
    pub source: String,
}

impl Tokens {
    /// The credentials of the store, under the rules of the settings.
    pub fn new(access: Access, settings: &Settings, oidc: Option<Oidc>) -> Self {
        let tokens = Self {
            inner: RwLock::default(),
            auth_off: settings.auth == Auth::None,
            anonymous_read: settings.anonymous_read,
            session_idle_ms: settings.sessions.idle.as_millis() as i64,
            oidc,
        };
        tokens.replace(access);
        tokens
    }

    /// Takes the credentials of the store anew.
    pub fn replace(&self, mut access: Access) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut inner.by_hash);
        let tokens = std::mem::take(&mut access.tokens);
        let known = tokens.into_iter().map(|(hash, info)| {
            let old = old.remove(&hash);
            (hash, Known::new(info, old, &access))
        });
        inner.by_hash = known.collect();
        inner.access = access;
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody can come in who may do everything.
    pub fn has_admin(&self) -> bool {
        let inner = self.read();
        let lasting = |known: &&Known| known.source != source::SESSION && !known.disabled;
        let user = |user: &Standing| {
            user.has_password && !user.disabled && user.roles.contains(&Role::Admin)
        };
        self.auth_off
            || inner.access.users.values().any(user)
            || inner
                .by_hash
                .values()
                .filter(lasting)
                .any(|known| known.actor.may(Role::Admin))
    }

    /// The identity provider, if there is one.
    pub const fn oidc(&self) -> Option<&Oidc> {
        self.oidc.as_ref()
    }

    /// Whether no credential is needed for anything.
    pub const fn auth_off(&self) -> bool {
        self.auth_off
    }

    /// What is known of a user; none when the account has tokens at most.
    pub fn user(&self, account: &str) -> Option<Standing> {
        self.read().access.users.get(account).cloned()
    }

    /// The teams that an account is in.
    pub fn teams(&self, account: &str) -> Vec<String> {
        let inner = self.read();
        inner.access.teams.get(account).cloned().unwrap_or_default()
    }

    /// The names among some that are teams.
    pub fn existing_teams(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let inner = self.read();
        let known = |name: &String| inner.access.team_names.contains(name);
        names.into_iter().filter(known).collect()
    }

    /// The uses that were not taken before: `(token_id, when)`.
    pub fn take_uses(&self) -> Vec<(i64, Timestamp)> {
        let inner = self.read();
        let uses = inner.by_hash.values().map(|known| {
            let at = known.used.swap(0, Ordering::AcqRel);
            (known.token_id, Timestamp::from_millis(at))
        });
        uses.filter(|(_, at)| at.as_millis() != 0).collect()
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// 401 when it is unknown or has ended.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Problem> {
        let refused = |detail: &str| Err(Problem::new(Code::Unauthenticated, detail));
        let wanted = hash(token);
        let inner = self.read();
        let found = inner
            .by_hash
            .get_key_value(&wanted)
            .filter(|(known, _)| same(*known, &wanted));
        let Some((_, known)) = found else {
            return refused("the token is not known");
        };
        if known.actor.expires_at.is_some_and(|end| end <= now) {
            return refused("the token has expired");
        }
        if known.disabled {
            return refused("the account is disabled");
        }
        let idle = now.as_millis() - known.last.load(Ordering::Acquire);
        if known.source == source::SESSION && idle > self.session_idle_ms {
            return refused("the session has ended; sign in again");
        }
        known.last.store(now.as_millis(), Ordering::Release);
        known.used.store(now.as_millis(), Ordering::Release);
        Ok(Verified {
            actor: known.actor.clone(),
            token_id: Some(known.token_id),
            source: known.source.clone(),
        })
    }

    /// Who stands behind a request: its credential, or nobody where that is allowed.
    ///
    /// # Errors
    /// 401 without a valid credential.
    pub fn identify(
        &self,
        token: Option<&str>,
        reads: bool,
        now: Timestamp,
    ) -> Result<Actor, Problem> {
        let known = self.identify_whole(token, reads, now);
        known.map(|known| known.actor)
    }

    /// The same, with which credential it was.
    ///
    /// # Errors
    /// 401 without a valid credential.
    pub fn identify_whole(
        &self,
        token: Option<&str>,
        reads: bool,
        now: Timestamp,
    ) -> Result<Verified, Problem> {
        match token {
            Some(token) if !self.auth_off => match &self.oidc {
                Some(oidc) if is_jwt(token) => oidc.verify(self, token),
                _ => self.verify(token, now),
            },
            _ if self.auth_off => Ok(anonymous(Role::Admin)),
            _ if self.anonymous_read && reads => Ok(anonymous(Role::Viewer)),
            _ => {
                let detail = "send Authorization: Bearer TOKEN (or X-Producer-Key: TOKEN)";
                Err(Problem::new(Code::Unauthenticated, detail))
            }
        }
    }
}

impl Known {
    fn new(info: TokenInfo, old: Option<Self>, access: &Access) -> Self {
        let user = access.users.get(&info.account);
        let last = info.last_used_at.unwrap_or(info.created_at).as_millis();
        let last = old
            .as_ref()
            .map_or(last, |old| old.last.load(Ordering::Acquire));
        Self {
            token_id: info.token_id,
            disabled: user.is_some_and(|user| user.disabled),
            actor: Actor {
                roles: roles(&info, user),
                teams: access.teams.get(&info.account).cloned().unwrap_or_default(),
                account: info.account,
                scopes: info.scopes,
                expires_at: info.expires_at,
            },
            source: info.source,
            last: AtomicI64::new(last),
            used: old.map(|old| old.used).unwrap_or_default(),
        }
    }
}

/// What a token may do now: what a user made for itself is never wider than the user is.
fn roles(info: &TokenInfo, user: Option<&Standing>) -> Vec<Role> {
    let held = user.map(|user| user.roles.as_slice()).unwrap_or_default();
    match info.source.as_str() {
        source::SESSION => held.to_vec(),
        source::PERSONAL => {
            let within = |role: &&Role| held.iter().any(|held| held.includes(**role));
            info.roles.iter().filter(within).copied().collect()
        }
        _ => info.roles.clone(),
    }
}

fn anonymous(role: Role) -> Verified {
    let actor = Actor {
        account: "anonymous".to_owned(),
        roles: vec![role],
        scopes: Vec::new(),
        teams: Vec::new(),
        expires_at: None,
    };
    Verified {
        actor,
        token_id: None,
        source: "anonymous".to_owned(),
    }
}
