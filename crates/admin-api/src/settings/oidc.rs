//! The keys under `oidc`.

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use sluice_model::access::Role;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An identity provider; off while `issuer` is empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The provider's issuer URL; discovery starts there.
    pub issuer: String,
    /// What the provider is called on the login page.
    pub name: String,
    /// Our id there.
    pub client_id: String,
    /// The file with our secret there; empty for a public client.
    pub client_secret_file: PathBuf,
    /// Where the provider sends the browser back to: ours, ending in `/ui/oidc/callback`.
    pub redirect_url: String,
    /// What is asked for at a sign-in.
    pub scopes: Vec<String>,
    /// The audience that a bearer must have; empty means `client_id`.
    pub audience: String,
    /// The claim with the account's name.
    pub account_claim: String,
    /// The claim whose values give roles; dots lead into objects.
    pub roles_claim: String,
    /// Which roles a value of that claim gives.
    pub roles: BTreeMap<String, Vec<Role>>,
    /// What everybody has who signs in there.
    pub default_roles: Vec<Role>,
    /// The claim whose values name teams; empty for none.
    pub teams_claim: String,
    /// Which team a value of that claim stands for; other values name teams themselves.
    pub teams: BTreeMap<String, String>,
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
}

impl OidcSettings {
    /// Whether there is a provider.
    pub fn on(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// The audience that a bearer must have.
    pub fn bearer_audience(&self) -> &str {
        if self.audience.is_empty() {
            &self.client_id
        } else {
            &self.audience
        }
    }

    /// What is wrong with it.
    pub fn faults(&self) -> Vec<String> {
        if !self.on() {
            return Vec::new();
        }
        let mut faults = Vec::new();
        for (key, url) in [
            ("issuer", &self.issuer),
            ("redirect_url", &self.redirect_url),
        ] {
            if let Err(why) = check_url(url) {
                faults.push(format!("oidc.{key}: {why}"));
            }
        }
        if !self.redirect_url.ends_with("/ui/oidc/callback") {
            faults.push("oidc.redirect_url ends in /ui/oidc/callback".to_owned());
        }
        for (key, text) in [
            ("client_id", &self.client_id),
            ("account_claim", &self.account_claim),
        ] {
            if text.is_empty() {
                faults.push(format!("oidc.{key} is missing"));
            }
        }
        let shared = |algorithm: &Algorithm| {
            use Algorithm::{HS256, HS384, HS512};
            matches!(algorithm, HS256 | HS384 | HS512)
        };
        if self.algorithms.is_empty() || self.algorithms.iter().any(shared) {
            let fault = "oidc.algorithms names public-key algorithms only: a public key must never be taken for a shared secret";
            faults.push(fault.to_owned());
        }
        faults
    }
}

/// Secrets travel over TLS, or not off this machine.
///
/// # Errors
/// Says why a URL cannot be used.
pub fn check_url(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        _ => Err(format!("{text:?} is not https")),
    }
}
