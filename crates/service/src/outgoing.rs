//! HTTP to other people's servers: every new connection goes to addresses that the destinations allow at
//! that moment. No redirects, no proxy of the environment.

use crate::destinations::Destinations;
use crate::secret::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The header with the signatures of a body.
pub const SIGNATURE: &str = "Sluice-Signature";

/// Time for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is closed after this time, so that a name's new addresses count soon.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients that are kept; there is one per port.
const CLIENTS_MAX: usize = 64;

/// Clients that are bound to the destinations. Clones share them.
#[derive(Clone, Debug)]
pub struct Outgoing {
    destinations: Destinations,
    clients: Arc<Mutex<HashMap<u16, reqwest::Client>>>,
}

impl Outgoing {
    /// Clients for these destinations.
    pub fn new(destinations: Destinations) -> Self {
        Self {
            destinations,
            clients: Arc::default(),
        }
    }

    /// The client for servers on a port: a resolver is not told the port, but the rules name it.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn client(&self, port: u16) -> Result<reqwest::Client, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&port) {
            return Ok(client.clone());
        }
        let guard = Guard {
            destinations: self.destinations.clone(),
            port,
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .dns_resolver(Arc::new(guard))
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("outgoing HTTP: {error}"))?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(port, client.clone());
        Ok(client)
    }
}

/// Resolves names to allowed addresses only.
struct Guard {
    destinations: Destinations,
    port: u16,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (destinations, port) = (self.destinations.clone(), self.port);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let looked = tokio::task::spawn_blocking(move || destinations.addresses(&host, port));
            let addresses = looked.await??;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// The signatures of a body at an instant, newest secret first.
pub fn signature(secrets: &[Secret], seconds: i64, body: &[u8]) -> String {
    let mut text = format!("t={seconds}");
    for secret in secrets {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
            continue; // HMAC takes keys of every length.
        };
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        text.push_str(",v1=");
        for byte in mac.finalize().into_bytes() {
            let _in_memory = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[expect(clippy::unnecessary_wraps, reason = "the signature of a lookup")]
    fn to_loopback(_host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }

    /// Whether anything connected to a listener while a URL on its port was asked for.
    fn reaches(destinations: &[String], host: &str, listener: &std::net::TcpListener) -> bool {
        crate::tls::install_crypto();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let destinations = Destinations::new(destinations)
            .unwrap()
            .with_lookup(to_loopback);
        let client = Outgoing::new(destinations).client(port).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let url = format!("http://{host}:{port}/");
        let request = client.get(url).timeout(Duration::from_millis(500));
        let _no_answer = runtime.block_on(async { request.send().await });
        listener.accept().is_ok()
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let named = vec!["hooks.example:*".to_owned()];
        assert!(!reaches(&named, "hooks.example", &listener));
        let both = vec!["hooks.example:*".to_owned(), format!("127.0.0.1:{port}")];
        assert!(
            reaches(&both, "hooks.example", &listener),
            "the operator listed the address too"
        );
        assert!(!reaches(&both, "other.example", &listener));
    }
}
