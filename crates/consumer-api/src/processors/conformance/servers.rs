//! Real databases: those that `SLUICE_DATABASES` names (`databases.json` of `scripts/databases`), or
//! some that a test starts for itself and stops again.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One database that runs.
pub(crate) struct Database {
    pub(crate) dsn: String,
    /// Where it was started for one test.
    own: Option<(tempfile::TempDir, &'static str)>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/databases")
}

fn dsn(json: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(json).ok()?;
    let all: Value = serde_json::from_str(&text).ok()?;
    Some(all.get(name)?.get("dsn")?.as_str()?.to_owned())
}

impl Database {
    /// The database of a name. None where it is neither running nor installed: that is said aloud.
    pub(crate) fn of(name: &'static str) -> Option<Self> {
        let given = std::env::var_os("SLUICE_DATABASES");
        if let Some(dsn) = given.and_then(|path| dsn(Path::new(&path), name)) {
            return Some(Self { dsn, own: None });
        }
        // Not under a temporary directory with a private mode: PostgreSQL's own user must get through.
        let dir = tempfile::Builder::new()
            .prefix("sluice-database-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let started = Command::new(script())
            .args(["start", name, "--dir"])
            .arg(dir.path())
            .output()
            .unwrap();
        let found = dsn(&dir.path().join("databases.json"), name);
        if found.is_none() {
            let why = String::from_utf8_lossy(&started.stderr).into_owned();
            let text = format!("NOT TESTED: {name} does not run here: {why}\n");
            std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
        }
        found.map(|dsn| Self {
            dsn,
            own: Some((dir, name)),
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((dir, name)) = &self.own {
            let mut stop = Command::new(script());
            stop.args(["stop", name, "--dir"]).arg(dir.path());
            let _best_effort = stop.output();
        }
    }
}
