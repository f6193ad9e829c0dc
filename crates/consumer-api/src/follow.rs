//! The task that follows the admin API: topics by long poll on `/api/routes`, subscriptions by long poll
//! on `/api/changes`. A failed or missing answer changes nothing.

use crate::catalogue::{Catalogue, Snapshot};
use crate::store::Store;
use sluice_admin_client::{Client, Error, call};
use sluice_model::topic::Routes;
use sluice_service::backoff;
use sluice_service::health::Health;
use sluice_service::secret::Secret;
use sluice_service::shutdown::Shutdown;
use std::path::PathBuf;
use std::time::Duration;

/// Time that one long poll waits.
const WAIT: Duration = Duration::from_secs(30);
/// Delays after a failure.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The name of the dependency in the readiness probe.
const NAME: &str = "admin-api";

/// What the task needs.
#[derive(Clone, Debug)]
pub struct Follower {
    /// The admin API.
    pub client: Client,
    /// The file with this service's own token.
    pub token_file: PathBuf,
    /// Where the answers go.
    pub catalogue: Catalogue,
    /// Where the last answer survives a restart.
    pub store: Store,
    /// Who is told when the admin API is down.
    pub health: Health,
}

impl Follower {
    /// Reads what was known before the restart.
    pub async fn recall(&self) {
        match self.store.load_catalogue().await {
            Ok(Some(body)) => match serde_json::from_str::<Snapshot>(&body) {
                Ok(snapshot) => self.catalogue.put(snapshot),
                Err(error) => {
                    tracing::warn!(error = %error, "the remembered catalogue is not readable");
                }
            },
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %error, "the remembered catalogue is not readable");
            }
        }
    }

    /// Follows until the stop.
    pub async fn run(self, shutdown: Shutdown) {
        let follow = async { tokio::join!(self.follow_topics(), self.follow_changes()) };
        tokio::select! {
            () = shutdown.wait() => {}
            _never = follow => {}
        }
    }

    fn token(&self) -> Result<Secret, String> {
        Secret::from_file(&self.token_file).map_err(|error| format!("its own token: {error}"))
    }

    /// Asks for the topics now, without waiting for a change.
    ///
    /// # Errors
    /// When the admin API does not answer.
    pub async fn refresh(&self) -> Result<(), String> {
        let token = self.token()?;
        let asked = self
            .client
            .send(token.expose(), call::routes(None, Duration::ZERO))
            .await;
        if let Some(routes) = asked.map_err(|error| error.to_string())? {
            self.take(&token, routes).await;
        }
        Ok(())
    }

    async fn follow_topics(&self) {
        let mut attempt = 0;
        let mut since: Option<String> = None;
        loop {
            match self.poll_topics(since.as_deref()).await {
                Ok(revision) => {
                    attempt = 0;
                    since = revision.or(since);
                    self.health.ok(NAME);
                }
                Err(reason) => {
                    attempt += 1;
                    self.health.degraded(NAME, reason);
                    tokio::time::sleep(backoff::delay(attempt, RETRY_MIN, RETRY_MAX)).await;
                }
            }
        }
    }

    async fn poll_topics(&self, since: Option<&str>) -> Result<Option<String>, String> {
        let token = self.token()?;
        let asked = self
            .client
            .send(token.expose(), call::routes(since, WAIT))
            .await;
        let Some(routes) = asked.map_err(|error| explain(&error))? else {
            return Ok(None);
        };
        let revision = routes.revision.clone();
        self.take(&token, routes).await;
        Ok(Some(revision))
    }

    async fn take(&self, token: &Secret, routes: Routes) {
        let active = match self.client.send(token.expose(), call::active()).await {
            Ok(active) => active,
            Err(_) => self.catalogue.now().active.clone(),
        };
        let topics = routes
            .topics
            .into_iter()
            .map(|route| (route.topic_name.clone(), route));
        let snapshot = Snapshot {
            revision: Some(routes.revision),
            topics: topics.collect(),
            active,
        };
        tracing::debug!(
            revision = snapshot.revision,
            topics = snapshot.topics.len(),
            "catalogue"
        );
        if let Ok(body) = serde_json::to_string(&snapshot)
            && let Err(error) = self.store.save_catalogue(body).await
        {
            tracing::warn!(error = %error, "the catalogue is not remembered");
        }
        self.catalogue.put(snapshot);
    }

    async fn follow_changes(&self) {
        let mut attempt = 0;
        let mut since: Option<String> = None;
        loop {
            match self.poll_changes(since.as_deref()).await {
                Ok(revision) => {
                    attempt = 0;
                    since = revision.or(since);
                }
                Err(reason) => {
                    // `follow_topics` says it in the readiness probe.
                    tracing::debug!(reason, "changes are not known");
                    attempt += 1;
                    since = None;
                    tokio::time::sleep(backoff::delay(attempt, RETRY_MIN, RETRY_MAX)).await;
                }
            }
        }
    }

    async fn poll_changes(&self, since: Option<&str>) -> Result<Option<String>, String> {
        let token = self.token()?;
        let asked = self
            .client
            .send(token.expose(), call::changes(since, WAIT))
            .await;
        let Some(changes) = asked.map_err(|error| explain(&error))? else {
            return Ok(None);
        };
        if changes.reset || since.is_none() {
            self.catalogue.touch(None);
        } else {
            for change in changes
                .changes
                .iter()
                .filter(|change| change.kind == "subscription")
            {
                self.catalogue.touch(change.user_id.as_deref());
            }
        }
        Ok(Some(changes.revision))
    }
}

fn explain(error: &Error) -> String {
    match error.status() {
        Some(401 | 403) => format!("it refuses this service's token: {error}"),
        _ => error.to_string(),
    }
}
