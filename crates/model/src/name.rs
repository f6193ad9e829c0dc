//! Topic names: Kafka's rules, and the collisions that Kafka's metric names bring.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Kafka's limit on the length of a topic name, in bytes (`org.apache.kafka.common.internals.Topic`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Names that Kafka keeps for itself.
const INTERNAL: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// A legal Kafka topic name that is not one of Kafka's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicName(String);

impl TopicName {
    /// Checks a name against every rule at once.
    ///
    /// # Errors
    /// All broken rules, in words that name the rule and the way out.
    pub fn parse(name: &str) -> Result<Self, Vec<NameFault>> {
        let mut faults = Vec::new();
        if name.is_empty() {
            faults.push(NameFault::Empty);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            faults.push(NameFault::TooLong(name.len()));
        }
        if name == "." || name == ".." {
            faults.push(NameFault::Dots);
        }
        let illegal = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if let Some(c) = name.chars().find(illegal) {
            faults.push(NameFault::Character(c));
        }
        if name.starts_with("__") || INTERNAL.contains(&name) {
            faults.push(NameFault::Reserved);
        }
        if faults.is_empty() {
            Ok(Self(name.to_owned()))
        } else {
            Err(faults)
        }
    }

    /// Two names with the same key collide in Kafka's metrics, and Kafka refuses the second.
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an owned string.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|faults| {
            serde::de::Error::custom(faults.first().map(ToString::to_string).unwrap_or_default())
        })
    }
}

/// One broken naming rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing was given.
    #[error("a topic name must not be empty")]
    Empty,
    /// Longer than Kafka allows.
    #[error("a topic name has at most {TOPIC_NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// `.` and `..` mean directories.
    #[error("a topic must not be named \".\" or \"..\"")]
    Dots,
    /// Outside Kafka's alphabet.
    #[error("a topic name is made of ASCII letters, digits, '.', '_' and '-' only, not {0:?}")]
    Character(char),
    /// Kafka's own names.
    #[error("names that begin with \"__\" are reserved for Kafka's internal topics")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_kafkas_alphabet() {
        for name in [
            "a",
            "orders",
            "Orders-2.eu_west",
            "...",
            "_x",
            &"x".repeat(249),
        ] {
            assert!(TopicName::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn refuses_every_illegal_name_and_says_why() {
        for (name, fault) in [
            ("", NameFault::Empty),
            (".", NameFault::Dots),
            ("..", NameFault::Dots),
            ("a b", NameFault::Character(' ')),
            ("a/b", NameFault::Character('/')),
            ("größe", NameFault::Character('ö')),
            ("<b>x</b>", NameFault::Character('<')),
            ("a\0", NameFault::Character('\0')),
            ("__consumer_offsets", NameFault::Reserved),
        ] {
            assert_eq!(TopicName::parse(name).unwrap_err(), vec![fault], "{name:?}");
        }
        let long = "x".repeat(250);
        assert_eq!(
            TopicName::parse(&long).unwrap_err(),
            vec![NameFault::TooLong(250)]
        );
        assert_eq!(TopicName::parse(&format!("{long} ")).unwrap_err().len(), 2);
    }

    #[test]
    fn dots_and_underscores_collide() {
        let key = |name| TopicName::parse(name).unwrap().collision_key();
        assert_eq!(key("a.b_c"), key("a_b.c"));
        assert_ne!(key("a-b"), key("a_b"));
    }
}
