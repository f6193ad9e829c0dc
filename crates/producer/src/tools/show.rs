//! `spool ls`, `verify` and `dump`.

use super::survey::{Entry, LogOnDisk, logs};
use super::{DumpArgs, Where, send};
use crate::batch::Records;
use crate::spool::disk::{self, Disk as _, RealDisk};
use crate::spool::{Meta, frame, quarantine};
use serde_json::{Value, json};
use sluice_model::time::Timestamp;
use std::io::{self, Write};

/// What one log sums up to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// Records that are not dealt with.
    pub(super) records: u64,
    /// Bytes of their keys, values and headers.
    pub(super) bytes: u64,
    /// When the oldest of them was written.
    pub(super) oldest_ms: Option<i64>,
    frames: u64,
    damage: Vec<Value>,
    torn_bytes: u64,
}

/// Sums a log up.
pub(super) fn sum(log: &LogOnDisk) -> anyhow::Result<Sum> {
    let mut sum = Sum::default();
    log.walk(|entry| {
        match entry {
            Entry::Frame {
                born_ms,
                recs,
                resolved,
                behind,
                ..
            } => {
                sum.frames += 1;
                let open = recs
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| !behind && !resolved.get(*index as u32));
                for (_, rec) in open {
                    sum.records += 1;
                    sum.bytes += rec.size() as u64;
                    sum.oldest_ms = Some(sum.oldest_ms.map_or(born_ms, |old| old.min(born_ms)));
                }
            }
            Entry::Damage { from, to, torn, .. } if torn => sum.torn_bytes += to - from,
            Entry::Damage {
                segment, from, to, ..
            } => {
                sum.damage
                    .push(json!({"segment": segment, "from": from, "to": to}));
            }
        }
        Ok(())
    })?;
    Ok(sum)
}

/// Lists the logs.
pub(super) fn ls(place: &Where) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for log in chosen(place)? {
        let sum = sum(&log)?;
        rows.push(json!({
            "log": log.name,
            "topic_name": log.meta.as_ref().ok().map(|meta| &meta.topic_name),
            "topic_id": log.meta.as_ref().ok().and_then(|meta| meta.topic_id),
            "problem": log.meta.as_ref().err(),
            "held_records": sum.records,
            "held_bytes": sum.bytes,
            "oldest": sum.oldest_ms.map(Timestamp::from_millis),
            "segments": log.segments.len(),
            "disk_bytes": log.disk_bytes(),
            "cursor": {"segment": log.cursor.pos.segment, "offset": log.cursor.pos.offset},
        }));
    }
    if place.json {
        writeln!(out, "{}", Value::Array(rows))?;
        return Ok(true);
    }
    table(
        &mut out,
        &[
            "log",
            "topic_name",
            "held_records",
            "held_bytes",
            "oldest",
            "segments",
            "disk_bytes",
        ],
        &rows,
    )?;
    Ok(true)
}

/// Checks every block; `false` when one is damaged.
pub(super) fn verify(place: &Where) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let mut fine = true;
    let mut rows = Vec::new();
    for log in chosen(place)? {
        let sum = sum(&log)?;
        fine &= sum.damage.is_empty() && log.meta.is_ok();
        rows.push(json!({
            "log": log.name,
            "topic_name": log.topic(),
            "frames": sum.frames,
            "held_records": sum.records,
            "torn_bytes": sum.torn_bytes,
            "damage": sum.damage,
            "problem": log.meta.as_ref().err(),
        }));
    }
    if place.json {
        writeln!(out, "{}", json!({"ok": fine, "logs": rows}))?;
        return Ok(fine);
    }
    table(
        &mut out,
        &[
            "log",
            "topic_name",
            "frames",
            "held_records",
            "torn_bytes",
            "damage",
            "problem",
        ],
        &rows,
    )?;
    writeln!(out, "{}", if fine { "ok" } else { "damaged" })?;
    Ok(fine)
}

/// Prints the records.
pub(super) fn dump(args: &DumpArgs) -> anyhow::Result<bool> {
    if args.quarantine {
        return dump_quarantine(&args.place);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut fine = true;
    for log in chosen(&args.place)? {
        let topic = log.topic().to_owned();
        log.walk(|entry| {
            let Entry::Frame {
                payload,
                recs,
                resolved,
                behind,
                ..
            } = entry
            else {
                fine = false;
                return Ok(());
            };
            let records = Records {
                block: payload,
                ..Records::default()
            };
            for (index, rec) in recs.iter().enumerate() {
                if args.all || !(behind || resolved.get(index as u32)) {
                    writeln!(out, "{}", send::line(&topic, &records, rec))?;
                }
            }
            Ok(())
        })?;
    }
    out.flush()?;
    Ok(fine)
}

/// Prints what still parses of the damaged blocks; `false` when one gives nothing.
#[expect(
    clippy::print_stderr,
    reason = "the records alone go to standard output"
)]
fn dump_quarantine(place: &Where) -> anyhow::Result<bool> {
    let dir = place.dir()?.join("quarantine");
    let mut names = match RealDisk.list(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    names.sort_unstable();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut fine = true;
    for name in names
        .iter()
        .filter_map(|name| name.strip_suffix(quarantine::BLOCK))
    {
        let owner = disk::read(&RealDisk, &dir.join(format!("{name}{}", quarantine::OWNER)))
            .ok()
            .and_then(|text| serde_json::from_slice::<Meta>(&text).ok());
        let topic = owner.map_or_else(|| "?".to_owned(), |meta| meta.topic_name);
        if !place.takes(&topic) {
            continue;
        }
        let block = disk::read(&RealDisk, &dir.join(format!("{name}{}", quarantine::BLOCK)))?;
        let records = Records {
            block: block.into(),
            ..Records::default()
        };
        let recs = frame::salvage(&records.block);
        fine &= !recs.is_empty();
        for rec in &recs {
            writeln!(out, "{}", send::line(&topic, &records, rec))?;
        }
        eprintln!("{name}: {} records of {topic} still parse", recs.len());
    }
    out.flush()?;
    Ok(fine)
}

fn chosen(place: &Where) -> anyhow::Result<Vec<LogOnDisk>> {
    let mut logs = logs(&place.dir()?)?;
    logs.retain(|log| place.takes(log.topic()));
    Ok(logs)
}

fn table(out: &mut dyn Write, columns: &[&str], rows: &[Value]) -> io::Result<()> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        other => other.to_string(),
    };
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(ToString::to_string).collect()];
    let empty = Value::Null;
    lines.extend(rows.iter().map(|row| {
        let cells = columns
            .iter()
            .map(|column| row.get(column).unwrap_or(&empty));
        cells.map(text).collect()
    }));
    let width = |at: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(at))
            .map(String::len)
            .max()
    };
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| width(at).unwrap_or(0))
        .collect();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
