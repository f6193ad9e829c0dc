use crate::page::{Shell, Viewer, render};
use askama::Template;

/// What the live page follows.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// Names of the active topics, to choose from.
    pub active: &'a [String],
    /// The topics that are followed; none means the viewer's subscriptions.
    pub topics: &'a [String],
    /// `latest` or `earliest`.
    pub from: &'a str,
    /// The path of the stream, with its query.
    pub stream: &'a str,
    /// How many subscriptions the viewer has.
    pub subscriptions: usize,
}

#[derive(Debug, Template)]
#[template(path = "consumer/live.html")]
struct Page<'a> {
    shell: Shell<'a>,
    choices: Vec<(&'a str, bool)>,
    topics: &'a [String],
    earliest: bool,
    stream: &'a str,
    subscriptions: usize,
    follows_nothing: bool,
}

/// The page at `/ui/live`.
pub fn live(viewer: &Viewer, data: &Live<'_>) -> String {
    let chosen = |name: &String| data.topics.contains(name);
    let unknown = data
        .topics
        .iter()
        .filter(|name| !data.active.contains(name));
    let choices = data
        .active
        .iter()
        .chain(unknown)
        .map(|name| (name.as_str(), chosen(name)));
    render(&Page {
        shell: Shell::new(viewer, "/ui/live", "Live messages"),
        choices: choices.collect(),
        topics: data.topics,
        earliest: data.from == "earliest",
        stream: data.stream,
        subscriptions: data.subscriptions,
        follows_nothing: data.topics.is_empty() && data.subscriptions == 0,
    })
}
