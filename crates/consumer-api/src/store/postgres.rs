//! PostgreSQL behind the registry: a pool of connections on a small runtime of its own, so that leases
//! are renewed whatever else this process is busy with.

use super::sql::{Cells, Sql, Value};
use bytes::BytesMut;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime as PoolRuntime,
};
use sluice_service::secret::Secret;
use sluice_service::sqlite::StoreError;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a command waits for a free connection.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that one statement may take, locks that others hold included.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for which the first connection of a start is tried.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two tries of it.
const START_PAUSE: Duration = Duration::from_millis(500);
/// What holds back a second instance while the first brings the schema up to date.
const MIGRATION_LOCK: i64 = 5_108_216;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// How the shared registry is reached.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// `postgres://user@host/database`, as libpq reads it.
    pub url: Secret,
    /// The password, unless the URL has it.
    pub password: Option<Secret>,
    /// Authorities of the server's certificate beside the public ones.
    pub ssl_ca_file: Option<std::path::PathBuf>,
    /// Most connections.
    pub connections: usize,
}

/// An open pool. Clones share it.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: Pool,
    runtime: Arc<OwnRuntime>,
}

/// A runtime that may be dropped anywhere.
struct OwnRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

/// What went wrong, in the server's words and without the connection's secrets.
fn failed(error: &tokio_postgres::Error) -> StoreError {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        return StoreError::Unavailable(format!(
            "PostgreSQL: {error}{}",
            cause.unwrap_or_default()
        ));
    };
    let words = format!("PostgreSQL: {} ({})", said.message(), said.code().code());
    // Connection, rollback by the server, resources, operator intervention: worth another try.
    let again = ["08", "40", "53", "57"];
    if again
        .iter()
        .any(|class| said.code().code().starts_with(class))
    {
        StoreError::Unavailable(words)
    } else {
        StoreError::Refused(words)
    }
}

fn tls(ca_file: Option<&Path>) -> Result<MakeRustlsConnect, StoreError> {
    sluice_service::tls::install_crypto();
    let Some(file) = ca_file else {
        return Ok(MakeRustlsConnect::with_webpki_roots());
    };
    let config = sluice_service::tls::client_config(file)
        .map_err(|error| StoreError::Refused(format!("{error:#}")))?;
    Ok(MakeRustlsConnect::new(config))
}

fn config(settings: &PostgresSettings) -> Result<tokio_postgres::Config, StoreError> {
    let parsed: Result<tokio_postgres::Config, _> = settings.url.expose().parse();
    // The parser's words may repeat parts of the URL, and with them a password.
    let mut config = parsed.map_err(|_| {
        StoreError::Refused("database.url is no postgres:// URL that can be read".to_owned())
    })?;
    if let Some(password) = &settings.password {
        config.password(password.expose());
    }
    config
        .application_name("sluice-consumer-api")
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(CONNECT_TIMEOUT)
        .tcp_user_timeout(STATEMENT_TIMEOUT);
    let options = format!(
        "{} -c statement_timeout={} -c idle_in_transaction_session_timeout={}",
        config.get_options().unwrap_or_default(),
        STATEMENT_TIMEOUT.as_millis(),
        STATEMENT_TIMEOUT.as_millis(),
    );
    config.options(options);
    Ok(config)
}

impl Postgres {
    /// Connects, waiting a little for a server that starts at the same time, and brings the schema up to
    /// date.
    pub(super) fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let (config, tls) = (config(settings)?, tls(settings.ssl_ca_file.as_deref())?);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(settings.connections + 1)
            .thread_name("registry")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let migrate = migrate(config.clone(), tls.clone());
        // A thread of its own: the caller may be inside a runtime, where blocking is not allowed.
        let done = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(migrate)).join());
        done.unwrap_or(Err(StoreError::Stopped))?;
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(settings.connections)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(PoolRuntime::Tokio1)
            .build()
            .map_err(|error| StoreError::Refused(error.to_string()))?;
        let runtime = Arc::new(OwnRuntime {
            handle,
            runtime: Some(runtime),
        });
        Ok(Self { pool, runtime })
    }

    /// Runs a command in a transaction.
    pub(super) async fn run<T, E>(
        &self,
        read_only: bool,
        command: impl FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let this = self.clone();
        let task = self.runtime.handle.spawn(async move {
            let connection = this.connection().await?;
            let handle = this.runtime.handle.clone();
            let work = move || transaction(connection, &handle, read_only, command);
            let done = this.runtime.handle.spawn_blocking(work).await;
            done.unwrap_or_else(|_| Err(E::from(StoreError::Stopped)))
        });
        task.await
            .unwrap_or_else(|_| Err(E::from(StoreError::Stopped)))
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        use deadpool_postgres::{PoolError, TimeoutType};
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Busy,
            PoolError::Backend(error) => failed(&error),
            other => StoreError::Unavailable(format!("PostgreSQL: {other}")),
        })
    }
}

async fn migrate(config: tokio_postgres::Config, tls: MakeRustlsConnect) -> Result<(), StoreError> {
    let until = tokio::time::Instant::now() + START_TIMEOUT;
    let (mut client, connection) = loop {
        match config.connect(tls.clone()).await {
            Ok(connected) => break connected,
            Err(error) => match failed(&error) {
                StoreError::Unavailable(reason) if tokio::time::Instant::now() < until => {
                    tracing::warn!(reason, "the registry does not answer yet");
                    tokio::time::sleep(START_PAUSE).await;
                }
                other => return Err(other),
            },
        }
    };
    let connection = tokio::spawn(connection);
    let lock = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
    client.batch_execute(&lock).await.map_err(|e| failed(&e))?;
    migrations::migrations::runner()
        .run_async(&mut client)
        .await?;
    // Closing the connection gives the lock back.
    drop(client);
    let _ended = connection.await;
    Ok(())
}

/// A connection inside a transaction; one that is dropped there does not go back to the pool.
struct Open<'h> {
    connection: Option<Object>,
    handle: &'h Handle,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}

fn transaction<T, E: From<StoreError>>(
    connection: Object,
    handle: &Handle,
    read_only: bool,
    command: impl FnOnce(&mut dyn Sql) -> Result<T, E>,
) -> Result<T, E> {
    let mut open = Open {
        connection: Some(connection),
        handle,
    };
    open.batch(if read_only {
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    } else {
        "BEGIN"
    })?;
    let outcome = command(&mut open);
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = open.batch(end);
    if ended.is_ok() {
        // Back to the pool; one whose end is not known is closed instead.
        open.connection = None;
    }
    let value = outcome?;
    ended?;
    Ok(value)
}

impl Open<'_> {
    fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        let limited = async { tokio::time::timeout(STATEMENT_TIMEOUT, work).await };
        match self.handle.block_on(limited) {
            Ok(outcome) => outcome.map_err(|error| failed(&error)),
            Err(_) => Err(StoreError::Unavailable(
                "PostgreSQL does not answer in time".to_owned(),
            )),
        }
    }

    fn connection(&self) -> Result<&Object, StoreError> {
        self.connection.as_ref().ok_or(StoreError::Stopped)
    }

    fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.connection()?.batch_execute(sql))
    }
}

/// `?1` becomes `$1`; no statement of ours has a question mark in a text.
fn dialect(sql: &str) -> String {
    sql.replace('?', "$")
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

impl Sql for Open<'_> {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let (connection, sql) = (self.connection()?, dialect(sql));
        self.wait(async {
            let statement = connection.prepare_cached(&sql).await?;
            connection.execute(&statement, &parameters(values)).await
        })
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Cells>, StoreError> {
        let (connection, sql) = (self.connection()?, dialect(sql));
        let rows = self.wait(async {
            let statement = connection.prepare_cached(&sql).await?;
            connection.query(&statement, &parameters(values)).await
        })?;
        let cells = |row: tokio_postgres::Row| {
            let cell = |column| cell(&row, column);
            Cells((0..row.len()).map(cell).collect())
        };
        Ok(rows.into_iter().map(cells).collect())
    }

    fn lock(&self) -> &'static str {
        " FOR UPDATE"
    }
}

fn cell(row: &tokio_postgres::Row, column: usize) -> Value {
    let kind = row.columns()[column].type_();
    let value = match *kind {
        Type::INT8 => row.try_get::<_, Option<i64>>(column).map(Value::from),
        Type::INT4 => row.try_get::<_, Option<i32>>(column).map(Value::from),
        Type::BOOL => row.try_get::<_, Option<bool>>(column).map(Value::from),
        Type::BYTEA => row.try_get::<_, Option<&[u8]>>(column).map(Value::from),
        _ => row.try_get::<_, Option<String>>(column).map(Value::from),
    };
    value.unwrap_or(Value::Null)
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Self::Int(number) => number.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::Blob(bytes) => bytes.to_sql_checked(kind, out),
        }
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
