//! Consumers as they are shown: by their own worker's report, or by what another instance said last.

use super::{Manager, Slot};
use crate::app::noted;
use crate::dead_letter;
use crate::redact;
use crate::routes::control::write_status;
use crate::status::{Report, View, view};
use crate::store::consumers::Row;
use crate::store::instances::Place;
use serde_json::{Value, json};
use sluice_model::consumer::{Consumer, ConsumerStatus, Processor};
use sluice_service::sqlite::StoreError;
use std::time::Duration;

/// Time that another instance gets to act on a change before its last word is shown.
const OWNER_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at what it says.
const OWNER_LOOK: Duration = Duration::from_millis(250);

impl Manager {
    /// Writes down how far a consumer read topics that may not be read any more.
    pub(super) async fn note_drained(&self, slot: &Slot, id: &str, hold: Option<String>) {
        let positions = slot.state().last.positions.clone();
        let offsets: Vec<Value> = positions
            .into_iter()
            .map(|((topic, partition), offset)| {
                json!({"topic": topic, "partition": partition, "offset": offset})
            })
            .collect();
        let after = json!({"reason": hold, "offsets": offsets});
        let noted = self.parts.store.note(id, noted("drained", "sluice"), after);
        if let Err(error) = noted.await {
            tracing::warn!(consumer.id = id, error = %error, "the final offsets are not in the audit");
        }
    }

    /// A consumer as it is shown.
    pub fn present(&self, row: &Row) -> Consumer {
        let (view, _) = self.look(row);
        let instance = self.owns(&row.id).then(|| self.sharing()?.id()).flatten();
        self.show(row, view, instance)
    }

    /// How a consumer of this instance is doing.
    pub fn status(&self, row: &Row) -> ConsumerStatus {
        let (view, report) = self.look(row);
        write_status(row, view, report)
    }

    /// What is said about a consumer, and what its worker reports.
    pub fn look(&self, row: &Row) -> (View, Report) {
        let slot = self.slots().get(&row.id).cloned().unwrap_or_default();
        let state = slot.state();
        let report = match &state.running {
            Some(running) => running.worker.link.report().clone(),
            None => state.last.clone(),
        };
        (view(row.desired, state.hold.as_deref(), &report), report)
    }

    /// Some consumers as they are shown, wherever they run.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn present_all(
        &self,
        rows: &[Row],
    ) -> Result<Vec<(Consumer, ConsumerStatus)>, StoreError> {
        let away: Vec<String> = rows
            .iter()
            .filter(|row| !self.owns(&row.id))
            .map(|row| row.id.clone())
            .collect();
        let places = self.parts.store.places(&away).await?;
        let shown = rows.iter().map(|row| match places.get(&row.id) {
            Some(place) => self.told_of(row, place),
            None => (self.present(row), self.status(row)),
        });
        Ok(shown.collect())
    }

    /// A consumer after a change, as it is shown: when another instance runs it, that one gets a moment to
    /// act on it.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn shown(&self, row: &Row) -> Result<Consumer, StoreError> {
        let until = tokio::time::Instant::now() + OWNER_WAIT;
        while let Some(place) = self.elsewhere(&row.id).await? {
            if place.applied >= row.generation || tokio::time::Instant::now() >= until {
                return Ok(self.told_of(row, &place).0);
            }
            tokio::time::sleep(OWNER_LOOK).await;
        }
        Ok(self.present(row))
    }

    /// What the instance that runs a consumer said about it.
    fn told_of(&self, row: &Row, place: &Place) -> (Consumer, ConsumerStatus) {
        let told = place.report.as_deref();
        let told = told.and_then(|text| serde_json::from_str::<ConsumerStatus>(text).ok());
        let mut status = told.unwrap_or_else(|| ConsumerStatus {
            detail: "another instance has just taken it".to_owned(),
            ..self.status(row)
        });
        if status.generation < row.generation {
            let late = "the instance that runs it has not acted on the last change yet";
            late.clone_into(&mut status.detail);
        }
        status.desired = row.desired;
        status.generation = row.generation;
        let view = View {
            status: status.status,
            detail: status.detail.clone(),
            observed: status.observed,
            ..self.look(row).0
        };
        (self.show(row, view, Some(place.instance.clone())), status)
    }

    fn show(&self, row: &Row, view: View, instance: Option<String>) -> Consumer {
        Consumer {
            id: row.id.clone(),
            status: view.status,
            desired: row.desired,
            detail: view.detail,
            generation: row.generation,
            broker_ip: row.broker_ip.clone(),
            broker_port: row.broker_port,
            cluster: row.cluster.clone(),
            topic: row.topics.first().cloned().unwrap_or_default(),
            topics: row.topics.clone(),
            consumer_group: row.consumer_group.clone(),
            client_id: row.client_id.clone(),
            auto_start: row.auto_start,
            owner: row.owner.clone(),
            instance,
            downstream_processors: shown(&row.processors),
            policies: row.policies.clone(),
            dead_letters: dead_letter::standings(&row.topics, &self.parts.catalogue.now()),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Processors without the secrets in their configurations.
fn shown(processors: &[Processor]) -> Vec<Processor> {
    let show = |processor: &Processor| Processor {
        config: redact::config(&processor.config),
        ..processor.clone()
    };
    processors.iter().map(show).collect()
}
