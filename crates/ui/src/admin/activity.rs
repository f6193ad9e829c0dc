//! Subscriptions, producers and the audit.

use crate::bits::{Badge, When, bytes, count, heard, span};
use crate::form::Fault;
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::access::Role;
use sluice_model::audit::{AuditRow, Source};
use sluice_model::problem::Problem;
use sluice_model::producer::ProducerSeen;
use sluice_model::subscription::Subscription;
use sluice_model::time::Timestamp;

/// One audit row as a line.
#[derive(Debug)]
pub(crate) struct AuditLine {
    pub(crate) seq: i64,
    pub(crate) at: When,
    pub(crate) exact: When,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) did: String,
    pub(crate) kind: String,
    pub(crate) topic: String,
    pub(crate) topic_href: Option<String>,
    pub(crate) requested_by: String,
    pub(crate) reason: String,
    pub(crate) source: String,
}

impl AuditLine {
    pub(crate) fn new(row: &AuditRow, now: Timestamp) -> Self {
        Self {
            seq: row.seq,
            at: When::ago(row.at, now),
            exact: When::exact(row.at),
            actor: row.actor.clone(),
            action: row.action.clone(),
            did: past(&row.action),
            kind: row.kind.clone().unwrap_or_default(),
            topic: row.topic_name.clone().unwrap_or_default(),
            topic_href: row.topic_id.map(|id| format!("/ui/topics/{id}")),
            requested_by: row.requested_by.clone().unwrap_or_default(),
            reason: row.reason.clone().unwrap_or_default(),
            source: row.source.as_ref().map(source).unwrap_or_default(),
        }
    }
}

/// From where somebody acted, in a few words.
fn source(source: &Source) -> String {
    match &source.address {
        Some(address) => format!("{} from {address}", source.interface),
        None => source.interface.clone(),
    }
}

/// What the audit page shows.
#[derive(Clone, Debug)]
pub struct Audit<'a> {
    /// Rows, newest first.
    pub rows: &'a [AuditRow],
    /// The cursor of the next page.
    pub next: Option<&'a str>,
    /// What is searched for, as it stands in a query, each pair after an ampersand.
    pub query: &'a str,
    /// What is searched for.
    pub wanted: AuditWanted,
}

/// What the audit is searched for.
#[derive(Clone, Debug, Default)]
pub struct AuditWanted {
    /// Words.
    pub q: String,
    /// Who did it.
    pub actor: String,
    /// The verb.
    pub action: String,
    /// The topic's name.
    pub topic: String,
    /// Not before this instant or day.
    pub from: String,
    /// Before this instant or day.
    pub to: String,
}

#[derive(Debug, Template)]
#[template(path = "admin/audit.html")]
struct AuditPage<'a> {
    shell: Shell<'a>,
    rows: Vec<AuditLine>,
    next: Option<&'a str>,
    query: &'a str,
    wanted: &'a AuditWanted,
}

/// The page at `/ui/audit`.
pub fn audit(viewer: &Viewer, data: &Audit<'_>) -> String {
    render(&AuditPage {
        shell: Shell::new(viewer, "/ui/audit", "Audit"),
        rows: data
            .rows
            .iter()
            .map(|row| AuditLine::new(row, viewer.now))
            .collect(),
        next: data.next,
        query: data.query,
        wanted: &data.wanted,
    })
}

/// What the page of the subscriptions shows.
#[derive(Clone, Copy, Debug)]
pub struct Subscriptions<'a> {
    /// The mappings.
    pub subscriptions: &'a [Subscription],
    /// Names of active topics, as suggestions.
    pub topics: &'a [String],
    /// Only this user's, if not empty.
    pub user: &'a str,
    /// What the form said before it was refused.
    pub topic_name: &'a str,
    /// Why it was refused.
    pub problem: Option<&'a Problem>,
}

#[derive(Debug, Template)]
#[template(path = "admin/subscriptions.html")]
struct SubscriptionsPage<'a> {
    shell: Shell<'a>,
    rows: Vec<SubscriptionLine<'a>>,
    topics: &'a [String],
    user: &'a str,
    topic_name: &'a str,
    fault: Fault<'a>,
    may_add: bool,
    may_others: bool,
    account: &'a str,
}

#[derive(Debug)]
struct SubscriptionLine<'a> {
    user: &'a str,
    topic: &'a str,
    badge: Badge,
    since: When,
    removable: bool,
}

/// The page at `/ui/subscriptions`.
pub fn subscriptions(viewer: &Viewer, data: &Subscriptions<'_>) -> String {
    let account = viewer.actor.account.as_str();
    let may_others = viewer.may(Role::Admin);
    let may_add = viewer.may(Role::Consumer);
    let line = |s: &Subscription| s.user_id == account && may_add || may_others;
    let rows = data
        .subscriptions
        .iter()
        .map(|subscription| SubscriptionLine {
            user: &subscription.user_id,
            topic: &subscription.topic_name,
            badge: subscription.status.into(),
            since: When::ago(subscription.subscribed_at, viewer.now),
            removable: line(subscription),
        });
    render(&SubscriptionsPage {
        shell: Shell::new(viewer, "/ui/subscriptions", "Subscriptions"),
        rows: rows.collect(),
        topics: data.topics,
        user: data.user,
        topic_name: data.topic_name,
        fault: Fault(data.problem),
        may_add,
        may_others,
        account,
    })
}

#[derive(Debug, Template)]
#[template(path = "admin/producers.html")]
struct ProducersPage<'a> {
    shell: Shell<'a>,
    producers: Vec<ProducerLine<'a>>,
}

#[derive(Debug)]
struct ProducerLine<'a> {
    instance: &'a str,
    account: &'a str,
    badge: Badge,
    seen: When,
    revision: &'a str,
    topics: Vec<HeldLine<'a>>,
}

#[derive(Debug)]
pub(crate) struct HeldLine<'a> {
    pub(crate) topic: &'a str,
    pub(crate) records: String,
    pub(crate) bytes: String,
    pub(crate) oldest: String,
    pub(crate) in_flight: String,
}

/// What one producer holds, a line for a topic.
pub(crate) fn held_lines(seen: &ProducerSeen) -> impl Iterator<Item = HeldLine<'_>> {
    seen.heartbeat.topics.iter().map(|held| HeldLine {
        topic: &held.topic_name,
        records: count(held.held_records),
        bytes: bytes(held.held_bytes),
        oldest: if held.held_records == 0 {
            "–".to_owned()
        } else {
            span((held.oldest_held_ms / 1000) as i64)
        },
        in_flight: count(held.in_flight),
    })
}

/// The page at `/ui/producers`.
pub fn producers(viewer: &Viewer, producers: &[ProducerSeen]) -> String {
    let lines = producers.iter().map(|seen| ProducerLine {
        instance: &seen.heartbeat.instance,
        account: &seen.account,
        badge: heard(seen.seen_at, viewer.now),
        seen: When::ago(seen.seen_at, viewer.now),
        revision: &seen.heartbeat.revision,
        topics: held_lines(seen).collect(),
    });
    render(&ProducersPage {
        shell: Shell::new(viewer, "/ui/producers", "Producers"),
        producers: lines.collect(),
    })
}

/// What somebody did, from the verb of the audit: "approve" as "approved".
fn past(action: &str) -> String {
    match action {
        "request" => "asked for".to_owned(),
        "withdraw" => "withdrew".to_owned(),
        "purged" => "deleted from Kafka".to_owned(),
        "purge_started" => "began to delete".to_owned(),
        "provisioned" => "created in Kafka".to_owned(),
        "cancel" => "cancelled".to_owned(),
        verb if verb.ends_with('e') => format!("{verb}d"),
        verb => format!("{verb}ed"),
    }
}

#[cfg(test)]
mod tests {
    use super::past;

    #[test]
    fn verbs_read_as_what_was_done() {
        let read = ["approve", "reject", "expire", "deactivate", "withdraw"].map(past);
        assert_eq!(
            read,
            ["approved", "rejected", "expired", "deactivated", "withdrew"]
        );
    }
}
