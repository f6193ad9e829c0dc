//! The keys of `config/admin-api.toml`.

pub mod oidc;

use serde::Deserialize;
use sluice_model::access::Role;
use sluice_model::notice::Format;
use sluice_model::policy::{self, Policy};
use sluice_service::config::HttpSettings;
use sluice_service::kafka::KafkaSettings;
use sluice_service::telemetry::LogSettings;
use std::path::PathBuf;
use std::time::Duration;

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seconds that a stop may take.
    pub shutdown_s: u64,
    /// Whether callers need tokens.
    pub auth: Auth,
    /// GET without a credential.
    pub anonymous_read: bool,
    /// `/metrics` without a credential.
    pub metrics_public: bool,
    /// Accounts that exist from the start.
    pub bootstrap_tokens: Vec<BootstrapToken>,
    /// Sign-ins and how long they last.
    pub sessions: SessionSettings,
    /// The identity provider.
    pub oidc: oidc::OidcSettings,
    /// The listener.
    pub http: HttpSettings,
    /// Logging.
    pub log: LogSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// The governed cluster.
    pub kafka: KafkaSettings,
    /// Times of the lifecycle.
    pub lifecycle: LifecycleSettings,
    /// The reconciler.
    pub reconcile: ReconcileSettings,
    /// Producer daemons.
    pub producers: ProducerSettings,
    /// Who is told of requests and decisions.
    pub notices: NoticeSettings,
    /// The rules for requests.
    pub policy: Policy,
}

/// Whether callers need tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Every call needs one.
    Tokens,
    /// Everybody is admin; loopback only.
    None,
}

/// An account that the configuration brings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapToken {
    /// Its name.
    pub account: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The file with its token.
    pub token_file: PathBuf,
}

/// Sign-ins and how long they last.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// A session ends after this time without use.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// A session ends after this time in any case.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// Attempts to sign in that one account has in a minute.
    pub attempts_per_account: u32,
    /// Attempts to sign in that one address has in a minute.
    pub attempts_per_address: u32,
}

/// Where the database is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The SQLite file.
    pub path: PathBuf,
    /// The file that the heads of the audit chain are appended to; empty means beside the database.
    pub audit_head_file: PathBuf,
}

impl DatabaseSettings {
    /// The file that the heads of the audit chain are appended to.
    pub fn audit_heads(&self) -> PathBuf {
        if !self.audit_head_file.as_os_str().is_empty() {
            return self.audit_head_file.clone();
        }
        let mut path = self.path.as_os_str().to_owned();
        path.push(".audit");
        PathBuf::from(path)
    }
}

/// A time, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Never(pub Option<Duration>);

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self(None));
        }
        let parsed = humantime_serde::re::humantime::parse_duration(&text);
        parsed.map(|time| Self(Some(time))).map_err(|error| {
            serde::de::Error::custom(format!(
                "{text:?} is no time such as \"24h\" or \"never\": {error}"
            ))
        })
    }
}

/// Times of the lifecycle.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleSettings {
    /// Between the approval of a deletion and the deletion.
    pub grace: Never,
    /// Whether anything is deleted from Kafka at all.
    pub deletions: bool,
    /// How far back the evidence of a deletion names producers.
    #[serde(with = "humantime_serde")]
    pub evidence_window: Duration,
    /// Whether deactivating schedules the deletion at once.
    pub purge_on_deactivate: bool,
    /// After which an undecided request expires.
    pub request_expires: Never,
    /// After which those who decide are reminded of an undecided request, and again after each such time.
    pub request_reminder: Never,
}

/// How the reconciler works.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileSettings {
    /// Between two passes.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// For one call to Kafka.
    #[serde(with = "humantime_serde")]
    pub kafka_timeout: Duration,
    /// Between two tries after failures, at most.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
}

/// Who is told of requests and decisions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeSettings {
    /// `host:port` or `network/bits:port` that webhooks may be at.
    pub destinations: Vec<String>,
    /// The address of this console, for links; empty means none.
    pub link: String,
    /// How long settled notices stay in the log.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    /// The webhooks.
    pub webhooks: Vec<Webhook>,
}

/// One webhook.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name in the log.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The file with the secret that bodies are signed with; empty means no signature.
    #[serde(default)]
    pub secret_file: PathBuf,
    /// The actions that it is told of; empty means all about topics.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// The form of the body.
    #[serde(default)]
    pub format: Format,
    /// Told only of this account's requests; empty means everybody's.
    #[serde(default)]
    pub account: String,
}

/// What is known of producer daemons.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerSettings {
    /// How long a heartbeat counts.
    #[serde(with = "humantime_serde")]
    pub fresh: Duration,
}

impl sluice_service::Settings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = self.http.faults();
        faults.extend(self.kafka.faults());
        faults.extend(self.oidc.faults());
        if self.auth == Auth::None && !self.http.listen.ip().is_loopback() {
            faults.push("auth = \"none\" is only allowed on loopback".to_owned());
        }
        for token in &self.bootstrap_tokens {
            if token.account.is_empty() || token.roles.is_empty() {
                faults.push("bootstrap_tokens need an account and at least one role".to_owned());
            }
        }
        if self.sessions.idle.is_zero() || self.sessions.max.is_zero() {
            faults.push("sessions.idle and sessions.max are longer than nothing".to_owned());
        }
        if self.sessions.attempts_per_account == 0 || self.sessions.attempts_per_address == 0 {
            faults.push("sessions.attempts_per_account and _per_address are at least 1".to_owned());
        }
        if self.reconcile.interval < Duration::from_millis(100) {
            faults.push("reconcile.interval is at least 100ms".to_owned());
        }
        faults.extend(notice_faults(&self.notices));
        let policy = policy::check(&self.policy);
        faults.extend(
            policy
                .iter()
                .map(|f| format!("policy.{}: {}", f.pointer, f.message)),
        );
        faults
    }

    fn log(&self) -> &LogSettings {
        &self.log
    }
}

fn notice_faults(notices: &NoticeSettings) -> Vec<String> {
    let mut faults = match sluice_service::destinations::Destinations::new(&notices.destinations) {
        Ok(_) => Vec::new(),
        Err(bad) => bad.iter().map(|fault| format!("notices.{fault}")).collect(),
    };
    let mut names: Vec<&str> = notices
        .webhooks
        .iter()
        .map(|hook| hook.name.as_str())
        .collect();
    names.sort_unstable();
    if names.iter().any(|name| name.is_empty()) || names.windows(2).any(|pair| pair[0] == pair[1]) {
        faults.push("notices.webhooks need a name each, and every name once".to_owned());
    }
    faults
}
