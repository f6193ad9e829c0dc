//! `file_sink`: one append file, a JSON record (or its bare value) a line, exactly once.
//!
//! A batch is appended and synced, then its length and offsets are committed together in the registry.
//! Opening cuts the file back to the committed length, so a batch that a crash interrupted is gone from
//! the file and is read from Kafka again.

use super::{Kind, Outside, Processor, SinkError, Site, ends, path_fault};
use crate::batch::Entry;
use crate::batch::json::Encoder;
use crate::watermark::Positions;
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_model::problem::Code;
use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

/// The registry line.
pub(super) const KIND: Kind = Kind {
    name: "file_sink",
    schema,
    check,
    build,
};

const FORMATS: [&str; 2] = ["envelope", "value"];

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["file_path"],
        "properties": {
            "file_path": {
                "type": "string",
                "description": "The file that lines are appended to. Relative paths are under the first \
                                directory of files.roots; missing directories are created."
            },
            "format": {
                "type": "string", "enum": FORMATS, "default": "envelope",
                "description": "envelope: the whole record as JSON; value: the value alone, text as it \
                                is, other bytes in base64, a tombstone as null."
            }
        }
    })
}

fn check(body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
    let path = body.text("file_path");
    let format = body.text("format");
    if let Some(format) = format.filter(|format| !FORMATS.contains(&format.as_str())) {
        body.invalid("format", format!("is envelope or value, not {format:?}"));
    }
    let Some(path) = path else {
        body.invalid("file_path", "is missing, or no string");
        return None;
    };
    outside
        .roots
        .resolve(&path)
        .err()
        .map(|fault| path_fault(body, "file_path", fault))
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
fn build(config: &Map<String, Value>, site: Site) -> Result<Box<dyn Processor>, SinkError> {
    let text = |name: &str| {
        config
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let bare = text("format") == "value";
    Ok(Box::new(FileSink {
        path: text("file_path"),
        bare,
        site,
        open: None,
    }))
}

struct FileSink {
    path: String,
    bare: bool,
    site: Site,
    open: Option<Open>,
}

struct Open {
    file: File,
    path: PathBuf,
    length: u64,
    lines: Vec<u8>,
    encoder: Encoder,
}

impl Processor for FileSink {
    fn open(&mut self) -> Result<Positions, SinkError> {
        // The lock is the file's: it must be given back before it can be taken again.
        self.open = None;
        let (file, path) = self.site.roots.open_file(&self.path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SinkError::environment(format!(
                    "{} is in use by another consumer",
                    self.path
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let found = file.metadata()?.len();
        let recorded = self.site.sinks.length(&path)?;
        let length = match recorded {
            Some(recorded) if found > recorded => {
                tracing::info!(
                    consumer.id = self.site.consumer_id,
                    cut = found - recorded,
                    "an interrupted write is undone"
                );
                file.set_len(recorded)?;
                file.sync_data()?;
                recorded
            }
            // Shorter: somebody took lines away, which only they can know the reason of.
            Some(_) | None => found,
        };
        if recorded != Some(length) {
            self.site.sinks.set_length(&path, length)?;
        }
        let held = self
            .site
            .sinks
            .positions(&self.site.processor_id, &self.site.topic_ids)?;
        self.open = Some(Open {
            file,
            path,
            length,
            lines: Vec::new(),
            encoder: Encoder::default(),
        });
        Ok(held)
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let Some(open) = self.open.as_mut() else {
            return Err(SinkError::transient("the file is not open"));
        };
        open.lines.clear();
        for entry in batch {
            line(&mut open.lines, &mut open.encoder, entry, self.bare)?;
        }
        open.file.write_all_at(&open.lines, open.length)?;
        open.file.sync_data()?;
        if !same_file(open) {
            return Err(SinkError::transient(format!(
                "{} was moved or removed",
                self.path
            )));
        }
        let length = open.length + open.lines.len() as u64;
        let site = &self.site;
        let ends = ends(batch);
        let ends = ends.iter().map(|(topic, partition, next)| {
            (topic.to_owned(), partition, site.topic_id(topic), next)
        });
        site.sinks
            .save(&open.path, length, &site.processor_id, ends.collect())?;
        open.length = length;
        Ok(())
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        let site = &self.site;
        let rows = targets.iter().map(|(topic, partition, next)| {
            (topic.clone(), *partition, site.topic_id(topic), *next)
        });
        Ok(site.sinks.rewind(&site.processor_id, rows.collect())?)
    }
}

/// Whether the path still leads to the file that is open.
fn same_file(open: &Open) -> bool {
    let (Ok(here), Ok(there)) = (open.file.metadata(), fs_err::metadata(&open.path)) else {
        return false;
    };
    (here.dev(), here.ino()) == (there.dev(), there.ino())
}

fn line(
    lines: &mut Vec<u8>,
    encoder: &mut Encoder,
    entry: &Entry<'_>,
    bare: bool,
) -> Result<(), SinkError> {
    let json = |error: serde_json::Error| SinkError::poison(format!("a record as JSON: {error}"));
    if !bare {
        encoder.record(lines, entry);
    } else if let Some(text) = entry.value.and_then(plain) {
        lines.extend_from_slice(text);
    } else {
        // A line cannot hold it as it is: JSON keeps null, line breaks and base64 readable.
        serde_json::to_writer(&mut *lines, &entry.record().value).map_err(json)?;
    }
    lines.push(b'\n');
    Ok(())
}

/// A value that can stand as one line.
fn plain(value: &[u8]) -> Option<&[u8]> {
    let one_line = !value.contains(&b'\n') && !value.contains(&b'\r');
    (one_line && std::str::from_utf8(value).is_ok()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::conformance::{Bench, entries};

    fn lines(bench: &Bench, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(bench.roots.first().join(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn what_a_crash_left_behind_is_cut_and_read_again() {
        let bench = Bench::new();
        let config = json!({"file_path": "d/f.jsonl"});
        let mut sink = bench.build("file_sink", &config);
        sink.open().unwrap();
        sink.write(&entries(0..3)).unwrap();
        drop(sink);
        let path = bench.roots.first().join("d/f.jsonl");
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"topic\":\"t\",\"offs");
        std::fs::write(&path, torn).unwrap();
        let mut sink = bench.build("file_sink", &config);
        assert_eq!(sink.open().unwrap().get("t", 0), Some(3));
        sink.write(&entries(3..5)).unwrap();
        let offsets: Vec<_> = lines(&bench, "d/f.jsonl")
            .iter()
            .map(|l| l["offset"].as_i64().unwrap())
            .collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn lines_that_were_there_before_stay() {
        let bench = Bench::new();
        std::fs::write(bench.roots.first().join("f"), "{\"offset\":-1}\n").unwrap();
        let mut sink = bench.build("file_sink", &json!({"file_path": "f"}));
        sink.open().unwrap();
        sink.write(&entries(0..1)).unwrap();
        drop(sink);
        let mut sink = bench.build("file_sink", &json!({"file_path": "f"}));
        sink.open().unwrap();
        assert_eq!(lines(&bench, "f").len(), 2);
    }

    #[test]
    fn two_consumers_do_not_write_one_file_at_a_time_and_a_removed_file_is_made_again() {
        let bench = Bench::new();
        let config = json!({"file_path": "f"});
        let mut first = bench.build("file_sink", &config);
        first.open().unwrap();
        assert!(
            bench
                .build("file_sink", &config)
                .open()
                .unwrap_err()
                .message
                .contains("in use")
        );
        std::fs::remove_file(bench.roots.first().join("f")).unwrap();
        assert!(
            first
                .write(&entries(0..2))
                .unwrap_err()
                .message
                .contains("removed")
        );
        assert_eq!(first.open().unwrap().get("t", 0), None);
        first.write(&entries(0..2)).unwrap();
        assert_eq!(lines(&bench, "f").len(), 2);
    }

    #[test]
    fn values_are_one_line_each_whatever_they_hold() {
        let bench = Bench::new();
        let mut sink = bench.build("file_sink", &json!({"file_path": "f", "format": "value"}));
        sink.open().unwrap();
        let mut batch = entries(0..4);
        batch[0].value = Some(b"{\"a\": 1}");
        batch[1].value = None;
        batch[2].value = Some(b"a\nb");
        batch[3].value = Some(&[0xff]);
        sink.write(&batch).unwrap();
        let text = std::fs::read_to_string(bench.roots.first().join("f")).unwrap();
        assert_eq!(text, "{\"a\": 1}\nnull\n\"a\\nb\"\n\"/w==\"\n");
    }
}
