//! The keys of `config/consumer-api.toml`.

use crate::store::PostgresSettings;
use serde::Deserialize;
use sluice_service::config::{AdminApiSettings, HttpSettings};
use sluice_service::kafka::KafkaSettings;
use sluice_service::secret::Secret;
use sluice_service::telemetry::LogSettings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings of the consumer API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seconds that a stop may take.
    pub shutdown_s: u64,
    /// Time for which a token that was seen before stays good while the admin API is down.
    #[serde(with = "humantime_serde")]
    pub auth_stale_max: Duration,
    /// `/metrics` without a credential.
    pub metrics_public: bool,
    /// `host:port` that processors may connect to.
    pub destinations: Vec<String>,
    /// Directory of the secrets that processors may refer to; empty means none.
    pub secrets_dir: PathBuf,
    /// Teams that may own consumers.
    pub teams: Vec<TeamSettings>,
    /// Clusters beside the governed one.
    pub clusters: Vec<ClusterSettings>,
    /// The listener.
    pub http: HttpSettings,
    /// The log.
    pub log: LogSettings,
    /// How the admin API is reached.
    pub admin_api: AdminApiSettings,
    /// The governed cluster.
    pub kafka: KafkaSettings,
    /// The registry.
    pub database: DatabaseSettings,
    /// How instances share a registry.
    pub instances: InstancesSettings,
    /// Where sinks may write files.
    pub files: FilesSettings,
    /// Batches, retries and stops.
    pub consumers: ConsumersSettings,
    /// The live tail.
    pub stream: StreamSettings,
}

/// A cluster beside the governed one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// What consumers call it.
    pub name: String,
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    /// A regular expression: the topics that consumers may read here and forwarders may write.
    pub topics: String,
    /// The topics that forwarders may write, when it is others than those of `topics`.
    #[serde(default)]
    pub write_topics: Option<String>,
    /// As `kafka.security_protocol`.
    #[serde(default = "plaintext")]
    pub security_protocol: String,
    /// As `kafka.sasl_mechanism`.
    #[serde(default = "plain")]
    pub sasl_mechanism: String,
    /// As `kafka.sasl_username`.
    #[serde(default)]
    pub sasl_username: String,
    /// As `kafka.sasl_password_file`.
    #[serde(default)]
    pub sasl_password_file: PathBuf,
    /// As `kafka.ssl_ca_file`.
    #[serde(default)]
    pub ssl_ca_file: PathBuf,
    /// As `kafka.properties`.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn plaintext() -> String {
    "plaintext".to_owned()
}

fn plain() -> String {
    "PLAIN".to_owned()
}

impl ClusterSettings {
    /// How it is reached. Nothing is taken from the governed cluster: its password is nobody else's.
    pub fn kafka(&self) -> KafkaSettings {
        KafkaSettings {
            bootstrap: self.bootstrap.clone(),
            security_protocol: self.security_protocol.clone(),
            sasl_mechanism: self.sasl_mechanism.clone(),
            sasl_username: self.sasl_username.clone(),
            sasl_password_file: self.sasl_password_file.clone(),
            ssl_ca_file: self.ssl_ca_file.clone(),
            properties: self.properties.clone(),
        }
    }

    /// The pattern of the topics that may be written.
    pub fn writable(&self) -> &str {
        self.write_topics.as_deref().unwrap_or(&self.topics)
    }
}

/// Where the registry is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The SQLite file, unless `url` names a server.
    pub path: PathBuf,
    /// `postgres://user@host/database`; empty means SQLite.
    #[serde(deserialize_with = "secret")]
    pub url: Secret,
    /// File with the password of the server, when the URL has none.
    pub password_file: PathBuf,
    /// PEM file with the authorities of the server's certificate; empty means the public ones.
    pub ssl_ca_file: PathBuf,
    /// Most connections to the server.
    pub connections: usize,
}

/// A URL may carry a password.
fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    String::deserialize(from).map(Secret::new)
}

fn given(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_path_buf())
}

impl DatabaseSettings {
    /// Most connections that may be configured.
    const CONNECTIONS_MAX: usize = 64;

    /// How a shared registry is reached; none when SQLite is used.
    ///
    /// # Errors
    /// When the file with the password cannot be read.
    pub fn postgres(&self) -> std::io::Result<Option<PostgresSettings>> {
        if self.url.expose().is_empty() {
            return Ok(None);
        }
        let password = given(&self.password_file).map(|file| Secret::from_file(&file));
        Ok(Some(PostgresSettings {
            url: self.url.clone(),
            password: password.transpose()?,
            ssl_ca_file: given(&self.ssl_ca_file),
            connections: self.connections,
        }))
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let url = self.url.expose();
        if !url.is_empty()
            && !["postgres://", "postgresql://"]
                .iter()
                .any(|s| url.starts_with(s))
        {
            faults.push("database.url starts with postgres:// or is empty".to_owned());
        }
        if self.connections == 0 || self.connections > Self::CONNECTIONS_MAX {
            let most = Self::CONNECTIONS_MAX;
            faults.push(format!("database.connections is from 1 to {most}"));
        }
        faults
    }
}

/// A team that may own consumers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamSettings {
    /// What it is called.
    pub name: String,
    /// Its accounts.
    pub members: Vec<String>,
}

/// How several instances share the consumers of one registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstancesSettings {
    /// Where the others reach this one; empty means `http.listen`.
    pub url: String,
    /// Time after which the consumers of an instance that is silent go to the others.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl InstancesSettings {
    /// The shortest lease: renewals and looks must fit into it.
    const LEASE_MIN: Duration = Duration::from_secs(3);

    fn faults(&self, shared: bool, listen: std::net::SocketAddr) -> Vec<String> {
        let mut faults = Vec::new();
        if self.lease < Self::LEASE_MIN {
            faults.push(format!("instances.lease is at least {:?}", Self::LEASE_MIN));
        }
        let known =
            url::Url::parse(&self.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !self.url.is_empty() && !known {
            faults.push("instances.url is an http:// or https:// URL, or empty".to_owned());
        }
        if shared && self.url.is_empty() && listen.ip().is_unspecified() {
            let reason = "others cannot reach the address of http.listen";
            faults.push(format!("instances.url is needed: {reason}"));
        }
        faults
    }
}

/// Where sinks may write files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSettings {
    /// The directories; relative paths of sinks are under the first.
    pub roots: Vec<PathBuf>,
}

/// Batches, retries and stops of managed consumers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumersSettings {
    /// Most records of a batch.
    pub batch_records: usize,
    /// Most bytes of a batch.
    pub batch_bytes: usize,
    /// Age at which a batch is written, full or not.
    #[serde(with = "humantime_serde")]
    pub batch_age: Duration,
    /// Delay before the first retry.
    #[serde(with = "humantime_serde")]
    pub retry_min: Duration,
    /// The longest delay.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// Delay before the first retry where somebody must mend something first: a password, a table.
    #[serde(with = "humantime_serde")]
    pub retry_environment: Duration,
    /// Records wait and none is written for this long: the client is started again.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// Bytes that all consumers together may fetch ahead.
    pub prefetch_bytes: u64,
    /// Time that one stop may take.
    #[serde(with = "humantime_serde")]
    pub stop_timeout: Duration,
}

/// The live tail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    /// Bytes of a topic's newest records that are kept for all viewers of it.
    pub buffer_bytes: usize,
    /// What happens to a viewer who falls further behind, unless its request says.
    pub policy: crate::routes::tail::Policy,
    /// Time between heartbeats on a quiet stream.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Streams that are open at one time.
    pub viewers_max: usize,
    /// Age at which a stream ends; its client comes back with the last id.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Clients that read further back, for all viewers and listings together.
    pub catch_up_readers: usize,
    /// Bytes that one filtered stream may look at further back.
    pub scan_bytes_max: u64,
}

/// The longest `consumers.stop_timeout`: a deletion answers within 30 s.
const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(25);

/// The shortest `consumers.stall_after`: a rebalance takes seconds.
const STALL_AFTER_MIN: Duration = Duration::from_secs(5);

impl sluice_service::Settings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = self.http.faults();
        faults.extend(self.kafka.faults());
        faults.extend(self.database.faults());
        let shared = !self.database.url.expose().is_empty();
        faults.extend(self.instances.faults(shared, self.http.listen));
        if self.files.roots.is_empty() {
            faults.push("files.roots is empty: file sinks need a directory".to_owned());
        }
        let consumers = &self.consumers;
        if consumers.batch_records == 0 || consumers.batch_bytes == 0 {
            faults.push(
                "consumers.batch_records and consumers.batch_bytes are at least 1".to_owned(),
            );
        }
        if consumers.retry_min.is_zero() || consumers.retry_max < consumers.retry_min {
            faults.push(
                "consumers.retry_min is above zero and at most consumers.retry_max".to_owned(),
            );
        }
        if consumers.stall_after < STALL_AFTER_MIN || consumers.retry_environment.is_zero() {
            faults.push(format!(
                "consumers.stall_after is at least {STALL_AFTER_MIN:?} and consumers.retry_environment above zero"
            ));
        }
        if consumers.stop_timeout > STOP_TIMEOUT_MAX {
            faults.push(format!(
                "consumers.stop_timeout is at most {STOP_TIMEOUT_MAX:?}"
            ));
        }
        let stream = &self.stream;
        if stream.heartbeat.is_zero() || stream.max_age.is_zero() {
            faults.push("stream.heartbeat and stream.max_age are above zero".to_owned());
        }
        if stream.buffer_bytes == 0
            || stream.viewers_max == 0
            || stream.catch_up_readers == 0
            || stream.scan_bytes_max == 0
        {
            let keys = "buffer_bytes, viewers_max, catch_up_readers and scan_bytes_max";
            faults.push(format!("stream: {keys} are at least 1"));
        }
        faults.extend(self.cluster_faults());
        faults
    }

    fn log(&self) -> &LogSettings {
        &self.log
    }
}

impl Settings {
    /// The teams that an account is in.
    pub fn teams_of(&self, account: &str) -> Vec<String> {
        let ours = |team: &&TeamSettings| team.members.iter().any(|member| member == account);
        self.teams
            .iter()
            .filter(ours)
            .map(|team| team.name.clone())
            .collect()
    }

    fn cluster_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names = std::collections::HashSet::from([crate::clusters::GOVERNED]);
        for cluster in &self.clusters {
            if cluster.name.is_empty() || !names.insert(&cluster.name) {
                faults.push(format!(
                    "clusters: the name {:?} is taken or empty",
                    cluster.name
                ));
            }
            let of = |fault: String| format!("clusters: {:?}: {fault}", cluster.name);
            let kafka = cluster.kafka().faults();
            faults.extend(kafka.iter().map(|fault| of(fault.replace("kafka.", ""))));
            for (key, pattern) in [
                ("topics", cluster.topics.as_str()),
                ("write_topics", cluster.writable()),
            ] {
                if let Err(error) = regex_lite::Regex::new(pattern) {
                    faults.push(of(format!("{key}: {error}")));
                }
            }
        }
        faults
    }
}
