//! Who calls: tokens by their hashes, and what a handler asks of its caller.

pub mod directory;
pub mod oidc;
pub mod password;
pub mod scopes;
pub mod sign_in;
pub mod throttle;

pub use directory::{Tokens, Verified};

use crate::settings::BootstrapToken;
use crate::state::State;
use crate::store::tokens::Bootstrap;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{FromRequest, HttpRequest, web};
use anyhow::Context as _;
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::credential;
use sluice_service::http::problem::{Failure, internal};
use sluice_service::now;
use sluice_service::secret::{Secret, hash};
use std::future::{Ready, ready};

/// Characters of a token that may be shown to recognise it by.
const PREFIX_CHARS: usize = 6;
/// The same for tokens that begin with the mark that all of ours have.
const MARKED_CHARS: usize = 13;

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

/// The caller of a handler together with which credential it used.
#[derive(Clone, Debug)]
pub struct Credential(pub Verified);

/// Who stands behind a request, if its scopes leave the call open.
///
/// # Errors
/// 401 without a valid credential, 403 for a scope.
pub fn identify(request: &HttpRequest) -> Result<Verified, Failure> {
    let Some(state) = request.app_data::<web::Data<State>>() else {
        return Err(internal(&"the app has no state"));
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = state
        .tokens
        .identify_whole(credential::token(request), reads, now())?;
    let pattern = request.match_pattern().unwrap_or_default();
    let last = request.path().rsplit('/').next().unwrap_or_default();
    let needed = scopes::needed(request.method(), &pattern, last);
    known.actor.need_scope(needed)?;
    Ok(known)
}

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).map(|known| Self(known.actor)))
    }
}

impl FromRequest for Credential {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).map(Self))
    }
}
