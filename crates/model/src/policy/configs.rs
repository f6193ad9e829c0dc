//! The topic configs that governance knows, and what their values may be.

use super::Policy;
use crate::body::{escape, nearest};
use crate::problem::{FieldError, field};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a value of a topic config may be.
#[derive(Clone, Copy, Debug)]
enum ConfigKind {
    /// A whole number within bounds.
    Int(i64, i64),
    /// A number within bounds.
    Ratio,
    /// One of the words.
    Word(&'static [&'static str]),
    /// A comma-separated list of the words.
    Words(&'static [&'static str]),
}

/// Topic configs of Kafka 4 that governance knows (`org.apache.kafka.common.config.TopicConfig`).
const CONFIGS: [(&str, ConfigKind); 20] = [
    ("cleanup.policy", ConfigKind::Words(&["delete", "compact"])),
    (
        "compression.type",
        ConfigKind::Word(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
    ),
    ("delete.retention.ms", ConfigKind::Int(0, i64::MAX)),
    ("file.delete.delay.ms", ConfigKind::Int(0, i64::MAX)),
    ("flush.messages", ConfigKind::Int(1, i64::MAX)),
    ("flush.ms", ConfigKind::Int(0, i64::MAX)),
    ("index.interval.bytes", ConfigKind::Int(0, INT_MAX)),
    ("max.compaction.lag.ms", ConfigKind::Int(1, i64::MAX)),
    ("max.message.bytes", ConfigKind::Int(0, INT_MAX)),
    (
        "message.timestamp.type",
        ConfigKind::Word(&["CreateTime", "LogAppendTime"]),
    ),
    ("min.cleanable.dirty.ratio", ConfigKind::Ratio),
    ("min.compaction.lag.ms", ConfigKind::Int(0, i64::MAX)),
    ("min.insync.replicas", ConfigKind::Int(1, INT_MAX)),
    ("preallocate", ConfigKind::Word(&["true", "false"])),
    ("retention.bytes", ConfigKind::Int(-1, i64::MAX)),
    ("retention.ms", ConfigKind::Int(-1, i64::MAX)),
    ("segment.bytes", ConfigKind::Int(1_048_576, INT_MAX)),
    ("segment.index.bytes", ConfigKind::Int(4, INT_MAX)),
    ("segment.jitter.ms", ConfigKind::Int(0, i64::MAX)),
    ("segment.ms", ConfigKind::Int(1, i64::MAX)),
];

const INT_MAX: i64 = i32::MAX as i64;

/// The names of all topic configs that governance knows.
pub fn known_configs() -> Vec<&'static str> {
    CONFIGS.iter().map(|(name, _)| *name).collect()
}

/// Faults of asked topic configs.
pub fn config_faults(policy: &Policy, configs: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for (name, value) in configs {
        let pointer = format!("/configs/{}", escape(name));
        let kind = CONFIGS
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, kind)| *kind);
        let message = match kind {
            None => match nearest(name, &known_configs()) {
                Some(known) => Some(format!(
                    "is no topic config of Kafka; did you mean {known:?}?"
                )),
                None => Some("is no topic config of Kafka".to_owned()),
            },
            Some(_) if !policy.configs.contains(name) => Some(format!(
                "may not be set by policy; allowed are {}",
                policy.configs.join(", ")
            )),
            Some(kind) => value_fault(kind, value).or_else(|| {
                let mut bounds = policy.config_bounds.iter();
                bounds.find(|bound| bound.config == *name)?.fault(value)
            }),
        };
        faults.extend(message.map(|message| field(pointer, message)));
    }
    faults
}

fn value_fault(kind: ConfigKind, value: &str) -> Option<String> {
    match kind {
        ConfigKind::Int(min, max) => {
            let fits = value
                .parse::<i64>()
                .is_ok_and(|number| (min..=max).contains(&number));
            (!fits).then(|| format!("is a whole number from {min} to {max}, not {value:?}"))
        }
        ConfigKind::Ratio => {
            let fits = value
                .parse::<f64>()
                .is_ok_and(|number| (0.0..=1.0).contains(&number));
            (!fits).then(|| format!("is a number from 0 to 1, not {value:?}"))
        }
        ConfigKind::Word(words) => (!words.contains(&value))
            .then(|| format!("is one of {}, not {value:?}", words.join(", "))),
        ConfigKind::Words(words) => {
            let fits = value.split(',').all(|part| words.contains(&part.trim()));
            (!fits).then(|| format!("is a list of {}, not {value:?}", words.join(", ")))
        }
    }
}

/// What the policy says about one topic config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigBound {
    /// Kafka's name of the config.
    pub config: String,
    /// Least value; where Kafka takes -1 for "unlimited", that counts as more than any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// The values that it may have; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The value of requests that do not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether a request names it.
    #[serde(default)]
    pub required: bool,
}

impl ConfigBound {
    fn fault(&self, value: &str) -> Option<String> {
        if !self.values.is_empty() && !self.values.iter().any(|known| known == value) {
            let values = self.values.join(", ");
            return Some(format!("is one of {values} by policy, not {value:?}"));
        }
        let number: i64 = match value.parse() {
            Ok(-1) if self.config.starts_with("retention.") => i64::MAX,
            Ok(number) => number,
            Err(_) => return None,
        };
        let fits =
            self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max);
        let bound =
            |bound: Option<i64>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
        (!fits).then(|| {
            let (min, max) = (bound(self.min), bound(self.max));
            format!("is {min} to {max} by policy, not {value}")
        })
    }
}

/// The configs of a request with the policy's values for what it does not name.
pub(super) fn with_defaults(
    bounds: &[ConfigBound],
    asked: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut configs = asked.clone();
    for bound in bounds {
        if let Some(value) = &bound.default {
            configs
                .entry(bound.config.clone())
                .or_insert_with(|| value.clone());
        }
    }
    configs
}

/// What a request leaves out that the policy wants named.
pub(super) fn missing(
    bounds: &[ConfigBound],
    configs: &BTreeMap<String, String>,
) -> Vec<FieldError> {
    let left_out = bounds
        .iter()
        .filter(|bound| bound.required && !configs.contains_key(&bound.config));
    left_out
        .map(|bound| {
            field(
                format!("/configs/{}", escape(&bound.config)),
                "is required by policy",
            )
        })
        .collect()
}

/// Faults of bounds themselves.
pub(super) fn bound_faults(bounds: &[ConfigBound]) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for (index, bound) in bounds.iter().enumerate() {
        let at = |member: &str| format!("config_bounds/{index}/{member}");
        let Some((_, kind)) = CONFIGS.iter().find(|(known, _)| *known == bound.config) else {
            let message = format!("{:?} is no topic config of Kafka", bound.config);
            faults.push(field(at("config"), message));
            continue;
        };
        if bound.min.zip(bound.max).is_some_and(|(min, max)| min > max) {
            faults.push(field(at("min"), "is at most max"));
        }
        if (bound.min.is_some() || bound.max.is_some()) && !matches!(kind, ConfigKind::Int(..)) {
            faults.push(field(
                at("min"),
                "and max are for configs that are whole numbers",
            ));
        }
        let values = bound.values.iter().chain(&bound.default);
        let wrong =
            values.filter_map(|value| value_fault(*kind, value).or_else(|| bound.fault(value)));
        faults.extend(wrong.map(|message| field(at("values"), message)));
    }
    faults
}
