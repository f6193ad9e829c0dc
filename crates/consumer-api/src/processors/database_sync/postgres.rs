//! PostgreSQL: rows go in by COPY, which leaves every cast to the database, in the transaction that
//! moves the offsets.

use super::super::{SinkError, Site, failpoint};
use super::dsn::Server;
use super::layout::{Cell, Layout, instant};
use super::{Backend, PositionRow, Trust};
use crate::batch::text::Instants;
use crate::batch::{Entry, runs};
use bytes::Bytes;
use futures_util::SinkExt as _;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Statement};

/// Time for one connection, to the answer of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that one batch may take.
const BATCH_TIMEOUT: Duration = Duration::from_secs(20);

const RAW: &str = "(topic text NOT NULL, partition integer NOT NULL, \"offset\" bigint NOT NULL,
     \"timestamp\" timestamptz, key text, value text, headers json NOT NULL, key_encoding text NOT NULL,
     value_encoding text NOT NULL, topic_id bigint NOT NULL,
     PRIMARY KEY (topic, topic_id, partition, \"offset\"))";
const OURS: &str = "CREATE TABLE IF NOT EXISTS sluice_offsets (
         processor_id text NOT NULL, topic text NOT NULL, partition integer NOT NULL,
         topic_id bigint NOT NULL, next_offset bigint NOT NULL, epoch bigint NOT NULL,
         PRIMARY KEY (processor_id, topic, partition, topic_id));
     CREATE TABLE IF NOT EXISTS sluice_owners (processor_id text PRIMARY KEY, epoch bigint NOT NULL)";

/// Rows that the server is given at a time.
const COPY_ROWS: usize = 512;

/// Whether text may hold NUL.
const TAKES_NUL: bool = false;

/// A server.
pub(super) struct Postgres {
    server: Server,
    trust: Trust,
    layout: Layout,
    site: Site,
    open: Option<Open>,
}

struct Open {
    client: Client,
    owner: Statement,
    put: Statement,
    epoch: i64,
    /// Records may be in the table already, because a user moved back; they are told apart then.
    repeats: bool,
}

impl From<tokio_postgres::Error> for SinkError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            return Self::transient(format!(
                "PostgreSQL: {}",
                cause.unwrap_or_else(|| error.to_string())
            ));
        };
        let message = format!("PostgreSQL: {} ({})", told.message(), told.code().code());
        match told.code().code().get(..2) {
            Some("22" | "23") => Self::poison(message),
            // SQL that does not fit the schema, access, names of databases and schemas, read-only.
            Some("42" | "28" | "3D" | "3F" | "0A" | "25") => Self::environment(message),
            _ => Self::transient(message),
        }
    }
}

/// Waits for the database, but not for ever. Dropping what was waited for undoes it.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, SinkError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_late| {
            Err(SinkError::transient(format!(
                "PostgreSQL did not answer within {limit:?}"
            )))
        })
}

impl Postgres {
    pub(super) const fn new(server: Server, trust: Trust, layout: Layout, site: Site) -> Self {
        Self {
            server,
            trust,
            layout,
            site,
            open: None,
        }
    }

    /// Connects to one of the addresses that are allowed now.
    fn client(&self) -> Result<Client, SinkError> {
        let server = &self.server;
        let addresses = server.addresses(&self.site)?;
        let mut config = Config::new();
        config
            .user(&server.user)
            .dbname(&server.database)
            .application_name("sluice")
            .options(format!(
                "-c lock_timeout={0} -c statement_timeout={0}",
                BATCH_TIMEOUT.as_millis()
            ));
        if let Some(password) = server.password(&self.site, self.trust.password.as_ref())? {
            config.password(password.expose());
        }
        let connector = || self.trust.connector(&self.site);
        let tls = server.tls.then(connector).transpose()?;
        self.site.runtime.block_on(within(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect(addresses.as_slice()).await;
            let refused = |error| {
                SinkError::transient(format!(
                    "PostgreSQL at {}:{}: {error}",
                    server.host, server.port
                ))
            };
            let stream = stream.map_err(refused)?;
            stream.set_nodelay(true)?;
            if let Some(tls) = tls {
                config.ssl_mode(SslMode::Require);
                connect(&config, stream, tls, &server.host).await
            } else {
                config.ssl_mode(SslMode::Disable);
                connect(&config, stream, NoTls, &server.host).await
            }
        }))
    }

    fn connect(&self) -> Result<Open, SinkError> {
        let client = self.client()?;
        let table = self.layout.quoted_table('"');
        let look = look(&self.layout);
        let id = &self.site.processor_id;
        let (raw, epoch) = (self.layout.raw, self.site.epoch);
        self.site.runtime.block_on(within(BATCH_TIMEOUT, async move {
            // Only what is missing is made: who may write need not be allowed to create.
            ensure(&client, "sluice_owners", OURS).await?;
            if raw {
                ensure(&client, &table, &format!("CREATE TABLE IF NOT EXISTS {table} {RAW}")).await?;
            }
            client.batch_execute(&look).await?;
            let take = "INSERT INTO sluice_owners AS o (processor_id, epoch) VALUES ($1, $2)
                        ON CONFLICT (processor_id) DO UPDATE SET epoch = greatest(o.epoch, excluded.epoch)
                        RETURNING epoch";
            let found: i64 = client.query_one(take, &[id, &epoch]).await?.get(0);
            super::unfenced(found == epoch)?;
            let owner = "SELECT epoch FROM sluice_owners WHERE processor_id = $1 FOR UPDATE";
            let put = "INSERT INTO sluice_offsets (processor_id, topic, partition, topic_id, next_offset, epoch)
                       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (processor_id, topic, partition, topic_id)
                       DO UPDATE SET next_offset = excluded.next_offset, epoch = excluded.epoch";
            Ok(Open {
                owner: client.prepare(owner).await?,
                put: client.prepare(put).await?,
                client,
                epoch,
                repeats: false,
            })
        }))
    }
}

async fn connect<T>(
    config: &Config,
    stream: TcpStream,
    mut tls: T,
    host: &str,
) -> Result<Client, SinkError>
where
    T: MakeTlsConnect<TcpStream>,
    T::Stream: Send + 'static,
    <T::TlsConnect as TlsConnect<TcpStream>>::Future: Send,
{
    let fault = |error: T::Error| {
        let error: Box<dyn std::error::Error + Sync + Send> = error.into();
        SinkError::environment(format!("TLS with PostgreSQL: {error}"))
    };
    let tls = tls.make_tls_connect(host).map_err(fault)?;
    let (client, connection) = config.connect_raw(stream, tls).await?;
    // It ends with the client, or with what the client is told then.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

/// A query that fails unless the table and its columns are there.
fn look(layout: &Layout) -> String {
    let (table, columns) = (layout.quoted_table('"'), layout.quoted_columns('"'));
    format!("SELECT {columns} FROM {table} WHERE false")
}

/// Makes a table if it is not there.
async fn ensure(client: &Client, table: &str, create: &str) -> Result<(), SinkError> {
    let known = client
        .query_one("SELECT to_regclass($1)::text", &[&table])
        .await?;
    if known.get::<_, Option<String>>(0).is_some() {
        return Ok(());
    }
    match client.batch_execute(create).await {
        // Another consumer has made it at the same moment.
        Err(error) if error.code().is_some_and(|code| code.code() == "23505") => Ok(()),
        other => Ok(other?),
    }
}

impl Open {
    async fn write(
        &mut self,
        layout: &Layout,
        batch: &[Entry<'_>],
        site: &Site,
        moves: &[PositionRow],
    ) -> Result<(), SinkError> {
        let id = &site.processor_id;
        let transaction = self.client.transaction().await?;
        let epoch = transaction.query_opt(&self.owner, &[&id]).await?;
        super::unfenced(epoch.is_some_and(|row| row.get::<_, i64>(0) == self.epoch))?;
        failpoint::pass("database_sync.begun")?;
        let (table, columns) = (layout.quoted_table('"'), layout.quoted_columns('"'));
        let target = if self.repeats {
            "sluice_rows"
        } else {
            table.as_str()
        };
        if self.repeats {
            let make = format!("CREATE TEMP TABLE sluice_rows (LIKE {table}) ON COMMIT DROP");
            transaction.batch_execute(&make).await?;
        }
        let copy = format!("COPY {target} ({columns}) FROM STDIN");
        let sink = transaction.copy_in::<_, Bytes>(&copy).await?;
        futures_util::pin_mut!(sink);
        // The server works on one part while the next one is written.
        let mut text = CopyText::default();
        for run in runs(batch) {
            let topic_id = run.first().map_or(0, |e| site.topic_id(e.topic));
            for part in run.chunks(COPY_ROWS) {
                sink.send(text.of(layout, topic_id, part)?).await?;
            }
        }
        sink.finish().await?;
        if self.repeats {
            let merge = format!(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM sluice_rows ON CONFLICT DO NOTHING"
            );
            let new = transaction.execute(&merge, &[]).await?;
            self.repeats = new < batch.len() as u64;
        }
        failpoint::pass("database_sync.rows")?;
        for (topic, partition, topic_id, next) in moves {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&id, topic, partition, topic_id, next, &self.epoch];
            transaction.execute(&self.put, &values).await?;
        }
        failpoint::pass("database_sync.offsets")?;
        transaction.commit().await?;
        failpoint::pass("database_sync.committed")
    }
}

impl Backend for Postgres {
    fn open(&mut self) -> Result<Vec<PositionRow>, SinkError> {
        self.open = None;
        let open = self.connect()?;
        let sql = "SELECT topic, partition, topic_id, next_offset FROM sluice_offsets WHERE processor_id = $1";
        let id = &self.site.processor_id;
        let rows = self.site.runtime.block_on(within(BATCH_TIMEOUT, async {
            Ok(open.client.query(sql, &[id]).await?)
        }))?;
        self.open = Some(open);
        let row = |row: &tokio_postgres::Row| (row.get(0), row.get(1), row.get(2), row.get(3));
        Ok(rows.iter().map(row).collect())
    }

    fn write(&mut self, batch: &[Entry<'_>], moves: &[PositionRow]) -> Result<(), SinkError> {
        let Self {
            layout, site, open, ..
        } = self;
        let open = open.as_mut().ok_or_else(super::not_open)?;
        let outcome = site.runtime.block_on(within(
            BATCH_TIMEOUT,
            open.write(layout, batch, site, moves),
        ));
        match outcome {
            Err(error) if layout.raw && !open.repeats && error.message.ends_with("(23505)") => {
                open.repeats = true;
                site.runtime.block_on(within(
                    BATCH_TIMEOUT,
                    open.write(layout, batch, site, moves),
                ))
            }
            other => other,
        }
    }

    fn probe(&self) -> Result<(), SinkError> {
        let (false, Ok(client)) = (self.layout.raw, self.client()) else {
            return Ok(());
        };
        let look = look(&self.layout);
        let probe = async { Ok(client.batch_execute(&look).await?) };
        self.site.runtime.block_on(within(CONNECT_TIMEOUT, probe))
    }

    fn rewind(&mut self, moves: &[PositionRow]) -> Result<(), SinkError> {
        self.open = None;
        let open = self.connect()?;
        let id = &self.site.processor_id;
        self.site.runtime.block_on(within(BATCH_TIMEOUT, async {
            for (topic, partition, topic_id, next) in moves {
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                    [id, topic, partition, topic_id, next, &open.epoch];
                open.client.execute(&open.put, &values).await?;
            }
            Ok(())
        }))
    }
}

/// Writes rows in the text format of COPY.
#[derive(Debug, Default)]
struct CopyText {
    instants: Instants,
    /// As much as the part before took.
    bytes: usize,
}

impl CopyText {
    /// The rows of records of one partition.
    fn of(
        &mut self,
        layout: &Layout,
        topic_id: i64,
        part: &[Entry<'_>],
    ) -> Result<Bytes, SinkError> {
        let mut text = String::with_capacity(self.bytes);
        let mut row = Vec::new();
        for entry in part {
            row.clear();
            layout.row(entry, topic_id, TAKES_NUL, &mut row)?;
            for (index, cell) in row.iter().enumerate() {
                if index > 0 {
                    text.push('\t');
                }
                copy_cell(&mut text, cell, &mut self.instants);
            }
            text.push('\n');
        }
        self.bytes = text.len();
        Ok(Bytes::from(text))
    }
}

/// Whether COPY takes text as it is.
fn is_plain(text: &[u8]) -> bool {
    memchr::memchr3(b'\\', b'\n', b'\t', text).is_none() && memchr::memchr(b'\r', text).is_none()
}

fn copy_cell(text: &mut String, cell: &Cell<'_>, instants: &mut Instants) {
    // Writing to a string does not fail.
    let _infallible = match cell {
        Cell::Null => text.write_str("\\N"),
        Cell::Flag(flag) => write!(text, "{flag}"),
        Cell::Integer(number) => write!(text, "{number}"),
        Cell::Number(number) => write!(text, "{number}"),
        Cell::Instant(ms) => text.write_str(instant(instants, *ms)),
        Cell::Text(cell) if is_plain(cell.as_bytes()) => text.write_str(cell),
        Cell::Text(cell) => {
            let mut rest: &str = cell;
            while let Some(at) = rest.find(['\\', '\n', '\r', '\t']) {
                let (plain, special) = rest.split_at(at);
                text.push_str(plain);
                text.push('\\');
                let (name, after) = special.split_at(1);
                text.push_str(match name {
                    "\n" => "n",
                    "\r" => "r",
                    "\t" => "t",
                    _ => "\\",
                });
                rest = after;
            }
            text.push_str(rest);
            Ok(())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_for_copy() {
        for (cell, wanted) in [
            (Cell::Text("a\tb\\N\nc\r".into()), "a\\tb\\\\N\\nc\\r"),
            (Cell::Text("\\.".into()), "\\\\."),
            (Cell::Null, "\\N"),
            (Cell::Flag(true), "true"),
            (Cell::Number(0.5), "0.5"),
            (Cell::Instant(0), "1970-01-01T00:00:00.000Z"),
        ] {
            let mut text = String::new();
            copy_cell(&mut text, &cell, &mut Instants::default());
            assert_eq!(text, wanted);
        }
    }
}
