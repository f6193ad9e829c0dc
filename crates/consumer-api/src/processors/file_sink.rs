//! `file_sink`: records as lines of files, exactly once.
//!
//! `file_path` is one file that grows; its length and offsets are committed together in the registry
//! after it is synced. `dir` is a directory of files that are complete, with their offsets in the name.

mod append;
mod format;
mod manifest;
mod partition;
mod rotated;

use super::{Kind, Outside, Processor, SinkError, Site, path_fault};
use append::Append;
use format::Format;
use humantime_serde::re::humantime;
use rotated::Rotated;
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_model::problem::Code;
use std::time::Duration;

/// The registry line.
pub(super) const KIND: Kind = Kind {
    name: "file_sink",
    schema,
    check,
    build,
};

const COMPRESSIONS: [&str; 2] = ["none", "zstd"];
/// When a file of `dir` is complete unless the configuration says otherwise.
const ROTATE_RECORDS: u64 = 100_000;
const ROTATE_BYTES: u64 = 64 * 1024 * 1024;
const ROTATE_AGE: &str = "60s";
/// The most that may be asked for: what is not complete is read again after a crash.
const ROTATE_RECORDS_MAX: u64 = 10_000_000;
const ROTATE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
const ROTATE_AGE_MIN: Duration = Duration::from_millis(100);
const ROTATE_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What files look like, and when one is complete.
#[derive(Clone, Copy, Debug)]
struct Shape {
    format: Format,
    zstd: bool,
    records: u64,
    bytes: u64,
    age: Duration,
}

impl Shape {
    fn extension(&self) -> String {
        let end = if self.zstd { ".zst" } else { "" };
        format!("{}{end}", self.format.extension())
    }

    /// Of a configuration that was checked.
    fn of(config: &Map<String, Value>) -> Self {
        let text = |name: &str| config.get(name).and_then(Value::as_str);
        let number = |name: &str| config.get(name).and_then(Value::as_u64);
        let age = text("rotate_age").unwrap_or(ROTATE_AGE);
        Self {
            format: text("format")
                .and_then(Format::of)
                .unwrap_or(Format::Envelope),
            zstd: text("compression") == Some("zstd"),
            records: number("rotate_records").unwrap_or(ROTATE_RECORDS),
            bytes: number("rotate_bytes").unwrap_or(ROTATE_BYTES),
            age: humantime::parse_duration(age).unwrap_or(ROTATE_AGE_MAX),
        }
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "oneOf": [{"required": ["file_path"]}, {"required": ["dir"]}],
        "properties": {
            "file_path": {
                "type": "string",
                "description": "One file that lines are appended to. Relative paths are under the first \
                                directory of files.roots; missing directories are created."
            },
            "dir": {
                "type": "string",
                "description": "A directory below one of files.roots, for this consumer alone. It gets files \
                                <dir>/<topic>/<partition>/<first offset>-<last offset>.<extension>; a file \
                                that has its name is complete and is never touched again."
            },
            "format": {
                "type": "string", "enum": Format::NAMES, "default": "envelope",
                "description": "envelope: the whole record as a line of JSON; value: the value alone, text as \
                                it is, other bytes in base64, a tombstone as null; csv: RFC 4180 with a header \
                                line: topic, partition, offset, timestamp, key, value, headers (JSON), \
                                key_encoding and value_encoding (utf8, base64, or null for what is not there)."
            },
            "compression": {
                "type": "string", "enum": COMPRESSIONS, "default": "none",
                "description": "zstd: what any zstd tool reads; file_path gets a frame a batch."
            },
            "rotate_records": {
                "type": "integer", "minimum": 1, "maximum": ROTATE_RECORDS_MAX, "default": ROTATE_RECORDS,
                "description": "dir: a file is complete with this many records,"
            },
            "rotate_bytes": {
                "type": "integer", "minimum": 1, "maximum": ROTATE_BYTES_MAX, "default": ROTATE_BYTES,
                "description": "or about this many bytes before compression,"
            },
            "rotate_age": {
                "type": "string", "default": ROTATE_AGE,
                "description": "or this long after its first record (100ms to 24h), records or not."
            }
        }
    })
}

fn check(body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
    choice(body, "format", &Format::NAMES);
    choice(body, "compression", &COMPRESSIONS);
    let rotates = check_rotation(body);
    let (path, dir) = (body.text("file_path"), body.text("dir"));
    match (path, dir) {
        (Some(_), Some(_)) => body.invalid("dir", "is instead of file_path; give one of them"),
        (None, None) => body.invalid(
            "file_path",
            "is missing, or no string (dir is the other way)",
        ),
        (Some(path), None) => {
            if rotates {
                body.invalid("file_path", "is one file; rotate_* is for dir");
            }
            let fault = outside.roots.resolve(&path).err()?;
            return Some(path_fault(body, "file_path", fault));
        }
        (None, Some(dir)) => {
            let fault = outside.roots.resolve_dir(&dir).err()?;
            return Some(path_fault(body, "dir", fault));
        }
    }
    None
}

/// Whether anything is said about rotation.
fn check_rotation(body: &mut Body) -> bool {
    let mut said = false;
    for (name, max) in [
        ("rotate_records", ROTATE_RECORDS_MAX),
        ("rotate_bytes", ROTATE_BYTES_MAX),
    ] {
        let Some(number) = body.integer::<i64>(name) else {
            continue;
        };
        said = true;
        if !u64::try_from(number).is_ok_and(|number| (1..=max).contains(&number)) {
            body.invalid(name, format!("is 1 to {max}"));
        }
    }
    if let Some(age) = body.text("rotate_age") {
        said = true;
        let range = ROTATE_AGE_MIN..=ROTATE_AGE_MAX;
        if !humantime::parse_duration(&age).is_ok_and(|age| range.contains(&age)) {
            body.invalid(
                "rotate_age",
                "is a time such as 30s or 5m, from 100ms to 24h",
            );
        }
    }
    said
}

/// Checks a member that is one of a few words.
fn choice(body: &mut Body, name: &'static str, known: &[&str]) {
    if let Some(word) = body
        .text(name)
        .filter(|word| !known.contains(&word.as_str()))
    {
        body.invalid(
            name,
            format!("is one of {}, not {word:?}", known.join(", ")),
        );
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
fn build(config: &Map<String, Value>, site: Site) -> Result<Box<dyn Processor>, SinkError> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).map(str::to_owned);
    let shape = Shape::of(config);
    Ok(match text("dir") {
        Some(dir) => Box::new(Rotated::new(dir, shape, site)),
        None => Box::new(Append::new(
            text("file_path").unwrap_or_default(),
            shape,
            site,
        )),
    })
}

#[cfg(test)]
mod tests;
