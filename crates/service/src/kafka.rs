//! How a service reaches Kafka.

pub mod admin;
pub mod consume;
pub mod memory;
pub mod produce;
pub mod reports;
pub mod usage;
pub mod wake;

use crate::secret::Secret;
use rdkafka::ClientConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Properties of librdkafka that a configuration may set, by their real names: tuning, and nothing that
/// loads code, reads files, opens other connections or changes what is promised.
pub const PROPERTIES: &[&str] = &[
    "broker.address.family",
    "broker.address.ttl",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "metadata.max.age.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.blocking.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "topic.metadata.refresh.interval.ms",
];

/// The governed cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; used with `sasl_*` protocols.
    pub sasl_mechanism: String,
    /// User name for SASL.
    pub sasl_username: String,
    /// File with the password for SASL.
    pub sasl_password_file: PathBuf,
    /// PEM file with the authorities that signed the brokers' certificates; empty means the system's.
    pub ssl_ca_file: PathBuf,
    /// Further properties of librdkafka, of those in [`PROPERTIES`].
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl KafkaSettings {
    /// Broken rules, by key.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.bootstrap.trim().is_empty() {
            faults.push("kafka.bootstrap is empty".to_owned());
        }
        let protocol = self.security_protocol.as_str();
        if !["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(&protocol) {
            faults.push(format!(
                "kafka.security_protocol = {protocol:?} is not known"
            ));
        }
        if protocol.ends_with("ssl") && !cfg!(feature = "kafka-tls") {
            let way_out = "build with --features kafka-tls";
            faults.push(format!(
                "kafka.security_protocol = {protocol:?} needs a {way_out}"
            ));
        }
        if protocol.starts_with("sasl") && self.sasl_password_file.as_os_str().is_empty() {
            faults.push("kafka.sasl_password_file is needed with SASL".to_owned());
        }
        let mut probe = ClientConfig::new();
        for (name, value) in &self.properties {
            if !PROPERTIES.contains(&name.as_str()) {
                faults.push(format!(
                    "kafka.properties: {name} may not be set; may be: {}",
                    PROPERTIES.join(", ")
                ));
                continue;
            }
            probe.set(name, value);
        }
        if let Err(error) = probe.create_native_config() {
            faults.push(format!("kafka.properties: {error}"));
        }
        faults
    }

    /// The base of every client: bounded reconnects, no topic creation by accident, no secrets in logs.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn client(&self, client_id: &str) -> std::io::Result<ClientConfig> {
        let mut config = client(&self.bootstrap, client_id);
        config.set("security.protocol", &self.security_protocol);
        if self.security_protocol.starts_with("sasl") {
            let password = Secret::from_file(&self.sasl_password_file)?;
            config
                .set("sasl.mechanism", &self.sasl_mechanism)
                .set("sasl.username", &self.sasl_username)
                .set("sasl.password", password.expose());
        }
        if !self.ssl_ca_file.as_os_str().is_empty() {
            config.set("ssl.ca.location", self.ssl_ca_file.display().to_string());
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        Ok(config)
    }
}

/// The base of a client for a plain bootstrap address.
pub fn client(bootstrap: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", client_id)
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        // Brokers collect them where somebody asks for them; each client pays with a fifth of its memory.
        .set("enable.metrics.push", "false")
        .set("log.connection.close", "false");
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(properties: &[(&str, &str)]) -> KafkaSettings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        KafkaSettings {
            bootstrap: "localhost:9092".to_owned(),
            security_protocol: "plaintext".to_owned(),
            sasl_mechanism: "PLAIN".to_owned(),
            sasl_username: String::new(),
            sasl_password_file: PathBuf::new(),
            ssl_ca_file: PathBuf::new(),
            properties: properties.iter().map(owned).collect(),
        }
    }

    #[test]
    fn only_listed_properties_are_taken_and_the_others_are_named() {
        let good = with(&[("socket.timeout.ms", "5000"), ("client.rack", "a")]);
        assert_eq!(good.faults(), Vec::<String>::new());
        let config = good.client("c").unwrap();
        assert_eq!(config.get("socket.timeout.ms"), Some("5000"));
        for name in [
            "plugin.library.paths",
            "ssl.key.location",
            "sasl.oauthbearer.token.endpoint.url",
            "sasl.jaas.config",
            "bootstrap.servers",
            "allow.auto.create.topics",
            "enable.idempotence",
            "acks",
            "group.id",
            "debug",
        ] {
            let faults = with(&[(name, "x")]).faults();
            assert!(
                faults.len() == 1 && faults[0].contains(name),
                "{name}: {faults:?}"
            );
        }
        let faults = with(&[("socket.timeout.ms", "soon")]).faults();
        assert!(faults[0].contains("socket.timeout.ms"), "{faults:?}");
    }

    #[test]
    fn every_listed_property_is_one_of_librdkafka_s() {
        for name in PROPERTIES {
            let mut config = ClientConfig::new();
            let made = config.set(*name, "x").create_native_config();
            let error = made.err().map(|error| error.to_string());
            let unknown = error
                .as_ref()
                .is_some_and(|error| error.contains("No such"));
            assert!(!unknown, "{name}: {error:?}");
        }
        let mut config = ClientConfig::new();
        let made = config.set("no.such.thing", "x").create_native_config();
        assert!(made.is_err_and(|error| error.to_string().contains("No such")));
    }
}
