//! Which hosts and ports processors may connect to, checked on every connection: the name against the
//! list, and then every address that the name leads to at that moment.

use ipnet::IpNet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

/// How names are resolved; blocks.
pub type Lookup = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 32;

/// Why a destination cannot be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The configuration does not list it, or it leads to an address that must be listed by itself.
    #[error("{0}")]
    Forbidden(String),
    /// Its name leads nowhere now.
    #[error("{0}")]
    Unresolved(String),
}

/// The allow-list of the configuration: `host:port` or `network/bits:port`; `*` stands for every port.
///
/// A listed name may lead to public and private addresses, for whoever listed it trusts its DNS that
/// far. It never leads to this machine, to link-local addresses or to a cloud's metadata service,
/// unless the address itself is listed too.
#[derive(Clone, Debug)]
pub struct Destinations {
    rules: Arc<[Rule]>,
    lookup: Lookup,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Network(IpNet),
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:")?,
            Host::Network(net) if net.prefix_len() < net.max_prefix_len() => write!(f, "{net}:")?,
            Host::Network(net) => match net.addr() {
                IpAddr::V4(ip) => write!(f, "{ip}:")?,
                IpAddr::V6(ip) => write!(f, "[{ip}]:")?,
            },
        }
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

impl Default for Destinations {
    fn default() -> Self {
        Self {
            rules: Arc::from([]),
            lookup: system_lookup,
        }
    }
}

impl Destinations {
    /// Reads the list.
    ///
    /// # Errors
    /// The entries that are neither `host:port` nor `network/bits:port`.
    pub fn new(list: &[String]) -> Result<Self, Vec<String>> {
        let mut rules = Vec::with_capacity(list.len());
        let mut bad = Vec::new();
        for entry in list {
            match rule(entry) {
                Some(rule) => rules.push(rule),
                None => bad.push(format!(
                    "destinations: {entry:?} is not host:port, host:* or network/bits:port"
                )),
            }
        }
        if bad.is_empty() {
            Ok(Self {
                rules: rules.into(),
                ..Self::default()
            })
        } else {
            Err(bad)
        }
    }

    /// The same list with another way to resolve names.
    pub fn with_lookup(mut self, lookup: Lookup) -> Self {
        self.lookup = lookup;
        self
    }

    /// Checks a destination as it is written; no name is resolved.
    ///
    /// # Errors
    /// When it is not in the list, in words that say so.
    pub fn check(&self, host: &str, port: u16) -> Result<(), String> {
        let host = bare(host);
        let listed = match host.parse::<IpAddr>() {
            Ok(ip) => self.lists_address(ip, port),
            Err(_) => self.lists_name(&host, port),
        };
        if listed {
            return Ok(());
        }
        let list: Vec<_> = self.rules.iter().map(ToString::to_string).collect();
        let list = if list.is_empty() {
            "none is".to_owned()
        } else {
            list.join(", ")
        };
        Err(format!(
            "leads to {host}:{port}, which is not in the configuration's destinations ({list})"
        ))
    }

    /// The addresses to connect to, and only to those: call it for every connection. Blocks.
    ///
    /// # Errors
    /// When the destination is not listed, or leads nowhere or only where it must not.
    pub fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        self.check(host, port).map_err(Refusal::Forbidden)?;
        let host = bare(host);
        let found = match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => (self.lookup)(&host)
                .map_err(|error| Refusal::Unresolved(format!("{host} is not found: {error}")))?,
        };
        if found.is_empty() {
            return Err(Refusal::Unresolved(format!("{host} has no address")));
        }
        let usable: Vec<_> = found
            .iter()
            .take(ADDRESSES_MAX)
            .filter(|ip| self.usable(&host, **ip, port))
            .map(|ip| SocketAddr::new(*ip, port))
            .collect();
        if !usable.is_empty() {
            return Ok(usable);
        }
        let list: Vec<_> = found.iter().map(ToString::to_string).collect();
        Err(Refusal::Forbidden(format!(
            "{host} leads to {}, an address of this machine, its link or a metadata service; only an \
             address that is listed by itself may be one",
            list.join(", ")
        )))
    }

    fn lists_name(&self, name: &str, port: u16) -> bool {
        let fits = |rule: &Rule| {
            rule.port.is_none_or(|only| only == port)
                && matches!(&rule.host, Host::Name(known) if known == name)
        };
        self.rules.iter().any(fits)
    }

    fn lists_address(&self, ip: IpAddr, port: u16) -> bool {
        let ip = plain(ip);
        let fits = |rule: &Rule| {
            rule.port.is_none_or(|only| only == port)
                && matches!(&rule.host, Host::Network(net) if net.contains(&ip))
        };
        self.rules.iter().any(fits)
    }

    fn usable(&self, host: &str, ip: IpAddr, port: u16) -> bool {
        // Everybody knows where localhost leads: who lists it wants that.
        let home = host == "localhost" && plain(ip).is_loopback();
        home || self.lists_address(ip, port) || !special(plain(ip))
    }
}

fn rule(entry: &str) -> Option<Rule> {
    let (host, port) = entry.rsplit_once(':')?;
    let port = match port {
        "*" => None,
        port => Some(port.parse().ok()?),
    };
    let host = bare(host);
    let host = if let Ok(ip) = host.parse::<IpAddr>() {
        Host::Network(plain(ip).into())
    } else if let Ok(net) = host.parse::<IpNet>() {
        Host::Network(net)
    } else if host.is_empty() || host.contains(['/', ':', '@', '*', ' ']) {
        return None;
    } else {
        Host::Name(host)
    };
    Some(Rule { host, port })
}

/// A host as it is compared: without brackets and the root's dot, in lower case.
fn bare(host: &str) -> String {
    let host = host.trim_matches(['[', ']']);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn system_lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0_u16)
        .to_socket_addrs()?
        .map(|address| address.ip())
        .collect())
}

/// The address that is really reached: IPv4 inside IPv6 is taken out, whichever way it was wrapped.
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else {
        return ip;
    };
    let tail = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // Mapped, compatible (but :: and ::1), translated (NAT64).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            tail(high, low)
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => tail(high, low),
        [0x2002, high, low, ..] => tail(high, low),
        _ => ip,
    }
}

/// Addresses that a name must not lead to: this machine, its link, groups, metadata services.
fn special(ip: IpAddr) -> bool {
    /// Metadata services outside the link-local networks (Alibaba, Azure, AWS over IPv6).
    const METADATA: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    ];
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || METADATA.contains(&ip) {
        return true;
    }
    match ip {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            v4.is_link_local()
                || v4.is_broadcast()
                || octets[0] == 0
                || octets[..3] == [192, 0, 0]
                || octets[0] >= 240
        }
        // fe80::/10 and the old fec0::/10.
        IpAddr::V6(v6) => v6.segments()[0] & 0xff80 == 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn list(entries: &[&str]) -> Destinations {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Destinations::new(&entries).unwrap()
    }

    fn fake(host: &str) -> io::Result<Vec<IpAddr>> {
        let ips: &[&str] = match host {
            "hooks.example" => &["203.0.113.7"],
            "db.internal" => &["10.1.2.3"],
            "mixed.example" => &["127.0.0.1", "203.0.113.8"],
            "metadata.example" => &["169.254.169.254"],
            "mapped.example" => &["::ffff:169.254.169.254"],
            "nat64.example" => &["64:ff9b::7f00:1"],
            "sixtofour.example" => &["2002:7f00:1::1"],
            "link.example" => &["fe80::1"],
            "home.example" => &["::1"],
            "aws6.example" => &["fd00:ec2::254"],
            "zero.example" => &["0.0.0.0"],
            "localhost" => &["127.0.0.1"],
            _ => return Err(io::Error::other("no such name")),
        };
        Ok(ips.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    #[test]
    fn only_listed_hosts_and_ports_are_allowed() {
        let allowed = list(&[
            "127.0.0.1:*",
            "Hooks.example.:443",
            "[::1]:80",
            "10.0.0.0/8:5432",
        ]);
        for (host, port, good) in [
            ("127.0.0.1", 1, true),
            ("[::ffff:127.0.0.1]", 1, true),
            ("hooks.example", 443, true),
            ("hooks.example.", 443, true),
            ("hooks.example", 80, false),
            ("evil-hooks.example", 443, false),
            ("hooks.example.evil", 443, false),
            ("[::1]", 80, true),
            ("10.9.9.9", 5432, true),
            ("10.9.9.9", 22, false),
            ("169.254.169.254", 80, false),
            ("localhost", 80, false),
        ] {
            assert_eq!(allowed.check(host, port).is_ok(), good, "{host}:{port}");
        }
        let none = Destinations::default().check("a", 1).unwrap_err();
        assert!(none.contains("none is"), "{none}");
    }

    #[test]
    fn entries_that_are_not_host_and_port_are_named() {
        for entry in [
            "host",
            "host:99999",
            ":80",
            "h:",
            "http://h:80",
            "u@h:80",
            "*:80",
            "10.0.0.0/99:1",
        ] {
            let error = Destinations::new(&[entry.to_owned()]).unwrap_err();
            assert!(error[0].contains(entry), "{entry}");
        }
    }

    #[test]
    fn a_listed_name_never_leads_to_this_machine_its_link_or_a_metadata_service() {
        for (host, good) in [
            ("hooks.example", true),
            ("db.internal", true),
            ("localhost", true),
            ("metadata.example", false),
            ("mapped.example", false),
            ("nat64.example", false),
            ("sixtofour.example", false),
            ("link.example", false),
            ("home.example", false),
            ("aws6.example", false),
            ("zero.example", false),
        ] {
            let allowed = list(&[&format!("{host}:*")]).with_lookup(fake);
            assert_eq!(allowed.addresses(host, 80).is_ok(), good, "{host}");
        }
        let both = list(&["metadata.example:80", "169.254.169.254:80"]).with_lookup(fake);
        assert!(
            both.addresses("metadata.example", 80).is_ok(),
            "the operator said so"
        );
        let port = list(&["home.example:81", "[::1]:80"]).with_lookup(fake);
        assert!(
            port.addresses("home.example", 81).is_err(),
            "another port of this machine"
        );
    }

    #[test]
    fn of_several_addresses_only_the_good_ones_are_used() {
        let allowed = list(&["mixed.example:80"]).with_lookup(fake);
        let found = allowed.addresses("mixed.example", 80).unwrap();
        assert_eq!(found, ["203.0.113.8:80".parse().unwrap()]);
    }

    #[test]
    fn a_name_that_is_rebound_between_two_connections_is_refused_at_the_second() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        #[expect(clippy::unnecessary_wraps, reason = "the signature of a lookup")]
        fn rebinding(_host: &str) -> io::Result<Vec<IpAddr>> {
            let first = ASKED.fetch_add(1, Ordering::Relaxed) == 0;
            let ip = if first { "203.0.113.7" } else { "127.0.0.1" };
            Ok(vec![ip.parse().unwrap()])
        }
        let allowed = list(&["rebound.example:80"]).with_lookup(rebinding);
        assert!(allowed.addresses("rebound.example", 80).is_ok());
        assert!(matches!(
            allowed.addresses("rebound.example", 80),
            Err(Refusal::Forbidden(_))
        ));
    }

    #[test]
    fn a_name_that_is_not_found_is_no_refusal_for_good() {
        let allowed = list(&["gone.example:80"]).with_lookup(fake);
        let refusal = allowed.addresses("gone.example", 80).unwrap_err();
        assert!(matches!(refusal, Refusal::Unresolved(_)));
    }
}
