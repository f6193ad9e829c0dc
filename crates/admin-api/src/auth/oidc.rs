//! An identity provider: its documents and keys, what its tokens say, and the way of a sign-in.
//!
//! [`flow`] leads a browser there and back, [`claims`] reads tokens; this file fetches discovery and
//! keys, seldom and in bounded time.

pub mod claims;
pub mod flow;

use crate::settings::oidc::{OidcSettings, check_url};
use crate::state::State;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web;
use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::credential;
use sluice_service::http::problem::{Failure, respond};
use sluice_service::secret::Secret;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Time that one call to the provider may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer of the provider.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long documents and keys are taken for current.
const FRESH: Duration = Duration::from_secs(3600);
/// The shortest time between two fetches that an unknown key asks for: whoever sends tokens with made-up
/// key ids must not make us hammer the provider.
const REFETCH_MIN: Duration = Duration::from_secs(10);
/// Keys that are kept.
const KEYS_MAX: usize = 100;

/// What of the discovery document is used.
#[derive(Clone, Debug, Deserialize)]
pub struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

impl Discovery {
    /// Whether our secret stands in the form; the standard's default is the header.
    fn secret_in_form(&self) -> bool {
        let offers = |method: &str| {
            let mut offered = self.token_endpoint_auth_methods_supported.iter();
            offered.any(|offered| offered == method)
        };
        offers("client_secret_post") && !offers("client_secret_basic")
    }
}

/// The provider as it is known now.
#[derive(Clone, Debug)]
struct Known {
    discovery: Discovery,
    keys: Arc<JwkSet>,
    at: Instant,
}

/// The client of one provider. Clones share what is known.
#[derive(Clone, Debug)]
pub struct Oidc {
    settings: Arc<OidcSettings>,
    secret: Option<Secret>,
    http: reqwest::Client,
    known: Arc<RwLock<Option<Known>>>,
    /// One fetch at a time, and when the last one began.
    fetching: Arc<tokio::sync::Mutex<Option<Instant>>>,
    started: Arc<Mutex<HashMap<String, flow::Started>>>,
}

impl Oidc {
    /// A client by the settings; none while they name no provider.
    ///
    /// # Errors
    /// When the secret or the TLS set-up cannot be used.
    pub fn new(settings: &OidcSettings) -> anyhow::Result<Option<Self>> {
        if !settings.on() {
            return Ok(None);
        }
        sluice_service::tls::install_crypto();
        let file = &settings.client_secret_file;
        let secret = (!file.as_os_str().is_empty())
            .then(|| Secret::from_file(file))
            .transpose()?;
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Some(Self {
            settings: Arc::new(settings.clone()),
            secret,
            http,
            known: Arc::default(),
            fetching: Arc::default(),
            started: Arc::default(),
        }))
    }

    /// What the provider is called.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// The provider, fetched when it is not known, when that is long ago, or when a key is asked for that
    /// is not among its keys; the last one that was known when the provider does not answer.
    ///
    /// # Errors
    /// 503 when it was never known and does not answer.
    async fn provider(&self, key_id: Option<&str>) -> Result<Known, Failure> {
        let current = |known: &Known| {
            known.at.elapsed() < FRESH && key_id.is_none_or(|id| known.keys.find(id).is_some())
        };
        if let Some(known) = self.known().filter(current) {
            return Ok(known);
        }
        let mut last = self.fetching.lock().await;
        if let Some(known) = self.known().filter(current) {
            return Ok(known);
        }
        let lately = last.is_some_and(|at| at.elapsed() < REFETCH_MIN);
        if !lately {
            *last = Some(Instant::now());
            match self.fetch().await {
                Ok(known) => {
                    let mut place = self.known.write().unwrap_or_else(PoisonError::into_inner);
                    *place = Some(known);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the identity provider cannot be asked");
                }
            }
        }
        self.known().ok_or_else(|| {
            let detail = "the identity provider does not answer; try again";
            let wait = u32::try_from(REFETCH_MIN.as_secs()).unwrap_or(u32::MAX);
            Problem::new(Code::Unavailable, detail)
                .retry_after(wait)
                .into()
        })
    }

    async fn fetch(&self) -> anyhow::Result<Known> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let place = format!("{issuer}/.well-known/openid-configuration");
        let discovery: Discovery = answer(self.http.get(place).send().await?).await?;
        let named = discovery.issuer.trim_end_matches('/');
        anyhow::ensure!(named == issuer, "it says that it is {named}");
        for url in [
            &discovery.authorization_endpoint,
            &discovery.token_endpoint,
            &discovery.jwks_uri,
        ] {
            check_url(url).map_err(anyhow::Error::msg)?;
        }
        let keys = self.http.get(&discovery.jwks_uri).send().await?;
        let keys: Keys = answer(keys).await?;
        // Keys of kinds that are not known here are for others.
        let keys = keys.keys.into_iter().take(KEYS_MAX);
        let keys = keys.filter_map(|key| serde_json::from_value(key).ok());
        let keys = JwkSet {
            keys: keys.collect(),
        };
        Ok(Known {
            discovery,
            keys: Arc::new(keys),
            at: Instant::now(),
        })
    }
}

#[derive(Debug, Deserialize)]
struct Keys {
    keys: Vec<serde_json::Value>,
}

/// The JSON of a good answer, if it is not too large.
async fn answer<T: DeserializeOwned>(mut response: reqwest::Response) -> anyhow::Result<T> {
    let status = response.status().as_u16();
    anyhow::ensure!(status == 200, "it answers {status}");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(
            body.len() + chunk.len() <= ANSWER_BYTES_MAX,
            "its answer is too large"
        );
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&body)?)
}

/// The middleware before everything that takes a bearer: fetches the keys that a JWT needs, so that who
/// identifies callers need not wait.
///
/// # Errors
/// Passes on what the inner service fails with.
pub async fn keys<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let state = request.app_data::<web::Data<State>>().cloned();
    let token = credential::token(request.request()).filter(|token| claims::is_jwt(token));
    if let (Some(oidc), Some(token)) = (state.as_ref().and_then(|state| state.oidc()), token)
        && let Err(failure) = oidc.prepare(token).await
        && failure.0.status == 503
    {
        let answer = respond(&failure.0);
        return Ok(request.into_response(answer).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}
