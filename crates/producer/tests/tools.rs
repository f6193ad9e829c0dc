//! The commands for a spool without a daemon, as a person runs them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use sluice_producer::batch::{Rec, Records, Span};
use sluice_producer::spool::frame::FrameWriter;
use sluice_producer::spool::{Meta, Spool};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn frame(values: &[&[u8]]) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    for value in values {
        let records = Records {
            block: bytes::Bytes::copy_from_slice(value),
            ..Records::default()
        };
        let rec = Rec {
            topic: 0,
            partition: -1,
            timestamp: 0,
            key: None,
            value: Some(Span::block(0, value.len())),
            headers: None,
        };
        writer.push(&records, &rec);
    }
    writer.finish(1_700_000_000_000)
}

/// A spool with two blocks of two records; gives the length of one block.
fn spool(dir: &Path) -> u64 {
    let (mut spool, _) = Spool::open(dir).unwrap();
    let meta = Meta {
        topic_name: "orders".into(),
        topic_id: Some(7),
    };
    let mut held = spool.create(meta).unwrap();
    let bytes = frame(&[b"one", &[0xff]]);
    held.log.append(&bytes).unwrap();
    held.log.append(&bytes).unwrap();
    held.log.commit().unwrap();
    bytes.len() as u64
}

fn run(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice-producer"));
    command.args(args).arg("--dir").arg(dir);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_spool_is_listed_verified_and_dumped_while_a_daemon_has_it() {
    let dir = tempfile::tempdir().unwrap();
    spool(dir.path());
    let _daemon = Spool::open(dir.path()).unwrap();
    let listed = run(&["spool", "ls", "--json"], dir.path());
    let rows: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(rows[0]["topic_name"], "orders");
    assert_eq!(rows[0]["held_records"], 4);
    assert_eq!(rows[0]["held_bytes"], 8);
    assert!(text(&run(&["spool", "ls"], dir.path())).contains("orders"));
    assert!(run(&["spool", "verify"], dir.path()).status.success());
    let dumped = text(&run(&["spool", "dump", "--topic", "orders"], dir.path()));
    let lines: Vec<&str> = dumped.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], r#"{"topic":"orders","value":"one"}"#);
    assert!(
        lines[1].contains(r#""value_encoding":"base64""#),
        "{}",
        lines[1]
    );
    let refused = run(&["spool", "replay", "--tcp", "127.0.0.1:1"], dir.path());
    assert!(
        text(&refused).contains("another process has"),
        "{}",
        text(&refused)
    );
}

#[test]
fn damage_is_found_and_said_where() {
    let dir = tempfile::tempdir().unwrap();
    let length = spool(dir.path());
    let path = dir.path().join("topics/00000001/0000000001.seg");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"X", 40).unwrap();
    let verified = run(&["spool", "verify", "--json"], dir.path());
    assert_eq!(verified.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(found["ok"], false);
    let damage = &found["logs"][0]["damage"][0];
    assert_eq!(
        (damage["from"].as_u64(), damage["to"].as_u64()),
        (Some(0), Some(length))
    );
    assert_eq!(
        text(&run(&["spool", "dump"], dir.path())).lines().count(),
        2
    );
}

#[test]
fn a_directory_that_is_no_spool_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["spool", "ls"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is no spool"), "{}", text(&output));
}

#[test]
fn what_still_parses_of_a_damaged_block_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    spool(dir.path());
    let path = dir.path().join("topics/00000001/0000000001.seg");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    // One bit of the first value: the checksum is wrong, the records are there.
    file.write_all_at(b"One", 48).unwrap();
    let (_, found) = Spool::open(dir.path()).unwrap();
    assert_eq!(found.quarantined, 1);
    let dumped = run(&["spool", "dump", "--quarantine"], dir.path());
    assert!(dumped.status.success(), "{}", text(&dumped));
    let lines = String::from_utf8(dumped.stdout).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], r#"{"topic":"orders","value":"One"}"#);
}
