use super::frame::FrameWriter;
use super::log::Chunk;
use super::*;
use crate::batch::{Rec, Records, Span};
use proptest::prelude::*;
use std::os::unix::fs::FileExt as _;

pub(super) fn frame(values: &[&str]) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    for value in values {
        let block = bytes::Bytes::copy_from_slice(value.as_bytes());
        let value = Some(Span::block(0, block.len()));
        let rec = Rec {
            topic: 0,
            partition: -1,
            timestamp: 0,
            key: None,
            value,
            headers: None,
        };
        writer.push(
            &Records {
                block,
                ..Records::default()
            },
            &rec,
        );
    }
    writer.finish(1)
}

pub(super) fn meta(name: &str) -> Meta {
    Meta {
        topic_name: name.into(),
        topic_id: Some(1),
    }
}

fn hold(held: &mut Held, values: &[&str]) {
    held.log.append(&frame(values)).unwrap();
    held.log.commit().unwrap();
    held.log.held_records += values.len() as u64;
}

pub(super) fn values(chunk: &Chunk) -> Vec<(u64, u32, String)> {
    let mut all = Vec::new();
    for frame in &chunk.frames {
        let recs = frame::records(&chunk.bytes, frame.payload, frame.header.length);
        for (index, rec) in recs.iter().enumerate() {
            let index = index as u32;
            if !frame.resolved.get(index) {
                let records = Records {
                    block: chunk.bytes.clone(),
                    ..Records::default()
                };
                let value = records.part(rec.value).unwrap().to_vec();
                all.push((frame.number, index, String::from_utf8(value).unwrap()));
            }
        }
    }
    all
}

pub(super) fn drain(log: &mut Log) -> Vec<(u64, u32, String)> {
    let mut all = Vec::new();
    while let Some(chunk) = log.read_chunk().unwrap() {
        all.extend(values(&chunk));
    }
    all
}

fn texts(all: &[(u64, u32, String)]) -> Vec<&str> {
    all.iter().map(|(_, _, text)| text.as_str()).collect()
}

#[test]
fn what_was_committed_comes_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut spool, found) = Spool::open(dir.path()).unwrap();
        assert!(found.held.is_empty());
        let mut held = spool.create(meta("t")).unwrap();
        hold(&mut held, &["a", "b"]);
        hold(&mut held, &["c"]);
        assert!(
            Spool::open(dir.path()).is_err(),
            "two processes must not share a spool"
        );
    }
    let (_spool, mut found) = Spool::open(dir.path()).unwrap();
    let held = &mut found.held[0];
    assert_eq!(
        (held.meta.topic_name.as_str(), held.log.held_records),
        ("t", 3)
    );
    assert_eq!(texts(&drain(&mut held.log)), ["a", "b", "c"]);
    hold(held, &["d"]);
    assert_eq!(texts(&drain(&mut held.log)), ["d"]);
}

#[test]
fn single_records_that_are_dealt_with_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut spool, _) = Spool::open(dir.path()).unwrap();
        let mut held = spool.create(meta("t")).unwrap();
        hold(&mut held, &["a", "b"]);
        hold(&mut held, &["c", "d"]);
        let read = drain(&mut held.log);
        for (number, index, text) in &read {
            if text != "b" && text != "c" {
                assert!(held.log.resolve(*number, *index));
                assert!(!held.log.resolve(*number, *index));
            }
        }
        held.log.checkpoint().unwrap();
    }
    let (_spool, mut found) = Spool::open(dir.path()).unwrap();
    let log = &mut found.held[0].log;
    assert_eq!(log.held_records, 2);
    let read = drain(log);
    assert_eq!(texts(&read), ["b", "c"]);
    log.rewind();
    assert_eq!(texts(&drain(log)), ["b", "c"]);
}

#[test]
fn a_torn_end_is_cut_and_a_damaged_block_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let segment = {
        let (mut spool, _) = Spool::open(dir.path()).unwrap();
        let mut held = spool.create(meta("t")).unwrap();
        for value in ["a", "b", "c", "d"] {
            hold(&mut held, &[value]);
        }
        log::segment_path(held.log.dir(), 1)
    };
    let one = frame(&["a"]).len() as u64;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap();
    file.write_all_at(b"X", one + 30).unwrap();
    file.set_len(one * 4 - 3).unwrap();
    let (_spool, mut found) = Spool::open(dir.path()).unwrap();
    assert_eq!((found.quarantined, found.torn_bytes), (1, one - 3));
    assert_eq!(texts(&drain(&mut found.held[0].log)), ["a", "c"]);
    assert_eq!(
        std::fs::read_dir(dir.path().join("quarantine"))
            .unwrap()
            .count(),
        2,
        "the block, and whose it is"
    );
}

#[test]
fn dealt_with_segments_and_logs_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path()).unwrap();
    let mut held = spool.create(meta("t")).unwrap();
    let large = "x".repeat(log::SEGMENT_BYTES as usize / 2 + 1);
    for _ in 0..4 {
        hold(&mut held, &[&large]);
    }
    let before = held.log.disk_bytes();
    let read = drain(&mut held.log);
    for (number, index, _) in &read[..3] {
        held.log.resolve(*number, *index);
    }
    held.log.checkpoint().unwrap();
    assert!(held.log.disk_bytes() < before);
    let (number, index, _) = read[3];
    held.log.resolve(number, index);
    assert!(held.log.is_empty());
    held.remove().unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path().join("topics"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn an_owner_that_is_named_before_the_first_sync_stays() {
    let dir = tempfile::tempdir().unwrap();
    for before in [true, false] {
        let (mut spool, mut found) = Spool::open(dir.path()).unwrap();
        if let Some(held) = found.held.pop() {
            assert_eq!(held.meta.topic_id, Some(7));
            held.remove().unwrap();
        }
        let unknown = Meta {
            topic_id: None,
            ..meta("t")
        };
        let mut held = spool.create(unknown).unwrap();
        if before {
            held.set_topic_id(7).unwrap();
        }
        hold(&mut held, &["a"]);
        if !before {
            held.set_topic_id(7).unwrap();
        }
    }
    let (_spool, found) = Spool::open(dir.path()).unwrap();
    assert_eq!(found.held[0].meta.topic_id, Some(7));
}

#[test]
fn what_was_not_committed_is_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path()).unwrap();
    let mut held = spool.create(meta("t")).unwrap();
    hold(&mut held, &["a"]);
    held.log.append(&frame(&["lost"])).unwrap();
    held.log.roll_back();
    hold(&mut held, &["b"]);
    assert_eq!(texts(&drain(&mut held.log)), ["a", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The model: a list of values, of which a crash may only take what was never committed.
    #[test]
    fn a_crash_at_any_byte_loses_nothing_committed_before_it(
        frames in proptest::collection::vec(1_usize..5, 1..12),
        cut in any::<proptest::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut ends = Vec::new();
        let segment = {
            let (mut spool, _) = Spool::open(dir.path()).unwrap();
            let mut held = spool.create(meta("t")).unwrap();
            for (number, count) in frames.iter().enumerate() {
                let all: Vec<String> = (0..*count).map(|i| format!("{number}-{i}")).collect();
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                hold(&mut held, &all);
                ends.push((held.log.end().offset, all.len() as u64));
            }
            log::segment_path(held.log.dir(), 1)
        };
        let length = std::fs::metadata(&segment).unwrap().len();
        let cut = cut.index(length as usize + 1) as u64;
        std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(cut).unwrap();
        let want: u64 = ends.iter().filter(|(end, _)| *end <= cut).map(|(_, count)| count).sum();
        let (_spool, found) = Spool::open(dir.path()).unwrap();
        let got: u64 = found.held.iter().map(|held| held.log.held_records).sum();
        prop_assert_eq!(got, want);
    }
}
