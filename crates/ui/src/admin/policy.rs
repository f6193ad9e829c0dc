//! The rules for requests: what they say, and a place to try another version before it counts.

use crate::form::{Fault, TopicForm};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use serde_json::Value;
use sluice_model::access::Role;
use sluice_model::policy::{ApprovalRule, Policy, Range, Trial};
use sluice_model::problem::{Code, Problem};
use sluice_model::topic::NewTopic;

/// The form of the page, as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyForm {
    /// The whole document, as JSON.
    pub document: String,
    /// The version that the page showed.
    pub version: String,
    /// Why it is written.
    pub reason: String,
    /// A topic to judge; without a name none.
    pub topic: TopicForm,
}

impl PolicyForm {
    /// The form before anybody has typed: the version that counts.
    pub fn new(policy: &Policy, version: i64) -> Self {
        Self {
            document: serde_json::to_string_pretty(policy).unwrap_or_default(),
            version: version.to_string(),
            ..Self::default()
        }
    }

    /// Reads the fields of a form; unknown ones are left alone.
    pub fn read(fields: &[(String, String)]) -> Self {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut form = Self {
            topic: TopicForm::read(fields.clone()),
            ..Self::default()
        };
        for (name, value) in fields {
            let place = match name {
                "policy" => &mut form.document,
                "version" => &mut form.version,
                "reason" => &mut form.reason,
                _ => continue,
            };
            value.trim().clone_into(place);
        }
        form
    }

    /// The document that was typed.
    ///
    /// # Errors
    /// 422 when it is no JSON.
    pub fn document(&self) -> Result<Value, Box<Problem>> {
        let mut document: Value = serde_json::from_str(&self.document).map_err(|error| {
            Box::new(Problem::invalid("/policy", format!("is no JSON: {error}")))
        })?;
        if let Some(members) = document.as_object_mut() {
            // What the API answers can be pasted as it is.
            members.remove("version");
        }
        Ok(document)
    }

    /// The topic that shall be judged, if there is one.
    ///
    /// # Errors
    /// 422 with every field that cannot be read.
    pub fn topic(&self) -> Result<Option<NewTopic>, Box<Problem>> {
        if self.topic.name.trim().is_empty() {
            return Ok(None);
        }
        self.topic.topic().map(Some)
    }
}

/// What the page at `/ui/policy` shows.
#[derive(Clone, Copy, Debug)]
pub struct PolicyPage<'a> {
    /// The version that counts.
    pub policy: &'a Policy,
    /// Its number.
    pub version: i64,
    /// The form.
    pub form: &'a PolicyForm,
    /// What the version in the form would say.
    pub trial: Option<&'a Trial>,
    /// What was wrong with the form.
    pub problem: Option<&'a Problem>,
}

#[derive(Debug, Template)]
#[template(path = "admin/policy.html")]
struct Page<'a> {
    shell: Shell<'a>,
    facts: Vec<(&'static str, String)>,
    rules: Vec<Rule<'a>>,
    version: i64,
    form: &'a PolicyForm,
    counts: Option<String>,
    fault: Fault<'a>,
    trial: Option<&'a Trial>,
    verdict: Option<&'static str>,
    changes_nothing: bool,
    may_activate: bool,
}

/// One line about who must approve.
#[derive(Debug)]
struct Rule<'a> {
    names: &'a str,
    about: String,
    who: String,
    approvals: &'static str,
}

/// The page at `/ui/policy`.
pub fn policy(viewer: &Viewer, data: &PolicyPage<'_>) -> String {
    let stale = data
        .problem
        .is_some_and(|problem| problem.is(Code::StaleVersion));
    render(&Page {
        shell: Shell::new(viewer, "/ui/policy", "Policy"),
        facts: facts(data.policy),
        rules: data.policy.approvals.iter().map(rule).collect(),
        version: data.version,
        form: data.form,
        counts: stale.then(|| PolicyForm::new(data.policy, data.version).document),
        fault: Fault(data.problem),
        trial: data.trial,
        verdict: data
            .trial
            .and_then(|trial| trial.verdict.as_deref())
            .map(verdict),
        changes_nothing: data.trial.is_some_and(|trial| {
            trial.broken.is_empty() && trial.requests.is_empty() && trial.over_budget.is_empty()
        }),
        may_activate: viewer.may(Role::Admin),
    })
}

/// A verdict in words.
fn verdict(word: &str) -> &'static str {
    match word {
        "auto" => "approved by the policy itself",
        "one" => "one approver",
        "two" => "two approvers",
        "two_teams" => "two approvers of different teams",
        _ => "refused",
    }
}

fn rule(rule: &ApprovalRule) -> Rule<'_> {
    let kinds: Vec<_> = rule.kinds.iter().map(ToString::to_string).collect();
    let mut about = if kinds.is_empty() {
        "all requests".to_owned()
    } else {
        kinds.join(", ")
    };
    if let Some(max) = rule.partitions_max {
        about = format!("{about} of up to {max} partitions");
    }
    let mut who = rule.approvers.clone();
    who.extend(
        rule.approver_teams
            .iter()
            .map(|team| format!("team {team}")),
    );
    Rule {
        names: if rule.name_pattern.is_empty() {
            "all names"
        } else {
            &rule.name_pattern
        },
        about,
        who: if who.is_empty() {
            "everybody with the role approver".to_owned()
        } else {
            who.join(", ")
        },
        approvals: verdict(rule.approvals.as_str()),
    }
}

fn facts(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !policy.environment.is_empty() {
        facts.push(("Environment", policy.environment.clone()));
    }
    let mut names = Vec::new();
    if !policy.name_pattern.is_empty() {
        names.push(policy.name_pattern.clone());
    }
    if !policy.name_parts.is_empty() {
        let parts = policy
            .name_parts
            .iter()
            .map(|part| format!("<{}>", part.part));
        names.push(parts.collect::<Vec<_>>().join(&policy.name_separator));
    }
    if names.is_empty() {
        names.push("any that Kafka takes".to_owned());
    }
    facts.push(("Names", names.join(", and ")));
    facts.push(("Partitions", range(policy.partitions)));
    facts.push(("Copies", range(policy.replication_factor)));
    let needed = [
        (policy.require_owner, "an owner"),
        (
            policy.owner_is_own_team,
            "an owner that is a team of the requester",
        ),
        (policy.require_description, "a description"),
    ];
    let needed: Vec<_> = needed
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, what)| what)
        .collect();
    facts.push((
        "Has to name",
        if needed.is_empty() {
            "the name only".to_owned()
        } else {
            needed.join(", ")
        },
    ));
    facts.push(("Configs", policy.configs.join(", ")));
    for budget in &policy.budgets {
        let amounts = [
            ("topics", budget.topics),
            ("partitions", budget.partitions),
            ("bytes", budget.bytes),
        ];
        let amounts: Vec<_> = amounts
            .into_iter()
            .filter_map(|(what, amount)| Some(format!("{} {what}", amount?)))
            .collect();
        facts.push(("Budget", format!("{}: {}", budget.team, amounts.join(", "))));
    }
    if policy.allow_self_approval {
        facts.push(("Own requests", "who asked may also decide".to_owned()));
    }
    facts
}

fn range(range: Range) -> String {
    format!("{} to {}, else {}", range.min, range.max, range.default)
}
