//! What happens to machines: topics are made anew behind everybody's back, disks become read-only, and
//! clocks jump.

use crate::Test;
use serde_json::json;
use sluice_e2e::daemon::Daemon;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "robust: a topic that is deleted and made again by hand in Kafka is noticed, and loses nothing that is held",
        made_again_by_hand,
    ),
    (
        "robust: a disk that becomes read-only refuses what needs it, and live records flow on",
        read_only_disk,
    ),
    (
        "robust: a clock that jumps changes nothing: records flow, heartbeats go on, ages stay true",
        clock_jumps,
    ),
];

/// On a stack whose topics are deleted at once.
pub(crate) const CALM: &[(&str, Test)] = &[(
    "robust: a topic that governance deleted and made again gets the new records only",
    made_again_by_governance,
)];

/// Sends one value; gives the HTTP status.
fn send(stack: &Stack, topic: &str, value: u64) -> Outcome<u16> {
    let path = format!("/topics/{topic}");
    Ok(stack
        .producer("producer")?
        .post(&path, &json!(value))?
        .status)
}

/// Sends values from a number on until one is delivered; gives the next number.
fn send_until_delivered(stack: &Stack, topic: &str, first: u64) -> Outcome<u64> {
    let mut next = first;
    wait_for(&format!("{topic} takes records"), || {
        next += 1;
        Ok((send(stack, topic, next - 1)? == 200).then_some(next))
    })
}

fn made_again_by_hand(stack: &Stack) -> Outcome {
    let topic = "again.hand";
    stack.active_topic(topic)?;
    let first = send_until_delivered(stack, topic, 0)?;
    kafka::delete(stack.bootstrap(), topic)?;
    wait_for("Kafka has no such topic", || {
        Ok(kafka::shape(stack.bootstrap(), topic)?
            .is_none()
            .then_some(()))
    })?;
    // Kafka cannot take these: they are held, not lost and not refused.
    let held = first..first + 5;
    for value in held.clone() {
        ensure_eq!(send(stack, topic, value)?, 202, "held");
    }
    let flow = stack.flow(topic)?;
    ensure_eq!(flow["held_records"], 5, "and shown: {flow}");
    // With another number of partitions, so that what librdkafka remembers is wrong.
    kafka::create(stack.bootstrap(), topic, 2)?;
    stack.wait_live(topic)?;
    let next = send_until_delivered(stack, topic, held.end)?;
    stack.wait_live(topic)?;
    let mut values: Vec<u64> = kafka::values(stack.bootstrap(), topic)?
        .iter()
        .filter_map(|value| value.parse().ok())
        .collect();
    values.sort_unstable();
    values.dedup();
    let wanted: Vec<u64> = (first..next).collect();
    ensure_eq!(values, wanted, "everything since the deletion");
    Ok(())
}

fn made_again_by_governance(stack: &Stack) -> Outcome {
    let topic = "again.asked";
    let old = stack.active_topic(topic)?;
    let first = send_until_delivered(stack, topic, 0)?;
    stack.decide(old, "deactivate", "ends")?;
    wait_for("the producer holds", || {
        Ok((send(stack, topic, 1_000_000)? == 202).then_some(()))
    })?;
    let delete = stack.admin("requester")?.post(
        &format!("/api/topics/{old}/delete"),
        &json!({"reason": "gone"}),
    )?;
    ensure!(
        delete.status < 300,
        "the deletion is asked for: {}",
        delete.text
    );
    let request = delete.json()["request_id"].clone();
    stack
        .admin("approver")?
        .post_empty(&format!("/api/requests/{request}/approve"))?
        .expect(200)?;
    stack.wait_status(old, "deleted")?;
    let new = stack.active_topic(topic)?;
    ensure!(new != old, "another life has another id");
    send_until_delivered(stack, topic, 2_000_000)?;
    // What the old life holds stays held: nobody has decided about it.
    let flow = stack.flow(topic)?;
    ensure!(flow["state"] == "live" && flow["in_flight"] == 0, "{flow}");
    let values = kafka::values(stack.bootstrap(), topic)?;
    let old_values = values.iter().filter(|value| {
        value
            .parse::<u64>()
            .is_ok_and(|value| value < 2_000_000 || value < first)
    });
    ensure_eq!(old_values.count(), 0, "of the old life: {values:?}");
    Ok(())
}

/// A directory that is mounted over itself; taken away when dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Makes a directory read-only for everybody who opens something in it from now on; none where this
    /// machine does not let us.
    fn new(dir: &Path) -> Option<Self> {
        let run = |arguments: &[&str]| {
            let mut mount = Command::new("mount");
            mount.args(arguments).arg(dir).stderr(Stdio::null());
            mount.status().is_ok_and(|status| status.success())
        };
        if !run(&["--bind", &dir.display().to_string()]) {
            return None;
        }
        let this = Self(dir.to_path_buf());
        run(&["-o", "remount,bind,ro"]).then_some(this)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Lazily: a daemon may have files open in it.
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.0).status().ok();
    }
}

#[expect(clippy::print_stderr, reason = "what cannot be tested here is said")]
fn read_only_disk(stack: &Stack) -> Outcome {
    let (live, held, new) = ("disk.live", "disk.held", "disk.new");
    stack.active_topic(live)?;
    let id = stack.request(&json!({"name": held}))?;
    stack.request(&json!({"name": new}))?;
    let settings = ["spool.dir=spool"];
    let mut daemon = Daemon::start(stack, "read-only", &settings, Stdio::null())?;
    let api = daemon.http()?;
    let post = |topic: &str, value: &str| api.post(&format!("/topics/{topic}"), &json!(value));
    wait_for("the daemon has its table", || {
        Ok((post(live, "0")?.status == 200).then_some(()))
    })?;
    post(held, "a")?.expect(202)?;
    let Some(read_only) = ReadOnly::new(&daemon.dir().join("spool")) else {
        eprintln!("a read-only disk: NOT TESTED, mounting needs root");
        return Ok(());
    };
    post(new, "b")?.problem(507)?;
    post(live, "1")?.expect(200)?;
    // The same over a restart: the daemon starts, and keeps what it cannot change.
    daemon.kill()?;
    daemon.again(stack, &settings)?;
    let api = daemon.http()?;
    let post = |topic: &str, value: &str| api.post(&format!("/topics/{topic}"), &json!(value));
    wait_for("live records flow", || {
        Ok((post(live, "2")?.status == 200).then_some(()))
    })?;
    post(held, "c")?.problem(507)?;
    post(new, "d")?.problem(507)?;
    let ready = api.get("/readyz")?;
    ensure!(
        ready.text.contains("spool"),
        "readiness says so: {}",
        ready.text
    );
    daemon.kill()?;
    drop(read_only);
    daemon.again(stack, &settings)?;
    let api = daemon.http()?;
    wait_for("it holds again", || {
        let answer = api.post(&format!("/topics/{held}"), &json!("e"))?;
        Ok((answer.status == 202).then_some(()))
    })?;
    stack.approve(id)?;
    wait_for("what was held flows", || {
        let values = kafka::values(stack.bootstrap(), held)?;
        Ok((values == ["a", "e"]).then_some(()))
    })
    .map_err(|error| {
        let values = kafka::values(stack.bootstrap(), held);
        let status = api.get("/status").map(|answer| answer.text);
        format!("{error}: {values:?}, {status:?}, {}", daemon.words()).into()
    })
}

/// Where the library stands that shifts a process's clock, if it is installed.
fn faketime() -> Option<&'static str> {
    let known = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    known.into_iter().find(|path| Path::new(path).exists())
}

#[expect(clippy::print_stderr, reason = "what cannot be tested here is said")]
fn clock_jumps(stack: &Stack) -> Outcome {
    let Some(library) = faketime() else {
        eprintln!("clock jumps: NOT TESTED, install libfaketime");
        return Ok(());
    };
    let (live, held) = ("clock.live", "clock.held");
    stack.active_topic(live)?;
    stack.request(&json!({"name": held}))?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("shift");
    std::fs::write(&file, "+0")?;
    let name = file.display().to_string();
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", name.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let settings = [
        "instance=clock",
        "spool.max_age=30m",
        "watch.heartbeat=200ms",
    ];
    let daemon = Daemon::start_in(stack, "clock", &settings, &environment, Stdio::null())?;
    let api = daemon.http()?;
    let post = |topic: &str| api.post(&format!("/topics/{topic}"), &json!(1));
    wait_for("the daemon has its table", || {
        Ok((post(live)?.status == 200).then_some(()))
    })?;
    post(held)?.expect(202)?;
    let last_seen = || -> Outcome<String> {
        let producers = stack.admin("viewer")?.get("/api/producers")?.expect(200)?;
        let rows = producers.as_array().cloned().unwrap_or_default();
        let ours = rows.iter().find(|row| row["instance"] == "clock");
        Ok(ours.map(ToString::to_string).unwrap_or_default())
    };
    // Kafka itself refuses times that are an hour ahead of its own: such records wait.
    let mut sent = 1;
    for (shift, wrong) in [
        ("+30m", false),
        ("+3h", true),
        ("-3h", false),
        ("+400d", true),
        ("+0", false),
    ] {
        std::fs::write(&file, shift)?;
        if !wrong {
            wait_for(&format!("records flow at {shift}"), || {
                let status = post(live)?.status;
                // What was refused is nobody's to deliver.
                sent += usize::from(matches!(status, 200 | 202));
                Ok((status == 200).then_some(()))
            })?;
        }
        for _ in 0..20 {
            let answer = post(live)?;
            sent += 1;
            let fine = answer.status == 200 || (wrong && answer.status == 202);
            ensure!(fine, "{shift}: {}", answer.text);
        }
        let before = last_seen()?;
        wait_for("heartbeats go on", || {
            Ok((last_seen()? != before).then_some(()))
        })?;
        let status = api.get("/status")?.expect(200)?;
        let topics = status["topics"].as_array().cloned().unwrap_or_default();
        let flow = topics.iter().find(|topic| topic["topic_name"] == held);
        let flow = flow.cloned().unwrap_or_default();
        ensure_eq!(
            flow["held_records"],
            1,
            "nothing is too old at {shift}: {flow}"
        );
        let age = Duration::from_millis(flow["oldest_held_ms"].as_u64().unwrap_or(u64::MAX));
        ensure!(age < Duration::from_secs(600), "{age:?} old at {shift}");
    }
    wait_for("all records are in Kafka", || {
        Ok((kafka::count(stack.bootstrap(), live)? >= sent).then_some(()))
    })
    .map_err(|error| {
        let count = kafka::count(stack.bootstrap(), live);
        let status = api.get("/status").map(|answer| answer.text);
        format!("{error}: {count:?} of {sent}, {status:?}").into()
    })
}
