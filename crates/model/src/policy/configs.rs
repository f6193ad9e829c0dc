//! The topic configs that governance knows, and what their values may be.

use super::Policy;
use crate::body::{escape, nearest};
use crate::problem::{FieldError, field};
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
            Some(kind) => value_fault(kind, value),
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
