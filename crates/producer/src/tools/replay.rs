//! `spool replay`: sends what a spool holds to a running daemon, in order, and marks what that daemon
//! acknowledged, so that a second run does not repeat it.

use super::send::{self, Way};
use super::{ReplayArgs, Where};
use crate::batch::Records;
use crate::spool::log::Chunk;
use crate::spool::{Held, Spool, frame};
use anyhow::{Context as _, bail};
use sluice_service::secret::Secret;
use std::io::{self, Write as _};

/// Records of one request.
const BATCH_RECORDS: usize = 1_000;
/// Bytes of one request, beside its last record.
const BATCH_BYTES: usize = 1024 * 1024;

/// Replays; `false` when records were refused.
pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<bool> {
    let dir = Where::dir(&args.place)?;
    // The lock says that no daemon drains the same records at the same time.
    let (_spool, found) =
        Spool::open(&dir).context("a daemon that runs sends its spool by itself")?;
    let token = match &args.token_file {
        Some(path) => Some(Secret::from_file(path).context("read the token")?),
        None => None,
    };
    let mut way = match (&args.url, &args.tcp) {
        (Some(url), _) => Way::http(url, token)?,
        (None, Some(address)) => Way::stream(address, token.as_ref())?,
        (None, None) => bail!("say where to: --url or --tcp"),
    };
    let mut out = io::stdout().lock();
    let mut fine = true;
    for mut held in found.held {
        let topic = held.meta.topic_name.clone();
        if !args.place.takes(&topic) {
            continue;
        }
        let target = args.to.as_deref().unwrap_or(&topic);
        let before = held.log.held_records;
        let outcome = one_log(&mut held, target, &mut way);
        held.log.checkpoint()?;
        let left = held.log.held_records;
        writeln!(
            out,
            "{topic}: {} records sent to {target}, {left} left",
            before - left
        )?;
        match outcome {
            Ok(None) => held.remove()?,
            Ok(Some(refusal)) => {
                fine = false;
                writeln!(out, "{topic}: refused: {refusal}")?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(fine)
}

/// Sends one log; gives the refusal that stopped it, if any: what comes behind would overtake it.
fn one_log(held: &mut Held, topic: &str, way: &mut Way) -> anyhow::Result<Option<String>> {
    while let Some(chunk) = held.log.read_chunk()? {
        let mut batch = Batch::default();
        for (number, index, line) in lines(&chunk, topic) {
            batch.push(number, index, line);
            if batch.is_full()
                && let Some(refusal) = batch.send(held, way)?
            {
                return Ok(Some(refusal));
            }
        }
        if let Some(refusal) = batch.send(held, way)? {
            return Ok(Some(refusal));
        }
        held.log.checkpoint()?;
    }
    Ok(None)
}

#[derive(Default)]
struct Batch {
    names: Vec<(u64, u32)>,
    lines: Vec<String>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, number: u64, index: u32, line: String) {
        self.names.push((number, index));
        self.bytes += line.len();
        self.lines.push(line);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    fn send(&mut self, held: &mut Held, way: &mut Way) -> anyhow::Result<Option<String>> {
        let Self { names, lines, .. } = std::mem::take(self);
        if lines.is_empty() {
            return Ok(None);
        }
        let mut refused = None;
        for ((number, index), verdict) in names.into_iter().zip(way.send(&lines)?) {
            match verdict {
                Ok(()) => {
                    held.log.resolve(number, index);
                }
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        Ok(refused)
    }
}

fn lines(chunk: &Chunk, topic: &str) -> Vec<(u64, u32, String)> {
    let records = Records {
        block: chunk.bytes.clone(),
        ..Records::default()
    };
    let mut lines = Vec::new();
    for read in &chunk.frames {
        let recs = frame::records(&chunk.bytes, read.payload, read.header.length);
        for (index, rec) in (0..).zip(&recs) {
            if !read.resolved.get(index) {
                let line = send::line(topic, &records, rec).to_string();
                lines.push((read.number, index, line));
            }
        }
    }
    lines
}
