//! Kafka, as the reconciler needs it: look, create, compare, delete.

use super::plan::{Cluster, Seen};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use sluice_model::topic::Topic;
use sluice_service::kafka::admin::{self, CallError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest look at metadata. It blocks a thread, and a stop of the service waits for that thread.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Topics that one describe call names.
const DESCRIBE_MAX: usize = 1000;

/// The configs that were set on topics, by topic.
pub type SetConfigs = BTreeMap<String, BTreeMap<String, String>>;

/// The governed cluster.
#[derive(Clone)]
pub struct Kafka {
    admin: Arc<AdminClient<DefaultClientContext>>,
    timeout: Duration,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why Kafka did not do something.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No broker answered in time.
    #[error("Kafka does not answer: {0}")]
    Unreachable(KafkaError),
    /// A broker said no.
    #[error("Kafka refuses: {0}")]
    Refused(RDKafkaErrorCode),
    /// A broker said no, and why.
    #[error("Kafka refuses: {0}")]
    Denied(String),
}

impl From<CallError> for ClusterError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unanswered(_) => {
                Self::Unreachable(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))
            }
            CallError::Refused(why) => Self::Denied(why),
        }
    }
}

impl From<KafkaError> for ClusterError {
    fn from(error: KafkaError) -> Self {
        Self::Unreachable(error)
    }
}

impl Kafka {
    /// A client of the cluster; connects in the background.
    ///
    /// # Errors
    /// When librdkafka refuses the settings.
    pub fn new(admin: AdminClient<DefaultClientContext>, timeout: Duration) -> Self {
        Self {
            admin: Arc::new(admin),
            timeout,
        }
    }

    /// For one call.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }

    /// The whole cluster, or one topic of it.
    ///
    /// # Errors
    /// When no broker answers in time.
    pub async fn look(&self, topic: Option<String>) -> Result<Cluster, ClusterError> {
        let admin = Arc::clone(&self.admin);
        let timeout = self.timeout.min(LOOK_MAX);
        let fetch = move || admin.inner().fetch_metadata(topic.as_deref(), timeout);
        let fetched = tokio::task::spawn_blocking(fetch).await;
        let metadata = fetched.unwrap_or(Err(KafkaError::Canceled))?;
        Ok(cluster(&metadata))
    }

    /// Creates topics as they were asked for; one answer each. "Exists already" is no error here: a
    /// confirmation compares what is there.
    ///
    /// # Errors
    /// When no broker answers in time.
    pub async fn create(
        &self,
        topics: &[Topic],
    ) -> Result<Vec<Result<(), ClusterError>>, ClusterError> {
        let new = topics.iter().map(|topic| {
            let replication = TopicReplication::Fixed(i32::from(topic.replication_factor));
            let new = NewTopic::new(&topic.topic_name, topic.partitions, replication);
            topic
                .configs
                .iter()
                .fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<_> = new.collect();
        let outcomes = self.admin.create_topics(&new, &self.options()).await?;
        let outcome = |outcome: Result<String, (String, RDKafkaErrorCode)>| match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Err((_, code)) => Err(refusal(code)),
        };
        Ok(outcomes.into_iter().map(outcome).collect())
    }

    /// Deletes a topic; one that is not there counts as deleted.
    ///
    /// # Errors
    /// When no broker answers in time, or one says no.
    pub async fn delete(&self, name: &str) -> Result<(), ClusterError> {
        let outcomes = self.admin.delete_topics(&[name], &self.options()).await?;
        for outcome in outcomes {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((_, code)) => return Err(refusal(code)),
            }
        }
        Ok(())
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// When no broker answers in time, or one says no.
    pub async fn grow(&self, name: &str, partitions: usize) -> Result<(), ClusterError> {
        let new = NewPartitions::new(name, partitions);
        let outcomes = self
            .admin
            .create_partitions([&new], &self.options())
            .await?;
        for outcome in outcomes {
            outcome.map_err(|(_, code)| refusal(code))?;
        }
        Ok(())
    }

    /// Sets configs of a topic, or takes them back to the default.
    ///
    /// # Errors
    /// When no broker answers in time, or one says no.
    pub async fn alter(
        &self,
        name: String,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<(), ClusterError> {
        let limit = self.timeout;
        let call = move |client: &_| admin::alter_topic_configs(client, &name, &changes, limit);
        self.blocking(call).await
    }

    /// Kafka's ids of those topics that exist, by name.
    ///
    /// # Errors
    /// When no broker answers in time, or one says no.
    pub async fn ids(&self, names: &[String]) -> Result<BTreeMap<String, String>, ClusterError> {
        let mut ids = BTreeMap::new();
        for chunk in names.chunks(DESCRIBE_MAX) {
            let (chunk, limit) = (chunk.to_vec(), self.timeout);
            let call = move |client: &_| {
                let names: Vec<&str> = chunk.iter().map(String::as_str).collect();
                admin::topic_ids(client, &names, limit)
            };
            ids.extend(self.blocking(call).await?);
        }
        Ok(ids)
    }

    /// Runs a call that blocks on a thread for such calls.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client<DefaultClientContext>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, ClusterError> {
        let admin = Arc::clone(&self.admin);
        let called = tokio::task::spawn_blocking(move || call(admin.inner())).await;
        let gone = |_| Err(CallError::Unanswered("cancelled".to_owned()));
        Ok(called.unwrap_or_else(gone)?)
    }

    /// The configs that were set on topics; topics that do not exist are left out.
    ///
    /// # Errors
    /// When no broker answers in time.
    pub async fn set_configs(&self, names: &[String]) -> Result<SetConfigs, ClusterError> {
        let mut found = SetConfigs::new();
        for chunk in names.chunks(DESCRIBE_MAX) {
            let of: Vec<_> = chunk
                .iter()
                .map(|name| ResourceSpecifier::Topic(name))
                .collect();
            let resources = self.admin.describe_configs(&of, &self.options()).await?;
            for (name, resource) in chunk.iter().zip(resources) {
                let Ok(resource) = resource else { continue };
                let entries = resource.entries.into_iter();
                let set = entries.filter(|e| matches!(e.source, ConfigSource::DynamicTopic));
                let pairs = set.filter_map(|e| Some((e.name, e.value?)));
                found.insert(name.clone(), pairs.collect());
            }
        }
        Ok(found)
    }

    /// The configs of a topic, or those of a broker.
    ///
    /// # Errors
    /// When no broker answers in time, or one says no.
    pub async fn configs(
        &self,
        of: ResourceSpecifier<'_>,
    ) -> Result<BTreeMap<String, String>, ClusterError> {
        let resources = self.admin.describe_configs([&of], &self.options()).await?;
        let mut configs = BTreeMap::new();
        for resource in resources {
            let resource = resource.map_err(refusal)?;
            configs.extend(
                resource
                    .entries
                    .into_iter()
                    .filter_map(|e| Some((e.name, e.value?))),
            );
        }
        Ok(configs)
    }
}

/// Answers that come from a client that has no broker count as "does not answer".
fn refusal(code: RDKafkaErrorCode) -> ClusterError {
    match code {
        RDKafkaErrorCode::RequestTimedOut
        | RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::AllBrokersDown => ClusterError::Unreachable(KafkaError::AdminOp(code)),
        code => ClusterError::Refused(code),
    }
}

fn cluster(metadata: &Metadata) -> Cluster {
    let topics = metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none())
        .map(|topic| {
            let partitions = topic.partitions();
            let seen = Seen {
                partitions: partitions.len(),
                replicas: partitions
                    .iter()
                    .map(|p| p.replicas().len())
                    .min()
                    .unwrap_or(0),
                led: !partitions.is_empty() && partitions.iter().all(|p| p.leader() >= 0),
            };
            (topic.name().to_owned(), seen)
        });
    Cluster {
        brokers: metadata
            .brokers()
            .iter()
            .map(rdkafka::metadata::MetadataBroker::id)
            .collect(),
        topics: topics.collect(),
    }
}
