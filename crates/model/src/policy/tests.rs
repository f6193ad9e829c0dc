use super::*;
use crate::access::Actor;

fn policy() -> Policy {
    Policy {
        name_pattern: String::new(),
        partitions: Range {
            min: 1,
            max: 12,
            default: 3,
        },
        replication_factor: Range {
            min: 1,
            max: 3,
            default: 1,
        },
        configs: known_configs().into_iter().map(str::to_owned).collect(),
        require_owner: false,
        allow_self_approval: false,
        open_requests_per_account: 100,
        approvals: Vec::new(),
        name_parts: Vec::new(),
        name_separator: ".".to_owned(),
        config_bounds: Vec::new(),
        require_description: false,
        owner_is_own_team: false,
        environment: "prod".to_owned(),
        environments: Vec::new(),
        budgets: Vec::new(),
        auto_approvals_per_hour: None,
    }
}

fn asked(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        ..NewTopic::default()
    }
}

fn pointers(verdict: Verdict) -> Vec<String> {
    match verdict {
        Verdict::Refuse(faults) => faults.into_iter().map(|fault| fault.pointer).collect(),
        Verdict::Accept { .. } => Vec::new(),
    }
}

#[test]
fn defaults_are_filled_in() {
    let Verdict::Accept { spec, .. } = judge(&policy(), &asked("orders")) else {
        panic!("refused")
    };
    assert_eq!((spec.partitions, spec.replication_factor), (3, 1));
}

#[test]
fn every_broken_rule_is_listed() {
    let mut request = asked("bad name");
    request.partitions = Some(0);
    request.replication_factor = Some(99);
    request
        .configs
        .insert("retention.ms".into(), "banana".into());
    request.configs.insert("retention.msx".into(), "1".into());
    request.description = Some("x".repeat(1001));
    assert_eq!(
        pointers(judge(&policy(), &request)),
        [
            "/name",
            "/partitions",
            "/replication_factor",
            "/configs/retention.ms",
            "/configs/retention.msx",
            "/description"
        ]
    );
}

#[test]
fn rules_of_the_policy_bind() {
    let mut strict = policy();
    strict.name_pattern = "[a-z]+\\.[a-z]+".to_owned();
    strict.require_owner = true;
    strict.configs = vec!["retention.ms".to_owned()];
    let mut request = asked("Orders");
    request
        .configs
        .insert("cleanup.policy".into(), "compact".into());
    let found = pointers(judge(&strict, &request));
    assert_eq!(found, ["/name", "/configs/cleanup.policy", "/owner"]);
}

#[test]
fn a_change_grows_partitions_and_sets_or_takes_back_configs() {
    let current = TopicSpec {
        partitions: 3,
        replication_factor: 1,
        configs: [("retention.ms".to_owned(), "1000".to_owned())].into(),
    };
    let change = |partitions, configs: &[(&str, Option<&str>)]| TopicChange {
        partitions,
        configs: configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect(),
        reason: None,
    };
    let asked = change(
        Some(6),
        &[("retention.ms", None), ("segment.ms", Some("60"))],
    );
    let spec = judge_change(&policy(), &current, &asked).unwrap();
    assert_eq!(spec.partitions, 6);
    assert_eq!(
        spec.configs,
        [("segment.ms".to_owned(), "60".to_owned())].into()
    );
    for (asked, pointer) in [
        (change(Some(2), &[]), "/partitions"),
        (change(Some(99), &[]), "/partitions"),
        (change(None, &[("segment.ms", None)]), "/configs/segment.ms"),
        (
            change(None, &[("retention.ms", Some("x"))]),
            "/configs/retention.ms",
        ),
        (change(Some(3), &[]), ""),
    ] {
        let faults = judge_change(&policy(), &current, &asked).unwrap_err();
        assert_eq!(faults[0].pointer, pointer);
    }
}

#[test]
fn the_first_rule_that_fits_says_who_must_approve() {
    let mut policy = policy();
    let rule = |name_pattern: &str, partitions_max, kinds: &[Kind], approvals| ApprovalRule {
        name_pattern: name_pattern.to_owned(),
        partitions_max,
        kinds: kinds.to_vec(),
        approvals,
        approvers: Vec::new(),
        approver_teams: Vec::new(),
    };
    policy.approvals = vec![
        rule("prod\\..*", None, &[], Approvals::Two),
        rule("dev\\..*", Some(3), &[], Approvals::Auto),
    ];
    let spec = |partitions| TopicSpec {
        partitions,
        replication_factor: 1,
        configs: BTreeMap::new(),
    };
    for (kind, name, partitions, want) in [
        (Kind::Create, "prod.orders", 1, Approvals::Two),
        (Kind::Delete, "prod.orders", 1, Approvals::Two),
        (Kind::Create, "dev.orders", 3, Approvals::Auto),
        (Kind::Create, "dev.orders", 4, Approvals::One),
        (Kind::Delete, "dev.orders", 1, Approvals::One),
        (Kind::Change, "dev.orders", 1, Approvals::Auto),
        (Kind::Change, "other", 1, Approvals::One),
    ] {
        assert_eq!(
            policy.approvals(kind, name, &spec(partitions)),
            want,
            "{kind} {name}"
        );
    }
}

#[test]
fn a_policy_is_checked_itself() {
    let mut broken = policy();
    broken.name_pattern = "(".to_owned();
    broken.partitions.default = 99;
    broken.configs.push("retention".to_owned());
    assert_eq!(check(&broken).len(), 3);
    assert!(check(&policy()).is_empty());
}

#[test]
fn single_configs_have_bounds_defaults_and_duties() {
    let mut policy = policy();
    let bound = |config: &str| ConfigBound {
        config: config.to_owned(),
        ..ConfigBound::default()
    };
    policy.config_bounds = vec![
        ConfigBound {
            min: Some(1000),
            max: Some(5000),
            default: Some("2000".to_owned()),
            ..bound("retention.ms")
        },
        ConfigBound {
            values: vec!["compact".to_owned()],
            required: true,
            ..bound("cleanup.policy")
        },
    ];
    assert!(check(&policy).is_empty());
    let mut request = asked("orders");
    assert_eq!(
        pointers(judge(&policy, &request)),
        ["/configs/cleanup.policy"]
    );
    request
        .configs
        .insert("cleanup.policy".into(), "compact".into());
    let Verdict::Accept { spec, .. } = judge(&policy, &request) else {
        panic!("refused")
    };
    assert_eq!(
        spec.configs["retention.ms"], "2000",
        "the default is filled in"
    );
    for (value, fits) in [
        ("999", false),
        ("1000", true),
        ("5001", false),
        ("-1", false),
    ] {
        request.configs.insert("retention.ms".into(), value.into());
        let accepted = matches!(judge(&policy, &request), Verdict::Accept { .. });
        assert_eq!(accepted, fits, "{value}");
    }
    policy.config_bounds[0].min = Some(9000);
    policy.config_bounds.push(bound("retention"));
    assert!(check(&policy).len() >= 2);
}

#[test]
fn an_environment_wants_copies_and_locks_nothing_else() {
    let mut policy = policy();
    policy.environments = vec![Environment {
        name: "prod".to_owned(),
        name_pattern: "pay.*".to_owned(),
        replication_min: 3,
    }];
    let copies = |policy: &Policy, name: &str, wanted| {
        let request = NewTopic {
            replication_factor: wanted,
            ..asked(name)
        };
        match judge(policy, &request) {
            Verdict::Accept { spec, .. } => Some(spec.replication_factor),
            Verdict::Refuse(_) => None,
        }
    };
    assert_eq!(
        copies(&policy, "payments", None),
        Some(3),
        "the minimum is the default"
    );
    assert_eq!(copies(&policy, "payments", Some(2)), None);
    assert_eq!(copies(&policy, "other", Some(1)), Some(1), "others go on");
    policy.environment = "dev".to_owned();
    assert_eq!(copies(&policy, "payments", Some(1)), Some(1));
}

#[test]
fn a_rule_may_leave_the_decision_to_accounts_or_teams() {
    let rule = ApprovalRule {
        name_pattern: String::new(),
        partitions_max: None,
        kinds: Vec::new(),
        approvals: Approvals::One,
        approvers: vec!["ana".to_owned()],
        approver_teams: vec![OWNER_TEAM.to_owned()],
    };
    let actor = |account: &str, teams: &[&str]| Actor {
        account: account.to_owned(),
        roles: Vec::new(),
        scopes: Vec::new(),
        teams: teams.iter().map(|team| (*team).to_owned()).collect(),
        expires_at: None,
    };
    assert!(rule.admits(&actor("ana", &[]), Some("red")).is_ok());
    assert!(rule.admits(&actor("eva", &["red"]), Some("red")).is_ok());
    assert!(rule.admits(&actor("eva", &["blue"]), Some("red")).is_err());
    let who = rule
        .admits(&actor("eva", &["blue"]), Some("red"))
        .unwrap_err();
    assert_eq!(who, "ana, members of red");
    assert!(rule.admits(&actor("eva", &["@owner"]), None).is_err());
}
