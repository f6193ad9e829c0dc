//! How a service reaches Kafka.

pub mod admin;
pub mod produce;
pub mod reports;
pub mod wake;

use crate::secret::Secret;
use rdkafka::ClientConfig;
use serde::Deserialize;
use std::path::PathBuf;

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
        .set("log.connection.close", "false");
    config
}
