//! What Klaw 2.10.5 got wrong when it was run against real Kafka, one test a line. Approval against decline is in
//! `story`, its bad input one by one in `bad_input`, the kill during an approval in `crash`.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, kafka};
use std::thread::Builder;

/// Races of each kind, as they were run against Klaw.
const RACES: usize = 20;
/// Kills of each kind.
const KILLS: usize = 3;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "Klaw: of two approvals at once one is told that it was late",
        double_approval,
    ),
    (
        "Klaw: of two requests for one name one is filed",
        two_requests,
    ),
    (
        "Klaw: somebody who may not decide does not decide by id",
        by_id,
    ),
    ("Klaw: bad input never becomes a request", nothing_is_filed),
    (
        "Klaw: fewer partitions are refused and the data stays",
        fewer_partitions,
    ),
    (
        "Klaw: no session is 401, an unknown id 404, an empty list []",
        plain_answers,
    ),
];

pub(crate) const ROUGH_TESTS: &[(&str, Test)] = &[(
    "Klaw: what was answered is there after a kill right behind it",
    killed_behind_the_answer,
)];

/// Sends two requests at once; their statuses, the smaller one first.
fn race(stack: &Stack, path: &str, body: &Value, accounts: [&'static str; 2]) -> Outcome<Vec<u16>> {
    let mut racers = Vec::new();
    for account in accounts {
        let (api, path, body) = (stack.admin(account)?, path.to_owned(), body.clone());
        racers.push(
            Builder::new().spawn(move || -> Outcome<u16> { Ok(api.post(&path, &body)?.status) })?,
        );
    }
    let mut statuses = Vec::new();
    for racer in racers {
        statuses.push(racer.join().map_err(|_| "a racer panicked")??);
    }
    statuses.sort_unstable();
    Ok(statuses)
}

fn double_approval(stack: &Stack) -> Outcome {
    for round in 0..RACES {
        let name = format!("klaw.twice{round}");
        let id = stack.request(&json!({"name": name}))?;
        let path = format!("/api/topics/{id}/approve");
        let statuses = race(stack, &path, &json!({}), ["approver", "admin"])?;
        ensure_eq!(statuses, vec![200, 409], "round {round}");
        let rows = stack
            .admin("viewer")?
            .get(&format!("/api/audit?topic={name}&action=approve"))?
            .expect(200)?;
        ensure_eq!(
            rows.as_array().map(Vec::len),
            Some(1),
            "one row of the audit: {rows}"
        );
    }
    Ok(())
}

fn two_requests(stack: &Stack) -> Outcome {
    for round in 0..RACES {
        let body = json!({"name": format!("klaw.name{round}")});
        let statuses = race(stack, "/api/topics", &body, ["requester", "admin"])?;
        ensure_eq!(statuses, vec![201, 409], "round {round}");
    }
    Ok(())
}

/// Adds a rule to the policy that counts, whoever else writes one meanwhile.
fn add_rule(stack: &Stack, rule: &Value) -> Outcome {
    let api = stack.admin("admin")?;
    sluice_e2e::wait_for("the policy takes a rule", || {
        let mut policy = api.get("/api/policy")?.expect(200)?;
        let version = policy["version"].to_string();
        let rules = policy["approvals"].as_array_mut().ok_or("no rules")?;
        rules.insert(0, rule.clone());
        let put = api
            .request("PUT", "/api/policy")
            .header("If-Match", format!("\"{version}\""));
        let answer = sluice_e2e::http::Api::send(put.json(&policy))?;
        Ok((answer.status == 200).then_some(()))
    })
}

fn by_id(stack: &Stack) -> Outcome {
    let rule = json!({"name_pattern": "klaw\\.team.*", "approvals": "one", "approvers": ["nobody-here"],
        "approver_teams": ["@owner"]});
    add_rule(stack, &rule)?;
    let filed = stack
        .admin("requester")?
        .post(
            "/api/topics",
            &json!({"name": "klaw.team", "owner": "another-team"}),
        )?
        .expect(201)?;
    let (topic, request) = (&filed["topic_id"], &filed["request_id"]);
    for account in ["approver", "admin"] {
        let api = stack.admin(account)?;
        for path in [
            format!("/api/requests/{request}/approve"),
            format!("/api/requests/{request}/reject"),
            format!("/api/topics/{topic}/approve"),
        ] {
            let refused = api.post(&path, &json!({"reason": "x"}))?.problem(403)?;
            let detail = refused["detail"].as_str().unwrap_or_default();
            ensure!(
                detail.contains("another-team"),
                "it says who decides: {refused}"
            );
        }
        let many = json!({"ids": [request], "decision": "approve"});
        let done = api.post("/api/requests/decide", &many)?.expect(200)?;
        ensure_eq!(done["results"][0]["status"], 403, "nor in bulk: {done}");
    }
    let still = stack
        .admin("viewer")?
        .get(&format!("/api/requests/{request}"))?
        .expect(200)?;
    ensure_eq!(still["status"], "pending", "nobody decided");
    Ok(())
}

fn nothing_is_filed(stack: &Stack) -> Outcome {
    let api = stack.admin("requester")?;
    let name = "klaw.bad";
    for (body, status) in [
        (json!({"name": name, "partitions": 1_000_000_000}), 422),
        (json!({"name": name, "replication_factor": 99}), 422),
        (
            json!({"name": name, "configs": {"retention.ms": "banana"}}),
            422,
        ),
        (
            json!({"name": name, "configs": {"no.such.config": "1"}}),
            422,
        ),
        (json!({"name": name, "partitions": 1.7}), 400),
        (json!({"name": "k".repeat(300)}), 422),
    ] {
        let problem = api.post("/api/topics", &body)?.problem(status)?;
        ensure_eq!(
            problem["errors"].as_array().map(Vec::len),
            Some(1),
            "one fault: {problem}"
        );
        let declared = json!({"topics": [body], "dry_run": true});
        let plan = api.post("/api/apply", &declared)?;
        let refused = plan.status == 400 || plan.json()["topics"][0]["step"] == "refused";
        ensure!(refused, "nor declared: {}", plan.json());
    }
    api.get(&format!("/api/topics/by-name/{name}"))?
        .problem(404)?;
    Ok(())
}

fn fewer_partitions(stack: &Stack) -> Outcome {
    let id = stack.request(&json!({"name": "klaw.shrink", "partitions": 3}))?;
    stack
        .admin("approver")?
        .post_empty(&format!("/api/topics/{id}/approve"))?
        .expect(200)?;
    stack.wait_status(id, "active")?;
    let api = stack.admin("requester")?;
    let path = format!("/api/topics/{id}");
    let refused = api
        .json("PATCH", &path, &json!({"partitions": 1}))?
        .problem(422)?;
    ensure_eq!(refused["errors"][0]["pointer"], "/partitions", "{refused}");
    let filed = api
        .json("PATCH", &path, &json!({"partitions": 4}))?
        .expect(202)?;
    let approve = format!("/api/requests/{}/approve", filed["request_id"]);
    let shrunk = json!({"changes": {"partitions": 2}});
    stack
        .admin("approver")?
        .post(&approve, &shrunk)?
        .problem(422)?;
    ensure_eq!(
        kafka::shape(stack.bootstrap(), "klaw.shrink")?,
        Some((3, 1)),
        "it is what it was"
    );
    Ok(())
}

fn plain_answers(stack: &Stack) -> Outcome {
    let nobody = stack.admin("viewer")?.with_token("");
    let viewer = stack.admin("viewer")?;
    for path in [
        "/api/topics",
        "/api/requests",
        "/api/policy",
        "/api/requests/1/comments",
    ] {
        nobody.get(path)?.problem(401)?;
    }
    for path in [
        "/api/topics/999999",
        "/api/requests/999999",
        "/api/requests/999999/comments",
    ] {
        viewer.get(path)?.problem(404)?;
    }
    for path in [
        "/api/topics?q=klaw.nothing.like.it",
        "/api/subscriptions?user_id=klaw-nobody",
    ] {
        ensure_eq!(viewer.get(path)?.expect(200)?, json!([]), "{path}");
    }
    Ok(())
}

fn killed_behind_the_answer(stack: &Stack) -> Outcome {
    for round in 0..KILLS {
        let id = stack.request(&json!({"name": format!("klaw.kill{round}")}))?;
        stack.kill("admin-api")?;
        stack.start("admin-api")?;
        let found = stack
            .admin("viewer")?
            .get(&format!("/api/topics/{id}"))?
            .expect(200)?;
        ensure_eq!(found["status"], "pending", "the request of round {round}");
        stack
            .admin("approver")?
            .post_empty(&format!("/api/topics/{id}/approve"))?
            .expect(200)?;
        stack.kill("admin-api")?;
        stack.start("admin-api")?;
        stack.wait_status(id, "active")?;
    }
    Ok(())
}
