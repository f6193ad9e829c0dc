//! Several consumer-api processes on one registry: consumers are spread, found from everywhere, and moved
//! when their instance is killed, leaves or sleeps, with every record once in the sinks.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::stack::{Stack, root, script};
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "instances share consumers: one is killed, another leaves, a third sleeps, and every record is there once",
        shared_work,
    ),
    (
        "a registry in SQLite belongs to one process, which the second one names",
        second_process,
    ),
];

/// Time after which a silent instance is replaced, in this test.
const LEASE: Duration = Duration::from_secs(5);

/// One consumer-api of ours; killed when dropped.
struct Instance {
    child: Child,
    api: Api,
    url: String,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.signal("CONT").ok();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Instance {
    fn spawn(stack: &Stack, home: &Path, name: &str, keys: &[String]) -> Outcome<(Child, PathBuf)> {
        let dir = home.join(name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("token"), stack.token("consumer"))?;
        let log = dir.join("log");
        let mut command = Command::new(stack.binaries()?.join("sluice-consumer-api"));
        let fixed = [
            "http.listen=127.0.0.1:0".to_owned(),
            format!("kafka.bootstrap={}", stack.bootstrap()),
            format!("admin_api.url={}", stack.fact("/admin_api/url")),
            "admin_api.token_file=token".to_owned(),
            "consumers.retry_max=1s".to_owned(),
            format!("files.roots=[\"{}\"]", home.join("files").display()),
        ];
        for key in fixed.iter().chain(keys) {
            command.args(["--set", key]);
        }
        let child = command
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        Ok((child, log))
    }

    fn start(stack: &Stack, home: &Path, name: &str, registry: &str) -> Outcome<Self> {
        let keys = [
            format!("database.url={registry}"),
            format!("instances.lease={}s", LEASE.as_secs()),
        ];
        let (child, log) = Self::spawn(stack, home, name, &keys)?;
        let url = wait_for("an instance says where it listens", || {
            let text = std::fs::read_to_string(&log)?;
            let rest = text.split("\"http.listen\":\"").nth(1);
            let found = rest.and_then(|rest| rest.split('"').next());
            Ok(found.map(|address| format!("http://{address}")))
        })?;
        let api = Api::new(&url, stack.token("consumer"))?;
        wait_for("an instance is ready and has joined", || {
            let joined = api.get("/instances/").is_ok_and(|answer| {
                let all = answer.json();
                let all = all.as_array().cloned().unwrap_or_default();
                all.iter().any(|instance| instance["url"] == url.as_str())
            });
            Ok(joined.then_some(()))
        })?;
        Ok(Self { child, api, url })
    }

    fn signal(&self, name: &str) -> Outcome {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()?;
        Ok(())
    }
}

/// A schema of its own in a PostgreSQL server, as the URL of a registry.
fn registry() -> Outcome<String> {
    let file = if let Some(file) = std::env::var_os("SLUICE_DATABASES") {
        PathBuf::from(file)
    } else {
        let dir = root().join(".sluice/databases").display().to_string();
        PathBuf::from(script("databases", &["start", "--dir", &dir, "postgres"])?.trim())
    };
    let facts: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let dsn = facts["postgres"]["dsn"].as_str().ok_or("no postgres")?;
    let schema = format!("registry_{}", std::process::id());
    let mut client = postgres::Client::connect(dsn, postgres::NoTls)?;
    client.batch_execute(&format!(
        "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}"
    ))?;
    Ok(format!("{dsn}?options=-c%20search_path%3D{schema}"))
}

/// The owner of every consumer, by its URL; waits until every one is active.
fn owners(api: &Api, count: usize) -> Outcome<BTreeMap<String, String>> {
    wait_for("every consumer is active somewhere", || {
        let consumers = api.get("/consumers/")?.json();
        let instances = api.get("/instances/")?.json();
        let urls: BTreeMap<&str, &str> = instances
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|i| Some((i["id"].as_str()?, i["url"].as_str()?)))
            .collect();
        let active = consumers.as_array().into_iter().flatten().filter_map(|c| {
            let url = urls.get(c["instance"].as_str()?)?;
            let id = c["id"].as_str()?.to_owned();
            (c["status"] == "ACTIVE").then(|| (id, (*url).to_owned()))
        });
        let active: BTreeMap<_, _> = active.collect();
        Ok((active.len() == count).then_some(active))
    })
}

fn of(owners: &BTreeMap<String, String>, url: &str) -> usize {
    owners.values().filter(|owner| *owner == url).count()
}

/// Waits until a consumer is active elsewhere than at an address.
fn moved(api: &Api, ids: &[String], from: &str) -> Outcome {
    wait_for(
        "the consumers of the lost instance are active elsewhere",
        || {
            for id in ids {
                let consumer = api.get(&format!("/consumers/{id}/"))?.json();
                let instances = api.get("/instances/")?.json();
                let owner = instances.as_array().into_iter().flatten();
                let mut owner = owner.filter(|i| i["id"] == consumer["instance"]);
                let there = owner.next().is_some_and(|i| i["url"] != from);
                if consumer["status"] != "ACTIVE" || !there {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        },
    )
}

fn send(stack: &Stack, topic: &str, numbers: std::ops::Range<usize>) -> Outcome {
    let mut lines = stack.lines()?;
    let count = numbers.len() as u64;
    let line = |n| format!("{{\"topic\": \"{topic}\", \"key\": \"{n}\", \"value\": \"{n}\"}}\n");
    lines.send(&numbers.map(line).collect::<String>())?;
    lines.acked(count).map(drop)
}

/// The values that a sink holds, sorted; a repeated one shows as such.
fn held(files: &Path, name: &str) -> Outcome<Vec<usize>> {
    let path = files.join(name);
    let mut values: Vec<usize> = if path.extension().is_some_and(|kind| kind == "db") {
        let db = rusqlite::Connection::open(path)?;
        let mut query = db.prepare("SELECT value FROM records")?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        rows.filter_map(Result::ok)
            .filter_map(|v| v.parse().ok())
            .collect()
    } else {
        let text = std::fs::read_to_string(path)?;
        text.lines().filter_map(|v| v.parse().ok()).collect()
    };
    values.sort_unstable();
    Ok(values)
}

fn complete(files: &Path, sinks: &[String], count: usize) -> Outcome {
    for sink in sinks {
        wait_for(&format!("{sink} has every record"), || {
            let all = held(files, sink).is_ok_and(|values| values.len() >= count);
            Ok(all.then_some(()))
        })?;
        let values = held(files, sink)?;
        ensure_eq!(values, (0..count).collect::<Vec<_>>(), "{sink}: each once");
    }
    Ok(())
}

fn shared_work(stack: &Stack) -> Outcome {
    let topic = "instances.orders";
    let id = stack.request(&json!({"name": topic, "partitions": 3}))?;
    stack.approve(id)?;
    let (home, registry) = (tempfile::tempdir()?, registry()?);
    let (home, files) = (home.path(), home.path().join("files"));
    let first = Instance::start(stack, home, "a", &registry)?;
    let second = Instance::start(stack, home, "b", &registry)?;
    let third = Instance::start(stack, home, "c", &registry)?;

    let mut sinks = Vec::new();
    for n in 0..6 {
        let (name, processor) = if n % 2 == 0 {
            let name = format!("s{n}.txt");
            let config = json!({"file_path": name, "format": "value"});
            (
                name,
                json!({"processor_type": "file_sink", "config": config}),
            )
        } else {
            let name = format!("s{n}.db");
            let config = json!({"dsn": format!("sqlite:{name}")});
            (
                name,
                json!({"processor_type": "database_sync", "config": config}),
            )
        };
        let body = json!({"cluster": "governed", "topic": topic, "consumer_group": format!("instances-{n}"),
            "auto_start": true, "downstream_processors": [processor]});
        wait_for("the topic is known", || {
            Ok((first.api.post("/consumers/", &body)?.status == 201).then_some(()))
        })?;
        sinks.push(name);
    }
    send(stack, topic, 0..2000)?;
    let spread = wait_for("the consumers are spread", || {
        let owners = owners(&third.api, 6)?;
        let even = [&first, &second, &third]
            .iter()
            .all(|i| of(&owners, &i.url) == 2);
        Ok(even.then_some(owners))
    })?;
    complete(&files, &sinks, 2000)?;

    // Any instance answers for all of them, and says which one did it.
    let far = spread.iter().find(|(_, url)| **url == third.url);
    let (far, _) = far.ok_or("nothing is elsewhere")?;
    let stopped = first.api.post_empty(&format!("/consumers/{far}/stop/"))?;
    ensure_eq!(
        stopped.expect(200)?["status"],
        "INACTIVE",
        "stopped through another one"
    );
    ensure!(
        stopped.header("sluice-instance").is_some(),
        "it says who did it"
    );
    wait_for("that is seen everywhere", || {
        let status = second
            .api
            .get(&format!("/consumers/{far}/status/"))?
            .expect(200)?;
        Ok((status["observed"] == "stopped").then_some(()))
    })?;
    first
        .api
        .post_empty(&format!("/consumers/{far}/start/"))?
        .expect(200)?;
    owners(&second.api, 6)?;

    // Killed: the others have its consumers within the lease.
    let lost: Vec<String> = spread
        .iter()
        .filter(|(_, url)| **url == second.url)
        .map(|(id, _)| id.clone())
        .collect();
    second.signal("KILL")?;
    let killed = Instant::now();
    send(stack, topic, 2000..4000)?;
    moved(&first.api, &lost, &second.url)?;
    let took = killed.elapsed();
    // The group's own session (8 s) may outlast the lease.
    ensure!(took < LEASE + Duration::from_secs(12), "it took {took:?}");
    complete(&files, &sinks, 4000)?;

    // Left: at once, long before the lease would end.
    let owned = owners(&first.api, 6)?;
    let left: Vec<String> = owned
        .iter()
        .filter(|(_, url)| **url == third.url)
        .map(|(id, _)| id.clone())
        .collect();
    third.signal("TERM")?;
    let asked = Instant::now();
    moved(&first.api, &left, &third.url)?;
    ensure!(
        asked.elapsed() < LEASE + Duration::from_secs(5),
        "left in {:?}",
        asked.elapsed()
    );
    send(stack, topic, 4000..5000)?;
    complete(&files, &sinks, 5000)?;

    // Joined: it gets its half. Asleep for longer than the lease, the first one loses all, and writes no
    // more when it wakes.
    let fourth = Instance::start(stack, home, "d", &registry)?;
    wait_for("the new one has its share", || {
        Ok((of(&owners(&first.api, 6)?, &fourth.url) == 3).then_some(()))
    })?;
    first.signal("STOP")?;
    send(stack, topic, 5000..6000)?;
    wait_for("the sleeping one is replaced", || {
        let instances = fourth.api.get("/instances/")?.json();
        Ok((instances.as_array().map(Vec::len) == Some(1)).then_some(()))
    })?;
    first.signal("CONT")?;
    complete(&files, &sinks, 6000)?;
    owners(&fourth.api, 6)?;
    Ok(())
}

fn second_process(stack: &Stack) -> Outcome {
    let home = tempfile::tempdir()?;
    let database = format!("database.path={}", home.path().join("one.db").display());
    let start =
        |name: &str| Instance::spawn(stack, home.path(), name, std::slice::from_ref(&database));
    let (mut first, log) = start("first")?;
    wait_for("the first one listens", || {
        let text = std::fs::read_to_string(&log)?;
        let lock = home.path().join("one.db.lock");
        Ok((text.contains("http.listen") && lock.exists()).then_some(()))
    })?;
    let (mut second, log) = start("second")?;
    let ended = wait_for("the second one gives up", || Ok(second.try_wait()?));
    let text = std::fs::read_to_string(log)?;
    let holder = format!("process {}", first.id());
    first.kill()?;
    first.wait()?;
    second.kill().ok();
    second.wait()?;
    ensure!(!ended?.success(), "a second process is refused");
    ensure!(text.contains(&holder), "it names {holder}: {text}");
    Ok(())
}
