//! The admin API: governance of topics, and the only service that creates or deletes them.
//!
//! Layers: [`routes`] (HTTP to types) → [`app`] (use cases) → [`store`] (SQL). The [`reconciler`] makes
//! Kafka agree with what was decided; it alone talks to Kafka, never inside a request or a transaction.

pub mod app;
pub mod auth;
pub mod error;
pub mod hub;
pub mod notices;
pub mod openapi;
pub mod producers;
pub mod reconciler;
pub mod routes;
pub mod settings;
pub mod state;
pub mod store;

use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use rdkafka::admin::AdminClient;
use reconciler::cluster::Kafka;
use settings::Settings;
use sluice_service::http::body::BodyLimits;
use sluice_service::http::{bind, track};
use sluice_service::shutdown::Shutdown;
use sluice_service::{Identity, telemetry, tls};
use state::State;

/// What this daemon is called.
pub const IDENTITY: Identity = Identity {
    name: "sluice-admin-api",
    version: env!("CARGO_PKG_VERSION"),
    defaults: include_str!("../../../config/admin-api.toml"),
    env_prefix: "ADMIN_API",
    more: "",
};

/// Threads that serve HTTP.
const WORKERS: usize = 2;
/// Time between two notes of when tokens were last used.
const NOTE_USES: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs the service until SIGTERM.
///
/// # Errors
/// When it cannot start: the database, the listener or the settings are no good.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    telemetry::metrics();
    let shutdown = Shutdown::on_signals()?;
    let state = State::open(settings, shutdown)?;
    let timeout = state.settings.reconcile.kafka_timeout;
    let client = state
        .settings
        .kafka
        .client("sluice-admin-api")
        .context("read Kafka's password")?;
    let admin: AdminClient<_> = client.create().context("set up the Kafka client")?;
    let kafka = Kafka::new(admin, timeout);
    actix_web::rt::System::new().block_on(serve(state, kafka))
}

async fn serve(state: State, kafka: Kafka) -> anyhow::Result<()> {
    let http = state.settings.http.clone();
    let notifier = notices::Notifier::new(&state.settings.notices)?;
    let (listener, address) = bind(&http)?;
    state.announce_setup(address)?;
    prepare_passwords(&state);
    let limits = web::Data::new(BodyLimits::from(&http));
    let data = web::Data::new(state.clone());
    let factory = {
        let state = state.clone();
        move || {
            App::new()
                .app_data(data.clone())
                .app_data(limits.clone())
                .wrap(from_fn(track::track))
                .wrap(NormalizePath::trim())
                .configure(|config| routes::configure(config, &state, IDENTITY))
        }
    };
    let server = HttpServer::new(factory)
        .workers(WORKERS)
        .disable_signals()
        .shutdown_timeout(state.settings.shutdown_s);
    let server = if http.tls() {
        let config = tls::server_config(&http.tls_cert_file, &http.tls_key_file)?;
        server.listen_rustls_0_23(listener, config)?
    } else {
        server.listen(listener)?
    };
    let server = server.run();
    let handle = server.handle();
    let uses = actix_web::rt::spawn(note_uses(state.clone()));
    let notifier = notifier.map(|n| actix_web::rt::spawn(n.run(state.clone())));
    let reconciler = actix_web::rt::spawn(reconciler::run(state.clone(), kafka));
    let stop = actix_web::rt::spawn(async move {
        state.shutdown.wait().await;
        handle.stop(true).await;
    });
    server.await.context("serve HTTP")?;
    stop.abort();
    uses.abort();
    reconciler.abort();
    if let Some(notifier) = notifier {
        notifier.abort();
    }
    Ok(())
}

/// Makes the hash that stands for unknown users beside the start, which does not wait for it.
fn prepare_passwords(state: &State) {
    let passwords = state.passwords.clone();
    let _detached = tokio::task::spawn_blocking(move || passwords.prepare());
}

/// Notes now and then when tokens were last used.
async fn note_uses(state: State) {
    loop {
        actix_web::rt::time::sleep(NOTE_USES).await;
        note_producers(&state).await;
        let uses = state.tokens.take_uses();
        if uses.is_empty() {
            continue;
        }
        let noted = state
            .database
            .write(move |c| store::tokens::note_uses(c, &uses))
            .await;
        if let Err(error) = noted {
            tracing::warn!(error = %error, "note the last uses of tokens");
        }
    }
}

/// Notes which producers sent to which topics, as evidence for deletions.
async fn note_producers(state: &State) {
    let uses = state.producers.take_uses();
    let window = state.settings.lifecycle.evidence_window.as_millis();
    let before = sluice_service::now().plus_millis(-i64::try_from(window).unwrap_or(i64::MAX));
    let noted = state
        .database
        .write(move |c| {
            store::evidence::note_uses(c, &uses)?;
            store::evidence::forget_uses(c, before)
        })
        .await;
    if let Err(error) = noted {
        tracing::warn!(error = %error, "note what producers sent to");
    }
}
