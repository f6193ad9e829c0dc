//! Binding and accepting: TCP, TLS and Unix sockets of every input.

use super::guard::Guard;
use super::http::{self, Http};
use super::inlet::Inlet;
use super::quarantine::Quarantine;
use super::quiet::{Patience, Quiet};
use super::stream::{self, Kind};
use super::syslog::tcp::SyslogTcp;
use super::syslog::udp::{self, SyslogUdp};
use crate::settings::ProducerSettings;
use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio_rustls::server::TlsStream;

/// Connections of one input at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;
/// Connections that may wait to be accepted; net.core.somaxconn bounds it, too.
const BACKLOG: i32 = 4096;
/// Time that a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and who may connect to it.
#[derive(Debug)]
struct Guarded {
    listener: std::net::TcpListener,
    guard: Guard,
}

/// The inputs' sockets, bound and not served yet.
#[derive(Debug)]
pub struct Bound {
    http: Guarded,
    tcp: Option<Guarded>,
    syslog_tcp: Option<Guarded>,
    syslog_udp: Option<(std::net::UdpSocket, Guard)>,
    unix: Option<std::os::unix::net::UnixListener>,
}

impl Bound {
    /// Binds what the settings name.
    ///
    /// # Errors
    /// When an address is taken or a file cannot be read.
    pub fn bind(settings: &ProducerSettings) -> anyhow::Result<Self> {
        let http = &settings.http;
        let guard = Guard::new(&[], &http.tls_cert_file, &http.tls_key_file, false)?;
        let http = tcp("http", http.listen, guard)?;
        let inputs = &settings.inputs;
        let lines = &inputs.tcp;
        let lines = lines.enabled.then(|| {
            let token = lines.token_needed();
            let guard = Guard::new(
                &lines.networks,
                &lines.tls_cert_file,
                &lines.tls_key_file,
                token,
            )?;
            tcp("tcp", lines.listen, guard)
        });
        let syslog = &inputs.syslog_tcp;
        let syslog = syslog.enabled.then(|| {
            let (cert, key) = (&syslog.tls_cert_file, &syslog.tls_key_file);
            let guard = Guard::new(&syslog.networks, cert, key, false)?;
            tcp("syslog_tcp", syslog.listen, guard)
        });
        let datagrams = inputs.syslog_udp.enabled.then(|| {
            let none = Path::new("");
            let guard = Guard::new(&inputs.syslog_udp.networks, none, none, false)?;
            anyhow::Ok((udp::bind(&inputs.syslog_udp)?, guard))
        });
        let unix = inputs.unix.enabled.then(|| unix(&inputs.unix.path));
        Ok(Self {
            http,
            tcp: lines.transpose()?,
            syslog_tcp: syslog.transpose()?,
            syslog_udp: datagrams.transpose()?,
            unix: unix.transpose()?,
        })
    }
}

/// A topic from the settings, where empty means none.
pub(super) fn fixed(topic: &str) -> Option<Arc<str>> {
    (!topic.is_empty()).then(|| topic.into())
}

fn tcp(input: &str, address: SocketAddr, guard: Guard) -> anyhow::Result<Guarded> {
    let listener = bind(address).with_context(|| format!("listen on {address}"))?;
    let address = listener.local_addr()?;
    let (tls, token) = (guard.tls.is_some(), guard.token);
    tracing::info!(input, address = %address, tls, token, "listening");
    Ok(Guarded { listener, guard })
}

/// As the standard library binds, but with room for many who connect at once.
fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
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
pub(super) fn spawn(
    bound: Bound,
    settings: &ProducerSettings,
    inlet: &Rc<Inlet>,
    http: &Rc<Http>,
    quarantine: &Quarantine,
) -> anyhow::Result<()> {
    let inputs = &settings.inputs;
    accept_tcp(bound.http, "http", inlet, Rc::clone(http))?;
    let quiet = |input, journal, patience| Quiet {
        inlet: Rc::clone(inlet),
        quarantine: quarantine.clone(),
        input,
        patience,
        journal,
    };
    if let Some(lines) = bound.tcp {
        let kind = Kind {
            input: "tcp",
            topic: fixed(&inputs.tcp.topic),
            token: lines.guard.token.then(|| http.auth()),
            journal: inputs.tcp.journal,
        };
        let server = Lines {
            inlet: Rc::clone(inlet),
            kind,
        };
        accept_tcp(lines, "tcp", inlet, Rc::new(server))?;
    }
    if let Some(syslog) = bound.syslog_tcp {
        let server = SyslogTcp {
            quiet: quiet("syslog_tcp", inputs.syslog_tcp.journal, Patience::Room),
            settings: inputs.syslog_tcp.common(),
        };
        accept_tcp(syslog, "syslog_tcp", inlet, Rc::new(server))?;
    }
    if let Some((socket, guard)) = bound.syslog_udp {
        let server = SyslogUdp {
            quiet: quiet("syslog_udp", inputs.syslog_udp.journal, Patience::None),
            settings: inputs.syslog_udp.common(),
            guard,
        };
        spawn_local(udp::run(Rc::new(server), UdpSocket::from_std(socket)?));
    }
    if let Some(listener) = bound.unix {
        let kind = Kind {
            input: "unix",
            topic: fixed(&inputs.unix.topic),
            token: None,
            journal: inputs.unix.journal,
        };
        let listener = UnixListener::from_std(listener)?;
        spawn_local(accept_unix(listener, kind, Rc::clone(inlet)));
    }
    Ok(())
}

/// What serves the connections of an input.
trait Server {
    /// Serves a connection without TLS to its end.
    async fn plain(self: Rc<Self>, socket: TcpStream, peer: SocketAddr);
    /// Serves a connection with TLS to its end.
    async fn tls(self: Rc<Self>, socket: TlsStream<TcpStream>, peer: SocketAddr);
}

impl Server for Http {
    async fn plain(self: Rc<Self>, socket: TcpStream, _: SocketAddr) {
        http::serve(self, socket).await;
    }

    async fn tls(self: Rc<Self>, socket: TlsStream<TcpStream>, _: SocketAddr) {
        http::serve(self, socket).await;
    }
}

impl Server for SyslogTcp {
    async fn plain(self: Rc<Self>, socket: TcpStream, peer: SocketAddr) {
        if readable(&self.quiet.inlet, &socket).await {
            Box::pin(super::syslog::tcp::serve(self, socket, peer)).await;
        }
    }

    async fn tls(self: Rc<Self>, socket: TlsStream<TcpStream>, peer: SocketAddr) {
        super::syslog::tcp::serve(self, socket, peer).await;
    }
}

struct Lines {
    inlet: Rc<Inlet>,
    kind: Kind,
}

impl Server for Lines {
    async fn plain(self: Rc<Self>, socket: TcpStream, _: SocketAddr) {
        if readable(&self.inlet, &socket).await {
            let (reader, writer) = socket.into_split();
            let (inlet, kind) = (Rc::clone(&self.inlet), self.kind.clone());
            // Boxed, so that a connection that was never used does not carry the room for it.
            Box::pin(stream::serve(inlet, kind, reader, writer)).await;
        }
    }

    async fn tls(self: Rc<Self>, socket: TlsStream<TcpStream>, _: SocketAddr) {
        let (reader, writer) = tokio::io::split(socket);
        stream::serve(Rc::clone(&self.inlet), self.kind.clone(), reader, writer).await;
    }
}

/// Waits for the first byte: until then a connection is a socket and a small task. Tells whether to go on.
async fn readable(inlet: &Inlet, socket: &TcpStream) -> bool {
    tokio::select! {
        () = inlet.shutdown.wait() => false,
        ready = socket.readable() => ready.is_ok(),
    }
}

/// Waits for a place among the connections of an input.
async fn place(input: &'static str, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
        return Some(permit);
    }
    tracing::warn!(input, CONNECTIONS_MAX, "connections wait to be accepted");
    metrics::counter!("producer_connections_delayed_total", "input" => input).increment(1);
    Arc::clone(places).acquire_owned().await.ok()
}

/// The place of a connection that was accepted; counted as long as it lives.
struct Place {
    _permit: OwnedSemaphorePermit,
    input: &'static str,
}

impl Place {
    fn of(input: &'static str, permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("producer_connections", "input" => input).increment(1);
        Self {
            _permit: permit,
            input,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("producer_connections", "input" => self.input).decrement(1);
    }
}

/// One connection as every input accepts it: waits for a place, accepts, pauses after a failure. `None`
/// at the wish to stop.
macro_rules! accept {
    ($input:expr, $listener:expr, $places:expr, $inlet:expr) => {{
        loop {
            let accepted = async {
                let permit = place($input, &$places).await;
                ($listener.accept().await, permit)
            };
            let accepted = tokio::select! {
                () = $inlet.shutdown.wait() => break None,
                accepted = accepted => accepted,
            };
            match accepted {
                (Ok((socket, peer)), Some(permit)) => {
                    break Some((socket, peer, Place::of($input, permit)));
                }
                (Err(error), _) => {
                    tracing::warn!(input = $input, %error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (_, None) => break None,
            }
        }
    }};
}

fn accept_tcp<S: Server + 'static>(
    guarded: Guarded,
    input: &'static str,
    inlet: &Rc<Inlet>,
    server: Rc<S>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(guarded.listener)?;
    let (guard, inlet) = (Rc::new(guarded.guard), Rc::clone(inlet));
    spawn_local(async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some((socket, peer, place)) = accept!(input, listener, places, inlet) {
            if !guard.allows(peer.ip()) {
                refused(input, "network", peer);
                continue;
            }
            let _slower_answers_only = socket.set_nodelay(true);
            let (guard, server) = (Rc::clone(&guard), Rc::clone(&server));
            spawn_local(async move {
                connection(&guard, input, server, socket, peer).await;
                drop(place);
            });
        }
    });
    Ok(())
}

async fn connection<S: Server>(
    guard: &Guard,
    input: &'static str,
    server: Rc<S>,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let Some(acceptor) = &guard.tls else {
        return server.plain(socket, peer).await;
    };
    let handshake = Box::pin(acceptor.accept(socket));
    match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(socket)) => Box::pin(server.tls(socket, peer)).await,
        Ok(Err(error)) => {
            tracing::debug!(input, %error, "TLS handshake failed");
            refused(input, "tls", peer);
        }
        Err(_) => refused(input, "tls_timeout", peer),
    }
}

fn refused(input: &'static str, reason: &'static str, peer: SocketAddr) {
    tracing::debug!(input, reason, %peer, "connection refused");
    let labels = [("input", input), ("reason", reason)];
    metrics::counter!("producer_connections_refused_total", &labels).increment(1);
}

async fn accept_unix(listener: UnixListener, kind: Kind, inlet: Rc<Inlet>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((socket, _, place)) = accept!("unix", listener, places, inlet) {
        let (inlet, kind) = (Rc::clone(&inlet), kind.clone());
        spawn_local(async move {
            let (reader, writer) = socket.into_split();
            stream::serve(inlet, kind, reader, writer).await;
            drop(place);
        });
    }
}
