//! Which database a configuration names.

use super::super::{Outside, SinkError, Site};
use crate::destinations::Refusal;
use crate::secrets::Reference;
use sluice_service::secret::Secret;
use std::net::SocketAddr;
use url::{Host, Url};

/// The longest DSN, in bytes.
const DSN_BYTES_MAX: usize = 2048;

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of SQLite.
    Sqlite(String),
    /// A server.
    Server(Server),
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Postgres,
    Mysql,
    Redis,
}

/// Where a server is and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) speaks: Speaks,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    /// As it stands in the DSN; a reference to a secret is better.
    pub(super) password: Option<String>,
    pub(super) database: String,
    pub(super) tls: bool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}:{}", self.speaks, self.host, self.port)
    }
}

impl Target {
    /// Reads a DSN.
    ///
    /// # Errors
    /// What is wrong with it, without the password.
    pub(super) fn parse(dsn: &str) -> Result<Self, String> {
        if dsn.len() > DSN_BYTES_MAX {
            return Err(format!("has at most {DSN_BYTES_MAX} bytes"));
        }
        let Some((scheme, rest)) = dsn.split_once(':') else {
            return sqlite(dsn);
        };
        // SQLAlchemy's names of drivers: postgresql+psycopg2, mysql+aiomysql.
        let scheme = scheme.split('+').next().unwrap_or_default();
        let speaks = match scheme.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" | "file" => {
                return sqlite(rest.strip_prefix("//").unwrap_or(rest));
            }
            "postgres" | "postgresql" => Speaks::Postgres,
            "mysql" | "mariadb" => Speaks::Mysql,
            "redis" => Speaks::Redis,
            other => {
                return Err(format!(
                    "databases of the kind {other:?} are not known; sqlite:PATH, postgres://, mysql:// and \
                     redis:// are"
                ));
            }
        };
        server(speaks, rest).map(Self::Server)
    }
}

fn sqlite(path: &str) -> Result<Target, String> {
    // A query part would be options of the driver, and none is allowed.
    if path.contains('?') {
        Err("takes no options after the path".to_owned())
    } else {
        Ok(Target::Sqlite(path.to_owned()))
    }
}

fn server(speaks: Speaks, rest: &str) -> Result<Server, String> {
    // One scheme for all, so that the rules of parsing do not depend on it.
    let url =
        Url::parse(&format!("sluice:{rest}")).map_err(|error| format!("is no URL: {error}"))?;
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => return Err("names no host".to_owned()),
    };
    let part = |text: &str| percent(text).ok_or("has a part that is not UTF-8");
    let (port, user) = match speaks {
        Speaks::Postgres => (5432, "postgres"),
        Speaks::Mysql => (3306, "root"),
        Speaks::Redis => (6379, ""),
    };
    let user = match url.username() {
        "" => user.to_owned(),
        name => part(name)?,
    };
    let database = part(url.path().trim_start_matches('/'))?;
    if database.contains('/') {
        return Err("names one database after the host".to_owned());
    }
    match speaks {
        Speaks::Redis if !database.is_empty() && database.parse::<u16>().is_err() => {
            return Err("names a database of Redis by its number".to_owned());
        }
        Speaks::Mysql if database.is_empty() => return Err("names no database".to_owned()),
        _ => {}
    }
    let tls = tls(speaks, &host, &url)?;
    Ok(Server {
        speaks,
        port: url.port().unwrap_or(port),
        password: url.password().map(part).transpose()?,
        database: if database.is_empty() {
            user.clone()
        } else {
            database
        },
        user,
        host,
        tls,
    })
}

/// Whether the connection is encrypted: as `sslmode` says, else everywhere but on this machine.
fn tls(speaks: Speaks, host: &str, url: &Url) -> Result<bool, String> {
    let local = host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let mut tls = !local && speaks != Speaks::Redis;
    for (name, value) in url.query_pairs() {
        tls = match (&*name, &*value) {
            ("sslmode", "disable") => false,
            ("sslmode", "require" | "verify-full") if speaks != Speaks::Redis => true,
            ("sslmode", other) => {
                return Err(format!(
                    "has sslmode {other:?}; disable and require (which checks the certificate) are known"
                ));
            }
            (other, _) => return Err(format!("has the option {other:?}; only sslmode is known")),
        };
    }
    Ok(tls)
}

fn percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            let pair = std::str::from_utf8(&pair).ok()?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl Server {
    /// Checks that it is allowed to be connected to, as far as that can be told from its name.
    pub(super) fn check(&self, outside: &Outside<'_>) -> Result<(), String> {
        outside.destinations.check(&self.host, self.port)
    }

    /// The addresses to connect to now, and only to those.
    pub(super) fn addresses(&self, site: &Site) -> Result<Vec<SocketAddr>, SinkError> {
        site.destinations
            .addresses(&self.host, self.port)
            .map_err(|refusal| match refusal {
                Refusal::Forbidden(message) => {
                    SinkError::environment(format!("the database {message}"))
                }
                Refusal::Unresolved(message) => SinkError::transient(message),
            })
    }

    /// The password of now.
    pub(super) fn password(
        &self,
        site: &Site,
        reference: Option<&Reference>,
    ) -> Result<Option<Secret>, SinkError> {
        match reference {
            Some(reference) => match site.secrets.read(reference) {
                Ok(secret) => Ok(Some(secret)),
                Err(message) => Err(SinkError::environment(format!("the password {message}"))),
            },
            None => Ok(self.password.clone().map(Secret::new)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(dsn: &str) -> Server {
        match Target::parse(dsn) {
            Ok(Target::Server(server)) => server,
            other => panic!("{dsn}: {other:?}"),
        }
    }

    #[test]
    fn every_kind_of_dsn_is_read() {
        let file = |dsn: &str| Target::parse(dsn);
        assert_eq!(file("sqlite:x.db"), Ok(Target::Sqlite("x.db".into())));
        assert_eq!(
            file("sqlite:///a/x.db"),
            Ok(Target::Sqlite("/a/x.db".into()))
        );
        assert_eq!(file("x.db"), Ok(Target::Sqlite("x.db".into())));
        let found = server("postgresql+psycopg2://u%40x:p%3a@DB.example/orders?sslmode=disable");
        assert_eq!(
            (found.speaks, found.port, found.tls),
            (Speaks::Postgres, 5432, false)
        );
        assert_eq!(
            (&*found.user, found.password.as_deref()),
            ("u@x", Some("p:"))
        );
        assert_eq!(
            (&*found.database, &*found.host.to_lowercase()),
            ("orders", "db.example")
        );
        assert!(
            server("mysql://u@db.example:3307/d").tls,
            "encrypted unless it is this machine"
        );
        assert!(!server("mysql://u@127.0.0.1/d").tls);
        assert_eq!(server("redis://:p@[::1]/3").host, "::1");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for dsn in [
            "oracle://u:s3cret@h/d",
            "mysql://u:s3cret@h",
            "mysql://u:s3cret@h/a/b",
            "postgres://u:s3cret@h/d?options=-csearch_path",
            "postgres://u:s3cret@h/d?sslmode=prefer",
            "postgres:///d",
            "redis://:s3cret@h/x",
            "sqlite:x.db?mode=rw",
            "postgres://u:s3cret@h:99999/d",
        ] {
            let message = Target::parse(dsn).unwrap_err();
            assert!(!message.contains("s3cret"), "{message}");
        }
        assert!(!format!("{:?}", server("postgres://u:s3cret@h/d")).contains("s3cret"));
    }
}
