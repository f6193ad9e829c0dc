//! Topic requests for names that records came for and that nobody has asked for.

use super::Watch;
use crate::channels::Stranger;
use sluice_admin_client::call;
use sluice_model::topic::NewTopic;
use sluice_service::backoff::delay;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Delays between tries for one name.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The names that wait for their request.
#[derive(Debug)]
pub(super) struct Requests {
    names: RefCell<BTreeMap<String, Try>>,
    names_max: usize,
    added: Notify,
}

#[derive(Clone, Debug)]
struct Try {
    description: String,
    at: Instant,
    failures: u32,
}

impl Requests {
    /// Room for so many names.
    pub(super) fn new(names_max: usize) -> Self {
        Self {
            names: RefCell::default(),
            names_max,
            added: Notify::new(),
        }
    }

    /// Adds a name; what finds no room is named again by the publisher.
    pub(super) fn add(&self, stranger: Stranger) {
        let Stranger { name, description } = stranger;
        let mut names = self.names.borrow_mut();
        if names.len() < self.names_max && !names.contains_key(&name) {
            names.insert(
                name,
                Try {
                    description,
                    at: Instant::now(),
                    failures: 0,
                },
            );
            self.added.notify_one();
        }
    }

    /// Files requests until the wish to stop.
    pub(super) async fn run(&self, watch: &Watch) {
        while !watch.shutdown.requested() {
            let next = self
                .names
                .borrow()
                .iter()
                .min_by_key(|(_, t)| t.at)
                .map(|(n, t)| (n.clone(), t.clone()));
            let wait = next.as_ref().map_or(RETRY_MAX, |(_, next)| {
                next.at.saturating_duration_since(Instant::now())
            });
            let due = next.filter(|_| wait.is_zero());
            let Some((name, tried)) = due else {
                tokio::select! {
                    () = self.added.notified() => {}
                    () = watch.pause(wait) => {}
                }
                continue;
            };
            let outcome = file(watch, &name, &tried.description).await;
            let mut names = self.names.borrow_mut();
            match outcome {
                Ok(()) => drop(names.remove(&name)),
                Err(reason) => {
                    let failures = tried.failures + 1;
                    tracing::warn!(
                        topic.name = name,
                        reason,
                        "the topic cannot be asked for; its records stay held"
                    );
                    metrics::counter!("producer_topic_request_errors_total").increment(1);
                    let at = Instant::now() + delay(failures, RETRY_FIRST, RETRY_MAX);
                    let again = Try {
                        at,
                        failures,
                        ..tried
                    };
                    names.insert(name, again);
                }
            }
        }
    }
}

/// Files the request for one name. That somebody else was faster is as good.
async fn file(watch: &Watch, name: &str, description: &str) -> Result<(), String> {
    let topic = NewTopic {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        ..NewTopic::default()
    };
    let call = call::request_topic(&topic);
    match watch.send(call).await {
        Ok(requested) => {
            tracing::info!(
                topic.name = name,
                topic.id = requested.topic_id,
                "topic asked for"
            );
            Ok(())
        }
        Err(error) if error.status() == Some(409) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
