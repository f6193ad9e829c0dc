//! Starting and stopping: everything is made here once and joined here at the end.

use crate::app::{replays, targets};
use crate::catalogue::Catalogue;
use crate::clusters::{Cluster, Clusters, METADATA_TIMEOUT};
use crate::confine::Roots;
use crate::context::Context;
use crate::dead_letter::{DeadLetters, Requests};
use crate::destinations::Destinations;
use crate::follow::Follower;
use crate::governed::Writer;
use crate::manager::lease::Sharing;
use crate::manager::{Manager, Parts};
use crate::outgoing::Outgoing;
use crate::routes;
use crate::secrets::Secrets;
use crate::settings::{DatabaseSettings, Settings};
use crate::store::Store;
use crate::stream::Hub;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use sluice_admin_client::Client;
use sluice_admin_client::verify::Verifier;
use sluice_service::health::Health;
use sluice_service::http::body::BodyLimits;
use sluice_service::http::cookie::Sessions;
use sluice_service::http::track::track;
use sluice_service::kafka::memory;
use sluice_service::shutdown::Shutdown;
use sluice_service::{http, telemetry, tls};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Threads that serve HTTP.
const HTTP_THREADS: usize = 2;
/// Time between two looks at Kafka, while it answers and while it does not.
const KAFKA_INTERVAL: Duration = Duration::from_secs(5);
const KAFKA_RETRY: Duration = Duration::from_secs(1);
/// The cookie of a console session.
const COOKIE: &str = "sluice_consumer_session";

/// Runs the service until SIGTERM.
///
/// # Errors
/// When it cannot start: its address, database or directories cannot be used.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    memory::share_arenas();
    telemetry::metrics();
    let shutdown = Shutdown::on_signals().context("handle signals")?;
    actix_web::rt::System::new().block_on(serve(settings, shutdown))
}

fn registry(settings: &DatabaseSettings) -> anyhow::Result<Store> {
    match settings.postgres().context("database.password_file")? {
        Some(shared) => Store::connect(&shared).context("open the shared registry"),
        None => {
            Store::open(&settings.path).with_context(|| format!("open {}", settings.path.display()))
        }
    }
}

/// How this process shares the work, when the registry can be shared.
fn sharing(
    settings: &Settings,
    store: &Store,
    health: &Health,
    address: SocketAddr,
) -> Option<Arc<Sharing>> {
    let scheme = if settings.http.tls() { "https" } else { "http" };
    let url = match settings.instances.url.as_str() {
        "" => format!("{scheme}://{address}"),
        url => url.to_owned(),
    };
    let sharing = || Arc::new(Sharing::new(url, settings.instances.lease, health.clone()));
    store.shared().then(sharing)
}

fn context(settings: Settings, shutdown: Shutdown, address: SocketAddr) -> anyhow::Result<Context> {
    let health = Health::default();
    let store = registry(&settings.database)?;
    let roots = Roots::open(&settings.files.roots).context("open files.roots")?;
    let destinations = Destinations::new(&settings.destinations)
        .map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    let clusters = Clusters::new(&settings);
    let catalogue = Catalogue::default();
    let admin = Client::new(&settings.admin_api.url).context("admin_api.url")?;
    let follower = Follower {
        client: admin.clone(),
        token_file: settings.admin_api.token_file.clone(),
        catalogue: catalogue.clone(),
        store: store.clone(),
        health: health.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    let writer = Writer::new(
        Arc::clone(clusters.governed()),
        catalogue.clone(),
        runtime.clone(),
    );
    let shared = sharing(&settings, &store, &health, address);
    let parts = Parts {
        store: store.clone(),
        clusters: clusters.clone(),
        catalogue: catalogue.clone(),
        dead_letters: DeadLetters::new(writer, roots.clone()),
        roots,
        http: Outgoing::new(destinations.clone()),
        destinations,
        secrets: Secrets::open(&settings.secrets_dir).context("open secrets_dir")?,
        settings: settings.consumers.clone(),
        runtime,
    };
    let manager = Manager::new(parts, shared);
    let dead_letter_topics = Requests {
        client: admin.clone(),
        token_file: settings.admin_api.token_file.clone(),
        catalogue: catalogue.clone(),
    };
    Ok(Context {
        dead_letter_topics,
        verifier: Verifier::new(admin.clone(), settings.auth_stale_max),
        sessions: Sessions::new(COOKIE, settings.http.tls()),
        replays: replays::Replays::default(),
        hub: Hub::new(Arc::clone(clusters.governed()), &settings.stream),
        settings: Arc::new(settings),
        store,
        manager,
        clusters,
        catalogue,
        follower,
        admin,
        lags: routes::ui::lag::RecentLags::default(),
        peers: crate::relay::client().context("set up HTTP to other instances")?,
        health,
        shutdown,
    })
}

async fn serve(settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let limit = Duration::from_secs(settings.shutdown_s);
    let (listener, address) = http::bind(&settings.http)?;
    let context = context(settings, shutdown.clone(), address)?;
    context.follower.recall().await;
    watch_kafka(&context)?;
    let follower = tokio::spawn(context.follower.clone().run(shutdown.clone()));
    let manager = tokio::spawn(context.manager.clone().run(shutdown.clone()));
    let hub = tokio::spawn(context.hub.clone().run(shutdown.clone()));
    let targets = tokio::spawn(targets::follow(context.clone(), shutdown.clone()));
    let replays = tokio::spawn(replays::resume::follow(context.clone(), shutdown.clone()));
    let server = server(&context, listener)?;
    let handle = server.handle();
    let stop = async {
        shutdown.wait().await;
        handle.stop(true).await;
    };
    let (served, ()) = tokio::join!(server, stop);
    let joined = tokio::time::timeout(limit, async {
        tokio::join!(follower, manager, hub, targets, replays)
    })
    .await;
    if joined.is_err() {
        tracing::warn!("not everything ended in time; what is not committed is read again");
    }
    served.context("serve HTTP")
}

fn server(context: &Context, listener: TcpListener) -> anyhow::Result<actix_web::dev::Server> {
    let settings = &context.settings.http;
    let (shared, limits) = (
        web::Data::new(context.clone()),
        web::Data::new(BodyLimits::from(settings)),
    );
    let app = move || {
        let context = shared.clone();
        App::new()
            .app_data(context.clone())
            .app_data(limits.clone())
            .wrap(from_fn(track))
            .configure(move |config| routes::configure(config, &context))
    };
    let server = HttpServer::new(app)
        .workers(HTTP_THREADS)
        .disable_signals()
        .shutdown_timeout(context.settings.shutdown_s / 2);
    let server = if settings.tls() {
        let tls = tls::server_config(&settings.tls_cert_file, &settings.tls_key_file)?;
        server.listen_rustls_0_23(listener, tls)?
    } else {
        server.listen(listener)?
    };
    Ok(server.run())
}

/// Looks at Kafka now and then, from a thread of its own: readiness names it when it is down.
fn watch_kafka(context: &Context) -> anyhow::Result<()> {
    let (health, shutdown) = (context.health.clone(), context.shutdown.clone());
    let cluster: Arc<Cluster> = Arc::clone(context.clusters.governed());
    health.degraded("kafka", "no broker has answered yet");
    let watch = move || {
        while !shutdown.requested() {
            let pause = match cluster.look(METADATA_TIMEOUT) {
                Ok(()) => {
                    health.ok("kafka");
                    KAFKA_INTERVAL
                }
                Err(reason) => {
                    health.degraded("kafka", reason);
                    KAFKA_RETRY
                }
            };
            memory::give_back();
            std::thread::park_timeout(pause);
        }
    };
    // Not joined: it holds nothing and ends with the process.
    std::thread::Builder::new()
        .name("kafka-watch".into())
        .spawn(watch)
        .context("start a thread")?;
    Ok(())
}
