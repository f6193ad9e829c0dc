//! A sign-in with the provider: authorization code with PKCE, state and nonce.

use super::{Oidc, answer, claims};
use crate::app::sessions::Vouched;
use crate::auth::sign_in::random_hex;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use sluice_service::secret::{Secret, hash, same};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long somebody may take at the provider.
const UNDERWAY_MAX: Duration = Duration::from_secs(600);
/// Sign-ins under way at one time; the oldest makes room.
const STARTED_MAX: usize = 10_000;

/// A sign-in under way.
#[derive(Clone, Debug)]
pub struct Started {
    verifier: Secret,
    nonce: Secret,
    next: String,
    at: Instant,
}

#[derive(Debug, Deserialize)]
struct Granted {
    id_token: String,
}

fn refused(why: &str) -> Problem {
    Problem::new(Code::Unauthenticated, why)
}

impl Oidc {
    /// Starts a sign-in: where the browser goes, and the state that it brings back.
    ///
    /// # Errors
    /// 503 when the provider does not answer.
    pub async fn start(&self, next: &str) -> Result<(String, String), Failure> {
        let provider = self.provider(None).await?;
        let (state, nonce, verifier) = (random_hex()?, random_hex()?, random_hex()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let mut url = url::Url::parse(&provider.discovery.authorization_endpoint)
            .map_err(|_| refused("the provider has no address for sign-ins"))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_url)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let started = Started {
            verifier: Secret::new(verifier),
            nonce: Secret::new(nonce),
            next: next.to_owned(),
            at: Instant::now(),
        };
        self.remember(state.clone(), started);
        Ok((url.into(), state))
    }

    fn remember(&self, state: String, new: Started) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.len() >= STARTED_MAX {
            started.retain(|_, old| old.at.elapsed() < UNDERWAY_MAX);
        }
        if started.len() >= STARTED_MAX {
            let oldest = started.iter().min_by_key(|(_, old)| old.at);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                started.remove(&oldest);
            }
        }
        started.insert(state, new);
    }

    /// Ends a sign-in with what the browser brought back: who it is, and where it wanted to go. A state
    /// counts once, and only in the browser that started.
    ///
    /// # Errors
    /// 401 when state, code or token do not hold; 403 when the claims give no role.
    pub async fn finish(
        &self,
        state: &str,
        cookie: &str,
        code: &str,
    ) -> Result<(Vouched, String), Failure> {
        if !same(&hash(state), &hash(cookie)) {
            return Err(refused("this sign-in was started in another browser").into());
        }
        let started = {
            let mut all = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(state)
        };
        let started = started
            .filter(|started| started.at.elapsed() < UNDERWAY_MAX)
            .ok_or_else(|| refused("this sign-in took too long or was used already"))?;
        let token = self
            .exchange(code, &started.verifier)
            .await
            .map_err(|error| {
                tracing::warn!(error = %error, "the identity provider gave no token");
                refused("the provider did not confirm the sign-in")
            })?;
        self.prepare(&token).await?;
        let provider = self.provider(None).await?;
        let settings = &self.settings;
        let claims = claims::read(settings, &provider.keys, &token, &settings.client_id)?;
        let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
        let nonce = text("nonce").unwrap_or_default();
        if !same(&hash(nonce), &hash(started.nonce.expose())) {
            return Err(refused("the token is not for this sign-in").into());
        }
        if text("azp").is_some_and(|party| party != settings.client_id) {
            return Err(refused("the token is for somebody else").into());
        }
        Ok((claims::vouched(settings, &claims)?, started.next))
    }

    async fn exchange(&self, code: &str, verifier: &Secret) -> anyhow::Result<String> {
        let provider = self
            .provider(None)
            .await
            .map_err(|e| anyhow::anyhow!("{e}"))?;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.settings.redirect_url)
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("code_verifier", verifier.expose());
        let mut request = self
            .http
            .post(&provider.discovery.token_endpoint)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        match &self.secret {
            Some(secret) if provider.discovery.secret_in_form() => {
                form.append_pair("client_secret", secret.expose());
            }
            Some(secret) => {
                let encoded = |text: &str| -> String {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let id = encoded(&self.settings.client_id);
                request = request.basic_auth(id, Some(encoded(secret.expose())));
            }
            None => {}
        }
        let request = request.body(form.finish());
        let granted: Granted = answer(request.send().await?).await?;
        Ok(granted.id_token)
    }
}
