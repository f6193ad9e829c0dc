//! One more producer daemon beside a stack, with settings of its own.

use crate::http::Api;
use crate::stack::Stack;
use crate::{Outcome, SOON, ensure, wait_for};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// A producer daemon; killed and removed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    dir: PathBuf,
    token: String,
    environment: Vec<(String, String)>,
}

impl Daemon {
    /// Starts one with a directory of its own. Ports are free ones; TCP is off unless a setting turns it on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(stack: &Stack, name: &str, settings: &[&str], stdin: Stdio) -> Outcome<Self> {
        Self::start_in(stack, name, settings, &[], stdin)
    }

    /// The same with variables in its environment, also when it is started again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_in(
        stack: &Stack,
        name: &str,
        settings: &[&str],
        environment: &[(&str, &str)],
        stdin: Stdio,
    ) -> Outcome<Self> {
        let dir = crate::stack::root()
            .join(".sluice/e2e")
            .join(format!("daemon-{name}"));
        if std::fs::remove_dir_all(&dir).is_err() && dir.exists() {
            return Err(format!("{} cannot be removed", dir.display()).into());
        }
        std::fs::create_dir_all(&dir)?;
        let token_file = dir.join("token");
        std::fs::write(&token_file, stack.token("producer"))?;
        let mut this = Self {
            child: Command::new("true").spawn()?,
            dir,
            token: stack.token("producer").to_owned(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        this.child.wait()?;
        this.spawn(stack, settings, stdin)?;
        Ok(this)
    }

    /// Starts it again on the same data.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn again(&mut self, stack: &Stack, settings: &[&str]) -> Outcome {
        self.spawn(stack, settings, Stdio::null())
    }

    fn spawn(&mut self, stack: &Stack, settings: &[&str], stdin: Stdio) -> Outcome {
        let mut command = Command::new(stack.binaries()?.join("sluice-producer"));
        let all = [
            "http.listen=127.0.0.1:0".to_owned(),
            "inputs.tcp.enabled=false".to_owned(),
            "inputs.tcp.listen=127.0.0.1:0".to_owned(),
            "log.format=json".to_owned(),
            format!("admin_api.url={}", stack.fact("/admin_api/url")),
            format!("admin_api.token_file={}", self.dir.join("token").display()),
            format!("kafka.bootstrap={}", stack.bootstrap()),
        ];
        for setting in all
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
        {
            command.args(["--set", setting]);
        }
        let log = File::create(self.log())?;
        command
            .current_dir(&self.dir)
            .envs(self.environment.iter().cloned())
            .stdin(stdin)
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = command.spawn()?;
        Ok(())
    }

    /// Its directory, also the working directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What it has logged.
    pub fn words(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The address of one of its inputs.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn address(&self, input: &str) -> Outcome<String> {
        wait_for(&format!("the daemon listens on {input}"), || {
            let words = self.words();
            let lines = words
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let fields = lines.map(|line| line["fields"].clone());
            let mut listening = fields.filter(|fields| fields["input"] == input);
            Ok(listening.find_map(|fields| fields["address"].as_str().map(str::to_owned)))
        })
        .map_err(|error| format!("{error}: {}", self.words()).into())
    }

    /// Its HTTP input, for the holder of the producer's token.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn http(&self) -> Outcome<Api> {
        Api::new(&format!("http://{}", self.address("http")?), &self.token)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When that fails.
    pub fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop, and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Outcome<ExitStatus> {
        let killed = Command::new("kill").arg(self.pid().to_string()).status()?;
        ensure!(
            killed.success(),
            "the daemon is gone already: {}",
            self.words()
        );
        self.end()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn end(&mut self) -> Outcome<ExitStatus> {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("the daemon does not end: {}", self.words()).into())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::env::var_os("SLUICE_E2E_KEEP").is_none() {
            std::fs::remove_dir_all(&self.dir).ok();
        }
    }
}
