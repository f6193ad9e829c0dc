//! What every Sluice daemon shares: start-up, layered configuration, telemetry, health, shutdown,
//! and (by feature) HTTP middleware, the SQLite pool and Kafka settings.
//!
//! Invariants: no knowledge of topics, requests or consumers; no service depends on another one,
//! so what two of them need stands here and only here.

pub mod backoff;
pub mod config;
#[cfg(feature = "outgoing")]
pub mod destinations;
pub mod failpoint;
pub mod health;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "outgoing")]
pub mod outgoing;
pub mod secret;
pub mod shutdown;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod telemetry;
pub mod tls;

use serde::de::DeserializeOwned;
use sluice_model::time::Timestamp;
use std::process::ExitCode;

/// Exit code of a daemon whose configuration is wrong (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIG: u8 = 78;

/// What a daemon is called and how it is configured.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Name of the binary.
    pub name: &'static str,
    /// Version of the binary.
    pub version: &'static str,
    /// The shipped configuration file: every key at its default.
    pub defaults: &'static str,
    /// Prefix of the environment variables (`ADMIN_API` for `ADMIN_API__HTTP__LISTEN`).
    pub env_prefix: &'static str,
    /// What `--help` says behind the flags: the commands that the binary has beside the daemon.
    pub more: &'static str,
}

/// Settings that can check themselves beyond their types.
pub trait Settings: DeserializeOwned {
    /// Every fault, in words that name the key.
    fn faults(&self) -> Vec<String>;
    /// The log level filter and format.
    fn log(&self) -> &telemetry::LogSettings;
}

/// Starts a daemon: flags, configuration, telemetry, then `run`; turns the outcome into an exit code.
///
/// 0 after a clean stop, 1 after a failed run, 2 for bad flags, 78 for a bad configuration.
#[expect(
    clippy::print_stderr,
    reason = "without a configuration there is no log to write to"
)]
pub fn main<S: Settings>(
    identity: Identity,
    run: impl FnOnce(S) -> anyhow::Result<()>,
) -> ExitCode {
    let flags = config::Flags::read(&identity);
    let settings: S = match config::load(&identity, &flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{}: {error}", identity.name);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if flags.check_config {
        eprintln!("{}: the configuration is valid", identity.name);
        return ExitCode::SUCCESS;
    }
    telemetry::init(settings.log());
    tls::install_crypto();
    tracing::info!(version = identity.version, "{} starts", identity.name);
    match run(settings) {
        Ok(()) => {
            tracing::info!("{} stopped", identity.name);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "{} failed", identity.name);
            ExitCode::FAILURE
        }
    }
}

/// The current instant. The only clock of the services; decisions take the instant as an argument.
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
