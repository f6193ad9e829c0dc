//! The configuration of the daemon; `config/producer.toml` documents every key.

mod inputs;

pub use inputs::{
    GeneratorSettings, HostSettings, InputSettings, OtlpSettings, QuarantineSettings, SAMPLE_KINDS,
    SAMPLE_RATE_MAX, StdinSettings, SyslogFormat, SyslogSettings, SyslogTcpSettings,
    SyslogUdpSettings, TailFrom, TailKey, TailSettings, TcpSettings, UnixSettings, networks,
};

use serde::Deserialize;
use sluice_model::topic::OnStop;
use sluice_service::Settings;
use sluice_service::config::{AdminApiSettings, HttpSettings};
use sluice_service::kafka::KafkaSettings;
use sluice_service::telemetry::LogSettings;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerSettings {
    /// Name in heartbeats; empty means the host's name.
    pub instance: String,
    /// Seconds that a stop may take.
    pub shutdown_s: u64,
    /// Whether unknown names become topic requests.
    pub auto_request: bool,
    /// Unknown names that may wait at one time.
    pub auto_request_names_max: usize,
    /// Time after which a record without an acknowledgement goes to the spool.
    #[serde(with = "humantime_serde")]
    pub spill_after: Duration,
    /// Time for which a known token stays good while the admin API is down.
    #[serde(with = "humantime_serde")]
    pub auth_stale_max: Duration,
    /// Whether /metrics and /status are open.
    pub metrics_public: bool,
    /// The HTTP input.
    pub http: HttpSettings,
    /// The log.
    pub log: LogSettings,
    /// The admin API.
    pub admin_api: AdminApiSettings,
    /// How the admin API is watched.
    pub watch: WatchSettings,
    /// The governed cluster.
    pub kafka: KafkaSettings,
    /// The spool.
    pub spool: SpoolSettings,
    /// Memory bounds.
    pub memory: MemorySettings,
    /// Bounds on single records.
    pub limits: LimitSettings,
    /// The inputs besides HTTP.
    pub inputs: InputSettings,
}

/// How the admin API is watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchSettings {
    /// Time that one long poll waits.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// Time between heartbeats.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
}

/// Where and how much is held.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolSettings {
    /// Directory of the spool.
    pub dir: PathBuf,
    /// Most held bytes.
    pub max_bytes: u64,
    /// Most held bytes of one topic.
    pub max_topic_bytes: u64,
    /// Time for which records of topics that are not active are held; 0 is without a bound.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// What happens to them then.
    pub on_max_age: OnStop,
    /// Bytes of the disk that the spool leaves free.
    pub reserve_bytes: u64,
}

/// Memory bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {
    /// Most bytes of records between the inputs and Kafka.
    pub max_bytes: usize,
}

/// Bounds on single records.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest record in bytes.
    pub record_max_bytes: usize,
}

impl Settings for ProducerSettings {
    fn faults(&self) -> Vec<String> {
        let mut faults = self.http.faults();
        faults.extend(self.kafka.faults());
        faults.extend(self.bound_faults());
        faults.extend(self.inputs.faults());
        faults
    }

    fn log(&self) -> &LogSettings {
        &self.log
    }
}

impl ProducerSettings {
    fn bound_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut rule = |broken: bool, text: &str| {
            if broken {
                faults.push(text.to_owned());
            }
        };
        rule(self.shutdown_s == 0, "shutdown_s is at least 1");
        rule(self.spill_after.is_zero(), "spill_after is more than 0");
        rule(self.watch.wait.as_secs() == 0, "watch.wait is at least 1s");
        rule(
            self.watch.heartbeat.as_millis() < 100,
            "watch.heartbeat is at least 100ms",
        );
        rule(
            !self.spool.max_age.is_zero() && self.spool.on_max_age == OnStop::Hold,
            "spool.on_max_age is dead_letter or discard",
        );
        rule(
            self.limits.record_max_bytes == 0,
            "limits.record_max_bytes is at least 1",
        );
        rule(
            self.memory.max_bytes < self.limits.record_max_bytes.saturating_mul(4),
            "memory.max_bytes is at least 4 times limits.record_max_bytes",
        );
        rule(
            self.memory.max_bytes < self.http.body_max_bytes,
            "memory.max_bytes is at least http.body_max_bytes",
        );
        rule(
            self.memory.max_bytes < 1024 * 1024,
            "memory.max_bytes is at least 1048576",
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_service::config::{Flags, load};

    fn with(set: &[&str]) -> Result<ProducerSettings, String> {
        let set = set.iter().map(ToString::to_string).collect();
        let flags = Flags {
            set,
            ..Flags::default()
        };
        load(&crate::IDENTITY, &flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_file_is_complete_and_valid() {
        assert_eq!(with(&[]).unwrap().inputs.generator.kinds, SAMPLE_KINDS);
    }

    #[test]
    fn open_plaintext_inputs_and_broken_bounds_are_refused() {
        for (set, word) in [
            ("inputs.tcp.listen=0.0.0.0:9090", "networks"),
            ("http.listen=0.0.0.0:8081", "http.listen"),
            ("inputs.tcp.topic=a b", "inputs.tcp.topic"),
            ("inputs.generator.kinds=[\"x\"]", "none of"),
            ("inputs.generator.rate=0", "rate"),
            ("memory.max_bytes=10", "memory.max_bytes"),
            ("shutdown_s=0", "shutdown_s"),
            ("spool.on_max_age=throw", "on_max_age"),
            ("inputs.tpc.enabled=true", "tpc"),
        ] {
            let fault = with(&[set]).unwrap_err();
            assert!(fault.contains(word), "{set}: {fault}");
        }
    }
}
