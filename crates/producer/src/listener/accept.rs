//! Binding and accepting: TCP, Unix socket and HTTP.

use super::http::{self, Http};
use super::inlet::Inlet;
use super::stream::{self, Kind};
use crate::settings::ProducerSettings;
use anyhow::Context as _;
use sluice_service::tls;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

/// Connections of one input at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;
/// Time that a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The inputs' sockets, bound and not served yet.
#[derive(Debug)]
pub struct Bound {
    http: std::net::TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    tcp: Option<(std::net::TcpListener, Option<Arc<str>>)>,
    unix: Option<(std::os::unix::net::UnixListener, Option<Arc<str>>)>,
}

impl Bound {
    /// Binds what the settings name.
    ///
    /// # Errors
    /// When an address is taken or a file cannot be read.
    pub fn bind(settings: &ProducerSettings) -> anyhow::Result<Self> {
        let http = tcp("http", settings.http.listen)?;
        let tls = settings
            .http
            .tls()
            .then(|| tls::server_config(&settings.http.tls_cert_file, &settings.http.tls_key_file));
        let inputs = &settings.inputs;
        let tcp = inputs
            .tcp
            .enabled
            .then(|| tcp("tcp", inputs.tcp.listen))
            .transpose()?;
        let unix = inputs
            .unix
            .enabled
            .then(|| unix(&inputs.unix.path))
            .transpose()?;
        Ok(Self {
            http,
            tls: tls.transpose()?.map(Arc::new),
            tcp: tcp.map(|listener| (listener, fixed(&inputs.tcp.topic))),
            unix: unix.map(|listener| (listener, fixed(&inputs.unix.topic))),
        })
    }
}

/// A topic from the settings, where empty means none.
pub(super) fn fixed(topic: &str) -> Option<Arc<str>> {
    (!topic.is_empty()).then(|| topic.into())
}

fn tcp(input: &str, address: std::net::SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    tracing::info!(input, address = %address, "listening");
    Ok(listener)
}

fn unix(path: &Path) -> anyhow::Result<std::os::unix::net::UnixListener> {
    if let Some(parent) = path.parent() {
        crate::spool::files::create_dir(parent)
            .with_context(|| format!("create {}", parent.display()))?;
    }
    // A socket that a killed process left behind would keep the address; one that answers is in use.
    if std::os::unix::net::UnixStream::connect(path).is_err() && path.exists() {
        fs_err::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)
        .with_context(|| format!("listen on {}", path.display()))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    tracing::info!(input = "unix", address = %path.display(), "listening");
    Ok(listener)
}

/// Starts the accepting tasks.
///
/// # Errors
/// When a socket cannot be given to the runtime.
pub(super) fn spawn(bound: Bound, inlet: &Rc<Inlet>, http: &Rc<Http>) -> anyhow::Result<()> {
    let tls = bound.tls.map(TlsAcceptor::from);
    spawn_local(accept_http(
        TcpListener::from_std(bound.http)?,
        tls,
        Rc::clone(http),
        Rc::clone(inlet),
    ));
    if let Some((listener, topic)) = bound.tcp {
        let kind = Kind {
            input: "tcp",
            topic,
        };
        spawn_local(accept_tcp(
            TcpListener::from_std(listener)?,
            kind,
            Rc::clone(inlet),
        ));
    }
    if let Some((listener, topic)) = bound.unix {
        let kind = Kind {
            input: "unix",
            topic,
        };
        spawn_local(accept_unix(
            UnixListener::from_std(listener)?,
            kind,
            Rc::clone(inlet),
        ));
    }
    Ok(())
}

/// One connection as the others do: waits for a place, accepts, pauses after a failure. `None` at the
/// wish to stop.
macro_rules! accept {
    ($listener:expr, $places:expr, $inlet:expr) => {{
        loop {
            let place = tokio::select! {
                () = $inlet.shutdown.wait() => break None,
                place = Arc::clone(&$places).acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = $inlet.shutdown.wait() => break None,
                accepted = $listener.accept() => accepted,
            };
            match (accepted, place) {
                (Ok((socket, _)), Ok(place)) => break Some((socket, place)),
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (_, Err(_)) => break None,
            }
        }
    }};
}

async fn accept_tcp(listener: TcpListener, kind: Kind, inlet: Rc<Inlet>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((socket, place)) = accept!(listener, places, inlet) {
        let _slower_answers_only = socket.set_nodelay(true);
        let (inlet, kind) = (Rc::clone(&inlet), kind.clone());
        spawn_local(async move {
            let (reader, writer) = socket.into_split();
            stream::serve(inlet, kind, reader, writer).await;
            drop(place);
        });
    }
}

async fn accept_unix(listener: UnixListener, kind: Kind, inlet: Rc<Inlet>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((socket, place)) = accept!(listener, places, inlet) {
        let (inlet, kind) = (Rc::clone(&inlet), kind.clone());
        spawn_local(async move {
            let (reader, writer) = socket.into_split();
            stream::serve(inlet, kind, reader, writer).await;
            drop(place);
        });
    }
}

async fn accept_http(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    http: Rc<Http>,
    inlet: Rc<Inlet>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((socket, place)) = accept!(listener, places, inlet) {
        let _slower_answers_only = socket.set_nodelay(true);
        let (http, tls) = (Rc::clone(&http), tls.clone());
        spawn_local(async move {
            match tls {
                None => http::serve(http, socket).await,
                Some(acceptor) => {
                    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(socket)).await {
                        Ok(Ok(socket)) => http::serve(http, socket).await,
                        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                        Err(_) => tracing::debug!("TLS handshake took too long"),
                    }
                }
            }
            drop(place);
        });
    }
}
