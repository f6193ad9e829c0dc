//! Scopes: what narrows a token below the roles of its account.
//!
//! A scope is either an action, `AREA:VERB` out of [`SCOPES`], or `topic:PATTERN`. A token with actions
//! may do these and nothing else; a token with patterns changes, sends to and reads only topics whose
//! names match one of them (`*` stands for any characters). A token without scopes may do what its
//! roles allow. A scope never gives what the roles do not.

use crate::access::Actor;
use crate::problem::{Code, Problem};

/// Every action, and what it opens.
pub const SCOPES: [(&str, &str); 12] = [
    (
        "topics:read",
        "look at topics, routes, requests, subscriptions, changes and drift",
    ),
    (
        "topics:request",
        "ask for topics, changes and deletions, and take that back",
    ),
    (
        "requests:decide",
        "approve, reject, cancel, deactivate, reactivate, and settle drift",
    ),
    ("subscriptions:write", "subscribe and unsubscribe"),
    ("records:send", "send records through the producer"),
    ("records:read", "read records from the consumer API"),
    ("consumers:read", "look at managed consumers"),
    ("consumers:write", "create and control managed consumers"),
    (
        "producers:report",
        "send the heartbeats of a producer daemon",
    ),
    ("audit:read", "read and verify the audit"),
    ("policy:write", "write the policy"),
    ("metrics:read", "scrape the metrics"),
];

/// How a scope begins that names topics.
const TOPIC: &str = "topic:";
/// Scopes that one token may have.
pub const SCOPES_MAX: usize = 50;
/// The longest pattern: that of a topic's name.
const PATTERN_CHARS_MAX: usize = 249;

/// Whether a text is a scope.
///
/// # Errors
/// Says what is wrong with it.
pub fn check(scope: &str) -> Result<(), String> {
    if let Some(pattern) = scope.strip_prefix(TOPIC) {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
        if pattern.is_empty() || pattern.len() > PATTERN_CHARS_MAX || !pattern.chars().all(legal) {
            return Err(
                "topic: takes a topic's name, in which * stands for any characters".to_owned(),
            );
        }
        return Ok(());
    }
    if SCOPES.iter().any(|(known, _)| *known == scope) {
        return Ok(());
    }
    let known: Vec<_> = SCOPES.iter().map(|(known, _)| *known).collect();
    match crate::body::nearest(scope, &known) {
        Some(near) => Err(format!("{scope:?} is no scope; did you mean {near:?}?")),
        None => Err(format!(
            "{scope:?} is no scope; there are topic:PATTERN, {}",
            known.join(", ")
        )),
    }
}

/// What a call needs of the scopes of its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Any will do.
    Nothing,
    /// This action.
    Action(&'static str),
    /// No narrowing at all.
    Whole,
}

impl Actor {
    /// Refuses a credential whose scopes leave a call out.
    ///
    /// # Errors
    /// 403 that names the scope.
    pub fn need_scope(&self, needed: Needed) -> Result<(), Problem> {
        let detail = match needed {
            Needed::Action(action) if !self.within(action) => {
                let scopes = self.scopes.join(", ");
                format!("this token is narrowed to {scopes}; this needs {action}")
            }
            Needed::Whole if !self.scopes.is_empty() => {
                "a token that is narrowed by scopes may not do this".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Problem::new(Code::Forbidden, detail))
    }

    /// Refuses a credential whose scopes leave a topic out.
    ///
    /// # Errors
    /// 403 that names the topic.
    pub fn need_topic(&self, topic: &str) -> Result<(), Problem> {
        if self.reaches(topic) {
            return Ok(());
        }
        let scopes = self.scopes.join(", ");
        let detail = format!("this token is narrowed to {scopes}; {topic} is not among them");
        Err(Problem::new(Code::Forbidden, detail))
    }

    /// Whether the scopes of the credential leave an action open.
    pub fn within(&self, action: &str) -> bool {
        let mut actions = self.scopes.iter().filter(|scope| !scope.starts_with(TOPIC));
        let Some(first) = actions.next() else {
            return true;
        };
        first == action || actions.any(|scope| scope == action)
    }

    /// Whether the scopes of the credential name actions at all.
    pub fn narrowed(&self) -> bool {
        self.scopes.iter().any(|scope| !scope.starts_with(TOPIC))
    }

    /// Whether the scopes of the credential leave every topic open.
    pub fn reaches_all(&self) -> bool {
        !self
            .scopes
            .iter()
            .any(|scope| scope.starts_with(TOPIC) && scope != "topic:*")
    }

    /// Whether the scopes of the credential leave a topic open.
    pub fn reaches(&self, topic: &str) -> bool {
        let mut patterns = self
            .scopes
            .iter()
            .filter_map(|scope| scope.strip_prefix(TOPIC))
            .peekable();
        patterns.peek().is_none() || patterns.any(|pattern| matches(pattern, topic))
    }
}

/// Whether a name matches a pattern: `*` stands for any characters, everything else for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    // Taking each part as early as it comes leaves the most room for those behind it.
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn actor(scopes: &[&str]) -> Actor {
        Actor {
            account: "ana".into(),
            roles: vec![Role::Producer],
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            teams: Vec::new(),
            expires_at: None,
        }
    }

    #[test]
    fn no_scope_is_all_and_an_action_is_only_itself() {
        assert!(actor(&[]).within("records:send") && actor(&[]).reaches("orders"));
        let sender = actor(&["records:send", "topic:line.*"]);
        assert!(sender.within("records:send") && !sender.within("topics:request"));
        assert!(sender.reaches("line.4") && !sender.reaches("orders"));
        assert!(
            actor(&["topic:a"]).within("topics:request"),
            "a pattern narrows topics alone"
        );
        assert!(!actor(&["topic:a"]).narrowed() && sender.narrowed());
    }

    #[test]
    fn what_is_left_out_is_refused_by_name() {
        let sender = actor(&["records:send", "topic:line.*"]);
        assert_eq!(sender.need_scope(Needed::Action("records:send")), Ok(()));
        assert_eq!(sender.need_scope(Needed::Nothing), Ok(()));
        let refusal = sender.need_scope(Needed::Action("audit:read")).unwrap_err();
        assert!(refusal.status == 403 && refusal.detail.contains("audit:read"));
        assert!(sender.need_scope(Needed::Whole).is_err());
        assert!(actor(&["topic:a"]).need_scope(Needed::Whole).is_err());
        assert_eq!(actor(&[]).need_scope(Needed::Whole), Ok(()));
        let refusal = sender.need_topic("orders").unwrap_err();
        assert!(refusal.status == 403 && refusal.detail.contains("orders"));
        assert_eq!(sender.need_topic("line.4"), Ok(()));
    }

    #[test]
    fn patterns_match_as_a_whole() {
        for (pattern, name, fits) in [
            ("orders", "orders", true),
            ("orders", "orders.v2", false),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*b", "ab", true),
            ("a*b", "a", false),
            ("ab*ba", "aba", false),
            ("*.dlq", "orders.dlq", true),
            ("*.dlq", "orders.dlq.x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a**c", "abc", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_scope_is_told_with_what_is() {
        for (scope, _) in SCOPES {
            assert_eq!(check(scope), Ok(()));
        }
        assert_eq!(check("topic:orders.*"), Ok(()));
        assert!(check("topic:").is_err() && check("topic:a b").is_err() && check("").is_err());
        assert!(check("records:sent").unwrap_err().contains("records:send"));
    }
}
