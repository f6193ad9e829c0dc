//! The databases of a test, and what sinks hold as their own clients read it.

use mysql::prelude::Queryable as _;
use serde_json::Value;
use sluice_e2e::stack::{Stack, script};
use sluice_e2e::{Outcome, ensure_eq};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Databases for this test: those of the whole run, or some of its own.
pub(super) struct Databases {
    pub(super) all: Value,
    pub(super) own: Option<PathBuf>,
}

impl Databases {
    pub(super) fn start(own: bool) -> Self {
        let read = |path: &Path| -> Option<Value> {
            serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
        };
        let given = std::env::var_os("SLUICE_DATABASES").filter(|_| !own);
        if let Some(all) = given.and_then(|path| read(Path::new(&path))) {
            return Self { all, own: None };
        }
        // Not beside the stacks, whose directories are ours alone: PostgreSQL runs as a user of its own.
        let dir = std::env::temp_dir().join(format!("sluice-e2e-databases-{}", std::process::id()));
        for name in ["postgres", "mariadb", "redis"] {
            if let Err(error) = script(
                "databases",
                &["start", name, "--dir", &dir.display().to_string()],
            ) {
                say(&format!("{name} does not run here: {error}"));
            }
        }
        let all = read(&dir.join("databases.json")).unwrap_or_default();
        Self {
            all,
            own: Some(dir),
        }
    }

    pub(super) fn dsn(&self, name: &str) -> Option<&str> {
        self.all[name]["dsn"].as_str()
    }

    pub(super) fn run(&self, verb: &str, name: &str) -> Outcome {
        let dir = self.own.as_ref().ok_or("the databases are everybody's")?;
        script(
            "databases",
            &[verb, name, "--dir", &dir.display().to_string()],
        )
        .map(drop)
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        if let Some(dir) = &self.own {
            script(
                "databases",
                &["stop", "--purge", "--dir", &dir.display().to_string()],
            )
            .ok();
            std::fs::remove_dir_all(dir).ok();
        }
    }
}

/// How often each partition's offset is in a sink.
pub(super) type Seen = BTreeMap<(u64, u64), u64>;

pub(super) fn count(seen: &mut Seen, partition: u64, offset: u64) {
    *seen.entry((partition, offset)).or_default() += 1;
}

pub(super) fn count_lines(seen: &mut Seen, path: &Path) -> Outcome {
    for line in std::fs::read_to_string(path)?.lines() {
        // The last line of a file that grows may be on its way.
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        count(
            seen,
            number(&record["partition"])?,
            number(&record["offset"])?,
        );
    }
    Ok(())
}

fn number(value: &Value) -> Outcome<u64> {
    value
        .as_u64()
        .ok_or_else(|| format!("{value} is no number").into())
}

/// What a sink holds, read from it and from nowhere else.
pub(super) fn seen(stack: &Stack, databases: &Databases, sink: &str, name: &str) -> Outcome<Seen> {
    let mut seen = Seen::new();
    let select = format!("SELECT partition, \"offset\" FROM \"{name}\"");
    match sink {
        "append" => {
            let path = stack.files().join(format!("{name}.jsonl"));
            if path.exists() {
                count_lines(&mut seen, &path)?;
            }
        }
        "rotated" => {
            for partition in 0..super::PARTITIONS {
                let dir = stack
                    .files()
                    .join(name)
                    .join(name)
                    .join(partition.to_string());
                let Ok(names) = std::fs::read_dir(dir) else {
                    continue;
                };
                for entry in names {
                    let path = entry?.path();
                    if path.extension().is_some_and(|end| end == "jsonl") {
                        count_lines(&mut seen, &path)?;
                    }
                }
            }
        }
        "sqlite" => {
            let path = stack.files().join(format!("{name}.db"));
            if path.exists() {
                let db = rusqlite::Connection::open(path)?;
                if let Ok(mut query) = db.prepare(&select) {
                    let mut rows = query.query([])?;
                    while let Some(row) = rows.next()? {
                        count(
                            &mut seen,
                            row.get::<_, i64>(0)?.try_into()?,
                            row.get::<_, i64>(1)?.try_into()?,
                        );
                    }
                }
            }
        }
        "postgres" => {
            let dsn = databases.dsn(sink).unwrap_or_default();
            let mut client = postgres::Client::connect(dsn, postgres::NoTls)?;
            for row in client.query(&select, &[]).unwrap_or_default() {
                count(
                    &mut seen,
                    u64::try_from(row.get::<_, i32>(0))?,
                    row.get::<_, i64>(1).try_into()?,
                );
            }
        }
        "mariadb" => {
            let dsn = databases.dsn(sink).unwrap_or_default();
            let mut conn = mysql::Conn::new(mysql::Opts::from_url(dsn)?)?;
            let select = format!("SELECT `partition`, `offset` FROM `{name}`");
            for (partition, offset) in conn.query::<(u64, u64), _>(select).unwrap_or_default() {
                count(&mut seen, partition, offset);
            }
        }
        _ => {
            let dsn = databases.dsn(sink).unwrap_or_default();
            let mut conn = redis::Client::open(dsn)?.get_connection()?;
            let found: Vec<(String, BTreeMap<String, String>)> = redis::cmd("XRANGE")
                .arg(name)
                .arg("-")
                .arg("+")
                .query(&mut conn)?;
            for (_, fields) in found {
                count(
                    &mut seen,
                    fields["partition"].parse()?,
                    fields["offset"].parse()?,
                );
            }
        }
    }
    Ok(seen)
}

/// The total of what a sink holds; fails on a repeat, and on a gap below the highest offset.
pub(super) fn whole(seen: &Seen, what: &str) -> Outcome<u64> {
    let mut next = BTreeMap::new();
    for ((partition, offset), times) in seen {
        ensure_eq!(
            *times,
            1,
            "{what}: {partition}@{offset} is there {times} times"
        );
        let wanted = next.entry(partition).or_insert(0);
        ensure_eq!(offset, wanted, "{what}: a gap in partition {partition}");
        *wanted += 1;
    }
    Ok(seen.len() as u64)
}

/// Removes what an earlier run left in databases that are shared.
pub(super) fn forget(databases: &Databases, name: &str) -> Outcome {
    if let Some(dsn) = databases.dsn("postgres") {
        let mut client = postgres::Client::connect(dsn, postgres::NoTls)?;
        client.batch_execute(&format!("DROP TABLE IF EXISTS {name}"))?;
    }
    if let Some(dsn) = databases.dsn("mariadb") {
        let mut conn = mysql::Conn::new(mysql::Opts::from_url(dsn)?)?;
        conn.query_drop(format!("DROP TABLE IF EXISTS {name}"))?;
    }
    if let Some(dsn) = databases.dsn("redis") {
        let mut conn = redis::Client::open(dsn)?.get_connection()?;
        redis::cmd("DEL").arg(name).query::<()>(&mut conn)?;
    }
    Ok(())
}

/// Says aloud that something is not tested here.
pub(super) fn say(what: &str) {
    let text = format!("NOT TESTED: {what}\n");
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).ok();
}
