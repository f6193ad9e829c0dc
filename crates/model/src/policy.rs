//! Policy: what may be asked for at all. A human writes it; [`judge`] applies it.

mod approvals;
mod budget;
mod configs;
mod environment;
mod naming;
mod trial;

pub use approvals::{ApprovalRule, Approvals, OWNER_TEAM};
pub use budget::{
    ANY_TEAM, Amount, Budget, BudgetLine, BudgetUse, RETENTION_BYTES, budget_faults, budget_of,
    reckon,
};
pub use configs::{ConfigBound, config_faults, known_configs};
pub use environment::Environment;
pub use naming::NamePart;
pub use trial::{Broken, Otherwise, Trial};

use crate::body::escape;
use crate::name::TopicName;
use crate::problem::{FieldError, field};
use crate::request::{Kind, SUBSCRIBE_MAX};
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
    /// The grammar of names, part by part; empty for none.
    #[serde(default)]
    pub name_parts: Vec<NamePart>,
    /// What stands between the parts.
    #[serde(default = "dot")]
    pub name_separator: String,
    /// Bounds, defaults and duties of single configs.
    #[serde(default)]
    pub config_bounds: Vec<ConfigBound>,
    /// Whether a request must say what the topic is for.
    #[serde(default)]
    pub require_description: bool,
    /// Whether the owner must be a team of the requester.
    #[serde(default)]
    pub owner_is_own_team: bool,
    /// Which environment this service governs; empty for none in particular.
    #[serde(default)]
    pub environment: String,
    /// What holds in which environment.
    #[serde(default)]
    pub environments: Vec<Environment>,
    /// What teams may have.
    #[serde(default)]
    pub budgets: Vec<Budget>,
    /// Requests of one account that are approved by policy within an hour; more of them need an approver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approvals_per_hour: Option<i64>,
}

fn dot() -> String {
    ".".to_owned()
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
    if name.is_some() {
        faults.extend(policy.naming_faults(asked));
    }
    let spec = TopicSpec {
        partitions: asked.partitions.unwrap_or(policy.partitions.default),
        replication_factor: asked
            .replication_factor
            .unwrap_or_else(|| policy.default_copies(&asked.name)),
        configs: configs::with_defaults(&policy.config_bounds, &asked.configs),
    };
    policy
        .partitions
        .check("/partitions", spec.partitions, &mut faults);
    let copies = i32::from(spec.replication_factor);
    policy
        .replication_factor
        .check("/replication_factor", copies, &mut faults);
    faults.extend(policy.environment_faults(&asked.name, &spec));
    faults.extend(config_faults(policy, &spec.configs));
    if policy.require_owner && asked.owner.as_deref().is_none_or(str::is_empty) {
        faults.push(field(
            "/owner",
            "is required by policy: the team that answers for the topic",
        ));
    }
    if policy.require_description
        && asked
            .description
            .as_deref()
            .is_none_or(|text| text.trim().is_empty())
    {
        faults.push(field(
            "/description",
            "is required by policy: what the topic is for",
        ));
    }
    faults.extend(configs::missing(&policy.config_bounds, &spec.configs));
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
    let bounds = policy.config_bounds.iter();
    for bound in
        bounds.filter(|bound| bound.required && asked.configs.get(&bound.config) == Some(&None))
    {
        let pointer = format!("/configs/{}", escape(&bound.config));
        faults.push(field(
            pointer,
            "is required by policy, so it cannot be taken back",
        ));
    }
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
    faults.extend(subscriber_faults(&asked.subscribe));
    for (pointer, text, max) in labels {
        let length = text.as_deref().map_or(0, |text| text.chars().count());
        if length > max {
            let message = format!("has at most {max} characters, this one has {length}");
            faults.push(field(pointer, message));
        }
    }
    faults
}

fn subscriber_faults(users: &[String]) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if users.len() > SUBSCRIBE_MAX {
        let message = format!(
            "has at most {SUBSCRIBE_MAX} users, this one has {}",
            users.len()
        );
        faults.push(field("/subscribe", message));
    }
    for (index, user) in users.iter().enumerate() {
        if user.is_empty() || user.chars().count() > LABEL_CHARS_MAX {
            let message = format!("has 1 to {LABEL_CHARS_MAX} characters");
            faults.push(field(format!("/subscribe/{index}"), message));
        }
    }
    faults
}

impl Policy {
    fn naming_faults(&self, asked: &NewTopic) -> Vec<FieldError> {
        let mut faults = Vec::new();
        if !pattern_matches(&self.name_pattern, &asked.name) {
            let message = format!("names match {:?} by policy", self.name_pattern);
            faults.push(field("/name", message));
        }
        let owner = asked.owner.as_deref().filter(|owner| !owner.is_empty());
        let separator = &self.name_separator;
        faults.extend(naming::name_faults(
            &self.name_parts,
            separator,
            &asked.name,
            owner,
        ));
        faults
    }

    /// The first rule that fits a request.
    pub fn rule(&self, kind: Kind, name: &str, spec: &TopicSpec) -> Option<&ApprovalRule> {
        // Data is never given away by a rule that does not say so.
        let says_so = |rule: &ApprovalRule| {
            rule.approvals != Approvals::Auto || kind != Kind::Delete || rule.kinds.contains(&kind)
        };
        let fits = |rule: &&ApprovalRule| says_so(rule) && rule.fits(kind, name, spec);
        self.approvals.iter().find(fits)
    }

    /// Who must approve a request: the first rule that fits, else one approver.
    pub fn approvals(&self, kind: Kind, name: &str, spec: &TopicSpec) -> Approvals {
        let rule = self.rule(kind, name, spec);
        rule.map_or(Approvals::One, |rule| rule.approvals)
    }

    /// Whether the end of a fence is asked for instead of decided: a rule names that kind, and wants somebody.
    pub fn reactivation_is_asked_for(&self, name: &str, spec: &TopicSpec) -> bool {
        let kind = Kind::Reactivate;
        self.rule(kind, name, spec)
            .is_some_and(|rule| rule.kinds.contains(&kind) && rule.approvals != Approvals::Auto)
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
    faults.extend(naming::grammar_faults(
        &policy.name_parts,
        &policy.name_separator,
    ));
    faults.extend(configs::bound_faults(&policy.config_bounds));
    faults.extend(policy.environments_faults());
    for (index, budget) in policy.budgets.iter().enumerate() {
        let amounts = [budget.topics, budget.partitions, budget.bytes];
        if budget.team.is_empty() || amounts.into_iter().flatten().any(|amount| amount < 0) {
            let pointer = format!("budgets/{index}");
            faults.push(field(pointer, "names a team, and amounts from 0 on"));
        }
    }
    if policy
        .auto_approvals_per_hour
        .is_some_and(|limit| limit < 0)
    {
        faults.push(field("auto_approvals_per_hour", "is 0 or more"));
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
mod tests;
