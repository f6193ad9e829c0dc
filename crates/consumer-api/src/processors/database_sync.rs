//! `database_sync`: rows in SQLite, PostgreSQL, MySQL or MariaDB, or entries in Redis, exactly once.
//!
//! What is written and how far it is are one transaction, and the offsets there are the truth. Opening
//! takes over: it counts up an epoch, and a writer that finds another epoch than its own is fenced.

mod dsn;
mod layout;
mod mysql;
mod postgres;
mod redis;
mod sqlite;

use super::{Kind, Outside, Processor, SinkError, Site, ends, path_fault};
use crate::batch::Entry;
use crate::secrets::{self, Reference};
use crate::watermark::Positions;
use dsn::{Server, Speaks, Target};
use layout::{COLUMNS_MAX, Cell, Layout, NAME_BYTES_MAX, Source, is_name};
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_model::problem::Code;
use std::path::PathBuf;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The registry line.
pub(super) const KIND: Kind = Kind {
    name: "database_sync",
    schema,
    check,
    build,
};

/// The table when the configuration names none.
const TABLE: &str = "records";
/// The stream of Redis when the configuration names none.
const STREAM: &str = "{topic}";
/// The longest pattern of a key.
const PATTERN_BYTES_MAX: usize = 512;

/// `(topic, partition, topic id, next offset)`.
type PositionRow = (String, i32, i64, i64);

/// A kind of database.
trait Backend: Send {
    /// Connects, makes what is missing and ours, takes over, and reads what is held.
    fn open(&mut self) -> Result<Vec<PositionRow>, SinkError>;
    /// Writes records and moves offsets, both or none, unless somebody else has taken over.
    fn write(&mut self, batch: &[Entry<'_>], moves: &[PositionRow]) -> Result<(), SinkError>;
    /// Looks whether a table that is not ours is there with its columns, if the database is reached.
    fn probe(&self) -> Result<(), SinkError> {
        Ok(())
    }
    /// Takes over and moves offsets.
    fn rewind(&mut self, moves: &[PositionRow]) -> Result<(), SinkError>;
}

/// What a configuration says beside the address.
#[derive(Clone, Debug, Default)]
struct Trust {
    password: Option<Reference>,
    /// Authorities of the server's certificate, in the directory of secrets; else the public ones.
    authorities: Option<String>,
}

impl Trust {
    /// TLS as the server's certificate is to be checked.
    fn connector(&self, site: &Site) -> Result<MakeRustlsConnect, SinkError> {
        let Some(file) = self.authorities_file(site)? else {
            sluice_service::tls::install_crypto();
            return Ok(MakeRustlsConnect::with_webpki_roots());
        };
        let config = sluice_service::tls::client_config(&file)
            .map_err(|error| SinkError::environment(format!("ca_file: {error:#}")))?;
        Ok(MakeRustlsConnect::new(config))
    }

    fn authorities_file(&self, site: &Site) -> Result<Option<PathBuf>, SinkError> {
        let path = self
            .authorities
            .as_deref()
            .map(|name| site.secrets.path(name));
        path.transpose()
            .map_err(|message| SinkError::environment(format!("ca_file {message}")))
    }
}

/// The rows of a batch, one after the other.
struct Rows<'e>(Vec<Cell<'e>>);

impl<'e> Rows<'e> {
    fn of(layout: &Layout, batch: &[Entry<'e>], site: &Site, nul: bool) -> Result<Self, SinkError> {
        let width = layout.columns.len();
        let mut cells = Vec::with_capacity(batch.len() * width);
        for entry in batch {
            layout.row(entry, site.topic_id(entry.topic), nul, &mut cells)?;
        }
        Ok(Self(cells))
    }

    fn cells(&self) -> &[Cell<'e>] {
        &self.0
    }
}

fn not_open() -> SinkError {
    SinkError::transient("the database is not open")
}

/// Refuses to go on when another one has taken over.
fn unfenced(mine: bool) -> Result<(), SinkError> {
    if mine {
        Ok(())
    } else {
        Err(SinkError::fenced(
            "another writer has taken over this sink's place in the database",
        ))
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "dsn": {
                "type": "string",
                "description": "sqlite:PATH under a directory of files.roots (a file named after the consumer under \
                                the first one when absent), postgres://USER@HOST:PORT/DATABASE, \
                                mysql://USER@HOST:PORT/DATABASE or redis://HOST:PORT/NUMBER; host and port must be \
                                in the configuration's destinations. ?sslmode=require checks the server's \
                                certificate and is the default of PostgreSQL and MySQL on other machines; \
                                ?sslmode=disable sends in the clear. Passwords are better referred to."
            },
            "db_dsn": {"type": "string", "description": "The same as dsn."},
            "password_file": {"type": "string", "description": "A file under secrets_dir that holds the password."},
            "password_env": {"type": "string", "description": "A variable SLUICE_SECRET_... that holds the password."},
            "ca_file": {
                "type": "string",
                "description": "A PEM file under secrets_dir with the authorities of the server's certificate; the \
                                public ones when absent."
            },
            "table": {
                "type": "string", "default": TABLE,
                "description": "The table, or SCHEMA.TABLE. Without columns it is made when it is missing, with a \
                                column for each member of a record and the primary key topic, topic_id, partition, \
                                offset."
            },
            "columns": {
                "type": "object", "additionalProperties": {"type": "string"},
                "description": "Maps columns of a table that exists: \"/a/b\" is a JSON pointer into the value (null \
                                where there is nothing), or $topic, $partition, $offset, $timestamp, $timestamp_ms, \
                                $key, $value, $headers, $header.NAME. The database casts to the columns' types."
            },
            "stream": {
                "type": "string", "default": STREAM,
                "description": "Redis: the stream that records are added to; has the places {topic}, {partition}, \
                                {offset}, {key}."
            },
            "key_pattern": {
                "type": "string",
                "description": "Redis, instead of stream: the key that a record's value is set at; a tombstone \
                                deletes it."
            }
        }
    })
}

fn check(body: &mut Body, outside: &Outside<'_>) -> Option<Code> {
    check_table(body);
    check_columns(body);
    let table = body.text("table").is_some() || body.object("columns").is_some();
    let patterns = check_patterns(body);
    let password = secrets::reference(body, outside.secrets, "password_file", "password_env");
    let authorities = body.text("ca_file");
    if let Some(name) = &authorities
        && let Err(message) = outside.secrets.check(&Reference::File(name.clone()))
    {
        body.invalid("ca_file", message);
    }
    let dsn = body.text("dsn").map(|dsn| ("dsn", dsn));
    let alias = body.text("db_dsn").map(|dsn| ("db_dsn", dsn));
    if dsn.is_some() && alias.is_some() {
        body.invalid("db_dsn", "is another name of dsn; give one of them");
    }
    let target = dsn.or(alias).map(|(name, dsn)| (name, Target::parse(&dsn)));
    let redis = matches!(&target, Some((_, Ok(Target::Server(s)))) if s.speaks == Speaks::Redis);
    if redis && table {
        body.invalid(
            "table",
            "is of databases with tables; Redis has stream and key_pattern",
        );
    }
    if patterns && !redis {
        body.invalid("stream", "and key_pattern are of redis://");
    }
    let server = matches!(&target, Some((_, Ok(Target::Server(_)))));
    if !server && (password.is_some() || authorities.is_some()) {
        body.invalid(
            "dsn",
            "names no server, so there is no password or certificate",
        );
    }
    let (name, target) = target?;
    match target {
        Ok(Target::Sqlite(path)) => {
            let fault = outside.roots.resolve(&path).err()?;
            return Some(path_fault(body, name, fault));
        }
        Ok(Target::Server(server)) => {
            if server.password.is_some() && password.is_some() {
                body.invalid(name, "holds a password beside the one that is referred to");
            }
            if let Err(message) = server.check(outside) {
                body.invalid(name, message);
            }
        }
        Err(message) => body.invalid(name, message),
    }
    None
}

fn check_table(body: &mut Body) {
    let Some(table) = body.text("table") else {
        return;
    };
    let parts: Vec<_> = table.split('.').collect();
    let own = table.to_ascii_lowercase().starts_with("sqlite_");
    if parts.len() > 2 || own || !parts.iter().all(|part| is_name(part)) {
        let rule = format!(
            "is TABLE or SCHEMA.TABLE of letters, digits, _, - and $, each at most {NAME_BYTES_MAX} bytes, and no \
             table of our own or of SQLite's"
        );
        body.invalid("table", format!("{rule}; {table:?} is not"));
    }
}

fn check_columns(body: &mut Body) {
    let Some(columns) = body.object("columns") else {
        return;
    };
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        body.invalid("columns", format!("maps 1 to {COLUMNS_MAX} columns"));
    }
    for (name, source) in &columns {
        if !is_name(name) {
            body.invalid("columns", format!("{name:?} is no name of a column"));
        }
        match source.as_str().map(Source::parse) {
            Some(Ok(_)) => {}
            Some(Err(message)) => body.invalid("columns", format!("{name:?} {message}")),
            None => body.invalid("columns", format!("{name:?} maps to no string")),
        }
    }
}

/// Whether anything is said about Redis.
fn check_patterns(body: &mut Body) -> bool {
    let stream = body.text("stream").map(|pattern| ("stream", pattern));
    let key = body
        .text("key_pattern")
        .map(|pattern| ("key_pattern", pattern));
    if stream.is_some() && key.is_some() {
        body.invalid("key_pattern", "is instead of stream; give one of them");
    }
    let Some((name, pattern)) = stream.or(key) else {
        return false;
    };
    if let Err(message) = redis::Shape::check(&pattern) {
        body.invalid(name, message);
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        body.invalid(name, format!("has at most {PATTERN_BYTES_MAX} bytes"));
    }
    true
}

fn build(config: &Map<String, Value>, site: Site) -> Result<Box<dyn Processor>, SinkError> {
    let text = |name: &str| config.get(name).and_then(Value::as_str);
    let target = match text("dsn").or_else(|| text("db_dsn")) {
        Some(dsn) => {
            Target::parse(dsn).map_err(|fault| SinkError::environment(format!("dsn {fault}")))?
        }
        None => Target::Sqlite(format!("{}.db", site.consumer_id)),
    };
    let columns = config.get("columns").and_then(Value::as_object);
    let layout = Layout::of(text("table").unwrap_or(TABLE), columns)
        .map_err(|fault| SinkError::environment(format!("columns: {fault}")))?;
    let file = text("password_file").map(|name| Reference::File(name.to_owned()));
    let trust = Trust {
        password: file.or_else(|| text("password_env").map(|name| Reference::Env(name.to_owned()))),
        authorities: text("ca_file").map(str::to_owned),
    };
    let shape = match text("key_pattern") {
        Some(pattern) => redis::Shape::Key(pattern.to_owned()),
        None => redis::Shape::Stream(text("stream").unwrap_or(STREAM).to_owned()),
    };
    let backend = backend(target, trust, layout, shape, site.clone());
    Ok(Box::new(DatabaseSync { backend, site }))
}

fn backend(
    target: Target,
    trust: Trust,
    layout: Layout,
    shape: redis::Shape,
    site: Site,
) -> Box<dyn Backend> {
    let server: Server = match target {
        Target::Sqlite(path) => return Box::new(sqlite::Sqlite::new(path, layout, site)),
        Target::Server(server) => server,
    };
    match server.speaks {
        Speaks::Postgres => Box::new(postgres::Postgres::new(server, trust, layout, site)),
        Speaks::Mysql => Box::new(mysql::Mysql::new(server, trust, layout, site)),
        Speaks::Redis => Box::new(redis::Redis::new(server, trust, shape, site)),
    }
}

struct DatabaseSync {
    backend: Box<dyn Backend>,
    site: Site,
}

impl DatabaseSync {
    fn row(&self, topic: &str, partition: i32, next: i64) -> PositionRow {
        (topic.to_owned(), partition, self.site.topic_id(topic), next)
    }
}

impl Processor for DatabaseSync {
    fn open(&mut self) -> Result<Positions, SinkError> {
        let mut held = Positions::default();
        for (topic, partition, topic_id, next) in self.backend.open()? {
            // A topic that was deleted and made again starts anew.
            if self.site.topic_id(&topic) == topic_id {
                held.set(&topic, partition, next);
            }
        }
        Ok(held)
    }

    fn write(&mut self, batch: &[Entry<'_>]) -> Result<(), SinkError> {
        let ends = ends(batch);
        let moves: Vec<_> = ends
            .iter()
            .map(|(topic, partition, next)| self.row(topic, partition, next))
            .collect();
        self.backend.write(batch, &moves)
    }

    fn probe(&self) -> Result<(), SinkError> {
        self.backend.probe()
    }

    fn rewind(&mut self, targets: &[(String, i32, i64)]) -> Result<(), SinkError> {
        let moves: Vec<_> = targets
            .iter()
            .map(|(topic, partition, next)| self.row(topic, *partition, *next))
            .collect();
        self.backend.rewind(&moves)
    }
}

#[cfg(test)]
mod tests;
