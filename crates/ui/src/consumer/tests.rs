use super::*;
use crate::form::ConsumerForm;
use crate::page::{Service, Viewer};
use crate::tests::{assert_page, nasty};
use sluice_model::access::Role;
use sluice_model::consumer::{
    Consumer, ConsumerError, ConsumerStatus, Desired, FailureClass, Lag, Observed, PartitionLag,
    Processor, ProcessorStatus, Status,
};
use sluice_model::problem::{Code, Problem, field};
use sluice_model::subscription::{Subscription, SubscriptionStatus};
use sluice_model::topic::ActiveTopic;

fn viewer(roles: &[Role]) -> Viewer {
    Viewer {
        service: Service::Consumer,
        ..crate::admin::tests::viewer(roles)
    }
}

const NOW: sluice_model::time::Timestamp = crate::admin::tests::NOW;

fn active(name: &str) -> ActiveTopic {
    ActiveTopic {
        topic_id: 1,
        topic_name: name.to_owned(),
        description: nasty().to_owned(),
        partitions: 3,
        activated_at: Some(NOW),
    }
}

fn sample_consumer() -> (Consumer, ConsumerStatus) {
    let processor = Processor {
        id: "p".to_owned(),
        processor_type: nasty().to_owned(),
        config: serde_json::Map::from_iter([("file_path".to_owned(), nasty().into())]),
        created_at: NOW,
        updated_at: NOW,
    };
    let consumer = Consumer {
        id: "018f".to_owned(),
        status: Status::Error,
        desired: Desired::Running,
        detail: nasty().to_owned(),
        generation: 1,
        broker_ip: "b".to_owned(),
        broker_port: 9092,
        cluster: nasty().to_owned(),
        topic: nasty().to_owned(),
        topics: vec![nasty().to_owned()],
        consumer_group: nasty().to_owned(),
        client_id: None,
        auto_start: true,
        owner: "ana".to_owned(),
        instance: None,
        downstream_processors: vec![processor],
        policies: sluice_model::consumer::Policies::default(),
        dead_letters: Vec::new(),
        created_at: NOW,
        updated_at: NOW,
    };
    let status = ConsumerStatus {
        id: "018f".to_owned(),
        status: Status::Error,
        desired: Desired::Running,
        observed: Observed::Retrying,
        reason: nasty().to_owned(),
        observed_generation: 3,
        detail: nasty().to_owned(),
        generation: 1,
        since: NOW,
        next_retry_at: Some(NOW.plus_millis(5000)),
        attempts: 2,
        records: 12,
        bytes: 3456,
        records_per_second: 0.5,
        bytes_per_second: 100.5,
        bottleneck: nasty().to_owned(),
        partitions: 2,
        dead_letters: 1,
        lag: None,
        processors: vec![ProcessorStatus {
            processor_type: nasty().to_owned(),
            records: 1,
            failures: 2,
            last_batch_ms: 3.25,
            ..ProcessorStatus::default()
        }],
        errors: vec![ConsumerError {
            at: NOW,
            stage: nasty().to_owned(),
            class: FailureClass::Poison,
            gap: None,
            message: nasty().to_owned(),
        }],
    };
    (consumer, status)
}

#[test]
fn the_catalogue_renders_full_filtered_empty_and_in_trouble() {
    let topics = [active("orders"), active(nasty())];
    let mine = [Subscription {
        subscription_id: 1,
        user_id: "ana".to_owned(),
        topic_name: "gone".to_owned(),
        status: SubscriptionStatus::Inactive,
        subscribed_at: NOW,
    }];
    let viewer = viewer(&[Role::Consumer]);
    for (topics, q, trouble) in [
        (&topics[..], "", None),
        (&topics[..], "zzz", None),
        (&[], "", None),
        (&[], "", Some(nasty())),
    ] {
        let data = Catalogue {
            topics,
            mine: &mine,
            q,
            trouble,
            governance: Some("here"),
        };
        let page = catalogue(&viewer, &data);
        assert_page(&page);
        assert!(page.contains("Subscriptions that rest"));
    }
}

#[test]
fn the_live_page_follows_topics_or_says_what_to_do() {
    let viewer = viewer(&[Role::Consumer]);
    let names = [nasty().to_owned()];
    for (topics, subscriptions) in [(&names[..], 0), (&[], 2), (&[], 0)] {
        let stream = "/ui/stream?topics=a";
        let data = Live {
            active: &names,
            topics,
            from: "earliest",
            stream,
            subscriptions,
        };
        let page = live(&viewer, &data);
        assert_page(&page);
        let nothing = topics.is_empty() && subscriptions == 0;
        assert_eq!(page.contains("Nothing to follow"), nothing);
        assert_eq!(
            page.contains("data-stream=\"/ui/stream?topics=a\""),
            !nothing
        );
    }
}

#[test]
fn consumers_render_with_every_kind_of_lag() {
    let viewer = viewer(&[Role::Consumer]);
    let (consumer_row, status) = sample_consumer();
    assert_page(&consumers(
        &viewer,
        &[(consumer_row.clone(), Some(status.clone()))],
    ));
    assert_page(&consumers(&viewer, &[]));
    let line = |committed, lag| PartitionLag {
        topic: nasty().to_owned(),
        partition: 0,
        position: None,
        committed,
        end: Some(10),
        lag,
        lag_seconds: Some(70),
    };
    let lags = Lag {
        total_lag: None,
        partitions: vec![line(None, None), line(Some(10), Some(0))],
    };
    for (lag, words) in [
        (Ok(&lags), "none committed"),
        (Err("the broker is away"), "the broker is away"),
    ] {
        let page = consumer(
            &viewer,
            &ConsumerPage {
                consumer: &consumer_row,
                status: &status,
                lag,
            },
        );
        assert_page(&page);
        assert!(page.contains(words));
    }
}

#[test]
fn a_new_consumer_keeps_what_was_typed() {
    let form = ConsumerForm {
        topics: nasty().to_owned(),
        ..ConsumerForm::default()
    };
    let problem = Problem::from_errors(
        Code::PathOutsideRoot,
        vec![field("/downstream_processors/0/config/file_path", nasty())],
    );
    let names = [nasty().to_owned()];
    for problem in [None, Some(&problem)] {
        let data = NewConsumer {
            form: &form,
            topics: &names,
            clusters: &names,
            problem,
        };
        let page = new_consumer(&viewer(&[Role::Viewer]), &data);
        assert_page(&page);
        assert_eq!(
            page.contains("One thing has to be corrected"),
            problem.is_some()
        );
    }
}
