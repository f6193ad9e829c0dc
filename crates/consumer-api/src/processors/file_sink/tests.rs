//! Both modes, in and out of trouble.

use crate::processors::conformance::{Bench, entries};
use crate::processors::failpoint;
use crate::watermark::Positions;
use serde_json::{Value, json};

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
    sink.flush().unwrap();
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
    sink.flush().unwrap();
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
            .and_then(|()| first.flush())
            .unwrap_err()
            .message
            .contains("removed")
    );
    assert_eq!(first.open().unwrap().get("t", 0), None);
    first.write(&entries(0..2)).unwrap();
    assert_eq!(lines(&bench, "f").len(), 2);
}

#[test]
fn lines_of_one_file_count_when_they_are_synced_and_what_is_not_goes_with_its_partition() {
    let bench = Bench::new();
    let mut sink = bench.build("file_sink", &json!({"file_path": "f"}));
    sink.open().unwrap();
    assert_eq!(sink.deadline(), None);
    sink.write(&entries(0..3)).unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), None);
    assert_eq!(lines(&bench, "f").len(), 3, "readers see them at once");
    let deadline = sink.deadline().unwrap();
    while std::time::Instant::now() < deadline {
        std::thread::park_timeout(deadline.saturating_duration_since(std::time::Instant::now()));
    }
    sink.tick().unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), Some(3));
    assert_eq!(sink.deadline(), None);
    let gone = [("t".to_owned(), 0)];
    sink.release(&gone).unwrap();
    sink.write(&entries(3..5)).unwrap();
    sink.release(&gone).unwrap_err();
    assert_eq!(sink.open().unwrap().get("t", 0), Some(3));
    assert_eq!(
        lines(&bench, "f").len(),
        3,
        "whoever reads the partition now writes them"
    );
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

/// The offsets in the files of a partition, file by file in the order of their names.
fn offsets(bench: &Bench, dir: &str) -> Vec<i64> {
    let path = bench.roots.first().join(dir);
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    let of = |name: &String| {
        let found = lines(bench, &format!("{dir}/{name}"));
        let offsets: Vec<_> = found
            .iter()
            .map(|l| l["offset"].as_i64().unwrap())
            .collect();
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        assert_eq!(
            *name,
            format!("{first:020}-{last:020}.jsonl"),
            "names tell the truth"
        );
        offsets
    };
    names.iter().flat_map(of).collect()
}

fn rotated(records: u64) -> Value {
    json!({"dir": "d", "rotate_records": records, "rotate_age": "1h"})
}

#[test]
fn files_of_a_directory_are_complete_and_only_they_count() {
    let bench = Bench::new();
    let mut sink = bench.build("file_sink", &rotated(4));
    assert_eq!(sink.open().unwrap(), Positions::default());
    sink.write(&entries(0..10)).unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), Some(8));
    assert_eq!(offsets(&bench, "d/t/0"), (0..8).collect::<Vec<_>>());
    drop(sink);
    let mut sink = bench.build("file_sink", &rotated(4));
    assert_eq!(
        sink.open().unwrap().get("t", 0),
        Some(8),
        "8 and 9 are read again"
    );
    sink.write(&entries(5..11)).unwrap();
    sink.write(&entries(8..11)).unwrap();
    sink.flush().unwrap();
    assert_eq!(sink.durable().unwrap().get("t", 0), Some(11));
    assert_eq!(
        offsets(&bench, "d/t/0"),
        (0..11).collect::<Vec<_>>(),
        "none twice"
    );
    drop(sink);
    std::fs::remove_dir_all(bench.roots.first().join("d/t/0")).unwrap();
    let held = bench.build("file_sink", &rotated(4)).open().unwrap();
    assert_eq!(held.get("t", 0), None, "the directory is the truth");
}

#[test]
fn a_quiet_partition_is_completed_by_age_and_a_large_one_by_bytes() {
    let bench = Bench::new();
    let config = json!({"dir": "d", "rotate_age": "100ms", "rotate_bytes": 10_000});
    let mut sink = bench.build("file_sink", &config);
    sink.open().unwrap();
    assert_eq!(sink.deadline(), None);
    sink.write(&entries(0..3)).unwrap();
    let deadline = sink.deadline().unwrap();
    while sink.durable().unwrap().get("t", 0).is_none() {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        std::thread::park_timeout(left);
        sink.tick().unwrap();
    }
    assert_eq!(offsets(&bench, "d/t/0"), [0, 1, 2]);
    sink.write(&entries(3..400)).unwrap();
    assert!(
        sink.durable().unwrap().get("t", 0) > Some(300),
        "complete by bytes"
    );
}

#[test]
fn every_step_of_a_commit_may_be_the_last_one() {
    let steps = ["appended", "synced", "manifest", "renamed", "dir_synced"];
    let rows = rotated(3);
    let append = json!({"file_path": "f"});
    let cases = steps.iter().map(|step| (*step, &rows));
    let of_one_file = ["written", "synced", "saved"];
    for (step, config) in cases.chain(of_one_file.iter().map(|step| (*step, &append))) {
        let bench = Bench::new();
        let mut next = 0;
        let mut crashes = 0;
        while next < 12 {
            let mut sink = bench.build("file_sink", config);
            next = sink.open().unwrap().get("t", 0).unwrap_or(0);
            if crashes < 3 {
                failpoint::unit::arm(&format!("file_sink.{step}"));
            }
            let outcome = sink
                .write(&entries(next..next + 4))
                .and_then(|()| sink.flush());
            match outcome {
                Ok(()) => next += 4,
                Err(_) => crashes += 1,
            }
            failpoint::unit::disarm();
        }
        assert_eq!(crashes, 3, "{step}: the place is passed");
        let found = match config.get("dir") {
            Some(_) => offsets(&bench, "d/t/0"),
            None => lines(&bench, "f")
                .iter()
                .map(|l| l["offset"].as_i64().unwrap())
                .collect(),
        };
        let whole: Vec<_> = (0..i64::try_from(found.len()).unwrap()).collect();
        assert_eq!(found, whole, "{step}: no gap, none twice");
    }
}

#[test]
fn names_tell_when_the_manifest_is_lost_or_damaged() {
    let bench = Bench::new();
    let manifest = bench.roots.first().join("d/t/0/.sluice-manifest");
    let mut sink = bench.build("file_sink", &rotated(4));
    sink.open().unwrap();
    sink.write(&entries(0..8)).unwrap();
    drop(sink);
    let open = || {
        bench
            .build("file_sink", &rotated(4))
            .open()
            .unwrap()
            .get("t", 0)
    };
    std::fs::write(&manifest, b"").unwrap();
    assert_eq!(open(), Some(8));
    std::fs::remove_file(&manifest).unwrap();
    assert_eq!(open(), Some(8));
}

#[test]
fn files_that_were_taken_away_are_not_written_again() {
    let bench = Bench::new();
    let mut sink = bench.build("file_sink", &rotated(4));
    sink.open().unwrap();
    sink.write(&entries(0..8)).unwrap();
    drop(sink);
    for entry in std::fs::read_dir(bench.roots.first().join("d/t/0")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let held = bench.build("file_sink", &rotated(4)).open().unwrap();
    assert_eq!(held.get("t", 0), Some(8));
}

#[test]
fn a_topic_that_was_made_again_gets_a_directory_of_its_own() {
    let bench = Bench::new();
    for id in [7, 8, 8] {
        let mut sink = bench.build_for("file_sink", &rotated(2), id);
        let next = sink.open().unwrap().get("t", 0).unwrap_or(0);
        sink.write(&entries(next..next + 2)).unwrap();
    }
    assert_eq!(offsets(&bench, "d/t/0"), [0, 1]);
    assert_eq!(offsets(&bench, "d/t~8/0"), [0, 1, 2, 3]);
}

#[test]
fn one_consumer_has_the_directory_and_another_one_is_told_who() {
    let bench = Bench::new();
    let mut first = bench.build("file_sink", &rotated(2));
    first.open().unwrap();
    let error = bench.build("file_sink", &rotated(2)).open().unwrap_err();
    assert!(
        error.message.contains("in use by the consumer c1"),
        "{error}"
    );
    first.open().unwrap();
}

#[test]
fn what_grows_is_forgotten_when_somebody_else_reads_the_partition() {
    let bench = Bench::new();
    let mut sink = bench.build("file_sink", &rotated(4));
    sink.open().unwrap();
    sink.write(&entries(0..6)).unwrap();
    sink.release(&[("t".to_owned(), 0), ("u".to_owned(), 1)])
        .unwrap();
    sink.flush().unwrap();
    assert_eq!(offsets(&bench, "d/t/0"), [0, 1, 2, 3]);
    sink.write(&entries(8..9)).unwrap();
    sink.flush().unwrap();
    assert_eq!(
        offsets(&bench, "d/t/0"),
        [0, 1, 2, 3, 8],
        "gaps are Kafka's"
    );
}

#[test]
fn compressed_files_and_csv_are_what_their_tools_read() {
    let bench = Bench::new();
    for mode in ["dir", "file_path"] {
        let config = json!({mode: format!("z-{mode}"), "format": "csv", "compression": "zstd"});
        let mut sink = bench.build("file_sink", &config);
        sink.open().unwrap();
        sink.write(&entries(0..2)).unwrap();
        sink.write(&entries(2..3)).unwrap();
        sink.flush().unwrap();
        let name = if mode == "dir" {
            "z-dir/t/0/00000000000000000000-00000000000000000002.csv.zst"
        } else {
            "z-file_path"
        };
        let file = std::fs::File::open(bench.roots.first().join(name)).unwrap();
        let text = std::io::read_to_string(zstd::Decoder::new(file).unwrap()).unwrap();
        assert_eq!(
            text,
            "topic,partition,offset,timestamp,key,value,headers,key_encoding,value_encoding\n\
             t,0,0,2023-11-14T22:13:20.000Z,k,\"{\"\"n\"\":1}\",\"[[\"\"h\"\",\"\"v\"\"]]\",utf8,utf8\n\
             t,0,1,2023-11-14T22:13:20.001Z,k,\"{\"\"n\"\":1}\",\"[[\"\"h\"\",\"\"v\"\"]]\",utf8,utf8\n\
             t,0,2,2023-11-14T22:13:20.002Z,k,\"{\"\"n\"\":1}\",\"[[\"\"h\"\",\"\"v\"\"]]\",utf8,utf8\n",
            "{mode}"
        );
    }
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let bench = Bench::new();
    let faults = |config: Value| bench.faults("file_sink", config.as_object().unwrap());
    assert_eq!(
        faults(json!({"dir": "d", "rotate_age": "5m", "rotate_records": 1})),
        None
    );
    for wrong in [
        json!({}),
        json!({"dir": "d", "file_path": "f"}),
        json!({"dir": "../d"}),
        json!({"dir": "."}),
        json!({"file_path": "f", "rotate_records": 5}),
        json!({"dir": "d", "rotate_records": 0}),
        json!({"dir": "d", "rotate_bytes": -1}),
        json!({"dir": "d", "rotate_age": "soon"}),
        json!({"dir": "d", "rotate_age": "1ms"}),
        json!({"dir": "d", "format": "xml"}),
        json!({"dir": "d", "compression": "gzip"}),
    ] {
        assert_eq!(faults(wrong.clone()), Some(422), "{wrong}");
    }
}
