//! What those who decide weigh: what was asked for, what the policy says, what it comes to, the budget, and remarks.

use crate::bits::When;
use crate::page::Viewer;
use askama::Template;
use sluice_model::access::Role;
use sluice_model::policy::{BudgetUse, Policy};
use sluice_model::problem::FieldError;
use sluice_model::request::{Comment, Kind, Request, RequestStatus};
use std::collections::BTreeSet;

/// What is known of a request beside itself.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// What it would use of the budget of the topic's owner.
    pub budget: Option<BudgetUse>,
    /// What the policy that counts says against it.
    pub findings: Vec<FieldError>,
    /// Remarks, oldest first.
    pub comments: Vec<Comment>,
}

/// The part of a request's card that is for weighing and for writing.
#[derive(Debug, Template)]
#[template(path = "admin/review.html")]
pub(crate) struct Review<'a> {
    request: &'a Request,
    rows: Vec<Row>,
    around: &'a Surroundings,
    amended: Option<String>,
    comments: Vec<(&'a Comment, When)>,
    configs: String,
    may_pick: bool,
    may_change: bool,
    may_edit: bool,
    may_comment: bool,
}

/// One line of asked / policy / effective.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    asked: String,
    policy: String,
    effective: String,
}

impl<'a> Review<'a> {
    /// The part of one card; `decide` says whether the viewer may decide about it.
    pub(crate) fn new(
        viewer: &Viewer,
        policy: &Policy,
        request: &'a Request,
        around: &'a Surroundings,
        decide: bool,
    ) -> Self {
        let pending = request.status == RequestStatus::Pending;
        let spec = matches!(request.kind, Kind::Create | Kind::Change);
        let own = request.requested_by == viewer.actor.account;
        let writes = [Role::Producer, Role::Consumer, Role::Approver];
        let configs = request.spec.configs.iter();
        Self {
            request,
            rows: if spec {
                rows(policy, request)
            } else {
                Vec::new()
            },
            around,
            amended: request.amended.as_ref().map(|amended| {
                let (was, now) = (&amended.before, &request.spec);
                let what = if was.partitions == now.partitions {
                    "its configs or copies".to_owned()
                } else {
                    format!("{} to {} partitions", was.partitions, now.partitions)
                };
                format!("{} changed it: {what}", amended.by)
            }),
            comments: around
                .comments
                .iter()
                .map(|comment| (comment, When::ago(comment.created_at, viewer.now)))
                .collect(),
            configs: configs
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join("\n"),
            may_pick: pending && decide,
            may_change: pending && decide && spec,
            may_edit: pending && own && spec,
            may_comment: writes.into_iter().any(|role| viewer.may(role)),
        }
    }
}

fn rows(policy: &Policy, request: &Request) -> Vec<Row> {
    let (asked, spec) = (&request.asked, &request.spec);
    let left = || "not named".to_owned();
    let mut rows = vec![
        Row {
            name: "Partitions".to_owned(),
            asked: asked
                .partitions
                .map_or_else(left, |count| count.to_string()),
            policy: range(policy.partitions),
            effective: spec.partitions.to_string(),
        },
        Row {
            name: "Copies".to_owned(),
            asked: asked
                .replication_factor
                .map_or_else(left, |count| count.to_string()),
            policy: range(policy.replication_factor),
            effective: spec.replication_factor.to_string(),
        },
    ];
    let names: BTreeSet<&String> = asked.configs.keys().chain(spec.configs.keys()).collect();
    rows.extend(names.into_iter().map(|name| {
        let bound = policy
            .config_bounds
            .iter()
            .find(|bound| bound.config == *name);
        let wish = asked.configs.get(name);
        Row {
            name: name.clone(),
            asked: wish.map_or_else(left, |value| {
                value.clone().unwrap_or_else(|| "default".to_owned())
            }),
            policy: match bound {
                None if policy.configs.contains(name) => "allowed".to_owned(),
                None => "not allowed".to_owned(),
                Some(bound) => {
                    let number = |value: Option<i64>| {
                        value.map_or("any".to_owned(), |value| value.to_string())
                    };
                    match bound.values.as_slice() {
                        [] => format!("{} to {}", number(bound.min), number(bound.max)),
                        values => values.join(", "),
                    }
                }
            },
            effective: spec
                .configs
                .get(name)
                .cloned()
                .unwrap_or_else(|| "default".to_owned()),
        }
    }));
    rows
}

fn range(range: sluice_model::policy::Range) -> String {
    format!("{} to {}, else {}", range.min, range.max, range.default)
}
