//! The life of a managed consumer over its API: checked before it takes effect, one change at a time,
//! remembered and taken back.

use crate::Test;
use serde_json::{Value, json};
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a consumer has revisions and rolls back to one", revisions),
    (
        "changes of a consumer that come at once are made one after the other",
        at_once,
    ),
    (
        "a consumer that cannot be created leaves nothing behind",
        nothing_left,
    ),
    (
        "a consumer belongs to its owner, and the audit says who changed it, without secrets",
        ownership,
    ),
];

fn create(api: &Api, name: &str, file: &str) -> Outcome<Value> {
    let body = json!({"cluster": "governed", "topic": name, "consumer_group": name,
        "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": file}}]});
    wait_for("the topic is known", || {
        let answer = api.post("/consumers/", &body)?;
        Ok((answer.status == 201).then(|| answer.json()))
    })
}

fn path(consumer: &Value, rest: &str) -> String {
    format!(
        "/consumers/{}/{rest}",
        consumer["id"].as_str().unwrap_or_default()
    )
}

fn file_of(consumer: &Value) -> &Value {
    &consumer["downstream_processors"][0]["config"]["file_path"]
}

fn revisions(stack: &Stack) -> Outcome {
    let topic = "lifecycle.revisions";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let first = create(&api, topic, "revisions-1.jsonl")?;
    let to = |file: &str| json!({"downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": file}}]});

    let path = |rest: &str| path(&first, rest);
    let tried = api
        .json("PUT", &path("?dry_run=true"), &to("revisions-2.jsonl"))?
        .expect(200)?;
    ensure_eq!(
        tried["id"],
        first["id"],
        "a dry run shows the same consumer"
    );
    ensure_eq!(
        *file_of(&tried),
        json!("revisions-2.jsonl"),
        "as it would be"
    );
    let bad = api.json("PUT", &path(""), &to("../outside"))?;
    ensure_eq!(
        bad.problem(422)?["code"],
        "path_outside_root",
        "checked before it takes effect"
    );
    ensure_eq!(
        api.get(&path(""))?.expect(200)?["generation"],
        1,
        "nothing has changed"
    );

    let second = api
        .json("PUT", &path(""), &to("revisions-2.jsonl"))?
        .expect(200)?;
    ensure_eq!(second["generation"], 2, "changed");
    api.post_empty(&path("start/"))?.expect(200)?;
    let list = api.get(&path("revisions/"))?.expect(200)?;
    let numbers: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| r["revision"].clone())
        .collect();
    ensure_eq!(numbers, vec![json!(2), json!(1)], "a start is no revision");
    ensure_eq!(
        list[0]["current"],
        true,
        "the newest is the one that counts"
    );

    let stale = Api::send(
        api.request("POST", &path("rollback/"))
            .header("If-Match", "\"2\"")
            .json(&json!({"revision": 1})),
    )?;
    stale.problem(412)?;
    ensure_eq!(
        api.post(&path("rollback/"), &json!({"revision": 9}))?
            .problem(404)?["code"],
        "not_found",
        "no such revision"
    );
    api.post(&path("rollback/"), &json!({}))?.problem(422)?;
    let back = api
        .post(&path("rollback/"), &json!({"revision": 1}))?
        .expect(200)?;
    ensure_eq!(*file_of(&back), json!("revisions-1.jsonl"), "as it was");
    ensure_eq!(
        (&back["generation"], &back["desired"]),
        (&json!(4), &json!("running")),
        "and it goes on"
    );
    wait_for("it works again", || {
        Ok((api.get(&path(""))?.json()["status"] == "ACTIVE").then_some(()))
    })?;
    let list = api.get(&path("revisions/"))?.expect(200)?;
    ensure_eq!(list[0]["revision"], 4, "a rollback is a revision too");
    Ok(())
}

fn at_once(stack: &Stack) -> Outcome {
    const CALLS: i64 = 12;
    let topic = "lifecycle.at-once";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let consumer = create(&api, topic, "at-once.jsonl")?;
    let id = consumer["id"].as_str().unwrap_or_default();
    let call = |n: i64| -> Outcome<u16> {
        let answer = match n % 3 {
            0 => api.json(
                "PUT",
                &path(&consumer, ""),
                &json!({"client_id": format!("c{n}")}),
            )?,
            1 => api.json(
                "PUT",
                &path(&consumer, ""),
                &json!({"consumer_group": format!("g{n}")}),
            )?,
            _ if n % 2 == 0 => api.post_empty(&path(&consumer, "start/"))?,
            _ => api.post_empty(&path(&consumer, "stop/"))?,
        };
        Ok(answer.status)
    };
    let statuses = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS).map(|n| scope.spawn(move || call(n))).collect();
        let ended = calls.into_iter().map(|call| call.join().unwrap_or(Ok(0)));
        ended.collect::<Outcome<Vec<u16>>>()
    })?;
    ensure!(
        statuses.iter().all(|status| *status == 200),
        "every call is answered: {statuses:?}"
    );
    let audit = api.get(&format!("/audit?consumer_id={id}"))?.expect(200)?;
    let rows: Vec<&Value> = audit.as_array().into_iter().flatten().collect();
    ensure_eq!(
        rows.len() as i64,
        CALLS + 1,
        "each change is in the audit once"
    );
    for pair in rows.windows(2) {
        ensure_eq!(
            pair[0]["before"],
            pair[1]["after"],
            "each began where the one before had ended"
        );
    }
    let now = api.get(&path(&consumer, ""))?.expect(200)?;
    for member in ["generation", "desired", "client_id", "consumer_group"] {
        ensure_eq!(
            now[member],
            rows[0]["after"][member],
            "{member} is that of the last change"
        );
    }
    Ok(())
}

fn nothing_left(stack: &Stack) -> Outcome {
    let topic = "lifecycle.nothing";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let count = || -> Outcome<usize> {
        let list = api.get("/consumers/?limit=1000")?.expect(200)?;
        let ours = list.as_array().into_iter().flatten();
        Ok(ours.filter(|c| c["consumer_group"] == topic).count())
    };
    let body = |path: &str| {
        json!({"cluster": "governed", "topic": topic, "consumer_group": topic, "auto_start": true,
        "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": "nothing.jsonl"}},
                                  {"processor_type": "file_sink", "config": {"file_path": path}}]})
    };
    wait_for("the topic is known", || {
        let answer = api.post("/consumers/?dry_run=true", &body("nothing-2.jsonl"))?;
        Ok((answer.status == 200).then_some(()))
    })?;
    api.post("/consumers/", &body("/etc/passwd"))?
        .problem(422)?;
    let mut unknown = body("nothing-2.jsonl");
    unknown["topic"] = json!("lifecycle.never-asked");
    api.post("/consumers/", &unknown)?.problem(404)?;
    ensure_eq!(
        count()?,
        0,
        "neither a dry run nor a refused create is listed"
    );
    ensure!(
        !stack.files().join("nothing.jsonl").exists(),
        "and no file was made"
    );
    let answer = api
        .post("/consumers/", &body("nothing-2.jsonl"))?
        .expect(201)?;
    ensure_eq!(count()?, 1, "the good one is there");
    let deleted = Api::send(api.request("DELETE", &path(&answer, "")))?;
    ensure_eq!(deleted.status, 204, "and goes");
    Ok(())
}

fn ownership(stack: &Stack) -> Outcome {
    let topic = "lifecycle.owner";
    stack.active_topic(topic)?;
    let api = stack.consumer("consumer")?;
    let consumer = create(&api, topic, "owner.jsonl")?;
    ensure_eq!(consumer["owner"], "consumer", "the account that made it");
    let path = |rest: &str| path(&consumer, rest);
    for account in ["requester", "viewer", "approver"] {
        let other = stack.consumer(account)?;
        ensure_eq!(other.get(&path(""))?.status, 200, "{account} may look");
        for (method, rest) in [
            ("PUT", ""),
            ("POST", "start/"),
            ("POST", "rollback/"),
            ("DELETE", ""),
        ] {
            let answer = other.json(method, &path(rest), &json!({}))?;
            ensure_eq!(
                answer.problem(403)?["code"],
                "forbidden",
                "{account} {method} {rest}"
            );
        }
    }
    let given = api.json("PUT", &path(""), &json!({"owner": "somebody-else"}))?;
    given.problem(403)?;
    let admin = stack.consumer("admin")?;
    let secret = json!({"owner": "somebody-else", "downstream_processors": [{"processor_type": "database_sync",
        "config": {"dsn": "postgres://u:hunter2@127.0.0.1:1/db"}}]});
    admin.json("PUT", &path(""), &secret)?.expect(200)?;
    api.post_empty(&path("stop/"))?.problem(403)?;
    let id = consumer["id"].as_str().unwrap_or_default();
    let audit = api.get(&format!("/audit?consumer_id={id}&action=update"))?;
    ensure!(
        !audit.text.contains("hunter2"),
        "no secret in the audit: {}",
        audit.text
    );
    let audit = audit.expect(200)?;
    ensure_eq!(
        audit.as_array().map(Vec::len),
        Some(1),
        "refused changes are none"
    );
    ensure_eq!(
        (&audit[0]["actor"], &audit[0]["before"]["owner"]),
        (&json!("admin"), &json!("consumer")),
        "who and what"
    );
    ensure!(audit[0]["request_id"].is_string(), "and by which request");
    let revisions = api.get(&path("revisions/"))?;
    ensure!(
        !revisions.text.contains("hunter2"),
        "nor in revisions: {}",
        revisions.text
    );
    Ok(())
}
