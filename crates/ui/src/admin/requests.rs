//! Asking for topics and deciding about what is asked.

use super::Held;
use super::review::{Review, Surroundings};
use crate::bits::{Badge, When, bytes};
use crate::form::{Fault, TopicForm};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::access::Role;
use sluice_model::policy::Policy;
use sluice_model::problem::Problem;
use sluice_model::producer::ProducerSeen;
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::time::Timestamp;
use sluice_model::usage::Evidence;
use std::collections::{BTreeMap, BTreeSet};

/// Which requests are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Those that wait for a decision.
    Pending,
    /// Those that do not.
    Decided,
    /// The viewer's own, pending or not.
    Mine,
}

impl Tab {
    /// All, in the order of the page.
    const ALL: [Self; 3] = [Self::Pending, Self::Decided, Self::Mine];

    /// The tab that a query asks for.
    pub fn of(word: Option<&str>) -> Self {
        match word {
            Some("decided") => Self::Decided,
            Some("mine") => Self::Mine,
            _ => Self::Pending,
        }
    }

    const fn href(self) -> &'static str {
        match self {
            Self::Pending => "/ui/requests",
            Self::Decided => "/ui/requests?tab=decided",
            Self::Mine => "/ui/requests?tab=mine",
        }
    }

    /// Where a page begins that a cursor follows.
    const fn more(self) -> &'static str {
        match self {
            Self::Pending => "/ui/requests?cursor=",
            Self::Decided => "/ui/requests?tab=decided&cursor=",
            Self::Mine => "/ui/requests?tab=mine&cursor=",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Pending => "To decide",
            Self::Decided => "Decided",
            Self::Mine => "Mine",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Pending => "Requests to decide",
            Self::Decided => "Decided requests",
            Self::Mine => "My requests",
        }
    }
}

/// What the inbox shows.
#[derive(Clone, Copy, Debug)]
pub struct Inbox<'a> {
    /// Which requests.
    pub tab: Tab,
    /// The requests; pending ones oldest first, others newest first.
    pub requests: &'a [Request],
    /// The last heartbeats, to say who waits.
    pub producers: &'a [ProducerSeen],
    /// The evidence of the deletions among them, by request.
    pub evidence: &'a BTreeMap<i64, Evidence>,
    /// The policy that counts.
    pub policy: &'a Policy,
    /// What is known beside each request.
    pub around: &'a BTreeMap<i64, Surroundings>,
    /// The cursor of the next page.
    pub next: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "admin/requests.html")]
struct InboxPage<'a> {
    shell: Shell<'a>,
    tab: Tab,
    tabs: [Tab; 3],
    cards: Vec<Card<'a>>,
    many: bool,
    next: Option<&'a str>,
    may_ask: bool,
}

#[derive(Debug)]
struct Card<'a> {
    request: &'a Request,
    pending: bool,
    rejected: bool,
    kind: Badge,
    badge: Badge,
    asked: When,
    decided: When,
    decided_by: &'a str,
    partitions: String,
    configs: Vec<(&'a str, String)>,
    held: Option<String>,
    decide: bool,
    own: bool,
    is_delete: bool,
    evidence: Option<EvidenceLines>,
    approvals: Option<String>,
    why_not: Option<&'static str>,
    review: Option<Review<'a>>,
}

/// The evidence of a deletion, in words.
#[derive(Debug)]
struct EvidenceLines {
    gathered: When,
    size: String,
    last_write: When,
    groups: Vec<String>,
    producers: String,
    subscriptions: i64,
    in_use: Vec<String>,
}

impl EvidenceLines {
    fn new(found: &Evidence, now: Timestamp) -> Self {
        let usage = &found.usage;
        let records = format!("{} records", usage.records);
        let groups = usage.groups.iter().map(|group| {
            let lag = group.lag.map(|lag| format!(", lag {lag}"));
            let lag = lag.unwrap_or_default();
            format!(
                "{} ({}, {} members{lag})",
                group.group, group.state, group.members
            )
        });
        Self {
            gathered: When::ago(found.gathered_at, now),
            size: match found.bytes {
                Some(about) => {
                    let about = bytes(u64::try_from(about).unwrap_or_default());
                    format!("{records}, about {about} ({})", found.bytes_are)
                }
                None => records,
            },
            last_write: When::exact(usage.last_write_at),
            groups: groups.collect(),
            producers: if found.producers.is_empty() {
                "none".to_owned()
            } else {
                let names: Vec<&str> = found.producers.keys().map(String::as_str).collect();
                format!(
                    "{}; they hold {} records",
                    names.join(", "),
                    found.held_records
                )
            },
            subscriptions: found.subscriptions,
            in_use: found.in_use.clone(),
        }
    }
}

/// The page at `/ui/requests`.
pub fn inbox(viewer: &Viewer, data: &Inbox<'_>) -> String {
    let requests = data.requests.iter();
    let cards: Vec<_> = requests
        .map(|request| card(viewer, data, request))
        .collect();
    let decidable = cards.iter().filter(|card| card.decide).count();
    render(&InboxPage {
        shell: Shell::new(viewer, "/ui/requests", data.tab.title()),
        tab: data.tab,
        tabs: Tab::ALL,
        many: data.tab == Tab::Pending && decidable > 1,
        cards,
        next: data.next,
        may_ask: viewer.may(Role::Producer),
    })
}

fn card<'a>(viewer: &Viewer, data: &Inbox<'a>, request: &'a Request) -> Card<'a> {
    let own = request.requested_by == viewer.actor.account;
    let approver = viewer.may(Role::Approver);
    let barred = own && !data.policy.allow_self_approval;
    let counted = request.approved_by.contains(&viewer.actor.account);
    let pending = request.status == RequestStatus::Pending;
    // One's own are decided about where others wait, too.
    let decide = approver && !barred && !counted && data.tab == Tab::Pending;
    let around = data.around.get(&request.request_id);
    Card {
        review: around.map(|around| Review::new(viewer, data.policy, request, around, decide)),
        request,
        pending,
        rejected: request.status == RequestStatus::Rejected,
        kind: request.kind.into(),
        badge: request.status.into(),
        asked: When::ago(request.created_at, viewer.now),
        decided: When::ago(request.decided_at, viewer.now),
        decided_by: request.decided_by.as_deref().unwrap_or("–"),
        partitions: partitions(request),
        configs: configs(request),
        held: Held::of(&request.topic_name, data.producers).words(),
        decide,
        own,
        is_delete: request.kind == Kind::Delete,
        evidence: data
            .evidence
            .get(&request.request_id)
            .map(|found| EvidenceLines::new(found, viewer.now)),
        approvals: approvals(request),
        why_not: match (approver, barred) {
            _ if counted => Some("You have approved it; somebody else must, too."),
            (true, true) => Some("You asked for it, so somebody else decides."),
            (false, _) => Some("Somebody with the role approver decides."),
            (true, false) => None,
        },
    }
}

/// Who has approved so far, when it takes more than one.
fn approvals(request: &Request) -> Option<String> {
    let by = request.approved_by.join(", ");
    match (request.approvals_needed, request.approved_by.len()) {
        (..=1, _) => None,
        (needed, 0) => Some(format!("It takes {needed} approvers.")),
        (needed, count) => Some(format!("{count} of {needed} approvers so far: {by}.")),
    }
}

/// The partitions asked for; for a change that grows them, from what.
fn partitions(request: &Request) -> String {
    let want = request.spec.partitions;
    match &request.base {
        Some(base) if base.partitions != want => format!("{} → {want}", base.partitions),
        _ => want.to_string(),
    }
}

/// The configs asked for; of a change, only those that change, with what they were.
fn configs(request: &Request) -> Vec<(&str, String)> {
    let want = &request.spec.configs;
    let Some(base) = request.base.as_ref().map(|base| &base.configs) else {
        return want.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    };
    let shown = |value: Option<&String>| value.map_or("default", String::as_str).to_owned();
    let keys: BTreeSet<&String> = base.keys().chain(want.keys()).collect();
    keys.into_iter()
        .filter(|key| base.get(*key) != want.get(*key))
        .map(|key| {
            let (old, new) = (shown(base.get(key)), shown(want.get(key)));
            (key.as_str(), format!("{old} → {new}"))
        })
        .collect()
}

#[derive(Debug, Template)]
#[template(path = "admin/request.html")]
struct RequestPage<'a> {
    shell: Shell<'a>,
    form: &'a TopicForm,
    policy: &'a Policy,
    fault: Fault<'a>,
    may_ask: bool,
    account: &'a str,
}

/// The page at `/ui/request`: what was typed, and what was wrong with it.
pub fn request(
    viewer: &Viewer,
    form: &TopicForm,
    policy: &Policy,
    problem: Option<&Problem>,
) -> String {
    render(&RequestPage {
        shell: Shell::new(viewer, "/ui/topics", "Ask for a topic"),
        form,
        policy,
        fault: Fault(problem),
        may_ask: viewer.may(Role::Producer),
        account: &viewer.actor.account,
    })
}

#[cfg(test)]
mod tests;
