//! Policy: what may be asked for at all. A human writes it; [`judge`] applies it.

mod approvals;
mod configs;

pub use approvals::{ApprovalRule, Approvals};
pub use configs::{config_faults, known_configs};

use crate::body::escape;
use crate::name::TopicName;
use crate::problem::{FieldError, field};
use crate::request::Kind;
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
    /// Who must approve: the first rule that fits a request counts; without one, one approver.
    #[serde(default)]
    pub approvals: Vec<ApprovalRule>,
}

/// What a policy says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is broken: so many approvals are needed.
    Accept {
        /// The name, checked.
        name: TopicName,
        /// The spec with the policy's defaults filled in.
        spec: TopicSpec,
        /// Who must approve.
        approvals: Approvals,
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
        Some(name) if faults.is_empty() => {
            let approvals = policy.approvals(Kind::Create, name.as_str(), &spec);
            Verdict::Accept {
                name,
                spec,
                approvals,
            }
        }
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
                faults.push(field(format!("/configs/{}", escape(name)), message));
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

impl Policy {
    /// Who must approve a request: the first rule that fits, else one approver.
    pub fn approvals(&self, kind: Kind, name: &str, spec: &TopicSpec) -> Approvals {
        // Data is never given away by a rule that does not say so.
        let says_so = |rule: &ApprovalRule| {
            rule.approvals != Approvals::Auto || kind != Kind::Delete || rule.kinds.contains(&kind)
        };
        let fits = |rule: &&ApprovalRule| says_so(rule) && rule.fits(kind, name, spec);
        let rule = self.approvals.iter().find(fits);
        rule.map_or(Approvals::One, |rule| rule.approvals)
    }
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
    for (index, rule) in policy.approvals.iter().enumerate() {
        if let Err(error) = regex_lite::Regex::new(&format!("^(?:{})$", rule.name_pattern)) {
            let pointer = format!("approvals/{index}/name_pattern");
            faults.push(field(pointer, format!("is no regular expression: {error}")));
        }
    }
    for name in &policy.configs {
        if !known_configs().contains(&name.as_str()) {
            faults.push(field(
                "configs",
                format!("{name:?} is no topic config of Kafka"),
            ));
        }
    }
    faults
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
            approvals: Vec::new(),
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
            Verdict::Accept { .. } => Vec::new(),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let Verdict::Accept { spec, .. } = judge(&policy(), &asked("orders")) else {
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
    fn the_first_rule_that_fits_says_who_must_approve() {
        let mut policy = policy();
        let rule = |name_pattern: &str, partitions_max, kinds: &[Kind], approvals| ApprovalRule {
            name_pattern: name_pattern.to_owned(),
            partitions_max,
            kinds: kinds.to_vec(),
            approvals,
        };
        policy.approvals = vec![
            rule("prod\\..*", None, &[], Approvals::Two),
            rule("dev\\..*", Some(3), &[], Approvals::Auto),
        ];
        let spec = |partitions| TopicSpec {
            partitions,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        for (kind, name, partitions, want) in [
            (Kind::Create, "prod.orders", 1, Approvals::Two),
            (Kind::Delete, "prod.orders", 1, Approvals::Two),
            (Kind::Create, "dev.orders", 3, Approvals::Auto),
            (Kind::Create, "dev.orders", 4, Approvals::One),
            (Kind::Delete, "dev.orders", 1, Approvals::One),
            (Kind::Change, "dev.orders", 1, Approvals::Auto),
            (Kind::Change, "other", 1, Approvals::One),
        ] {
            assert_eq!(
                policy.approvals(kind, name, &spec(partitions)),
                want,
                "{kind} {name}"
            );
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
