//! Redis: entries of streams, or a key a record, in the `MULTI` that moves the offsets. `WATCH` on the
//! hash with the offsets fences: whoever else has touched it in between makes `EXEC` do nothing.

use super::super::{SinkError, Site, failpoint};
use super::dsn::Server;
use super::{Backend, PositionRow, Trust};
use crate::batch::Entry;
use crate::batch::text::HeaderList;
use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind,
};
use sluice_model::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Time for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that the server may be silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The field of the hash with the offsets that counts its owners.
const EPOCH: &str = "epoch";

/// A server.
pub(super) struct Redis {
    server: Server,
    trust: Trust,
    shape: Shape,
    site: Site,
    open: Option<Connection>,
}

/// What a record becomes.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// An entry of a stream.
    Stream(String),
    /// The value of a key; a tombstone deletes it.
    Key(String),
}

impl Shape {
    /// Checks a pattern: text with `{topic}`, `{partition}`, `{offset}` and `{key}`.
    pub(super) fn check(pattern: &str) -> Result<(), String> {
        let mut rest = pattern;
        while let Some((_, after)) = rest.split_once('{') {
            let Some(("topic" | "partition" | "offset" | "key", after)) = after.split_once('}')
            else {
                let rule =
                    "has the places {topic}, {partition}, {offset} and {key}, and no other {";
                return Err(rule.to_owned());
            };
            rest = after;
        }
        if pattern.is_empty() || pattern.starts_with("sluice:") {
            return Err("is a pattern of keys that do not begin with sluice:".to_owned());
        }
        Ok(())
    }
}

/// The name that a pattern gives a record; bytes, as Redis takes them.
fn name(pattern: &str, entry: &Entry<'_>) -> Vec<u8> {
    let mut name = Vec::with_capacity(pattern.len() + 32);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        name.extend_from_slice(before.as_bytes());
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        match place {
            "topic" => name.extend_from_slice(entry.topic.as_bytes()),
            "partition" => name.extend_from_slice(entry.partition.to_string().as_bytes()),
            "offset" => name.extend_from_slice(entry.offset.to_string().as_bytes()),
            _ => name.extend_from_slice(entry.key.unwrap_or_default()),
        }
        rest = after;
    }
    name.extend_from_slice(rest.as_bytes());
    name
}

impl From<RedisError> for SinkError {
    fn from(error: RedisError) -> Self {
        let message = format!("Redis: {error}");
        match error.kind() {
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Server(ServerErrorKind::NoPerm) => Self::environment(message),
            _ if matches!(
                error.code(),
                Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "WRONGTYPE")
            ) =>
            {
                Self::environment(message)
            }
            _ => Self::transient(message),
        }
    }
}

impl Redis {
    pub(super) const fn new(server: Server, trust: Trust, shape: Shape, site: Site) -> Self {
        Self {
            server,
            trust,
            shape,
            site,
            open: None,
        }
    }

    /// The hash with the offsets of this processor.
    fn hash(&self) -> String {
        format!("sluice:offsets:{}", self.site.processor_id)
    }

    fn settings(&self) -> Result<RedisConnectionInfo, SinkError> {
        let server = &self.server;
        let number = server.database.parse().unwrap_or_default();
        let mut settings = RedisConnectionInfo::default().set_db(number);
        if !server.user.is_empty() {
            settings = settings.set_username(&server.user);
        }
        if let Some(password) = server.password(&self.site, self.trust.password.as_ref())? {
            settings = settings.set_password(password.expose());
        }
        Ok(settings)
    }

    fn connection(&self) -> Result<Connection, SinkError> {
        let settings = self.settings()?;
        let mut last = SinkError::transient("Redis: the name leads to no address");
        for address in self.server.addresses(&self.site)? {
            let address = ConnectionAddr::Tcp(address.ip().to_string(), address.port());
            let info: ConnectionInfo = address.into_connection_info()?;
            let client = Client::open(info.set_redis_settings(settings.clone()))?;
            match client.get_connection_with_timeout(CONNECT_TIMEOUT) {
                Ok(connection) => {
                    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                    connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                    return Ok(connection);
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn connect(&self) -> Result<Connection, SinkError> {
        let (hash, epoch) = (self.hash(), self.site.epoch);
        let mut connection = self.connection()?;
        redis::cmd("WATCH")
            .arg(&hash)
            .query::<()>(&mut connection)?;
        let found: Option<i64> = redis::cmd("HGET")
            .arg(&hash)
            .arg(EPOCH)
            .query(&mut connection)?;
        super::unfenced(found.is_none_or(|found| found <= epoch))?;
        let mut take = redis::pipe();
        take.atomic()
            .cmd("HSET")
            .arg(&hash)
            .arg(EPOCH)
            .arg(epoch)
            .ignore();
        let done: Option<()> = take.query(&mut connection)?;
        match done {
            Some(()) => Ok(connection),
            None => Err(SinkError::transient(
                "Redis: another writer takes over at this moment",
            )),
        }
    }

    fn add(&self, pipeline: &mut Pipeline, entry: &Entry<'_>) -> Result<(), SinkError> {
        match &self.shape {
            Shape::Key(pattern) => {
                let name = name(pattern, entry);
                match entry.value {
                    Some(value) => pipeline.cmd("SET").arg(name).arg(value).ignore(),
                    None => pipeline.cmd("DEL").arg(name).ignore(),
                };
            }
            Shape::Stream(pattern) => {
                let headers = serde_json::to_string(&HeaderList(entry)).map_err(|error| {
                    SinkError::poison(format!("headers as JSON: {error}")).of(entry)
                })?;
                let command = pipeline.cmd("XADD").arg(name(pattern, entry)).arg("*");
                command.arg("topic").arg(entry.topic);
                command.arg("partition").arg(entry.partition);
                command.arg("offset").arg(entry.offset);
                if let Some(ms) = entry.timestamp {
                    command
                        .arg("timestamp")
                        .arg(Timestamp::from_millis(ms).to_string());
                }
                if let Some(key) = entry.key {
                    command.arg("key").arg(key);
                }
                // A tombstone is an entry without a value.
                if let Some(value) = entry.value {
                    command.arg("value").arg(value);
                }
                command.arg("headers").arg(headers).ignore();
            }
        }
        Ok(())
    }
}

fn put(pipeline: &mut Pipeline, hash: &str, moves: &[PositionRow]) {
    for (topic, partition, topic_id, next) in moves {
        let field = format!("{topic}/{partition}/{topic_id}");
        pipeline
            .cmd("HSET")
            .arg(hash)
            .arg(field)
            .arg(*next)
            .ignore();
    }
}

fn position((field, next): (String, i64)) -> Option<PositionRow> {
    let mut parts = field.split('/');
    let (topic, partition, topic_id) = (parts.next()?, parts.next()?, parts.next()?);
    Some((
        topic.to_owned(),
        partition.parse().ok()?,
        topic_id.parse().ok()?,
        next,
    ))
}

impl Backend for Redis {
    fn open(&mut self) -> Result<Vec<PositionRow>, SinkError> {
        self.open = None;
        let mut open = self.connect()?;
        let fields: HashMap<String, i64> =
            redis::cmd("HGETALL").arg(self.hash()).query(&mut open)?;
        self.open = Some(open);
        Ok(fields.into_iter().filter_map(position).collect())
    }

    fn write(&mut self, batch: &[Entry<'_>], moves: &[PositionRow]) -> Result<(), SinkError> {
        let hash = self.hash();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for entry in batch {
            self.add(&mut pipeline, entry)?;
        }
        put(&mut pipeline, &hash, moves);
        let open = self.open.as_mut().ok_or_else(super::not_open)?;
        redis::cmd("WATCH").arg(&hash).query::<()>(open)?;
        let owner = redis::cmd("HGET").arg(&hash).arg(EPOCH).query(open);
        super::unfenced(owner.is_ok_and(|epoch: i64| epoch == self.site.epoch))?;
        failpoint::pass("database_sync.begun")?;
        let done: Option<()> = pipeline.query(open)?;
        super::unfenced(done.is_some())?;
        failpoint::pass("database_sync.committed")
    }

    fn rewind(&mut self, moves: &[PositionRow]) -> Result<(), SinkError> {
        self.open = None;
        let mut open = self.connect()?;
        let mut pipeline = redis::pipe();
        put(pipeline.atomic(), &self.hash(), moves);
        Ok(pipeline.query(&mut open)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_records_and_nothing_else() {
        let entry = Entry {
            topic: "t",
            partition: 3,
            offset: 9,
            timestamp: None,
            key: Some(&[0xff, b'k']),
            value: None,
            headers: Vec::new(),
        };
        assert_eq!(
            name("a:{topic}:{partition}:{offset}:{key}", &entry),
            b"a:t:3:9:\xffk"
        );
        for pattern in ["{topic}", "user:{key}", "plain"] {
            assert!(Shape::check(pattern).is_ok(), "{pattern}");
        }
        for pattern in ["", "{value}", "{", "{topic", "sluice:offsets:x"] {
            assert!(Shape::check(pattern).is_err(), "{pattern}");
        }
        let row = position(("t.a/3/7".to_owned(), 5));
        assert_eq!(row, Some(("t.a".to_owned(), 3, 7, 5)));
        assert_eq!(position((EPOCH.to_owned(), 5)), None);
    }
}
