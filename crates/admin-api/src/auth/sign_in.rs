//! From an account and a password to a session, and from a one-time secret to the first admin.

use super::directory::Verified;
use super::prefix;
use crate::app::sessions::{self, NewSession, Vouched};
use crate::app::setup::{self, FirstAdmin};
use crate::state::State;
use crate::store;
use rusqlite::Connection;
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_model::token::TokenInfo;
use sluice_model::user::{check_name, check_password};
use sluice_service::http::problem::{Failure, internal};
use sluice_service::now;
use sluice_service::secret::{Secret, hash, same};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;
/// What every token begins with, so that scanners find one that leaked.
const TOKEN_MARK: &str = "sluice_";

/// Random bytes in hexadecimal.
///
/// # Errors
/// When the system has no randomness.
pub fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| internal(&error))?;
    let mut text = String::with_capacity(2 * TOKEN_BYTES);
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// A new token.
///
/// # Errors
/// When the system has no randomness.
pub fn random_token() -> Result<String, Failure> {
    Ok(format!("{TOKEN_MARK}{}", random_hex()?))
}

/// Somebody who is not known as more than a name yet.
fn nobody(account: &str) -> Actor {
    Actor {
        account: account.to_owned(),
        roles: Vec::new(),
        scopes: Vec::new(),
        teams: Vec::new(),
        expires_at: None,
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("admin_sign_ins_total", "outcome" => outcome).increment(1);
}

/// Starts a session for an account and its password; answers the session's token.
///
/// # Errors
/// 401 when they do not fit, in the same words and the same time whatever the reason; 429 after too many attempts.
pub async fn sign_in(
    state: &State,
    account: &str,
    password: Secret,
    address: Option<IpAddr>,
) -> Result<(String, TokenInfo), Failure> {
    state.throttle.attempt(Some(account), address)?;
    let name = account.to_owned();
    let read = move |c: &Connection| store::users::password(c, &name);
    let known = state.database.read(read).await?;
    let fits = state.passwords.verify(password, known.clone()).await?;
    let Some(known) = known.filter(|_| fits) else {
        count("refused");
        tracing::info!(
            address = address.map(tracing::field::display),
            "a sign-in was refused"
        );
        return Err(sessions::refused().into());
    };
    let (token, new) = new_session(state)?;
    let context = state.context(nobody(account));
    let work = move |c: &Connection| sessions::start(c, &context, &known, &new);
    let info = state.database.write(work).await?;
    state.reload_access().await?;
    count("accepted");
    Ok((token, info))
}

/// Starts a session for somebody whom the identity provider vouches for.
///
/// # Errors
/// 403 when the account is disabled or somebody else's.
pub async fn sign_in_vouched(state: &State, who: Vouched) -> Result<(String, TokenInfo), Failure> {
    let (token, new) = new_session(state)?;
    let context = state.context(nobody(&who.account));
    let work = move |c: &Connection| sessions::start_vouched(c, &context, &who, &new);
    let info = state.database.write(work).await?;
    state.reload_access().await?;
    count("accepted");
    Ok((token, info))
}

fn new_session(state: &State) -> Result<(String, NewSession), Failure> {
    let token = random_token()?;
    let longest = state.settings.sessions.max.as_millis() as i64;
    let new = NewSession {
        hash: hash(&token),
        prefix: prefix(&token),
        expires_at: Timestamp::from_millis(now().as_millis().saturating_add(longest)),
    };
    Ok((token, new))
}

/// Ends the session of a credential.
///
/// # Errors
/// 409 when it is no session.
pub async fn sign_out(state: &State, known: Verified) -> Result<(), Failure> {
    let Some(token_id) = known.token_id else {
        let detail = "this credential is no session";
        return Err(Problem::new(Code::Conflict, detail).into());
    };
    let context = state.context(known.actor);
    let work = move |c: &Connection| sessions::end(c, &context, token_id);
    state.database.write(work).await?;
    Ok(state.reload_access().await?)
}

/// The one-time secret of a start without any admin. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    secret: Arc<Mutex<Option<Secret>>>,
}

impl Setup {
    /// Makes a secret.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn open(&self) -> Result<String, Failure> {
        let secret = random_hex()?;
        *self.lock() = Some(Secret::new(secret.clone()));
        Ok(secret)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Secret>> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a secret is the one.
    ///
    /// # Errors
    /// 404 when there is none (any more), 403 when it is another one.
    pub fn check(&self, said: &str) -> Result<(), Problem> {
        let secret = self.lock();
        let Some(secret) = secret.as_ref() else {
            let detail =
                "there is nothing to set up: an admin exists, or the address was used already";
            return Err(Problem::new(Code::NotFound, detail));
        };
        if same(&hash(said), &hash(secret.expose())) {
            return Ok(());
        }
        let detail = "this is not the secret of the set-up; the log of the last start has it";
        Err(Problem::new(Code::Forbidden, detail))
    }

    /// Takes the secret, so that nobody uses it a second time.
    fn take(&self) -> Option<Secret> {
        self.lock().take()
    }

    /// Gives it back after a use that failed.
    fn put_back(&self, secret: Option<Secret>) {
        *self.lock() = secret;
    }
}

/// Makes the first admin: with a password, or else with a token that is answered.
///
/// # Errors
/// 403, 404 and 429 about the secret, 422 about account and password.
pub async fn set_up(
    state: &State,
    secret: &str,
    account: &str,
    password: Option<Secret>,
    address: Option<IpAddr>,
) -> Result<Option<(String, TokenInfo)>, Failure> {
    state.throttle.attempt(None, address)?;
    state.setup.check(secret)?;
    check_name(account).map_err(|message| Problem::invalid("/account", message))?;
    if let Some(password) = &password {
        check_password(account, password.expose())
            .map_err(|message| Problem::invalid("/password", message))?;
    }
    let (token, first) = if let Some(password) = password {
        let hash = state.passwords.hash(password).await?;
        (None, FirstAdmin::Password(hash))
    } else {
        let token = random_token()?;
        let first = FirstAdmin::Token(hash(&token), prefix(&token));
        (Some(token), first)
    };
    let Some(taken) = state.setup.take() else {
        return Err(Problem::new(Code::NotFound, "the address was used already").into());
    };
    let actor = Actor {
        roles: vec![Role::Admin],
        ..nobody("setup")
    };
    let (context, name) = (state.context(actor), account.to_owned());
    let work = move |c: &Connection| setup::create(c, &context, &name, first);
    match state.database.write(work).await {
        Ok(info) => {
            crate::state::remove_setup_file(&state.settings);
            state.reload_access().await?;
            Ok(token.zip(info))
        }
        Err(error) => {
            state.setup.put_back(Some(taken));
            Err(error.into())
        }
    }
}
