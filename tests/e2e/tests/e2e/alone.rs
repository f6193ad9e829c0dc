//! One database belongs to one admin API: a second one that is started on it by mistake ends, and says why.

use crate::Test;
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The tests of this file.
pub(crate) const TESTS: &[(&str, Test)] = &[(
    "trusted: a second admin API on one database is refused and names the first, which goes on",
    second_process,
)];

/// A process of ours; killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(stack: &Stack, home: &Path, name: &str) -> Outcome<Self> {
        let log = home.join(format!("{name}.log"));
        let settings = [
            "http.listen=127.0.0.1:0".to_owned(),
            format!("kafka.bootstrap={}", stack.bootstrap()),
            format!("database.path={}", home.join("one.db").display()),
        ];
        let mut command = Command::new(stack.binaries()?.join("sluice-admin-api"));
        for setting in &settings {
            command.args(["--set", setting]);
        }
        let child = command
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Self { child, log })
    }

    fn words(&self) -> Outcome<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// The address it listens on, as its log says.
    fn url(&self) -> Outcome<String> {
        wait_for("it listens", || {
            let text = self.words()?;
            let rest = text.split_once("\"http.listen\":\"");
            let address = rest.and_then(|(_, rest)| rest.split_once('"'));
            Ok(address.map(|(address, _)| format!("http://{address}")))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn second_process(stack: &Stack) -> Outcome {
    let home = tempfile::tempdir()?;
    let first = Process::start(stack, home.path(), "first")?;
    let url = first.url()?;
    let mut second = Process::start(stack, home.path(), "second")?;
    let ended = wait_for("the second one gives up", || Ok(second.child.try_wait()?))?;
    ensure!(!ended.success(), "it ends with a failure: {ended}");
    let (text, holder) = (second.words()?, format!("process {}", first.child.id()));
    ensure!(text.contains(&holder), "it names {holder}: {text}");
    ensure!(text.contains("one.db"), "it names the file: {text}");
    let health = Api::new(&url, "")?.get("/api/health")?;
    ensure_eq!(health.status, 200, "the first one goes on: {health:?}");
    Ok(())
}
