//! Who calls: tokens by their hashes, and what a handler asks of its caller.

use crate::settings::{Auth, BootstrapToken, Settings};
use crate::state::State;
use crate::store::tokens::Bootstrap;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{FromRequest, HttpRequest, web};
use anyhow::Context as _;
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_model::token::TokenInfo;
use sluice_service::http::credential;
use sluice_service::http::problem::{Failure, internal};
use sluice_service::now;
use sluice_service::secret::{Secret, hash, same};
use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Characters of a token that may be shown to recognise it by.
const PREFIX_CHARS: usize = 6;
/// The same for tokens that begin with the mark that all of ours have.
const MARKED_CHARS: usize = 13;

/// The tokens that are valid, by their hashes.
#[derive(Debug, Default)]
pub struct Tokens {
    by_hash: RwLock<HashMap<[u8; 32], Known>>,
    auth_off: bool,
    anonymous_read: bool,
}

/// One token in memory.
#[derive(Debug)]
struct Known {
    token_id: i64,
    actor: Actor,
    /// Milliseconds of its last use that is not noted yet; 0 for none.
    used: AtomicI64,
}

impl Tokens {
    /// The tokens of the store, under the rules of the settings.
    pub fn new(all: Vec<([u8; 32], TokenInfo)>, settings: &Settings) -> Self {
        let tokens = Self {
            by_hash: RwLock::default(),
            auth_off: settings.auth == Auth::None,
            anonymous_read: settings.anonymous_read,
        };
        tokens.replace(all);
        tokens
    }

    /// Takes the tokens of the store anew.
    pub fn replace(&self, all: Vec<([u8; 32], TokenInfo)>) {
        let mut known = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *known);
        *known = all
            .into_iter()
            .map(|(hash, info)| {
                let used = old.remove(&hash).map(|known| known.used);
                let known = Known {
                    token_id: info.token_id,
                    actor: Actor {
                        account: info.account,
                        roles: info.roles,
                        scopes: info.scopes,
                        teams: Vec::new(),
                        expires_at: info.expires_at,
                    },
                    used: used.unwrap_or_default(),
                };
                (hash, known)
            })
            .collect();
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<[u8; 32], Known>> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody may do everything.
    pub fn has_admin(&self) -> bool {
        self.auth_off
            || self
                .read()
                .values()
                .any(|known| known.actor.may(Role::Admin))
    }

    /// The uses that were not taken before: `(token_id, when)`.
    pub fn take_uses(&self) -> Vec<(i64, Timestamp)> {
        let known = self.read();
        let uses = known.values().map(|known| {
            let at = known.used.swap(0, Ordering::AcqRel);
            (known.token_id, Timestamp::from_millis(at))
        });
        uses.filter(|(_, at)| at.as_millis() != 0).collect()
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// 401 when it is unknown or has ended.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Actor, Problem> {
        let wanted = hash(token);
        let known = self.read();
        let found = known
            .get_key_value(&wanted)
            .filter(|(known, _)| same(*known, &wanted));
        match found {
            Some((_, known)) if known.actor.expires_at.is_none_or(|end| now < end) => {
                known.used.store(now.as_millis(), Ordering::Release);
                Ok(known.actor.clone())
            }
            Some(_) => Err(Problem::new(Code::Unauthenticated, "the token has expired")),
            None => Err(Problem::new(
                Code::Unauthenticated,
                "the token is not known",
            )),
        }
    }

    /// Who stands behind a request: its token, or nobody where that is allowed.
    ///
    /// # Errors
    /// 401 without a valid token.
    pub fn identify(
        &self,
        token: Option<&str>,
        reads: bool,
        now: Timestamp,
    ) -> Result<Actor, Problem> {
        match token {
            Some(token) if !self.auth_off => self.verify(token, now),
            _ if self.auth_off => Ok(anonymous(Role::Admin)),
            _ if self.anonymous_read && reads => Ok(anonymous(Role::Viewer)),
            _ => {
                let detail = "send Authorization: Bearer TOKEN (or X-Producer-Key: TOKEN)";
                Err(Problem::new(Code::Unauthenticated, detail))
            }
        }
    }
}

fn anonymous(role: Role) -> Actor {
    Actor {
        account: "anonymous".to_owned(),
        roles: vec![role],
        scopes: Vec::new(),
        teams: Vec::new(),
        expires_at: None,
    }
}

/// The first characters of a token.
pub fn prefix(token: &str) -> String {
    let marked = token.starts_with("sluice_");
    let count = if marked { MARKED_CHARS } else { PREFIX_CHARS };
    token.chars().take(count).collect()
}

/// Reads the token files of the configuration.
///
/// # Errors
/// When a file cannot be read.
pub fn read_bootstrap(tokens: &[BootstrapToken]) -> anyhow::Result<Vec<Bootstrap>> {
    let read = |token: &BootstrapToken| {
        let secret = Secret::from_file(&token.token_file)
            .with_context(|| format!("read the token of account {}", token.account))?;
        Ok(Bootstrap {
            hash: hash(secret.expose()),
            prefix: prefix(secret.expose()),
            account: token.account.clone(),
            roles: token.roles.clone(),
        })
    };
    tokens.iter().map(read).collect()
}

/// The caller of a handler; asks for a role by [`Caller::may`].
#[derive(Clone, Debug)]
pub struct Caller(pub Actor);

impl Caller {
    /// The caller, if one of its roles includes `needed`.
    ///
    /// # Errors
    /// 403 otherwise.
    pub fn may(self, needed: Role) -> Result<Actor, Failure> {
        require(&self.0, needed)?;
        Ok(self.0)
    }
}

/// Asks for a role.
///
/// # Errors
/// 403 when no role of the actor includes it.
pub fn require(actor: &Actor, needed: Role) -> Result<(), Problem> {
    if actor.may(needed) {
        return Ok(());
    }
    let roles: Vec<_> = actor.roles.iter().map(|role| role.as_str()).collect();
    let detail = format!(
        "this needs the role {needed}; {} has {}",
        actor.account,
        roles.join(", ")
    );
    Err(Problem::new(Code::Forbidden, detail))
}

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(state) = request.app_data::<web::Data<State>>() else {
            return ready(Err(internal(&"the app has no state")));
        };
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let actor = state
            .tokens
            .identify(credential::token(request), reads, now());
        ready(actor.map(Self).map_err(Failure::from))
    }
}
