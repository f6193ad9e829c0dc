//! Spools of earlier versions must be read for ever. The files under `golden` were written by hand after
//! the description of the format, not by this program.

use sluice_producer::batch::Records;
use sluice_producer::headers;
use sluice_producer::spool::{Spool, frame};
use std::path::Path;

type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, i64, i32, usize);

#[test]
fn a_segment_of_version_1_is_read_behind_its_cursor() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("topics/00000001");
    std::fs::create_dir_all(&log).unwrap();
    for name in ["meta.json", "cursor", "0000000001.seg"] {
        std::fs::copy(golden.join(name), log.join(name)).unwrap();
    }
    let (_spool, mut found) = Spool::open(dir.path()).unwrap();
    assert_eq!(
        (found.quarantined, found.torn_bytes, found.left_alone),
        (0, 0, 0)
    );
    let held = &mut found.held[0];
    assert_eq!(
        (held.meta.topic_name.as_str(), held.meta.topic_id),
        ("golden", Some(42))
    );
    assert_eq!(held.log.held_records, 3);
    assert_eq!(held.log.oldest_ms(), Some(1_700_000_001_000));
    let mut seen: Vec<Seen> = Vec::new();
    while let Some(chunk) = held.log.read_chunk().unwrap() {
        let records = Records {
            block: chunk.bytes.clone(),
            ..Records::default()
        };
        for read in &chunk.frames {
            let recs = frame::records(&chunk.bytes, read.payload, read.header.length);
            for (index, rec) in (0..).zip(&recs) {
                if !read.resolved.get(index) {
                    let part = |span| records.part(span).map(<[u8]>::to_vec);
                    let headers = headers::read(records.part(rec.headers).unwrap_or_default());
                    seen.push((
                        part(rec.key),
                        part(rec.value),
                        rec.timestamp,
                        rec.partition,
                        headers.count(),
                    ));
                }
            }
        }
    }
    let wanted: [Seen; 3] = [
        (Some(b"k".to_vec()), Some(br#"{"a": 1}"#.to_vec()), 0, 3, 3),
        (Some(Vec::new()), None, 0, -1, 0),
        (None, Some(vec![0xff, 0x80]), 0, -1, 0),
    ];
    assert_eq!(seen, wanted);
}
