//! Disks that fill and databases that go away.

use super::databases::{Databases, Seen, count_lines, say, seen, whole};
use super::{create, delete, patiently, send, topic};
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure};
use std::path::PathBuf;

/// Waits until a consumer has a status; answers what is said about it.
fn status(api: &Api, id: &str, wanted: &str) -> Outcome<Value> {
    let mut said = Value::Null;
    patiently(&format!("the consumer is {wanted}"), || {
        said = api.get(&format!("/consumers/{id}/status/"))?.expect(200)?;
        Ok(said["status"] == wanted)
    })?;
    Ok(said)
}

pub(super) fn database_gone(stack: &Stack) -> Outcome {
    let name = "sinks_gone";
    topic(stack, name)?;
    let databases = Databases::start(true);
    let api = stack.consumer("consumer")?;
    let mut sent = 0;
    for kind in ["postgres", "mariadb"] {
        let Some(dsn) = databases.dsn(kind) else {
            continue;
        };
        let config = json!({"dsn": dsn, "table": name});
        let id = create(
            &api,
            name,
            &format!("{name}.{kind}"),
            "database_sync",
            &config,
        )?;
        send(stack, name, sent, sent + 1000)?;
        sent += 1000;
        patiently("the first records are written", || {
            Ok(total(stack, &databases, kind, name)? == sent)
        })?;
        // PostgreSQL does not start again beside a killed one that nobody has reaped.
        let verb = if kind == "postgres" { "stop" } else { "kill" };
        databases.run(verb, kind)?;
        send(stack, name, sent, sent + 1000)?;
        sent += 1000;
        let said = status(&api, &id, "ERROR")?.to_string();
        let secret = dsn.split([':', '@']).nth(2).unwrap_or_default();
        ensure!(
            said.contains("database_sync fails"),
            "the cause is named: {said}"
        );
        ensure!(said.contains("transient"), "it is tried again: {said}");
        ensure!(
            !secret.is_empty() && !said.contains(secret),
            "without the password: {said}"
        );
        databases.run("start", kind)?;
        let all = api
            .get(&format!("/consumers/{id}/"))?
            .expect(200)?
            .to_string();
        ensure!(!all.contains(secret), "nor is it shown: {all}");
        patiently("it heals and has everything once", || {
            Ok(total(stack, &databases, kind, name)? == sent)
        })?;
        status(&api, &id, "ACTIVE")?;
        delete(&api, &id)?;
    }
    Ok(())
}

fn total(stack: &Stack, databases: &Databases, sink: &str, name: &str) -> Outcome<u64> {
    whole(&seen(stack, databases, sink, name)?, sink)
}

/// A file system in memory that is small.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).ok()?;
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k,mode=700", "none"])
            .arg(&path)
            .output()
            .ok()?;
        if !done.status.success() {
            say("a full disk, for nothing can be mounted here");
            return None;
        }
        Some(Self(path))
    }

    fn options(&self, options: &str) -> Outcome {
        let done = std::process::Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .output()?;
        ensure!(
            done.status.success(),
            "mount: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .output()
            .ok();
    }
}

pub(super) fn disk_full(stack: &Stack) -> Outcome {
    for (sink, name) in [
        ("append", "sinks_full_append"),
        ("rotated", "sinks_full_rotated"),
    ] {
        // What is asked for is where it would be without the small disk, too.
        let below = if sink == "append" {
            format!("{name}.d")
        } else {
            name.to_owned()
        };
        let Some(disk) = Small::mount(stack.files().join(&below)) else {
            return Ok(());
        };
        topic(stack, name)?;
        let config = match sink {
            "append" => json!({"file_path": format!("{below}/f.jsonl")}),
            _ => json!({"dir": name, "rotate_records": 500, "rotate_age": "300ms"}),
        };
        let api = stack.consumer("consumer")?;
        let id = create(&api, name, name, "file_sink", &config)?;
        let nothing = Databases {
            all: Value::Null,
            own: None,
        };
        let held = || -> Outcome<u64> {
            let mut found = Seen::new();
            match sink {
                "append" => {
                    let path = disk.0.join("f.jsonl");
                    if path.exists() {
                        count_lines(&mut found, &path)?;
                    }
                }
                _ => found = seen(stack, &nothing, sink, name)?,
            }
            whole(&found, sink)
        };
        send(stack, name, 0, 3000)?;
        let said = status(&api, &id, "ERROR")?.to_string();
        ensure!(
            said.to_lowercase().contains("no space"),
            "the cause is named: {said}"
        );
        disk.options("size=64m")?;
        patiently("it heals by itself", || Ok(held()? == 3000))?;
        status(&api, &id, "ACTIVE")?;
        // A file system with files that are open for writing cannot become read-only.
        let verb = |verb: &str| {
            api.post_empty(&format!("/consumers/{id}/{verb}/"))?
                .expect(200)
        };
        verb("stop")?;
        disk.options("ro")?;
        verb("start")?;
        send(stack, name, 3000, 3100)?;
        let said = status(&api, &id, "ERROR")?.to_string();
        ensure!(
            said.to_lowercase().contains("read-only"),
            "the cause is named: {said}"
        );
        disk.options("rw")?;
        patiently("it heals again", || Ok(held()? == 3100))?;
        delete(&api, &id)?;
    }
    Ok(())
}
