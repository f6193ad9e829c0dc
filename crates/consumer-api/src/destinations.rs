//! Which hosts and ports processors may connect to.

/// The allow-list of the configuration: `host:port`, or `host:*` for every port.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    allowed: Vec<(String, Option<u16>)>,
}

impl Destinations {
    /// Reads the list.
    ///
    /// # Errors
    /// The entries that are not `host:port` or `host:*`.
    pub fn new(list: &[String]) -> Result<Self, Vec<String>> {
        let mut allowed = Vec::with_capacity(list.len());
        let mut bad = Vec::new();
        for entry in list {
            match entry.rsplit_once(':') {
                Some((host, "*")) if !host.is_empty() => allowed.push((bare(host), None)),
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    allowed.push((bare(host), port.parse().ok()));
                }
                _ => bad.push(format!(
                    "destinations: {entry:?} is not host:port or host:*"
                )),
            }
        }
        if bad.is_empty() {
            Ok(Self { allowed })
        } else {
            Err(bad)
        }
    }

    /// Checks a destination.
    ///
    /// # Errors
    /// When it is not in the list, in words that say so.
    pub fn check(&self, host: &str, port: u16) -> Result<(), String> {
        let host = bare(host);
        let fits =
            |(name, only): &(String, Option<u16>)| *name == host && only.is_none_or(|p| p == port);
        if self.allowed.iter().any(fits) {
            return Ok(());
        }
        let list: Vec<_> = self
            .allowed
            .iter()
            .map(|(host, port)| {
                port.map_or_else(|| format!("{host}:*"), |port| format!("{host}:{port}"))
            })
            .collect();
        let list = if list.is_empty() {
            "none is".to_owned()
        } else {
            list.join(", ")
        };
        Err(format!(
            "leads to {host}:{port}, which is not in the configuration's destinations ({list})"
        ))
    }
}

/// A host as it is compared: without brackets, in lower case.
fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_and_ports_are_allowed() {
        let list = ["127.0.0.1:*", "Hooks.example:443", "[::1]:80"].map(str::to_owned);
        let allowed = Destinations::new(&list).unwrap();
        for (host, port, good) in [
            ("127.0.0.1", 1, true),
            ("hooks.example", 443, true),
            ("hooks.example", 80, false),
            ("[::1]", 80, true),
            ("169.254.169.254", 80, false),
            ("localhost", 80, false),
        ] {
            assert_eq!(allowed.check(host, port).is_ok(), good, "{host}:{port}");
        }
        assert!(Destinations::default().check("127.0.0.1", 80).is_err());
        assert!(Destinations::new(&["nohost".to_owned()]).is_err());
    }
}
