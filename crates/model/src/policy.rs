//! Policy: what may be asked for at all. A human writes it; [`judge`] applies it.

use crate::body::nearest;
use crate::name::TopicName;
use crate::problem::{FieldError, field};
use crate::topic::{DESCRIPTION_CHARS_MAX, LABEL_CHARS_MAX, NewTopic, TopicChange, TopicSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An inclusive range with the value that stands for "not asked".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Least value.
    pub min: i32,
    /// Greatest value.
    pub max: i32,
    /// Value when none is asked for.
    pub default: i32,
}

impl Range {
    fn check(self, pointer: &str, value: i32, faults: &mut Vec<FieldError>) {
        if !(self.min..=self.max).contains(&value) {
            let message = format!("is {} to {} by policy, not {value}", self.min, self.max);
            faults.push(field(pointer, message));
        }
    }
}

/// The rules for requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A regular expression that every new name matches as a whole; empty means any legal name.
    pub name_pattern: String,
    /// Partitions.
    pub partitions: Range,
    /// Copies of each partition.
    pub replication_factor: Range,
    /// Topic configs that may be asked for, by Kafka's names.
    pub configs: Vec<String>,
    /// Whether a request must name an owner.
    pub require_owner: bool,
    /// Whether who asked may also decide.
    pub allow_self_approval: bool,
    /// Open requests that one account may have.
    pub open_requests_per_account: i64,
}

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

/// What a policy says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One approver decides about this topic.
    OneApprover {
        /// The name, checked.
        name: TopicName,
        /// The spec with the policy's defaults filled in.
        spec: TopicSpec,
    },
    /// Rules are broken; every one is listed.
    Refuse(Vec<FieldError>),
}

/// Judges a request for a new topic.
pub fn judge(policy: &Policy, asked: &NewTopic) -> Verdict {
    let mut faults = Vec::new();
    let name = match TopicName::parse(&asked.name) {
        Ok(name) => Some(name),
        Err(broken) => {
            faults.extend(broken.iter().map(|fault| field("/name", fault.to_string())));
            None
        }
    };
    if name.is_some() && !pattern_matches(&policy.name_pattern, &asked.name) {
        let message = format!("names match {:?} by policy", policy.name_pattern);
        faults.push(field("/name", message));
    }
    let spec = TopicSpec {
        partitions: asked.partitions.unwrap_or(policy.partitions.default),
        replication_factor: asked
            .replication_factor
            .unwrap_or_else(|| i16::try_from(policy.replication_factor.default).unwrap_or(1)),
        configs: asked.configs.clone(),
    };
    policy
        .partitions
        .check("/partitions", spec.partitions, &mut faults);
    let copies = i32::from(spec.replication_factor);
    policy
        .replication_factor
        .check("/replication_factor", copies, &mut faults);
    faults.extend(config_faults(policy, &spec.configs));
    if policy.require_owner && asked.owner.as_deref().is_none_or(str::is_empty) {
        faults.push(field(
            "/owner",
            "is required by policy: the team that answers for the topic",
        ));
    }
    faults.extend(label_faults(asked));
    match name {
        Some(name) if faults.is_empty() => Verdict::OneApprover { name, spec },
        _ => Verdict::Refuse(faults),
    }
}

/// Judges a change of a topic that exists: the spec that it would have, or every broken rule.
///
/// # Errors
/// The broken rules; an empty change is one.
pub fn judge_change(
    policy: &Policy,
    current: &TopicSpec,
    asked: &TopicChange,
) -> Result<TopicSpec, Vec<FieldError>> {
    let mut faults = Vec::new();
    let mut spec = current.clone();
    if let Some(partitions) = asked.partitions {
        policy
            .partitions
            .check("/partitions", partitions, &mut faults);
        if partitions < current.partitions {
            let message = format!(
                "can only grow: Kafka never takes partitions away, and there are {}",
                current.partitions
            );
            faults.push(field("/partitions", message));
        }
        spec.partitions = partitions;
    }
    let mut set = BTreeMap::new();
    for (name, value) in &asked.configs {
        match value {
            Some(value) => {
                set.insert(name.clone(), value.clone());
                spec.configs.insert(name.clone(), value.clone());
            }
            None if current.configs.contains_key(name) => {
                spec.configs.remove(name);
            }
            None => {
                let message = "is not set on this topic, so there is nothing to take back";
                faults.push(field(format!("/configs/{name}"), message));
            }
        }
    }
    faults.extend(config_faults(policy, &set));
    if faults.is_empty() && spec == *current {
        let message = "changes nothing: name other partitions or configs than the topic has";
        faults.push(field("", message));
    }
    if faults.is_empty() {
        Ok(spec)
    } else {
        Err(faults)
    }
}

fn label_faults(asked: &NewTopic) -> Vec<FieldError> {
    let labels = [
        ("/created_by", &asked.created_by, LABEL_CHARS_MAX),
        ("/owner", &asked.owner, LABEL_CHARS_MAX),
        ("/description", &asked.description, DESCRIPTION_CHARS_MAX),
    ];
    let mut faults = Vec::new();
    for (pointer, text, max) in labels {
        let length = text.as_deref().map_or(0, |text| text.chars().count());
        if length > max {
            let message = format!("has at most {max} characters, this one has {length}");
            faults.push(field(pointer, message));
        }
    }
    faults
}

fn pattern_matches(pattern: &str, name: &str) -> bool {
    pattern.is_empty()
        || regex_lite::Regex::new(&format!("^(?:{pattern})$"))
            .is_ok_and(|regex| regex.is_match(name))
}

/// Faults of the policy document itself.
pub fn check(policy: &Policy) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if let Err(error) = regex_lite::Regex::new(&format!("^(?:{})$", policy.name_pattern)) {
        faults.push(field(
            "name_pattern",
            format!("is no regular expression: {error}"),
        ));
    }
    for (pointer, range) in [
        ("partitions", policy.partitions),
        ("replication_factor", policy.replication_factor),
    ] {
        if range.min < 1 || range.min > range.default || range.default > range.max {
            faults.push(field(pointer, "needs 1 <= min <= default <= max"));
        }
    }
    for name in &policy.configs {
        if !CONFIGS.iter().any(|(known, _)| known == name) {
            faults.push(field(
                "configs",
                format!("{name:?} is no topic config of Kafka"),
            ));
        }
    }
    faults
}

/// Faults of asked topic configs.
pub fn config_faults(policy: &Policy, configs: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for (name, value) in configs {
        let pointer = format!("/configs/{name}");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            name_pattern: String::new(),
            partitions: Range {
                min: 1,
                max: 12,
                default: 3,
            },
            replication_factor: Range {
                min: 1,
                max: 3,
                default: 1,
            },
            configs: known_configs().into_iter().map(str::to_owned).collect(),
            require_owner: false,
            allow_self_approval: false,
            open_requests_per_account: 100,
        }
    }

    fn asked(name: &str) -> NewTopic {
        NewTopic {
            name: name.to_owned(),
            ..NewTopic::default()
        }
    }

    fn pointers(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Refuse(faults) => faults.into_iter().map(|fault| fault.pointer).collect(),
            Verdict::OneApprover { .. } => Vec::new(),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let Verdict::OneApprover { spec, .. } = judge(&policy(), &asked("orders")) else {
            panic!("refused")
        };
        assert_eq!((spec.partitions, spec.replication_factor), (3, 1));
    }

    #[test]
    fn every_broken_rule_is_listed() {
        let mut request = asked("bad name");
        request.partitions = Some(0);
        request.replication_factor = Some(99);
        request
            .configs
            .insert("retention.ms".into(), "banana".into());
        request.configs.insert("retention.msx".into(), "1".into());
        request.description = Some("x".repeat(1001));
        assert_eq!(
            pointers(judge(&policy(), &request)),
            [
                "/name",
                "/partitions",
                "/replication_factor",
                "/configs/retention.ms",
                "/configs/retention.msx",
                "/description"
            ]
        );
    }

    #[test]
    fn rules_of_the_policy_bind() {
        let mut strict = policy();
        strict.name_pattern = "[a-z]+\\.[a-z]+".to_owned();
        strict.require_owner = true;
        strict.configs = vec!["retention.ms".to_owned()];
        let mut request = asked("Orders");
        request
            .configs
            .insert("cleanup.policy".into(), "compact".into());
        let found = pointers(judge(&strict, &request));
        assert_eq!(found, ["/name", "/configs/cleanup.policy", "/owner"]);
    }

    #[test]
    fn a_change_grows_partitions_and_sets_or_takes_back_configs() {
        let current = TopicSpec {
            partitions: 3,
            replication_factor: 1,
            configs: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        };
        let change = |partitions, configs: &[(&str, Option<&str>)]| TopicChange {
            partitions,
            configs: configs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
                .collect(),
            reason: None,
        };
        let asked = change(
            Some(6),
            &[("retention.ms", None), ("segment.ms", Some("60"))],
        );
        let spec = judge_change(&policy(), &current, &asked).unwrap();
        assert_eq!(spec.partitions, 6);
        assert_eq!(
            spec.configs,
            [("segment.ms".to_owned(), "60".to_owned())].into()
        );
        for (asked, pointer) in [
            (change(Some(2), &[]), "/partitions"),
            (change(Some(99), &[]), "/partitions"),
            (change(None, &[("segment.ms", None)]), "/configs/segment.ms"),
            (
                change(None, &[("retention.ms", Some("x"))]),
                "/configs/retention.ms",
            ),
            (change(Some(3), &[]), ""),
        ] {
            let faults = judge_change(&policy(), &current, &asked).unwrap_err();
            assert_eq!(faults[0].pointer, pointer);
        }
    }

    #[test]
    fn a_policy_is_checked_itself() {
        let mut broken = policy();
        broken.name_pattern = "(".to_owned();
        broken.partitions.default = 99;
        broken.configs.push("retention".to_owned());
        assert_eq!(check(&broken).len(), 3);
        assert!(check(&policy()).is_empty());
    }
}
