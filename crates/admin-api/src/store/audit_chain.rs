//! Checking the chain of the audit: every row against its hash, and every head that was noted outside.

use super::Millis;
use crate::error::Outcome;
use rusqlite::{Connection, Row};
use sluice_model::audit::{ChainProblem, GENESIS, RawRow, Verification, chain};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// Faults that one check names; the rest is not told apart.
const PROBLEMS_MAX: usize = 1000;

/// What the check of a part of the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Rows that were checked.
    pub rows: i64,
    /// What does not hold.
    pub problems: Vec<ChainProblem>,
}

impl Part {
    fn report(&mut self, seq: i64, kind: &str) {
        let problem = ChainProblem {
            seq,
            kind: kind.to_owned(),
        };
        if self.problems.len() < PROBLEMS_MAX && self.problems.last() != Some(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Puts the parts together, in their order.
pub fn verification(parts: Vec<Part>) -> Verification {
    let mut whole = Part::default();
    for part in parts {
        whole.rows += part.rows;
        for problem in part.problems {
            whole.report(problem.seq, &problem.kind);
        }
    }
    Verification {
        ok: whole.problems.is_empty(),
        rows: whole.rows,
        problems: whole.problems,
    }
}

/// Checks the rows from `from` to `to`: each follows the one before it, none is missing, and those whose
/// hashes were noted in `heads` have these hashes.
///
/// # Errors
/// When SQLite or the file of the heads fails.
pub fn verify(connection: &Connection, heads: &Path, from: i64, to: i64) -> Outcome<Part> {
    let mut heads = Heads::open(heads)?;
    let mut statement = connection.prepare(
        "SELECT seq, at, action, kind, topic_id, topic_name, requested_by, actor, reason, before, after,
             request_id, on_behalf_of, source, hash FROM audit WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query([from - 1, to])?;
    let mut part = Part::default();
    let mut previous = (from == 1).then(|| GENESIS.to_owned());
    let mut expected = from;
    let mut buffer = Vec::new();
    while let Some(found) = rows.next()? {
        let seq: i64 = found.get(0)?;
        let stored = found.get_ref(14)?.as_str().unwrap_or_default().to_owned();
        if seq < from {
            previous = Some(stored);
            continue;
        }
        while expected < seq && part.problems.len() < PROBLEMS_MAX {
            part.report(expected, "missing");
            (expected, previous) = (expected + 1, None);
        }
        if let Some(previous) = &previous
            && !follows(found, previous, &stored, &mut buffer)
        {
            part.report(seq, "edited");
        }
        if heads.noted(seq)?.is_some_and(|noted| noted != stored) {
            part.report(seq, "edited");
        }
        part.rows += 1;
        (expected, previous) = (seq + 1, Some(stored));
    }
    while expected <= to && part.problems.len() < PROBLEMS_MAX {
        part.report(expected, "missing");
        expected += 1;
    }
    Ok(part)
}

/// Says when a head was noted beyond the newest row (rows were cut off), or when the heads are gone.
///
/// # Errors
/// When the file of the heads cannot be read.
pub fn verify_tail(file: &Path, head: i64) -> Outcome<Part> {
    let mut part = Part::default();
    match noted_head(file)? {
        Some((seq, _)) if seq > head => part.report(seq, "tail"),
        None if head > 0 => part.report(head, "tail"),
        _ => {}
    }
    Ok(part)
}

/// Whether a row has the hash that follows `previous`. A row that cannot be read does not.
fn follows(row: &Row<'_>, previous: &str, stored: &str, buffer: &mut Vec<u8>) -> bool {
    let mut hashed = || -> rusqlite::Result<String> {
        let text = |index: usize| -> rusqlite::Result<&str> { Ok(row.get_ref(index)?.as_str()?) };
        let maybe = |index: usize| -> rusqlite::Result<Option<&str>> {
            Ok(row.get_ref(index)?.as_str_or_null()?)
        };
        let raw = RawRow {
            seq: row.get(0)?,
            at: row.get::<_, Millis>(1)?.0,
            action: text(2)?,
            kind: maybe(3)?,
            topic_id: row.get(4)?,
            topic_name: maybe(5)?,
            requested_by: maybe(6)?,
            actor: text(7)?,
            reason: maybe(8)?,
            before: maybe(9)?,
            after: maybe(10)?,
            request_id: row.get(11)?,
            on_behalf_of: maybe(12)?,
            source: maybe(13)?,
        };
        chain(previous, &raw, buffer).map_err(|_| rusqlite::Error::InvalidQuery)
    };
    hashed().is_ok_and(|hash| hash == stored)
}

/// The heads that were noted outside the database, in their order.
struct Heads {
    lines: Option<BufReader<fs_err::File>>,
    line: String,
    next: Option<(i64, String)>,
}

impl Heads {
    fn open(path: &Path) -> Outcome<Self> {
        let lines = match fs_err::File::open(path) {
            Ok(file) => Some(BufReader::new(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(sluice_service::sqlite::StoreError::from(error).into()),
        };
        Ok(Self {
            lines,
            line: String::new(),
            next: None,
        })
    }

    /// The hash that was noted for a row. Rows are asked for in ascending order.
    fn noted(&mut self, seq: i64) -> Outcome<Option<&str>> {
        while self.next.as_ref().is_none_or(|(noted, _)| *noted < seq) {
            let Some(lines) = &mut self.lines else {
                return Ok(None);
            };
            self.line.clear();
            let read = lines.read_line(&mut self.line);
            if read.map_err(sluice_service::sqlite::StoreError::from)? == 0 {
                self.lines = None;
                self.next = None;
                return Ok(None);
            }
            let noted = self.line.split_once(' ').and_then(|(at, hash)| {
                let at = at.parse().ok()?;
                // Most lines are of other parts of the chain.
                (at >= seq).then(|| (at, hash.trim_end().to_owned()))
            });
            if noted.is_some() {
                self.next = noted;
            }
        }
        let here = self.next.as_ref().filter(|(noted, _)| *noted == seq);
        Ok(here.map(|(_, hash)| hash.as_str()))
    }
}

/// Bytes at the end of the file of heads in which the last one stands.
const LAST_LINES_BYTES: u64 = 4096;

/// The last head of the chain that was noted outside the database.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn noted_head(file: &Path) -> Outcome<Option<(i64, String)>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = fs_err::File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINES_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(sluice_service::sqlite::StoreError::from(error).into()),
    };
    let mut heads = text.lines().rev().filter_map(|line| {
        let (seq, hash) = line.split_once(' ')?;
        Some((seq.parse().ok()?, hash.to_owned()))
    });
    Ok(heads.next())
}

#[cfg(test)]
#[path = "audit_chain/tests.rs"]
mod tests;
