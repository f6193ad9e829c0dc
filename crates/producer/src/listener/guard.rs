//! Who may connect to a stream input, and how the connection is protected.

use super::http::Auth;
use crate::settings::networks;
use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use sluice_service::tls;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use tokio_rustls::TlsAcceptor;

/// The rules of one input.
#[derive(Clone, Default)]
pub(super) struct Guard {
    networks: Vec<IpNet>,
    /// The TLS side of its connections.
    pub(super) tls: Option<TlsAcceptor>,
    /// Whether a hello must carry a token.
    pub(super) token: bool,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("networks", &self.networks)
            .field("tls", &self.tls.is_some())
            .field("token", &self.token)
            .finish()
    }
}

/// The check of a token, where one is needed.
pub(super) type TokenCheck = Option<Rc<Auth>>;

impl Guard {
    /// From settings.
    ///
    /// # Errors
    /// When a network is none, or the certificate cannot be used.
    pub(super) fn new(
        texts: &[String],
        cert: &Path,
        key: &Path,
        token: bool,
    ) -> anyhow::Result<Self> {
        let tls = (!cert.as_os_str().is_empty())
            .then(|| tls::server_config(cert, key))
            .transpose()
            .context("TLS of an input")?;
        Ok(Self {
            networks: networks(texts).map_err(|fault| anyhow!(fault))?,
            tls: tls.map(|config| TlsAcceptor::from(std::sync::Arc::new(config))),
            token,
        })
    }

    /// Whether an address may send.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.is_empty()
            || self
                .networks
                .iter()
                .any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_networks_may_send() {
        let none = Path::new("");
        let texts = [
            "10.0.0.0/8".to_owned(),
            "192.168.1.7".to_owned(),
            "fd00::/8".to_owned(),
        ];
        let guard = Guard::new(&texts, none, none, false).unwrap();
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("127.0.0.1", false),
            ("fd00::1", true),
            ("::1", false),
        ] {
            assert_eq!(guard.allows(address.parse().unwrap()), allowed, "{address}");
        }
        assert!(Guard::default().allows("8.8.8.8".parse().unwrap()));
        assert!(Guard::new(&["10.0.0.0/33".to_owned()], none, none, false).is_err());
    }
}
