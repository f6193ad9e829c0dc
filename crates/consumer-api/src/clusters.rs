//! The clusters that consumers may read: the governed one and those that the configuration names.
//!
//! A consumer names a cluster, or an address of one. The address only chooses: connections always go
//! to the configured bootstrap addresses, for free-form addresses would make this a port scanner.

use crate::settings::Settings;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use regex_lite::Regex;
use sluice_model::problem::{Code, Problem};
use sluice_service::kafka::KafkaSettings;
use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;

/// The name of the cluster whose topics the admin API governs.
pub const GOVERNED: &str = "governed";
/// Time that one look at a cluster's metadata may take.
pub const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// A topic whose metadata is asked for when only the brokers matter.
const ANY_TOPIC: &str = "__consumer_offsets";

/// An address of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads `host:port[,host:port]`; Kafka's port is the default.
pub fn addresses(bootstrap: &str) -> Vec<Address> {
    let parts = bootstrap
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let read = |part: &str| {
        let bare = part.rsplit_once("://").map_or(part, |(_, rest)| rest);
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => {
                (host, port.parse().unwrap_or(9092))
            }
            _ => (bare, 9092),
        };
        Address {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        }
    };
    parts.map(read).collect()
}

/// Whether two hosts are the same one, given what their names resolve to. Loopback addresses are all
/// this machine.
pub fn same_host(a: &str, b: &str, resolve: impl Fn(&str) -> Vec<IpAddr>) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let (a, b) = (resolve(a), resolve(b));
    let loops = |ips: &[IpAddr]| ips.iter().any(IpAddr::is_loopback);
    a.iter().any(|ip| b.contains(ip)) || (loops(&a) && loops(&b))
}

fn resolve(host: &str) -> Vec<IpAddr> {
    if let Ok(ip) = host.parse() {
        return vec![ip];
    }
    let resolved = (host, 0_u16).to_socket_addrs();
    resolved
        .map(|found| found.map(|address| address.ip()).collect())
        .unwrap_or_default()
}

/// What librdkafka logs is for developers: status and readiness tell users about connections.
pub fn log_quietly(facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", facility, "{message}");
}

/// The context of clients whose caller sees every failure by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_quietly(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", error = %error, reason, "client error");
    }
}

impl ConsumerContext for Quiet {}

/// A client that logs nothing above debug.
pub type QuietConsumer = BaseConsumer<Quiet>;

/// The topics of a cluster that nobody governs.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    pub(crate) read: Regex,
    pub(crate) write: Regex,
}

/// A pattern that matches names as a whole.
fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What consumers call it.
    pub name: String,
    bootstrap: Vec<Address>,
    advertised: RwLock<BTreeSet<Address>>,
    topics: Option<Patterns>,
    settings: KafkaSettings,
    inspector: Mutex<Option<Inspector>>,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspector")
    }
}

/// A client that looks and never reads.
#[derive(Clone)]
pub struct Inspector(Arc<QuietConsumer>);

impl std::ops::Deref for Inspector {
    type Target = QuietConsumer;

    fn deref(&self) -> &QuietConsumer {
        &self.0
    }
}

impl Cluster {
    pub(crate) fn new(name: &str, settings: KafkaSettings, topics: Option<Patterns>) -> Self {
        Self {
            name: name.to_owned(),
            bootstrap: addresses(&settings.bootstrap),
            advertised: RwLock::default(),
            topics,
            settings,
            inspector: Mutex::default(),
        }
    }

    /// Whether the admin API governs its topics.
    pub fn governed(&self) -> bool {
        self.topics.is_none()
    }

    /// Whether a topic may be read here; the governed cluster asks the catalogue instead.
    pub fn carries(&self, topic: &str) -> bool {
        let patterns = self.topics.as_ref();
        patterns.is_none_or(|patterns| patterns.read.is_match(topic))
    }

    /// Whether a topic may be written here; the governed cluster asks the catalogue instead.
    pub fn writable(&self, topic: &str) -> bool {
        let patterns = self.topics.as_ref();
        patterns.is_none_or(|patterns| patterns.write.is_match(topic))
    }

    /// The largest record that a topic takes, when the brokers say it in time. Blocks.
    pub fn record_limit(&self, topic: &str, runtime: &Handle) -> Option<usize> {
        let config = self.client("sluice-inspector").ok()?;
        let admin: AdminClient<Quiet> = config.create_with_context(Quiet).ok()?;
        let options = AdminOptions::new().request_timeout(Some(METADATA_TIMEOUT));
        let resources = [ResourceSpecifier::Topic(topic)];
        let described = runtime.block_on(async {
            let describe = admin.describe_configs(&resources, &options);
            tokio::time::timeout(2 * METADATA_TIMEOUT, describe).await
        });
        let resources = described.ok()?.ok()?;
        let mut entries = resources.into_iter().flatten().flat_map(|r| r.entries);
        let limit = entries.find(|entry| entry.name == "max.message.bytes")?;
        limit.value?.parse().ok()
    }

    /// The first bootstrap address: what a consumer shows that named the cluster only.
    pub fn first_address(&self) -> Address {
        let first = self.bootstrap.first().cloned();
        first.unwrap_or(Address {
            host: String::new(),
            port: 0,
        })
    }

    /// The base of every client of this cluster.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn client(&self, client_id: &str) -> std::io::Result<ClientConfig> {
        self.settings.client(client_id)
    }

    /// The shared client for metadata and the ends of partitions. Its calls block.
    ///
    /// # Errors
    /// When librdkafka cannot make a client.
    pub fn inspector(&self) -> Result<Inspector, String> {
        let mut slot = self
            .inspector
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let config = self
            .client("sluice-inspector")
            .map_err(|error| error.to_string())?;
        let client: QuietConsumer = config
            .create_with_context(Quiet)
            .map_err(|error| error.to_string())?;
        let client = Inspector(Arc::new(client));
        *slot = Some(client.clone());
        Ok(client)
    }

    /// Looks at the cluster: its advertised addresses are known afterwards. Blocks.
    ///
    /// # Errors
    /// When no broker answers in time.
    pub fn look(&self, timeout: Duration) -> Result<(), String> {
        let inspector = self.inspector()?;
        // Serves the error queue, which would grow otherwise.
        let _no_records = inspector.poll(Duration::ZERO);
        let metadata = inspector
            .fetch_metadata(Some(ANY_TOPIC), timeout)
            .map_err(|error| format!("no broker answers at {}: {error}", self.addresses_text()))?;
        let port = |port: i32| u16::try_from(port).unwrap_or_default();
        let seen = metadata.brokers().iter();
        let seen = seen.map(|b| Address {
            host: b.host().to_owned(),
            port: port(b.port()),
        });
        *self
            .advertised
            .write()
            .unwrap_or_else(PoisonError::into_inner) = seen.collect();
        Ok(())
    }

    /// The number of partitions of a topic. Blocks.
    ///
    /// # Errors
    /// When no broker answers, or the topic is not there.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<i32, String> {
        let metadata = self
            .inspector()?
            .fetch_metadata(Some(topic), timeout)
            .map_err(|error| format!("Kafka does not answer: {error}"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|topic| (topic.error(), topic.partitions().len())) {
            Some((None, count)) if count > 0 => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
            _ => Err(format!("the topic {topic} does not exist in Kafka")),
        }
    }

    fn known(&self) -> Vec<Address> {
        let advertised = self
            .advertised
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut known = self.bootstrap.clone();
        known.extend(
            advertised
                .iter()
                .filter(|a| !self.bootstrap.contains(a))
                .cloned(),
        );
        known
    }

    fn addresses_text(&self) -> String {
        self.known()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn has(&self, host: &str, port: u16) -> bool {
        let known = self.known();
        let mut at_port = known.iter().filter(|address| address.port == port);
        at_port.any(|address| same_host(host, &address.host, resolve))
    }
}

/// All clusters. Clones share them.
#[derive(Clone, Debug)]
pub struct Clusters {
    all: Arc<[Arc<Cluster>]>,
}

impl Clusters {
    /// The clusters of the configuration.
    pub fn new(settings: &Settings) -> Self {
        let governed = Cluster::new(GOVERNED, settings.kafka.clone(), None);
        let others = settings.clusters.iter().filter_map(|cluster| {
            let patterns = Patterns {
                read: whole(&cluster.topics)?,
                write: whole(cluster.writable())?,
            };
            Some(Cluster::new(&cluster.name, cluster.kafka(), Some(patterns)))
        });
        Self::of(std::iter::once(governed).chain(others).collect())
    }

    pub(crate) fn of(all: Vec<Cluster>) -> Self {
        Self {
            all: all.into_iter().map(Arc::new).collect(),
        }
    }

    /// The governed cluster.
    pub fn governed(&self) -> &Arc<Cluster> {
        // `new` puts it first.
        &self.all[0]
    }

    /// The names of all clusters.
    pub fn names(&self) -> Vec<&str> {
        self.all
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect()
    }

    /// A cluster by its name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.all.iter().find(|cluster| cluster.name == name)
    }

    /// The cluster that a bootstrap or advertised address belongs to. Blocks: it resolves names and
    /// looks at the clusters once when the address is not known yet.
    pub fn by_address(&self, host: &str, port: u16) -> Option<&Arc<Cluster>> {
        let known = self.all.iter().find(|cluster| cluster.has(host, port));
        if known.is_some() {
            return known;
        }
        for cluster in self.all.iter() {
            if let Err(error) = cluster.look(METADATA_TIMEOUT) {
                tracing::debug!(cluster = cluster.name, error, "no metadata");
            }
        }
        self.all.iter().find(|cluster| cluster.has(host, port))
    }

    /// The refusal of an address or name that is not configured, with what is.
    pub fn unknown(&self, asked: &str) -> Problem {
        let list = self
            .all
            .iter()
            .map(|c| format!("{} ({})", c.name, c.addresses_text()));
        let list = list.collect::<Vec<_>>().join("; ");
        let detail = format!("{asked} is no configured cluster; configured are: {list}");
        Problem::new(Code::UnknownCluster, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_lists_are_read_with_and_without_port() {
        let read = addresses("a:1, b ,[::1]:3,PLAINTEXT://c:4");
        let text: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a:1", "b:9092", "[::1]:3", "c:4"]);
    }

    #[test]
    fn patterns_match_whole_names() {
        let pattern = whole("orders|orders-.*").unwrap();
        for (name, fits) in [
            ("orders", true),
            ("orders-eu", true),
            ("my-orders", false),
            ("ordersx", false),
        ] {
            assert_eq!(pattern.is_match(name), fits, "{name}");
        }
    }

    #[test]
    fn names_of_one_machine_are_the_same_host() {
        let fake = |host: &str| -> Vec<IpAddr> {
            match host {
                "localhost" => vec!["::1".parse().unwrap()],
                "kafka" | "kafka.example" => vec!["192.0.2.7".parse().unwrap()],
                other => other.parse().into_iter().collect(),
            }
        };
        for (a, b, same) in [
            ("localhost", "127.0.0.1", true),
            ("127.0.0.1", "::1", true),
            ("kafka", "kafka.example", true),
            ("Kafka", "kAFKA", true),
            ("kafka", "192.0.2.7", true),
            ("kafka", "localhost", false),
            ("unknown", "other", false),
            ("169.254.169.254", "kafka", false),
        ] {
            assert_eq!(same_host(a, b, fake), same, "{a} {b}");
        }
    }
}
