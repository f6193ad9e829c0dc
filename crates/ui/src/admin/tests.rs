use super::*;
use crate::bits::Badge;
use crate::form::TopicForm;
use crate::page::{Service, Trouble, Viewer};
use crate::tests::{assert_page, nasty};
use sluice_model::access::{Actor, Role};
use sluice_model::audit::{AuditRow, Source};
use sluice_model::lifecycle::{STATES, State};
use sluice_model::policy::{Broken, Otherwise, Policy, Range, Trial};
use sluice_model::problem::{Code, Problem, field};
use sluice_model::producer::{Heartbeat, HeldTopic};
use sluice_model::request::{Asked, Kind, Request, RequestStatus};
use sluice_model::subscription::{Subscription, SubscriptionStatus};
use sluice_model::time::Timestamp;
use sluice_model::topic::{OnStop, Stats, Topic, TopicSpec};
use sluice_model::usage::{Evidence, Fence, GroupUse, Usage, beside};
use std::collections::BTreeMap;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_763_730_000_000);

pub(crate) fn viewer(roles: &[Role]) -> Viewer {
    Viewer {
        service: Service::Admin,
        actor: Actor {
            account: "ana".to_owned(),
            roles: roles.to_vec(),
            scopes: Vec::new(),
            teams: Vec::new(),
            expires_at: None,
        },
        troubles: vec![Trouble {
            name: "kafka".to_owned(),
            reason: nasty().to_owned(),
        }],
        pending: 3,
        now: NOW,
        notice: crate::page::notice("approve"),
    }
}

pub(crate) fn sample_topic(name: &str) -> Topic {
    Topic {
        topic_id: 7,
        topic_name: name.to_owned(),
        status: State::Pending,
        partitions: 3,
        replication_factor: 1,
        configs: [("retention.ms".to_owned(), nasty().to_owned())].into(),
        created_by: nasty().to_owned(),
        requested_by: "sam".to_owned(),
        owner: Some(nasty().to_owned()),
        description: nasty().to_owned(),
        on_stop: OnStop::Hold,
        created_at: NOW.plus_millis(-8_000_000),
        approved_at: Some(NOW),
        activated_at: None,
        deactivated_at: None,
        ended_at: None,
        reason: Some(nasty().to_owned()),
        purge_after: None,
        purge_started_at: None,
        change_request_id: None,
        kafka_id: None,
        never_delete: false,
        version: 2,
        attempts: 3,
        next_attempt_at: Some(NOW.plus_millis(30_000)),
        last_problem: Some(nasty().to_owned()),
    }
}

pub(super) fn sample_request(kind: Kind, by: &str) -> Request {
    Request {
        request_id: 4,
        kind,
        status: RequestStatus::Pending,
        topic_id: 7,
        topic_name: nasty().to_owned(),
        requested_by: by.to_owned(),
        base: None,
        spec: TopicSpec {
            partitions: 3,
            replication_factor: 1,
            configs: [("a".to_owned(), nasty().to_owned())].into(),
        },
        reason: Some(nasty().to_owned()),
        created_at: NOW,
        decided_at: None,
        decided_by: None,
        approvals_needed: 1,
        different_teams: false,
        approver_teams: Vec::new(),
        asked: Asked::default(),
        amended: None,
        subscribe: Vec::new(),
        reminded_at: None,
        approved_by: Vec::new(),
        decision_reason: Some(nasty().to_owned()),
        version: 5,
    }
}

fn sample_producers(topic: &str) -> Vec<ProducerSeen> {
    let held = HeldTopic {
        topic_name: topic.to_owned(),
        held_records: 1204,
        held_bytes: 38_000_000,
        oldest_held_ms: 7_860_000,
        in_flight: 1,
        records_per_s: 3,
    };
    let heartbeat = Heartbeat {
        instance: nasty().to_owned(),
        revision: "a-1".to_owned(),
        topics: vec![held],
    };
    vec![ProducerSeen {
        heartbeat,
        account: "p".to_owned(),
        seen_at: NOW,
    }]
}

fn sample_audit() -> Vec<AuditRow> {
    vec![AuditRow {
        seq: 1,
        at: NOW,
        action: "approve".to_owned(),
        kind: Some("create".to_owned()),
        topic_id: Some(7),
        topic_name: Some(nasty().to_owned()),
        requested_by: Some(nasty().to_owned()),
        actor: nasty().to_owned(),
        reason: Some(nasty().to_owned()),
        before: None,
        after: None,
        request_id: Some(4),
        on_behalf_of: Some(nasty().to_owned()),
        source: Some(Source {
            interface: "api".to_owned(),
            address: Some(nasty().to_owned()),
            ..Source::default()
        }),
    }]
}

fn sample_usage() -> Usage {
    Usage {
        groups: vec![GroupUse {
            group: nasty().to_owned(),
            members: 1,
            lag: Some(3),
            ..GroupUse::default()
        }],
        ..Usage::default()
    }
}

fn sample_fence() -> Fence {
    let producers = beside(
        &sample_producers(nasty()),
        nasty(),
        Some(1),
        |_| Some(2),
        NOW,
    );
    Fence {
        topic_id: 7,
        topic_name: nasty().to_owned(),
        fenced: false,
        since: Some(NOW),
        revision: Some("a-1".to_owned()),
        summary: nasty().to_owned(),
        producers,
        usage: Some(sample_usage()),
    }
}

pub(super) fn sample_evidence() -> BTreeMap<i64, Evidence> {
    let found = Evidence {
        usage: sample_usage(),
        bytes: Some(7),
        producers: [(nasty().to_owned(), NOW)].into(),
        in_use: vec![nasty().to_owned()],
        ..Evidence::default()
    };
    (0..10).map(|request| (request, found.clone())).collect()
}

pub(super) fn sample_policy() -> Policy {
    let range = Range {
        min: 1,
        max: 8,
        default: 2,
    };
    Policy {
        name_pattern: nasty().to_owned(),
        partitions: range,
        replication_factor: range,
        configs: vec!["retention.ms".to_owned()],
        require_owner: true,
        allow_self_approval: false,
        open_requests_per_account: 5,
        approvals: Vec::new(),
        name_parts: Vec::new(),
        name_separator: ".".to_owned(),
        config_bounds: Vec::new(),
        require_description: false,
        owner_is_own_team: false,
        environment: String::new(),
        environments: Vec::new(),
        budgets: Vec::new(),
        auto_approvals_per_hour: None,
    }
}

#[test]
fn the_overview_says_what_needs_attention_or_how_to_begin() {
    let viewer = viewer(&[Role::Admin]);
    let (pending, troubled) = (
        [sample_request(Kind::Create, "sam")],
        [sample_topic(nasty())],
    );
    let (producers, recent) = (sample_producers(nasty()), sample_audit());
    let stats = Stats {
        total_topics: 3,
        pending_requests: 1,
        ..Stats::default()
    };
    let data = Overview {
        stats: &stats,
        pending: &pending,
        troubled: &troubled,
        producers: &producers,
        recent: &recent,
        deletions: sample_deletions(true),
    };
    let page = overview(&viewer, &data);
    assert_page(&page);
    assert!(page.contains(
        "1 producer holds 1\u{202f}204 records (38.0\u{202f}MB), the oldest for 2 h 11 min"
    ));
    let none = Stats::default();
    let data = Overview {
        stats: &none,
        pending: &[],
        troubled: &[],
        producers: &[],
        recent: &[],
        deletions: sample_deletions(false),
    };
    let page = overview(&viewer, &data);
    assert_page(&page);
    assert!(page.contains("First steps"));
}

fn sample_deletions(enabled: bool) -> Deletions<'static> {
    Deletions {
        enabled,
        configured: true,
        by: Some(nasty()),
        at: Some(NOW),
        reason: Some(nasty()),
    }
}

#[test]
fn lists_render_full_and_empty() {
    let viewer = viewer(&[Role::Admin]);
    let list = [sample_topic(nasty())];
    for (rows, status, q) in [(&list[..], "", ""), (&[], "", ""), (&[], "active", nasty())] {
        let page = topics(
            &viewer,
            &Topics {
                topics: rows,
                status,
                q,
                next: Some(nasty()),
            },
        );
        assert_page(&page);
    }
    let rows = sample_audit();
    assert_page(&audit(
        &viewer,
        &Audit {
            rows: &rows,
            next: Some("b1"),
            query: "&q=a",
            wanted: AuditWanted {
                q: nasty().to_owned(),
                ..AuditWanted::default()
            },
        },
    ));
    assert_page(&audit(
        &viewer,
        &Audit {
            rows: &[],
            next: None,
            query: "",
            wanted: AuditWanted::default(),
        },
    ));
    assert_page(&producers(&viewer, &sample_producers(nasty())));
    assert_page(&producers(&viewer, &[]));
    let mine = [Subscription {
        subscription_id: 1,
        user_id: nasty().to_owned(),
        topic_name: nasty().to_owned(),
        status: SubscriptionStatus::Active,
        subscribed_at: NOW,
    }];
    let problem = Problem::invalid("/topic_name", nasty());
    for (rows, problem) in [(&mine[..], None), (&[], Some(&problem))] {
        let topics = [nasty().to_owned()];
        assert_page(&subscriptions(
            &viewer,
            &Subscriptions {
                subscriptions: rows,
                topics: &topics,
                user: "",
                topic_name: nasty(),
                problem,
            },
        ));
    }
}

#[test]
fn a_topic_renders_in_every_state() {
    let viewer = viewer(&[Role::Admin]);
    for state in STATES {
        let topic_row = Topic {
            status: state,
            ..sample_topic(nasty())
        };
        let (rows, producers) = (sample_audit(), sample_producers(nasty()));
        let request = sample_request(Kind::Delete, "ana");
        let fence = sample_fence();
        let data = TopicPage {
            topic: &topic_row,
            audit: &rows,
            producers: &producers,
            request: Some(&request),
            fence: Some(&fence),
        };
        let page = topic(&viewer, &data);
        assert_page(&page);
        assert!(page.contains(Badge::from(state).word));
    }
}

#[test]
fn who_asked_is_told_that_somebody_else_decides() {
    let viewer = viewer(&[Role::Approver]);
    let (own, other) = (
        [sample_request(Kind::Create, "ana")],
        [sample_request(Kind::Delete, "sam")],
    );
    let evidence = sample_evidence();
    let policy = sample_policy();
    let around = [(4, Surroundings::default())].into();
    let data = |requests, tab| Inbox {
        tab,
        requests,
        producers: &[],
        evidence: &evidence,
        policy: &policy,
        around: &around,
        next: Some("b4"),
    };
    let page = inbox(&viewer, &data(&own, Tab::Pending));
    assert_page(&page);
    assert!(!page.contains("/ui/requests/4/approve") && page.contains("/ui/requests/4/withdraw"));
    let page = inbox(&viewer, &data(&other, Tab::Pending));
    assert_page(&page);
    assert!(
        page.contains("/ui/requests/4/approve") && page.contains("name=\"version\" value=\"5\"")
    );
    for tab in [Tab::Pending, Tab::Decided, Tab::Mine] {
        assert_page(&inbox(&viewer, &data(&[], tab)));
    }
    assert_page(&inbox(&viewer, &data(&other, Tab::Decided)));
}

#[test]
fn the_policy_shows_what_counts_and_what_a_version_would_say() {
    let finding = field("/name", nasty());
    let trial = Trial {
        verdict: Some("refuse".to_owned()),
        findings: vec![finding.clone()],
        broken: vec![Broken {
            topic_name: nasty().to_owned(),
            findings: vec![finding.clone()],
        }],
        requests: vec![Otherwise {
            request_id: 4,
            topic_name: nasty().to_owned(),
            status: RequestStatus::Approved,
            was: "one".to_owned(),
            would_be: "refuse".to_owned(),
            findings: vec![finding],
        }],
        ..Trial::default()
    };
    let stale = Problem::new(Code::StaleVersion, nasty());
    let rules = sample_policy();
    let typed = PolicyForm {
        document: nasty().to_owned(),
        topic: TopicForm {
            name: nasty().to_owned(),
            ..TopicForm::default()
        },
        ..PolicyForm::default()
    };
    let untouched = PolicyForm::new(&rules, 3);
    let page = |role, form, trial, problem| {
        let data = PolicyPage {
            policy: &rules,
            version: 3,
            form,
            trial,
            problem,
        };
        let page = policy(&viewer(&[role]), &data);
        assert_page(&page);
        page
    };
    let shown = page(Role::Viewer, &untouched, None, None);
    assert!(!shown.contains("formaction") && shown.contains("Version 3 counts"));
    let tried = page(Role::Admin, &typed, Some(&trial), None);
    assert!(tried.contains("refused") && tried.contains("formaction=\"/ui/policy\""));
    let late = page(Role::Admin, &typed, None, Some(&stale));
    assert!(late.contains("The version that counts now"));
    assert!(page(Role::Admin, &typed, Some(&Trial::default()), None).contains("treated the same"));
}

#[test]
fn faults_stand_at_their_fields_and_what_was_typed_stays() {
    let viewer = viewer(&[Role::Viewer]);
    let form = TopicForm {
        name: nasty().to_owned(),
        configs: nasty().to_owned(),
        ..TopicForm::default()
    };
    let problem = Problem::from_errors(
        Code::Invalid,
        vec![
            field("/name", "is \"bad\""),
            field("/configs/x", "no <b>"),
            field("/what", "?"),
        ],
    );
    let page = request(&viewer, &form, &sample_policy(), Some(&problem));
    assert_page(&page);
    assert!(page.contains("3 things have to be corrected"));
    assert!(page.contains("<code>/what</code> ?"));
    let problem = Problem::new(Code::Duplicate, nasty());
    assert_page(&request(&viewer, &form, &sample_policy(), Some(&problem)));
}
