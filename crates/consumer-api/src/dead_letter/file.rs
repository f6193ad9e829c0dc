//! The dead-letter file of a consumer: a JSON record a line, synced before it counts.

use super::DIRECTORY;
use crate::batch::Entry;
use crate::confine::Roots;
use crate::processors::SinkError;
use sluice_model::record::Header;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Bytes of one file. Beyond it the consumer fails, for nobody looks after its dead letters.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The file of a consumer, relative to the first root.
pub(super) fn name(consumer_id: &str) -> String {
    format!("{DIRECTORY}/{consumer_id}.jsonl")
}

/// Appends a record with headers added.
pub(super) fn append(
    roots: &Roots,
    consumer_id: &str,
    entry: &Entry<'_>,
    extra: &[(&'static str, String)],
) -> Result<PathBuf, SinkError> {
    let mut record = entry.record();
    let header = |(name, value): &(&str, String)| Header::new(name, Some(value.as_bytes()));
    record.headers.extend(extra.iter().map(header));
    let mut line = serde_json::to_vec(&record)
        .map_err(|error| SinkError::environment(format!("a dead letter as JSON: {error}")))?;
    line.push(b'\n');
    let (file, path) = roots.open_file(&name(consumer_id))?;
    // One writer a consumer; the lock is for two whose lives overlap.
    file.lock()?;
    let mut length = file.metadata()?.len();
    if length + line.len() as u64 > FILE_BYTES_MAX {
        let place = path.display();
        return Err(SinkError::environment(format!(
            "the dead-letter file {place} has reached {FILE_BYTES_MAX} bytes; send its records again or move it away"
        )));
    }
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        // A crash cut the last line short: ours begins on a new one.
        file.write_all_at(b"\n", length)?;
        length += 1;
    }
    file.write_all_at(&line, length)?;
    file.sync_data()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::conformance::entries;
    use sluice_model::record::Record;

    #[test]
    fn lines_are_whole_records_with_the_reason_even_after_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::open(&[dir.path().to_owned()]).unwrap();
        let batch = entries(0..2);
        let extra = [("sluice.error", "no".to_owned())];
        let path = append(&roots, "c1", &batch[0], &extra).unwrap();
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"topic\":\"t");
        std::fs::write(&path, torn).unwrap();
        append(&roots, "c1", &batch[1], &extra).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        for (line, offset) in [(lines[0], 0), (lines[2], 1)] {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(record.offset, offset);
            assert_eq!(
                record.headers.last(),
                Some(&Header::new("sluice.error", Some(b"no")))
            );
            assert_eq!(record.headers[0], Header::new("h", Some(b"v")));
        }
    }
}
