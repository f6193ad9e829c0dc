use crate::bits::{Badge, When};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::access::Role;
use sluice_model::subscription::Subscription;
use sluice_model::topic::ActiveTopic;

/// What the catalogue shows.
#[derive(Clone, Copy, Debug)]
pub struct Catalogue<'a> {
    /// The active topics.
    pub topics: &'a [ActiveTopic],
    /// The viewer's own subscriptions.
    pub mine: &'a [Subscription],
    /// Only names or descriptions with this text, if not empty.
    pub q: &'a str,
    /// Why the admin API gave no list, if so.
    pub trouble: Option<&'a str>,
    /// Where requests for topics are made, if known: the admin console's address.
    pub governance: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "consumer/catalogue.html")]
struct Page<'a> {
    shell: Shell<'a>,
    rows: Vec<Row<'a>>,
    resting: Vec<(&'a str, Badge)>,
    q: &'a str,
    any: bool,
    trouble: Option<&'a str>,
    governance: Option<&'a str>,
    may: bool,
    following: usize,
}

#[derive(Debug)]
struct Row<'a> {
    topic: &'a ActiveTopic,
    since: When,
    subscribed: bool,
}

/// The page at `/ui/`.
pub fn catalogue(viewer: &Viewer, data: &Catalogue<'_>) -> String {
    let q = data.q.to_lowercase();
    let hit = |topic: &&ActiveTopic| {
        q.is_empty()
            || topic.topic_name.to_lowercase().contains(&q)
            || topic.description.to_lowercase().contains(&q)
    };
    let mine = |name: &str| data.mine.iter().any(|s| s.topic_name == name);
    let active = |name: &str| data.topics.iter().any(|t| t.topic_name == name);
    let rows = data.topics.iter().filter(hit).map(|topic| Row {
        topic,
        since: When::ago(topic.activated_at, viewer.now),
        subscribed: mine(&topic.topic_name),
    });
    let resting = data.mine.iter().filter(|s| !active(&s.topic_name));
    render(&Page {
        shell: Shell::new(viewer, "/ui/", "Catalogue"),
        rows: rows.collect(),
        resting: resting
            .map(|s| (s.topic_name.as_str(), s.status.into()))
            .collect(),
        q: data.q,
        any: !data.topics.is_empty(),
        trouble: data.trouble,
        governance: data.governance,
        may: viewer.may(Role::Consumer),
        following: data.mine.len(),
    })
}
