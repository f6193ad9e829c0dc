use crate::bits::{Badge, When};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::lifecycle::STATES;
use sluice_model::topic::Topic;

/// What the list of topics shows.
#[derive(Clone, Copy, Debug)]
pub struct Topics<'a> {
    /// The page of topics.
    pub topics: &'a [Topic],
    /// Only of this status, if not empty.
    pub status: &'a str,
    /// Only names with this text, if not empty.
    pub q: &'a str,
    /// The cursor of the next page.
    pub next: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "admin/topics.html")]
struct Page<'a> {
    shell: Shell<'a>,
    rows: Vec<Row<'a>>,
    states: Vec<(&'static str, bool)>,
    q: &'a str,
    status: &'a str,
    next: Option<&'a str>,
}

#[derive(Debug)]
struct Row<'a> {
    topic: &'a Topic,
    badge: Badge,
    owner: &'a str,
    created: When,
}

/// The page at `/ui/topics`.
pub fn topics(viewer: &Viewer, data: &Topics<'_>) -> String {
    let rows = data.topics.iter().map(|topic| Row {
        topic,
        badge: topic.status.into(),
        owner: topic.owner.as_deref().unwrap_or("–"),
        created: When::ago(topic.created_at, viewer.now),
    });
    render(&Page {
        shell: Shell::new(viewer, "/ui/topics", "Topics"),
        rows: rows.collect(),
        states: STATES
            .iter()
            .map(|s| (s.as_str(), s.as_str() == data.status))
            .collect(),
        q: data.q,
        status: data.status,
        next: data.next,
    })
}
