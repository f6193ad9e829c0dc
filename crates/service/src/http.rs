//! HTTP for the services that speak actix-web: problems, request ids, bodies, credentials, probes.

pub mod body;
pub mod cookie;
pub mod credential;
pub mod openapi;
pub mod page;
pub mod probe;
pub mod problem;
pub mod track;

use crate::config::HttpSettings;
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};

/// Binds the listener of a service and says where: port 0 takes a free one.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(settings: &HttpSettings) -> anyhow::Result<(TcpListener, SocketAddr)> {
    if !settings.listen.ip().is_loopback() && !settings.tls() {
        tracing::warn!(listen = %settings.listen, "tokens and records travel in plain text");
    }
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(http.listen = %address, tls = settings.tls(), "listening");
    Ok((listener, address))
}
