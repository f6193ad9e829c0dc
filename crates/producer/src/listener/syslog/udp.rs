//! Syslog over UDP: one task drains the socket; what the kernel had to drop is counted.

use super::assemble;
use super::frames::Piece;
use crate::listener::guard::Guard;
use crate::listener::quiet::Quiet;
use crate::settings::{SyslogSettings, SyslogUdpSettings};
use anyhow::Context as _;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_local;
use tokio::time::MissedTickBehavior;

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// Datagrams and bytes of one batch.
const BATCH_DATAGRAMS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Bytes on their way to safety; beyond it the kernel's buffer fills.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Time between looks at the kernel's count of dropped datagrams.
const DROPS_EVERY: Duration = Duration::from_secs(1);

/// What the task needs.
#[derive(Debug)]
pub(in crate::listener) struct SyslogUdp {
    /// The way of batches.
    pub quiet: Quiet,
    /// What messages become.
    pub settings: SyslogSettings,
    /// Who may send.
    pub guard: Guard,
}

/// Binds the socket.
///
/// # Errors
/// When the address is taken.
pub(in crate::listener) fn bind(
    settings: &SyslogUdpSettings,
) -> anyhow::Result<std::net::UdpSocket> {
    let address = settings.listen;
    let socket =
        std::net::UdpSocket::bind(address).with_context(|| format!("listen on {address} (UDP)"))?;
    socket.set_nonblocking(true)?;
    let kernel = socket2::SockRef::from(&socket);
    kernel.set_recv_buffer_size(settings.receive_buffer_bytes)?;
    // Linux answers twice what it was asked for.
    let granted = kernel.recv_buffer_size()? / 2;
    if granted < settings.receive_buffer_bytes {
        tracing::warn!(
            input = "syslog_udp",
            granted,
            "the kernel gives less buffer than inputs.syslog_udp.receive_buffer_bytes; raise net.core.rmem_max"
        );
    }
    let address = socket.local_addr()?;
    tracing::info!(input = "syslog_udp", address = %address, "listening");
    Ok(socket)
}

/// Serves the socket until the wish to stop.
pub(in crate::listener) async fn run(syslog: Rc<SyslogUdp>, socket: UdpSocket) {
    let shutdown = syslog.quiet.inlet.shutdown.clone();
    let window = Arc::new(Semaphore::new(WINDOW_BYTES));
    let mut drops = Drops::of(&socket);
    let mut looks = tokio::time::interval(DROPS_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            _ = looks.tick() => drops.count(),
            ready = socket.readable() => if ready.is_ok() {
                let gathered = gather(&socket, &syslog.guard, &mut datagram);
                if !gathered.pieces.is_empty() && !send(&syslog, gathered, &window).await {
                    return;
                }
            },
        }
    }
    drops.count();
    let _all_settled = window.acquire_many(WINDOW_BYTES as u32).await;
}

struct Gathered {
    bytes: BytesMut,
    pieces: Vec<Piece>,
    peers: Vec<SocketAddr>,
}

fn gather(socket: &UdpSocket, guard: &Guard, datagram: &mut [u8]) -> Gathered {
    let mut all = Gathered {
        bytes: BytesMut::new(),
        pieces: Vec::new(),
        peers: Vec::new(),
    };
    while all.pieces.len() < BATCH_DATAGRAMS_MAX && all.bytes.len() < BATCH_BYTES_MAX {
        let Ok((length, peer)) = socket.try_recv_from(datagram) else {
            break;
        };
        if !guard.allows(peer.ip()) {
            let labels = [("input", "syslog_udp"), ("reason", "network")];
            metrics::counter!("producer_connections_refused_total", &labels).increment(1);
            continue;
        }
        let start = all.bytes.len();
        all.bytes
            .extend_from_slice(datagram.get(..length).unwrap_or_default());
        all.pieces.push(Piece::Message(start, start + length));
        all.peers.push(peer);
    }
    all
}

/// Sends a batch on its way; tells whether the publisher is still there.
async fn send(syslog: &Rc<SyslogUdp>, gathered: Gathered, window: &Arc<Semaphore>) -> bool {
    let quiet = &syslog.quiet;
    let Gathered {
        bytes,
        pieces,
        peers,
    } = gathered;
    let block = bytes.freeze();
    let peer = |index: usize| {
        let address = peers
            .get(index)
            .map(|peer| peer.ip().to_canonical().to_string());
        address.unwrap_or_default()
    };
    let record_max = quiet.inlet.record_max;
    let messages = assemble(&syslog.settings, &block, &pieces, peer, record_max);
    for (refusal, start, end) in &messages.faults {
        let index = pieces
            .iter()
            .position(|piece| *piece == Piece::Message(*start, *end));
        let source = index.map(peer).unwrap_or_default();
        let data = block.get(*start..*end).unwrap_or_default();
        quiet
            .quarantine
            .put(&quiet.inlet, (quiet.input, &source), None, refusal, data)
            .await;
    }
    if messages.records.recs.is_empty() {
        return true;
    }
    let size = messages.bytes.min(WINDOW_BYTES) as u32;
    let Ok(permit) = Arc::clone(window).acquire_many_owned(size).await else {
        return false;
    };
    let Ok(sent) = quiet.send(messages.records, messages.bytes).await else {
        return false;
    };
    let syslog = Rc::clone(syslog);
    spawn_local(async move {
        let turn = Mutex::new(());
        let _settled = syslog.quiet.settle(sent, "", &turn).await;
        drop(permit);
    });
    true
}

/// The kernel's count of datagrams that found no room.
struct Drops {
    inode: Option<String>,
    seen: u64,
}

impl Drops {
    fn of(socket: &UdpSocket) -> Self {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        let inode = link.ok().and_then(|link| {
            let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(text.to_owned())
        });
        Self { inode, seen: 0 }
    }

    fn count(&mut self) {
        let Some(inode) = &self.inode else { return };
        for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
            let Ok(text) = std::fs::read_to_string(table) else {
                continue;
            };
            if let Some(drops) = dropped(&text, inode) {
                let new = drops.saturating_sub(self.seen);
                self.seen = drops;
                metrics::counter!("producer_udp_dropped_datagrams_total", "input" => "syslog_udp")
                    .increment(new);
                if new > 0 {
                    tracing::warn!(
                        input = "syslog_udp",
                        dropped = new,
                        "the kernel dropped datagrams"
                    );
                }
            }
        }
    }
}

/// The last column of a socket's row.
fn dropped(table: &str, inode: &str) -> Option<u64> {
    const INODE_COLUMN: usize = 9;
    let row = table
        .lines()
        .find(|row| row.split_whitespace().nth(INODE_COLUMN) == Some(inode))?;
    row.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_of_drops_is_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
            421: 0100007F:15A2 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 123456 2 0000000000000000 17\n";
        assert_eq!(dropped(table, "123456"), Some(17));
        assert_eq!(dropped(table, "12345"), None);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _enter = runtime.enter();
        socket.set_nonblocking(true).unwrap();
        let drops = Drops::of(&UdpSocket::from_std(socket).unwrap());
        assert!(
            drops
                .inode
                .is_some_and(|inode| inode.parse::<u64>().is_ok())
        );
    }
}
