use super::Held;
use crate::admin::activity::AuditLine;
use crate::bits::{Badge, When, bytes, count};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::access::Role;
use sluice_model::audit::AuditRow;
use sluice_model::lifecycle::State;
use sluice_model::producer::ProducerSeen;
use sluice_model::request::Request;
use sluice_model::time::Timestamp;
use sluice_model::topic::{Stats, Topic};

/// What the overview shows.
#[derive(Clone, Copy, Debug)]
pub struct Overview<'a> {
    /// The figures.
    pub stats: &'a Stats,
    /// Pending requests, oldest first; the first few are shown.
    pub pending: &'a [Request],
    /// Topics whose last try failed.
    pub troubled: &'a [Topic],
    /// The last heartbeats.
    pub producers: &'a [ProducerSeen],
    /// The last audit rows, newest first.
    pub recent: &'a [AuditRow],
    /// Whether anything is deleted from Kafka.
    pub deletions: Deletions<'a>,
}

/// How the switch of all deletions stands.
#[derive(Clone, Copy, Debug)]
pub struct Deletions<'a> {
    /// The switch.
    pub enabled: bool,
    /// What the configuration says; without it the switch does nothing.
    pub configured: bool,
    /// Who turned it, if anybody did.
    pub by: Option<&'a str>,
    /// When.
    pub at: Option<Timestamp>,
    /// Why.
    pub reason: Option<&'a str>,
}

impl Deletions<'_> {
    /// Since when and by whom it is so.
    fn turned(&self, now: Timestamp) -> Option<String> {
        let by = self.by?;
        let at = When::ago(self.at, now);
        let reason = self.reason.map(|reason| format!(": {reason}"));
        Some(format!(
            "turned by {by} {}{}",
            at.words(),
            reason.unwrap_or_default()
        ))
    }
}

#[derive(Debug, Template)]
#[template(path = "admin/overview.html")]
struct Page<'a> {
    shell: Shell<'a>,
    tiles: Vec<Tile>,
    empty: bool,
    attention: Vec<Attention>,
    recent: Vec<AuditLine>,
    deletions: Deletions<'a>,
    turned: Option<String>,
    may_turn: bool,
}

#[derive(Debug)]
struct Tile {
    href: &'static str,
    label: &'static str,
    figure: String,
    note: String,
    tone: &'static str,
}

#[derive(Debug)]
struct Attention {
    badge: Badge,
    href: String,
    name: String,
    text: String,
    action: &'static str,
}

/// The page at `/ui/`.
pub fn overview(viewer: &Viewer, data: &Overview<'_>) -> String {
    render(&Page {
        shell: Shell::new(viewer, "/ui/", "Overview"),
        tiles: tiles(viewer, data),
        empty: data.stats.total_topics == 0 && data.recent.is_empty(),
        attention: attention(viewer, data),
        recent: data
            .recent
            .iter()
            .map(|row| AuditLine::new(row, viewer.now))
            .collect(),
        deletions: data.deletions,
        turned: data.deletions.turned(viewer.now),
        may_turn: viewer.may(Role::Admin),
    })
}

fn tiles(viewer: &Viewer, data: &Overview<'_>) -> Vec<Tile> {
    let stats = data.stats;
    let oldest = data.pending.iter().map(|request| request.created_at).min();
    let held: u64 = held_topics(data).map(|topic| topic.held_records).sum();
    let held_bytes: u64 = held_topics(data).map(|topic| topic.held_bytes).sum();
    let tile = |href, label, figure: String, note: String, tone| Tile {
        href,
        label,
        figure,
        note,
        tone,
    };
    vec![
        tile(
            "/ui/requests",
            "Requests to decide",
            count(stats.pending_requests),
            oldest.map_or_else(
                || "nothing waits".to_owned(),
                |at| format!("oldest {}", When::ago(at, viewer.now).words()),
            ),
            if stats.pending_requests > 0 {
                "wait"
            } else {
                ""
            },
        ),
        tile(
            "/ui/topics?status=active",
            "Active topics",
            count(stats.active_topics),
            format!("of {} that are not ended", count(stats.total_topics)),
            "",
        ),
        tile(
            "/ui/topics?status=approved",
            "Being created",
            count(stats.approved_topics),
            if data.troubled.is_empty() {
                "no trouble".to_owned()
            } else {
                format!("{} in trouble", data.troubled.len())
            },
            if data.troubled.is_empty() { "" } else { "bad" },
        ),
        tile(
            "/ui/producers",
            "Records held",
            count(held),
            format!("{}; producers: {}", bytes(held_bytes), data.producers.len()),
            if held > 0 { "info" } else { "" },
        ),
        tile(
            "/ui/subscriptions",
            "Subscriptions",
            count(stats.total_subscriptions),
            format!("inactive topics: {}", count(stats.inactive_topics)),
            "",
        ),
    ]
}

fn held_topics<'a>(
    data: &Overview<'a>,
) -> impl Iterator<Item = &'a sluice_model::producer::HeldTopic> {
    data.producers
        .iter()
        .flat_map(|seen| &seen.heartbeat.topics)
}

fn attention(viewer: &Viewer, data: &Overview<'_>) -> Vec<Attention> {
    let troubled = data.troubled.iter().map(|topic| Attention {
        badge: Badge {
            tone: "bad",
            icon: "alert",
            word: "failing",
        },
        href: format!("/ui/topics/{}", topic.topic_id),
        name: topic.topic_name.clone(),
        text: format!(
            "{} after {} tries",
            topic.last_problem.as_deref().unwrap_or("no success yet"),
            topic.attempts
        ),
        action: "Look",
    });
    let pending = data.pending.iter().map(|request| {
        let held = Held::of(&request.topic_name, data.producers).words();
        let since = When::ago(request.created_at, viewer.now);
        Attention {
            badge: State::Pending.into(),
            href: format!("/ui/requests#r{}", request.request_id),
            name: request.topic_name.clone(),
            text: format!(
                "{} asked by {} {}{}",
                request.kind,
                request.requested_by,
                since.words(),
                held.map_or_else(String::new, |held| format!("; {held}")),
            ),
            action: "Review",
        }
    });
    troubled.chain(pending).collect()
}
