//! Where records go that an input cannot answer for: JSON lines with the reason, in a few files of
//! bounded size, the newest without a number.

use super::inlet::Inlet;
use crate::batch::Refusal;
use crate::settings::QuarantineSettings;
use crate::spool::files;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Lines that may wait to be written; beyond it the input waits.
const WAITING_MAX: usize = 1024;
/// Lines that are written at once.
const WRITE_LINES_MAX: usize = 256;
/// Bytes of one record that are kept.
const DATA_BYTES_MAX: usize = 64 * 1024;

/// The way into the quarantine. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    lines: mpsc::Sender<Vec<u8>>,
}

/// What is known of a record.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    /// When it was put here.
    pub at: sluice_model::time::Timestamp,
    /// The input.
    pub input: &'static str,
    /// Who sent it: an address or a path.
    pub source: &'a str,
    /// Its topic, when it got that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<&'a str>,
    /// Why, as a word.
    pub code: &'static str,
    /// Why, in words.
    pub detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl Quarantine {
    /// Starts the task that writes. It ends when nobody can put anything here any more.
    pub(super) fn start(settings: &QuarantineSettings) -> (Self, impl Future<Output = ()> + use<>) {
        let (lines, waiting) = mpsc::channel(WAITING_MAX);
        let files = Files {
            settings: settings.clone(),
            open: None,
        };
        (Self { lines }, write_all(files, waiting))
    }

    /// Puts a record here, and counts it as refused.
    pub(super) async fn put(
        &self,
        inlet: &Inlet,
        (input, source): (&'static str, &str),
        topic: Option<&str>,
        refusal: &Refusal,
        data: &[u8],
    ) {
        inlet.count_refused(input, refusal);
        let kept = data.get(..DATA_BYTES_MAX).unwrap_or(data);
        let text = std::str::from_utf8(kept).ok();
        let entry = Entry {
            at: sluice_service::now(),
            input,
            source,
            topic,
            code: refusal.code.as_str(),
            detail: &refusal.detail,
            data: text,
            data_base64: text.is_none().then(|| STANDARD.encode(kept)),
            truncated: kept.len() < data.len(),
        };
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        // The writing task lives as long as its senders.
        let _written_later = self.lines.send(line).await;
    }
}

async fn write_all(mut files: Files, mut waiting: mpsc::Receiver<Vec<u8>>) {
    let mut lines = Vec::new();
    while waiting.recv_many(&mut lines, WRITE_LINES_MAX).await > 0 {
        let count = lines.len() as u64;
        let batch = std::mem::take(&mut lines);
        let work = move || {
            let written = files.write(&batch);
            (files, written)
        };
        let Ok((back, written)) = tokio::task::spawn_blocking(work).await else {
            return;
        };
        files = back;
        match written {
            Ok(()) => {
                metrics::counter!("producer_quarantined_records_total").increment(count);
            }
            Err(error) => {
                tracing::error!(%error, count, "the quarantine cannot be written; records are lost");
                metrics::counter!("producer_quarantine_lost_records_total").increment(count);
            }
        }
    }
}

#[derive(Debug)]
struct Files {
    settings: QuarantineSettings,
    open: Option<(File, u64)>,
}

impl Files {
    fn path(&self, age: usize) -> PathBuf {
        let name = match age {
            0 => "refused.jsonl".to_owned(),
            age => format!("refused.{age}.jsonl"),
        };
        self.settings.dir.join(name)
    }

    fn write(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        for line in lines {
            let (mut file, length) = match self.open.take() {
                Some((file, length)) if length < self.settings.file_max_bytes => (file, length),
                Some(_) => {
                    self.rotate()?;
                    self.begin()?
                }
                None => self.begin()?,
            };
            file.write_all(line)?;
            self.open = Some((file, length + line.len() as u64));
        }
        Ok(())
    }

    fn begin(&self) -> io::Result<(File, u64)> {
        files::create_dir(&self.settings.dir)?;
        let file = files::append(&self.path(0))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    fn rotate(&self) -> io::Result<()> {
        let last = self.settings.files_max - 1;
        if let Ok(oldest) = std::fs::metadata(self.path(last)) {
            metrics::counter!("producer_quarantine_removed_bytes_total").increment(oldest.len());
            std::fs::remove_file(self.path(last))?;
        }
        for age in (0..last).rev() {
            match std::fs::rename(self.path(age), self.path(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let settings = QuarantineSettings {
            dir: dir.path().join("q"),
            file_max_bytes: 100,
            files_max: 3,
        };
        for round in 0..2 {
            // A second process goes on where the first one stopped.
            let mut files = Files {
                settings: settings.clone(),
                open: None,
            };
            for line in 0..40 {
                let text = format!("{:050}\n", round * 100 + line).into_bytes();
                files.write(&[text]).unwrap();
            }
        }
        let mut names: Vec<_> = std::fs::read_dir(&settings.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["refused.1.jsonl", "refused.2.jsonl", "refused.jsonl"]
        );
        let newest = std::fs::read_to_string(settings.dir.join("refused.jsonl")).unwrap();
        assert!(newest.trim_end().ends_with("139"), "{newest}");
        for name in names {
            assert!(std::fs::metadata(settings.dir.join(name)).unwrap().len() <= 102);
        }
    }
}
