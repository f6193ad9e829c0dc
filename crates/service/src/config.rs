//! Layered configuration: shipped defaults < file < environment < `--set` flags.
//!
//! The shipped file in `config/` is compiled in as the defaults, so what it documents is what runs.

use crate::{Identity, Settings};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The flags of every daemon.
#[derive(Clone, Debug, Default, Parser)]
pub struct Flags {
    /// Configuration file (TOML); keys that it leaves out keep their defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, such as `http.listen=127.0.0.1:9000`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Read and check the configuration, then exit
    #[arg(long)]
    pub check_config: bool,
}

impl Flags {
    /// Reads the process's arguments; exits with code 2 when they are wrong.
    pub fn read(identity: &Identity) -> Self {
        let command = Self::command()
            .name(identity.name)
            .version(identity.version)
            .after_help(identity.more);
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag cannot be read or has an unknown or mistyped key.
    #[error("configuration: {0}")]
    Read(String),
    /// The values contradict a rule.
    #[error("configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// Reads the settings of a daemon through all layers and checks them.
///
/// # Errors
/// When a layer cannot be read, a key is unknown or mistyped, or a rule is broken; all broken rules
/// are listed.
pub fn load<S: Settings>(identity: &Identity, flags: &Flags) -> Result<S, ConfigError> {
    let read = |error: config::ConfigError| ConfigError::Read(describe(&error, identity, flags));
    let mut builder = config::Config::builder().add_source(config::File::from_str(
        identity.defaults,
        config::FileFormat::Toml,
    ));
    if let Some(path) = &flags.config {
        let text = fs_err::read_to_string(path).map_err(|e| ConfigError::Read(e.to_string()))?;
        let source = config::File::from_str(&text, config::FileFormat::Toml);
        builder = builder.add_source(source);
    }
    let environment = config::Environment::with_prefix(identity.env_prefix)
        .prefix_separator("__")
        .separator("__");
    builder = builder.add_source(environment);
    for assignment in &flags.set {
        builder = builder.add_source(assignment_source(assignment)?);
    }
    let settings: S = builder
        .build()
        .map_err(read)?
        .try_deserialize()
        .map_err(read)?;
    let faults = settings.faults();
    if faults.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigError::Invalid(faults))
    }
}

type Source = config::File<config::FileSourceString, config::FileFormat>;

/// `a.b=value` as a one-line TOML source; a value that is no TOML value counts as a string.
fn assignment_source(assignment: &str) -> Result<Source, ConfigError> {
    let Some((key, value)) = assignment.split_once('=') else {
        return Err(ConfigError::Read(format!(
            "--set {assignment:?} is not KEY=VALUE"
        )));
    };
    let as_value = format!("{key} = {value}");
    let quoted = serde_json::Value::from(value).to_string();
    let text = if parses(&as_value) {
        as_value
    } else {
        format!("{key} = {quoted}")
    };
    if !parses(&text) {
        return Err(ConfigError::Read(format!(
            "--set {assignment:?} has no valid key"
        )));
    }
    Ok(config::File::from_str(&text, config::FileFormat::Toml))
}

fn parses(text: &str) -> bool {
    let file = config::File::from_str(text, config::FileFormat::Toml);
    config::Config::builder().add_source(file).build().is_ok()
}

fn describe(error: &config::ConfigError, identity: &Identity, flags: &Flags) -> String {
    let file = flags
        .config
        .as_deref()
        .map_or("no file".to_owned(), |p| p.display().to_string());
    let prefix = identity.env_prefix;
    format!("{error} (read from {file}, {prefix}__* variables and --set flags)")
}

/// Where a service listens for HTTP, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allows a bind outside loopback without TLS.
    pub insecure_plaintext: bool,
    /// PEM file with the certificate chain; empty means no TLS.
    pub tls_cert_file: PathBuf,
    /// PEM file with the private key.
    pub tls_key_file: PathBuf,
    /// Largest request body in bytes.
    pub body_max_bytes: usize,
    /// Seconds within which a request body must arrive.
    pub body_timeout_s: u64,
}

impl HttpSettings {
    /// Whether TLS is configured.
    pub fn tls(&self) -> bool {
        !self.tls_cert_file.as_os_str().is_empty()
    }

    /// Broken rules, by key.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.listen.ip().is_loopback() && !self.tls() && !self.insecure_plaintext {
            faults.push(format!(
                "http.listen = \"{}\" is reachable from outside without TLS: set http.tls_cert_file \
                 and http.tls_key_file, or http.insecure_plaintext = true to accept that",
                self.listen
            ));
        }
        if self.tls() == self.tls_key_file.as_os_str().is_empty() {
            faults.push("http.tls_cert_file and http.tls_key_file go together".to_owned());
        }
        faults
    }
}

/// How a service reaches the admin API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminApiSettings {
    /// Base URL.
    pub url: String,
    /// File with this service's own token.
    pub token_file: PathBuf,
}

/// A path from the configuration: relative ones are under `base`.
pub fn under(base: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() {
        path.to_path_buf()
    } else {
        base.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogSettings;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        port: u16,
        name: String,
        list: Vec<String>,
        log: LogSettings,
    }

    impl Settings for Sample {
        fn faults(&self) -> Vec<String> {
            if self.port == 1 {
                vec!["port is not 1".into()]
            } else {
                vec![]
            }
        }
        fn log(&self) -> &LogSettings {
            &self.log
        }
    }

    const SAMPLE: Identity = Identity {
        name: "sample",
        version: "0",
        defaults: "port = 5\nname = \"x\"\nlist = []\n[log]\nlevel = \"info\"\nformat = \"auto\"\n",
        env_prefix: "SLUICE_CONFIG_SAMPLE",
        more: "",
    };

    fn with(set: &[&str]) -> Result<Sample, ConfigError> {
        let set = set.iter().map(ToString::to_string).collect();
        load(
            &SAMPLE,
            &Flags {
                set,
                ..Flags::default()
            },
        )
    }

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "port = 6\nname = \"file\"\n").unwrap();
        let flags = Flags {
            config: Some(file),
            set: vec![
                "port=7".into(),
                "list=[\"a\",\"b\"]".into(),
                "log.level=warn".into(),
            ],
            check_config: false,
        };
        let sample: Sample = load(&SAMPLE, &flags).unwrap();
        assert_eq!((sample.port, sample.name.as_str()), (7, "file"));
        assert_eq!(sample.list, ["a", "b"]);
        assert_eq!(sample.log.level, "warn");
    }

    #[test]
    fn unknown_keys_and_broken_rules_are_refused() {
        assert!(with(&["prot=7"]).unwrap_err().to_string().contains("prot"));
        assert!(
            with(&["port=1"])
                .unwrap_err()
                .to_string()
                .contains("port is not 1")
        );
        assert!(with(&["port"]).is_err());
        assert_eq!(with(&["name=a b://c"]).unwrap().name, "a b://c");
    }
}
