//! What every handler and the reconciler share.

use crate::app::Context;
use crate::auth::oidc::Oidc;
use crate::auth::password::Passwords;
use crate::auth::sign_in::Setup;
use crate::auth::throttle::Throttle;
use crate::auth::{Tokens, read_bootstrap};
use crate::error::AppError;
use crate::hub::{Heads, Hub};
use crate::producers::Producers;
use crate::reconciler::drift::Board;
use crate::reconciler::usage::Usages;
use crate::settings::Settings;
use crate::store;
use crate::store::audit_chain::noted_head;
use anyhow::Context as _;
use rusqlite::Connection;
use sluice_model::access::Actor;
use sluice_model::audit::Source;
use sluice_model::policy::Policy;
use sluice_service::health::Health;
use sluice_service::http::cookie::Sessions;
use sluice_service::http::track;
use sluice_service::now;
use sluice_service::shutdown::Shutdown;
use sluice_service::sqlite::Database;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

/// The reconciler's name in the audit.
const RECONCILER: &str = "reconciler";
/// How the command line's user agent begins.
const CLI_AGENT: &str = "sluice-cli/";

/// A version of the policy.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Counts the versions that were written over the API; 0 is the configuration's.
    pub version: i64,
    /// The rules.
    pub policy: Arc<Policy>,
}

/// The state of the service. Clones share it.
#[derive(Clone, Debug)]
pub struct State {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The rules for requests that count now.
    rules: Arc<RwLock<Rules>>,
    /// The database.
    pub database: Database,
    /// The tokens.
    pub tokens: Arc<Tokens>,
    /// One reading of the credentials at a time, so that an older one never replaces a newer one.
    access_gate: Arc<tokio::sync::Mutex<()>>,
    /// Where passwords are hashed and checked.
    pub passwords: Passwords,
    /// How often somebody may try to sign in.
    pub throttle: Throttle,
    /// The way to the first admin.
    pub setup: Setup,
    /// Where long polls wait.
    pub hub: Hub,
    /// The daemons that were heard.
    pub producers: Arc<Producers>,
    /// What differs between here and Kafka.
    pub drift: Arc<Board>,
    /// Who uses fenced topics.
    pub usages: Arc<Usages>,
    /// Wakes who waits for the evidence of a deletion.
    pub gathered: Arc<Notify>,
    /// Wakes the reconciler.
    pub nudge: Arc<Notify>,
    /// What is broken.
    pub health: Health,
    /// Console sessions.
    pub sessions: Sessions,
    /// The wish to stop.
    pub shutdown: Shutdown,
}

impl State {
    /// Opens the database and reads the tokens.
    ///
    /// # Errors
    /// When the database or a token file cannot be used.
    pub fn open(settings: Settings, shutdown: Shutdown) -> anyhow::Result<Self> {
        let hub = Hub::new(shutdown.clone());
        let database = open_database(&settings, hub.clone())?;
        let bootstrap = read_bootstrap(&settings.bootstrap_tokens)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let tokens = runtime.block_on(async {
            let import = move |c: &Connection| store::tokens::import(c, &bootstrap, now());
            database.write(import).await?;
            let access = database.read(store::access::read).await?;
            Ok((access, database.read(store::policies::newest).await?))
        });
        let (tokens, policy) =
            tokens.map_err(|e: AppError| anyhow::anyhow!("read the tokens and the policy: {e}"))?;
        let (version, policy) = policy.unwrap_or_else(|| (0, settings.policy.clone()));
        let tokens = Tokens::new(tokens, &settings, Oidc::new(&settings.oidc)?);
        Ok(Self {
            rules: Arc::new(RwLock::new(Rules {
                version,
                policy: Arc::new(policy),
            })),
            database,
            tokens: Arc::new(tokens),
            access_gate: Arc::default(),
            passwords: Passwords::default(),
            throttle: Throttle::new(&settings.sessions),
            setup: Setup::default(),
            hub,
            producers: Arc::default(),
            drift: Arc::default(),
            usages: Arc::default(),
            gathered: Arc::default(),
            nudge: Arc::default(),
            health: Health::default(),
            sessions: Sessions::new("sluice_admin", settings.http.tls())
                .lasting(settings.sessions.idle, settings.sessions.max),
            settings: Arc::new(settings),
            shutdown,
        })
    }

    /// Opens the way to the first admin when nobody is one: prints its address and leaves it in a file that
    /// only the service's user can read.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce_setup(&self, address: std::net::SocketAddr) -> anyhow::Result<()> {
        remove_setup_file(&self.settings);
        if self.tokens.has_admin() {
            return Ok(());
        }
        let secret = self
            .setup
            .open()
            .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        let scheme = if self.settings.http.tls() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{address}/ui/setup?secret={secret}");
        let file = setup_file(&self.settings);
        let mut options = std::fs::File::options();
        let made = options.write(true).create_new(true).mode(0o600).open(&file);
        let mut made = made.with_context(|| format!("make {}", file.display()))?;
        writeln!(made, "{url}")?;
        // The one secret that is meant to be read here: it works once, and ends with this process.
        tracing::warn!(setup_url = url, file = %file.display(), "no account is admin: open this address to make the first one");
        Ok(())
    }

    /// Lets what the store says about tokens, users and teams count from now on.
    ///
    /// # Errors
    /// When the store cannot be read; the change is committed all the same.
    pub async fn reload_access(&self) -> Result<(), AppError> {
        let _one_at_a_time = self.access_gate.lock().await;
        let access = self.database.read(store::access::read).await?;
        self.tokens.replace(access);
        Ok(())
    }

    /// The identity provider, if there is one.
    pub fn oidc(&self) -> Option<&Oidc> {
        self.tokens.oidc()
    }

    /// The rules for requests that count now.
    pub fn rules(&self) -> Rules {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets a newer version of the rules count.
    pub fn set_rules(&self, rules: Rules) {
        let mut current = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if rules.version > current.version {
            *current = rules;
        }
    }

    /// The context of a command by an actor, now.
    pub fn context(&self, actor: Actor) -> Context {
        Context {
            actor,
            now: now(),
            source: source(),
            policy: self.rules().policy,
            lifecycle: self.settings.lifecycle,
        }
    }

    /// The context of the reconciler's own commands.
    pub fn system(&self) -> Context {
        self.context(Actor {
            account: RECONCILER.to_owned(),
            roles: Vec::new(),
            scopes: Vec::new(),
            teams: Vec::new(),
            expires_at: None,
        })
    }
}

/// Where a command comes from: the request that this task serves, or the reconciler.
fn source() -> Source {
    let Some(origin) = track::origin() else {
        return Source {
            interface: RECONCILER.to_owned(),
            ..Source::default()
        };
    };
    let agent = origin.user_agent.as_deref().unwrap_or_default();
    let interface = if origin.path.starts_with("/ui") {
        "console"
    } else if agent.starts_with(CLI_AGENT) {
        "cli"
    } else {
        "api"
    };
    Source {
        interface: interface.to_owned(),
        address: origin.address,
        user_agent: origin.user_agent,
        http_request_id: Some(origin.request_id),
    }
}

/// Where the address of the set-up is left.
fn setup_file(settings: &Settings) -> std::path::PathBuf {
    let mut path = settings.database.path.as_os_str().to_owned();
    path.push(".setup-url");
    path.into()
}

/// Removes the address of a set-up that is over.
pub fn remove_setup_file(settings: &Settings) {
    let file = setup_file(settings);
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(error = %error, file = %file.display(), "remove the address of the set-up");
        }
        _ => {}
    }
}

fn open_database(settings: &Settings, hub: Hub) -> anyhow::Result<Database> {
    let path = &settings.database.path;
    let heads_file = settings.database.audit_heads();
    let last = noted_head(&heads_file).map_err(|e| anyhow::anyhow!("read the noted heads: {e}"))?;
    let noted = std::sync::Mutex::new(last.as_ref().map_or(0, |(seq, _)| *seq));
    let after_commit = move |connection: &Connection| {
        match store::changes::heads(connection) {
            Ok((topics, all)) => hub.publish(Heads { topics, all }),
            Err(error) => tracing::error!(error = %error, "read the heads of the change feed"),
        }
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = note_head(connection, &heads_file, &mut noted) {
            tracing::error!(error = %error, "note the head of the audit chain");
        }
    };
    let begun = std::sync::atomic::AtomicBool::new(false);
    let after_commit = move |connection: &Connection| {
        if !begun.swap(true, std::sync::atomic::Ordering::Relaxed) {
            check_head(connection, last.as_ref());
        }
        after_commit(connection);
    };
    Database::open(path, &store::migrations(), Box::new(after_commit))
        .with_context(|| format!("open the database {}", path.display()))
}

/// Says at the start when the audit does not go as far as was noted outside.
fn check_head(connection: &Connection, noted: Option<&(i64, String)>) {
    let Some((seq, hash)) = noted else {
        return;
    };
    match store::audit::hash_of(connection, *seq) {
        Ok(Some(stored)) if stored == *hash => {}
        Ok(_) => {
            tracing::error!(
                seq,
                "the audit is not what was noted of it: /api/audit/verify says more"
            );
        }
        Err(error) => tracing::error!(error = %error, "read the head of the audit chain"),
    }
}

fn note_head(connection: &Connection, file: &Path, noted: &mut i64) -> anyhow::Result<()> {
    let (seq, hash) = store::audit::head(connection)?;
    if seq > *noted {
        let mut options = std::fs::File::options();
        let mut heads = options.append(true).create(true).mode(0o600).open(file)?;
        writeln!(heads, "{seq} {hash}")?;
        *noted = seq;
    }
    Ok(())
}
