//! The lag on a page: asked of Kafka seldom and for a short time only, for a page is looked at often and
//! must come even when Kafka does not answer.

use crate::app::lag;
use crate::context::Context;
use crate::store::consumers::Row;
use sluice_model::consumer::Lag;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is shown again.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// Time that a page waits for Kafka.
const LIMIT: Duration = Duration::from_secs(2);
/// Answers that are kept.
const KEPT_MAX: usize = 1000;

type Answer = Result<Lag, String>;

/// The last answers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentLags(Arc<Mutex<HashMap<String, (Instant, Answer)>>>);

impl RecentLags {
    fn known(&self, id: &str) -> Option<Answer> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (at, _)| at.elapsed() < FRESH_FOR);
        kept.get(id).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, id: &str, answer: &Answer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.insert(id.to_owned(), (Instant::now(), answer.clone()));
        }
    }

    /// How far a consumer is behind, as of a moment ago.
    pub(super) async fn of(&self, context: &Context, row: &Row) -> Answer {
        if let Some(answer) = self.known(&row.id) {
            return answer;
        }
        let asked = tokio::time::timeout(LIMIT, lag::lag(context, row)).await;
        let answer = match asked {
            Ok(answer) => answer.map_err(|failure| failure.0.detail),
            Err(_) => Err("Kafka does not answer in time".to_owned()),
        };
        self.keep(&row.id, &answer);
        answer
    }
}
