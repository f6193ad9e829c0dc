//! What holds in one environment more than in others.

use super::{Policy, pattern_matches};
use crate::problem::{FieldError, field};
use crate::topic::TopicSpec;
use serde::{Deserialize, Serialize};

/// The rules of an environment, or of the names in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Which one; it counts where the policy's `environment` is the same. Empty counts everywhere.
    #[serde(default)]
    pub name: String,
    /// A regular expression for the topics that it is about; empty for all.
    #[serde(default)]
    pub name_pattern: String,
    /// Least copies of each partition.
    pub replication_min: i16,
}

impl Policy {
    fn environments_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Environment> {
        self.environments.iter().filter(move |rule| {
            (rule.name.is_empty() || rule.name == self.environment)
                && pattern_matches(&rule.name_pattern, topic)
        })
    }

    /// Copies of a topic whose request names none: never fewer than its environment wants.
    pub(super) fn default_copies(&self, topic: &str) -> i16 {
        let default = i16::try_from(self.replication_factor.default).unwrap_or(1);
        let least = self.environments_of(topic).map(|rule| rule.replication_min);
        least.fold(default, i16::max)
    }

    pub(super) fn environment_faults(&self, topic: &str, spec: &TopicSpec) -> Vec<FieldError> {
        let broken = self
            .environments_of(topic)
            .filter(|rule| spec.replication_factor < rule.replication_min);
        broken
            .map(|rule| {
                let place = if rule.name.is_empty() {
                    "here"
                } else {
                    &rule.name
                };
                let (min, copies) = (rule.replication_min, spec.replication_factor);
                let message =
                    format!("is at least {min} in environment {place} by policy, not {copies}");
                field("/replication_factor", message)
            })
            .collect()
    }

    pub(super) fn environments_faults(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        for (index, rule) in self.environments.iter().enumerate() {
            let at = |member: &str| format!("environments/{index}/{member}");
            if let Err(error) = regex_lite::Regex::new(&format!("^(?:{})$", rule.name_pattern)) {
                let message = format!("is no regular expression: {error}");
                faults.push(field(at("name_pattern"), message));
            }
            if rule.replication_min < 1 {
                faults.push(field(at("replication_min"), "is at least 1"));
            }
        }
        faults
    }
}
