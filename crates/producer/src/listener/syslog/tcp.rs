//! Syslog over TCP: one task a connection.

use super::frames::{Cut, Frames};
use super::{MESSAGE_BYTES_MAX, assemble};
use crate::listener::quiet::{Quiet, Stopped};
use crate::listener::reader::Reader;
use crate::settings::SyslogSettings;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_local;

/// Bytes of one connection on their way to safety; beyond it the connection is not read.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// What every connection needs.
#[derive(Debug)]
pub(in crate::listener) struct SyslogTcp {
    /// The way of batches.
    pub quiet: Quiet,
    /// What messages become.
    pub settings: SyslogSettings,
}

/// Serves a connection to its end.
pub(in crate::listener) async fn serve<R: AsyncRead + Unpin>(
    syslog: Rc<SyslogTcp>,
    stream: R,
    peer: SocketAddr,
) {
    let window = Arc::new(Semaphore::new(WINDOW_BYTES));
    let turn = Rc::new(Mutex::new(()));
    let source: Rc<str> = peer.ip().to_canonical().to_string().into();
    let mut frames = Frames::new(MESSAGE_BYTES_MAX.min(syslog.quiet.inlet.record_max));
    let mut reader = Reader::new(stream);
    let shutdown = syslog.quiet.inlet.shutdown.clone();
    loop {
        let read = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            read = reader.read(&mut frames.buffer) => read,
        };
        let ended = match read {
            Ok(count) => count == 0,
            Err(error) => {
                tracing::debug!(input = "syslog_tcp", %error, "connection ends");
                true
            }
        };
        if let Some(cut) = frames.cut(ended)
            && send(&syslog, cut, &source, &window, &turn).await.is_err()
        {
            return;
        }
        if ended {
            break;
        }
    }
    // The sender's close is answered when everything is safe, as far as TCP can tell it anything.
    let _all_settled = window.acquire_many(WINDOW_BYTES as u32).await;
}

async fn send(
    syslog: &Rc<SyslogTcp>,
    cut: Cut,
    source: &Rc<str>,
    window: &Arc<Semaphore>,
    turn: &Rc<Mutex<()>>,
) -> Result<(), Stopped> {
    let quiet = &syslog.quiet;
    let record_max = quiet.inlet.record_max;
    let host = |_| source.to_string();
    let messages = assemble(&syslog.settings, &cut.block, &cut.pieces, host, record_max);
    for (refusal, start, end) in &messages.faults {
        let data = cut.block.get(*start..*end).unwrap_or_default();
        quiet
            .quarantine
            .put(&quiet.inlet, (quiet.input, source), None, refusal, data)
            .await;
    }
    if messages.records.recs.is_empty() {
        return Ok(());
    }
    let bytes = messages.bytes.min(WINDOW_BYTES) as u32;
    let permit = Arc::clone(window).acquire_many_owned(bytes).await;
    let permit = permit.map_err(|_closed| Stopped)?;
    let sent = quiet.send(messages.records, messages.bytes).await?;
    let (syslog, source, turn) = (Rc::clone(syslog), Rc::clone(source), Rc::clone(turn));
    spawn_local(async move {
        // A stop is logged by whoever stops; the records were accepted in no case.
        let _settled = syslog.quiet.settle(sent, &source, &turn).await;
        drop(permit);
    });
    Ok(())
}
