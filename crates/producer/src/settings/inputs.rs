//! The settings of the inputs besides HTTP, and the rules that they keep.

use ipnet::IpNet;
use serde::Deserialize;
use sluice_model::name::TopicName;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The inputs besides HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSettings {
    /// Lines over TCP.
    pub tcp: TcpSettings,
    /// Lines over a Unix socket.
    pub unix: UnixSettings,
    /// Lines from standard input.
    pub stdin: StdinSettings,
    /// Syslog over TCP.
    pub syslog_tcp: SyslogTcpSettings,
    /// Syslog over UDP.
    pub syslog_udp: SyslogUdpSettings,
    /// OpenTelemetry logs over HTTP.
    pub otlp: OtlpSettings,
    /// Files that grow.
    pub tail: TailSettings,
    /// This machine's figures.
    pub host: HostSettings,
    /// Sample records.
    pub generator: GeneratorSettings,
    /// Where records go that an input cannot answer for.
    pub quarantine: QuarantineSettings,
}

/// Lines over TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// The topic of every line; empty when lines name theirs.
    pub topic: String,
    /// Networks that may connect; empty means all.
    pub networks: Vec<String>,
    /// Whether the hello needs a token although it is not required by the address.
    pub require_token: bool,
    /// PEM file with the certificate chain; empty means no TLS.
    pub tls_cert_file: PathBuf,
    /// PEM file with the private key.
    pub tls_key_file: PathBuf,
    /// Whether lines of senders without a hello are journaled before they are produced.
    pub journal: bool,
}

/// Lines over a Unix socket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Path of the socket.
    pub path: PathBuf,
    /// The topic of every line; empty when lines name theirs.
    pub topic: String,
    /// Whether lines of senders without a hello are journaled before they are produced.
    pub journal: bool,
}

/// Lines from standard input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// The topic of every line; empty when lines name theirs.
    pub topic: String,
}

/// What syslog messages become.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// A JSON object of their parts.
    Json,
    /// The message as it was received.
    Raw,
}

/// Syslog over TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogTcpSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// The topic of messages that `topics` does not name.
    pub topic: String,
    /// Topics by app-name.
    pub topics: HashMap<String, String>,
    /// What messages become.
    pub format: SyslogFormat,
    /// Networks that may connect; empty means all.
    pub networks: Vec<String>,
    /// PEM file with the certificate chain; empty means no TLS.
    pub tls_cert_file: PathBuf,
    /// PEM file with the private key.
    pub tls_key_file: PathBuf,
    /// Whether messages are journaled before they are produced.
    pub journal: bool,
}

/// Syslog over UDP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogUdpSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// The topic of messages that `topics` does not name.
    pub topic: String,
    /// Topics by app-name.
    pub topics: HashMap<String, String>,
    /// What messages become.
    pub format: SyslogFormat,
    /// Networks that may send; empty means all.
    pub networks: Vec<String>,
    /// Bytes that the kernel keeps for the daemon.
    pub receive_buffer_bytes: usize,
    /// Whether messages are journaled before they are produced.
    pub journal: bool,
}

/// What both syslog inputs have.
#[derive(Clone, Debug)]
pub struct SyslogSettings {
    /// The topic of messages that `topics` does not name.
    pub topic: String,
    /// Topics by app-name.
    pub topics: HashMap<String, String>,
    /// What messages become.
    pub format: SyslogFormat,
    /// Whether messages are journaled before they are produced.
    pub journal: bool,
}

/// OpenTelemetry logs over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// The topic of log records whose resource names none.
    pub topic: String,
    /// The attribute of the resource that names the topic; empty means none does.
    pub topic_attribute: String,
    /// The attribute of the resource that becomes the key; empty means no key.
    pub key_attribute: String,
}

/// Where a file is begun that was never seen before.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TailFrom {
    /// With its first line.
    Beginning,
    /// With what is appended from now on. Files that appear later are read from their beginning.
    End,
}

/// The key of lines of files.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TailKey {
    /// The path: the lines of a file keep their order.
    Path,
    /// None.
    None,
}

/// Files that grow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Which files: patterns with `*`, `?`, `[...]` and `**`.
    pub paths: Vec<String>,
    /// The topic of every line; empty when lines name theirs.
    pub topic: String,
    /// Where a file is begun that was never seen before.
    pub from: TailFrom,
    /// The key of lines, when the topic is fixed.
    pub key: TailKey,
    /// The file of the positions; empty means `tail.json` beside the spool.
    pub state: PathBuf,
    /// Time between looks at the files.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
}

/// This machine's figures.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Their topic.
    pub topic: String,
    /// Time between two records.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

/// Sample records.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// Records per second and kind.
    pub rate: u32,
    /// Which kinds.
    pub kinds: Vec<String>,
}

/// Where records go that an input cannot answer for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineSettings {
    /// Their directory.
    pub dir: PathBuf,
    /// Bytes of one file.
    pub file_max_bytes: u64,
    /// Files; the oldest is removed beyond it.
    pub files_max: usize,
}

/// The kinds of sample records.
pub const SAMPLE_KINDS: [&str; 6] = [
    "sensor",
    "user_activity",
    "logs",
    "payments",
    "weather",
    "generic",
];
/// The highest rate of samples per kind.
pub const SAMPLE_RATE_MAX: u32 = 10_000;
/// The shortest time between looks at files.
const TAIL_POLL_MIN: Duration = Duration::from_millis(10);
/// The least that the kernel may keep of datagrams.
const RECEIVE_BUFFER_MIN: usize = 64 * 1024;

impl SyslogTcpSettings {
    /// What it has in common with UDP.
    pub fn common(&self) -> SyslogSettings {
        SyslogSettings {
            topic: self.topic.clone(),
            topics: self.topics.clone(),
            format: self.format,
            journal: self.journal,
        }
    }
}

impl SyslogUdpSettings {
    /// What it has in common with TCP.
    pub fn common(&self) -> SyslogSettings {
        SyslogSettings {
            topic: self.topic.clone(),
            topics: self.topics.clone(),
            format: self.format,
            journal: self.journal,
        }
    }
}

impl TcpSettings {
    /// Whether the hello must carry a token: always outside loopback, unless networks are listed.
    pub fn token_needed(&self) -> bool {
        self.require_token || (!self.listen.ip().is_loopback() && self.networks.is_empty())
    }
}

/// Networks from their texts; an address alone is a network of one.
///
/// # Errors
/// With the text that is none.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let one = |text: &String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>()
            .or(address)
            .map_err(|_| format!("{text:?} is no network such as 10.0.0.0/8"))
    };
    texts.iter().map(one).collect()
}

impl InputSettings {
    /// Broken rules, by key.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.address_faults(&mut faults);
        self.topic_faults(&mut faults);
        self.own_faults(&mut faults);
        self.tail_faults(&mut faults);
        faults
    }

    fn address_faults(&self, faults: &mut Vec<String>) {
        let (tcp, syslog, udp) = (&self.tcp, &self.syslog_tcp, &self.syslog_udp);
        for (key, texts) in [
            ("tcp", &tcp.networks),
            ("syslog_tcp", &syslog.networks),
            ("syslog_udp", &udp.networks),
        ] {
            if let Err(fault) = networks(texts) {
                faults.push(format!("inputs.{key}.networks: {fault}"));
            }
        }
        for (key, cert, private) in [
            ("tcp", &tcp.tls_cert_file, &tcp.tls_key_file),
            ("syslog_tcp", &syslog.tls_cert_file, &syslog.tls_key_file),
        ] {
            if given(cert) != given(private) {
                faults.push(format!(
                    "inputs.{key}.tls_cert_file and inputs.{key}.tls_key_file go together"
                ));
            }
        }
        let open = |enabled, listen: SocketAddr, networks: &[String]| {
            enabled && !listen.ip().is_loopback() && networks.is_empty()
        };
        if open(tcp.enabled, tcp.listen, &tcp.networks) && !given(&tcp.tls_cert_file) {
            faults.push(format!(
                "inputs.tcp.listen = \"{}\" is reachable from outside: list who may connect in \
                 inputs.tcp.networks, or set inputs.tcp.tls_cert_file and inputs.tcp.tls_key_file, and \
                 senders must give a token in their hello",
                tcp.listen
            ));
        }
        for (key, open, listen) in [
            (
                "syslog_tcp",
                open(syslog.enabled, syslog.listen, &syslog.networks),
                syslog.listen,
            ),
            (
                "syslog_udp",
                open(udp.enabled, udp.listen, &udp.networks),
                udp.listen,
            ),
        ] {
            if open {
                faults.push(format!(
                    "inputs.{key}.listen = \"{listen}\" is reachable from outside and syslog carries no \
                     credential: list who may send in inputs.{key}.networks"
                ));
            }
        }
        if tcp.require_token
            && tcp.enabled
            && !tcp.listen.ip().is_loopback()
            && !given(&tcp.tls_cert_file)
        {
            faults.push(
                "inputs.tcp.require_token needs TLS outside loopback: a token in plain text is no secret"
                    .to_owned(),
            );
        }
    }

    fn topic_faults(&self, faults: &mut Vec<String>) {
        let maps = [
            ("inputs.syslog_tcp.topics", &self.syslog_tcp.topics),
            ("inputs.syslog_udp.topics", &self.syslog_udp.topics),
        ];
        let mapped = maps
            .into_iter()
            .flat_map(|(key, map)| map.values().map(move |topic| (key, topic)));
        let fixed = [
            ("inputs.tcp.topic", &self.tcp.topic),
            ("inputs.unix.topic", &self.unix.topic),
            ("inputs.stdin.topic", &self.stdin.topic),
            ("inputs.host.topic", &self.host.topic),
            ("inputs.syslog_tcp.topic", &self.syslog_tcp.topic),
            ("inputs.syslog_udp.topic", &self.syslog_udp.topic),
            ("inputs.otlp.topic", &self.otlp.topic),
            ("inputs.tail.topic", &self.tail.topic),
        ];
        for (key, topic) in fixed
            .into_iter()
            .filter(|(_, topic)| !topic.is_empty())
            .chain(mapped)
        {
            if let Some(fault) = TopicName::parse(topic)
                .err()
                .and_then(|f| f.first().cloned())
            {
                faults.push(format!("{key} = {topic:?}: {fault}"));
            }
        }
        for (key, on, topic) in [
            ("host", self.host.enabled, &self.host.topic),
            (
                "syslog_tcp",
                self.syslog_tcp.enabled && self.syslog_tcp.topics.is_empty(),
                &self.syslog_tcp.topic,
            ),
            (
                "syslog_udp",
                self.syslog_udp.enabled && self.syslog_udp.topics.is_empty(),
                &self.syslog_udp.topic,
            ),
            (
                "otlp",
                self.otlp.enabled && self.otlp.topic_attribute.is_empty(),
                &self.otlp.topic,
            ),
        ] {
            if on && topic.is_empty() {
                faults.push(format!("inputs.{key}.topic is empty"));
            }
        }
    }

    fn own_faults(&self, faults: &mut Vec<String>) {
        if self.host.interval.as_millis() < 100 {
            faults.push("inputs.host.interval is at least 100ms".to_owned());
        }
        if self.generator.rate == 0 || self.generator.rate > SAMPLE_RATE_MAX {
            faults.push(format!("inputs.generator.rate is 1 to {SAMPLE_RATE_MAX}"));
        }
        for kind in &self.generator.kinds {
            if !SAMPLE_KINDS.contains(&kind.as_str()) {
                let known = SAMPLE_KINDS.join(", ");
                faults.push(format!(
                    "inputs.generator.kinds: {kind:?} is none of {known}"
                ));
            }
        }
        if self.quarantine.file_max_bytes == 0 || self.quarantine.files_max == 0 {
            faults.push("inputs.quarantine.file_max_bytes and files_max are at least 1".to_owned());
        }
        if self.syslog_udp.receive_buffer_bytes < RECEIVE_BUFFER_MIN {
            faults.push(format!(
                "inputs.syslog_udp.receive_buffer_bytes is at least {RECEIVE_BUFFER_MIN}"
            ));
        }
    }

    fn tail_faults(&self, faults: &mut Vec<String>) {
        let tail = &self.tail;
        if tail.enabled && tail.paths.is_empty() {
            faults.push("inputs.tail.paths is empty".to_owned());
        }
        for path in &tail.paths {
            if let Err(error) = glob::Pattern::new(path) {
                faults.push(format!("inputs.tail.paths: {path:?}: {error}"));
            }
        }
        if tail.poll < TAIL_POLL_MIN {
            faults.push(format!("inputs.tail.poll is at least {TAIL_POLL_MIN:?}"));
        }
    }
}

fn given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}
