//! Asking for dead-letter topics: they are governed like every other one.

use super::topic_of;
use crate::catalogue::{Catalogue, Snapshot};
use sluice_admin_client::{Client, call};
use sluice_model::consumer::DeadLetterTopic;
use sluice_model::lifecycle::State;
use sluice_model::topic::NewTopic;
use sluice_service::secret::Secret;
use std::path::PathBuf;

/// Files requests with this service's own token.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The admin API.
    pub client: Client,
    /// The file with the token (its account needs the role producer).
    pub token_file: PathBuf,
    /// What is there already.
    pub catalogue: Catalogue,
}

/// Whether a topic in a state should be asked for: never against a human's no.
fn lacks(status: Option<State>) -> bool {
    matches!(
        status,
        None | Some(State::Withdrawn | State::Expired | State::Deleted)
    )
}

/// The dead-letter topics of topics, as they stand.
pub fn standings(topics: &[String], snapshot: &Snapshot) -> Vec<DeadLetterTopic> {
    let names = topics.iter().filter_map(|topic| topic_of(topic));
    names
        .map(|topic_name| DeadLetterTopic {
            status: snapshot.state(&topic_name),
            topic_name,
        })
        .collect()
}

impl Requests {
    /// Asks for the dead-letter topics that nobody has asked for. A refusal is told and changes nothing:
    /// dead letters go to the file then. True: something was asked for.
    pub async fn file(&self, topics: &[String], consumer_id: &str, account: &str) -> bool {
        let mut asked = false;
        for standing in standings(topics, &self.catalogue.now()) {
            if !lacks(standing.status) {
                continue;
            }
            let topic = standing.topic_name;
            match self.ask(&topic, consumer_id, account).await {
                Ok(()) => {
                    asked = true;
                    tracing::info!(
                        consumer.id = consumer_id,
                        topic,
                        "dead-letter topic asked for"
                    );
                }
                Err(reason) => {
                    metrics::counter!("consumer_dead_letter_requests_failed_total").increment(1);
                    tracing::warn!(
                        consumer.id = consumer_id,
                        topic,
                        reason,
                        "the dead-letter topic is not asked for; dead letters go to the file"
                    );
                }
            }
        }
        asked
    }

    async fn ask(&self, topic: &str, consumer_id: &str, account: &str) -> Result<(), String> {
        let token = Secret::from_file(&self.token_file).map_err(|error| error.to_string())?;
        let wanted = NewTopic {
            name: topic.to_owned(),
            created_by: Some(account.to_owned()),
            description: Some(format!("Dead letters of consumer {consumer_id}")),
            ..NewTopic::default()
        };
        match self
            .client
            .send(token.expose(), call::request_topic(&wanted))
            .await
        {
            Ok(_) => Ok(()),
            // Somebody was quicker: it is asked for.
            Err(error) if error.status() == Some(409) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_not_asked_for_again() {
        for (state, asked) in [
            (None, true),
            (Some(State::Pending), false),
            (Some(State::Approved), false),
            (Some(State::Active), false),
            (Some(State::Inactive), false),
            (Some(State::Rejected), false),
            (Some(State::Withdrawn), true),
            (Some(State::Expired), true),
            (Some(State::Deleted), true),
        ] {
            assert_eq!(lacks(state), asked, "{state:?}");
        }
    }
}
