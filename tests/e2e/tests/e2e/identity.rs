//! Who somebody is, and what a credential is narrowed to, through all three services.

use crate::Test;
use crate::machines::Machine;
use jsonwebtoken::Algorithm;
use provider::{FIRST, Provider, SECOND, now_s};
use serde_json::{Value, json};
use sluice_e2e::daemon::Daemon;
use sluice_e2e::http::Api;
use sluice_e2e::stack::Stack;
use sluice_e2e::{Outcome, ensure, ensure_eq, wait_for};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

#[path = "../../../../crates/admin-api/tests/provider/mod.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests of the admin API use the rest, and fail by panicking"
)]
mod provider;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "identity: a user of a team signs in, and a narrowed token is narrow in all three services",
        narrow_everywhere,
    ),
    (
        "identity: a JWT of the provider is known to all three services, a forged one to none",
        provider_everywhere,
    ),
    (
        "identity: the command line makes users and tokens, and signs in with a piped password",
        command_line,
    ),
];

fn text(value: &Value) -> Outcome<&str> {
    value
        .as_str()
        .ok_or_else(|| format!("no text: {value}").into())
}

/// A user of a new team signs in; answers the session's token.
fn signed_in(stack: &Stack) -> Outcome<String> {
    let admin = stack.admin("admin")?;
    admin
        .post("/api/teams", &json!({"name": "line-crew"}))?
        .expect(201)?;
    let user = json!({"account": "lina", "password": "correct horse battery",
        "roles": ["producer", "consumer"]});
    admin.post("/api/users", &user)?.expect(201)?;
    admin
        .json("PUT", "/api/teams/line-crew/members/lina", &json!({}))?
        .expect(200)?;
    let wrong = json!({"account": "lina", "password": "correct horse batterie"});
    let nobody = admin.with_token("");
    nobody.post("/api/sessions", &wrong)?.problem(401)?;
    let right = json!({"account": "lina", "password": "correct horse battery"});
    let session = nobody.post("/api/sessions", &right)?.expect(201)?;
    let token = text(&session["token"])?.to_owned();
    let known = admin.with_token(&token).get("/api/whoami")?.expect(200)?;
    ensure_eq!(known["teams"], json!(["line-crew"]), "whoami: {known}");
    Ok(token)
}

/// A token of the same user with these scopes.
fn narrowed(stack: &Stack, session: &str, scopes: &[&str]) -> Outcome<String> {
    let mine = stack.admin("admin")?.with_token(session);
    let made = mine
        .post("/api/tokens", &json!({"scopes": scopes}))?
        .expect(201)?;
    Ok(text(&made["token"])?.to_owned())
}

fn narrow_everywhere(stack: &Stack) -> Outcome {
    stack.active_topic("crew.line.1")?;
    stack.active_topic("crew.other")?;
    stack.wait_live("crew.line.1")?;
    let session = signed_in(stack)?;
    let sender = narrowed(stack, &session, &["records:send", "topic:crew.line.*"])?;
    sends_to_its_topics(stack, &sender)?;
    sends_lines_to_its_topics(stack, &sender)?;
    let reader = [
        "records:read",
        "consumers:read",
        "consumers:write",
        "topic:crew.line.*",
    ];
    let reader = narrowed(stack, &session, &reader)?;
    reads_its_topics(stack, &session, (&reader, &sender))
}

fn sends_to_its_topics(stack: &Stack, sender: &str) -> Outcome {
    let producer = stack.producer("producer")?.with_token(sender);
    let one = json!({"n": 1});
    wait_for("its own topic takes records", || {
        Ok((producer.post("/topics/crew.line.1", &one)?.status == 200).then_some(()))
    })?;
    let refused = producer.post("/topics/crew.other", &one)?.problem(403)?;
    ensure!(
        text(&refused["detail"])?.contains("crew.other"),
        "{refused}"
    );
    let lines =
        "{\"topic\": \"crew.other\", \"value\": 1}\n{\"topic\": \"crew.line.1\", \"value\": 2}\n";
    let mixed = producer
        .post_raw("/records", "application/x-ndjson", lines)?
        .expect(200)?;
    ensure_eq!(mixed["records"][0]["code"], "forbidden", "{mixed}");
    ensure_eq!(mixed["records"][1]["state"], "delivered", "{mixed}");
    // As producers of the reference documents say who they are.
    let nobody = producer.with_token("");
    for (key, status) in [(sender, 200), ("wrong", 401)] {
        let request = nobody.request("POST", "/topics/crew.line.1");
        let request = request.header("X-Producer-Key", key).json(&one);
        Api::send(request)?.expect(status)?;
    }
    // What it is not for is closed in the other services, too.
    let admin = stack.admin("admin")?.with_token(sender);
    admin
        .post("/api/topics", &json!({"name": "crew.line.2"}))?
        .problem(403)?;
    Ok(())
}

fn sends_lines_to_its_topics(stack: &Stack, sender: &str) -> Outcome {
    let settings = ["inputs.tcp.enabled=true", "inputs.tcp.require_token=true"];
    let daemon = Daemon::start(stack, "narrowed", &settings, Stdio::null())?;
    let mut connection = TcpStream::connect(daemon.address("tcp")?)?;
    connection.set_read_timeout(Some(sluice_e2e::SOON))?;
    let hello = json!({"hello": {"acks": "cumulative", "token": sender}});
    let lines =
        "{\"topic\": \"crew.line.1\", \"value\": 3}\n{\"topic\": \"crew.other\", \"value\": 3}\n";
    connection.write_all(format!("{hello}\n{lines}").as_bytes())?;
    connection.shutdown(Shutdown::Write)?;
    let mut answers = String::new();
    connection.read_to_string(&mut answers)?;
    let answers: Vec<Value> = answers
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer["refused"].is_number())
        .map(|answer| (&answer["refused"], &answer["code"]))
        .collect();
    ensure_eq!(refused, [(&json!(2), &json!("forbidden"))], "{answers:?}");
    let last = answers.last().cloned().unwrap_or_default();
    ensure_eq!(last, json!({"acked": 2}), "{answers:?}");
    Ok(())
}

fn reads_its_topics(stack: &Stack, session: &str, (reader, sender): (&str, &str)) -> Outcome {
    let consumer = stack.consumer("consumer")?;
    let (whole, narrow) = (consumer.with_token(session), consumer.with_token(reader));
    narrow.get("/topics/crew.line.1/records")?.expect(200)?;
    for path in [
        "/topics/crew.other/records",
        "/stream?topics=crew.line.1,crew.other",
        "/audit",
    ] {
        narrow.get(path)?.problem(403)?;
    }
    let alien = consumer.with_token(sender);
    for path in ["/consumers/", "/topics/crew.line.1/records"] {
        alien.get(path)?.problem(403)?;
    }
    let body = |topic: &str| {
        json!({"cluster": "governed", "topic": topic, "consumer_group": format!("crew-{topic}"),
        "downstream_processors": [{"processor_type": "file_sink", "config": {"file_path": format!("{topic}.jsonl")}}]})
    };
    narrow
        .post("/consumers/", &body("crew.other"))?
        .problem(403)?;
    let own = narrow
        .post("/consumers/", &body("crew.line.1"))?
        .expect(201)?;
    let other = whole
        .post("/consumers/", &body("crew.other"))?
        .expect(201)?;
    let place = |consumer: &Value| {
        Ok::<_, sluice_e2e::Fault>(format!("/consumers/{}/", text(&consumer["id"])?))
    };
    let (own, other) = (place(&own)?, place(&other)?);
    narrow.get(&other)?.expect(200)?;
    for refused in [
        narrow.post_empty(&format!("{other}start/"))?,
        narrow.json("PUT", &other, &json!({"topic": "crew.line.1"}))?,
        narrow.json("PUT", &own, &json!({"topic": "crew.other"}))?,
        narrow.json("DELETE", &other, &json!({}))?,
        narrow.get(&format!("{other}dead-letters/"))?,
    ] {
        let problem = refused.problem(403)?;
        ensure!(
            text(&problem["detail"])?.contains("crew.other"),
            "{problem}"
        );
    }
    narrow.json("DELETE", &own, &json!({}))?.expect(204)?;
    whole.json("DELETE", &other, &json!({}))?.expect(204)?;
    Ok(())
}

fn provider_everywhere(stack: &Stack) -> Outcome {
    let provider = Provider::start();
    let home = tempfile::tempdir()?;
    let dir = |name: &str| home.path().join(name);
    for machine in ["admin", "producer", "consumer"] {
        std::fs::create_dir_all(dir(machine))?;
    }
    for account in ["ana", "ben", "daemon", "service"] {
        std::fs::write(dir("admin").join(account), format!("token-of-{account}"))?;
    }
    std::fs::write(dir("producer").join("token"), "token-of-daemon")?;
    std::fs::write(dir("consumer").join("token"), "token-of-service")?;
    let oidc = format!(
        "\n[oidc]\nissuer = \"{}\"\nclient_id = \"sluice\"\n\
         redirect_url = \"http://127.0.0.1:1/ui/oidc/callback\"\nroles = {{ devs = [\"producer\"] }}\n",
        provider.issuer
    );
    let admin = Machine::start_with(stack, &dir("admin"), ("admin-api", ""), &oidc)?;
    let url = admin.address()?;
    let producer = Machine::start(stack, &dir("producer"), "producer", &url)?;
    let consumer = Machine::start(stack, &dir("consumer"), "consumer-api", &url)?;

    let claims = |groups: &[&str]| {
        json!({"iss": provider.issuer, "aud": "sluice", "sub": "u-1", "exp": now_s() + 300,
        "preferred_username": "olga", "groups": groups})
    };
    let good = Provider::sign(&FIRST, Algorithm::ES256, &claims(&["devs"]));
    let forged = Provider::sign(&SECOND, Algorithm::ES256, &claims(&["devs"]));
    let olga = Api::new(&url, &good)?;
    let known = olga.get("/api/whoami")?.expect(200)?;
    ensure_eq!(known["roles"], json!(["producer"]), "{known}");
    olga.post("/api/topics", &json!({"name": "oidc.orders"}))?
        .expect(201)?;
    let daemon = Api::new(&producer.address()?, &good)?;
    wait_for("the daemon holds what the provider's user sends", || {
        let answer = daemon.post("/topics/oidc.orders", &json!({"n": 1}));
        Ok(answer
            .is_ok_and(|answer| answer.status == 202)
            .then_some(()))
    })?;
    let service = Api::new(&consumer.address()?, &good)?;
    wait_for("the consumer API answers the provider's user", || {
        let answer = service.get("/consumers/");
        Ok(answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(()))
    })?;
    service
        .post("/consumers/", &json!({}))?
        .problem(403)
        .map_err(|error| format!("olga is no consumer: {error}"))?;
    olga.with_token(&forged).get("/api/whoami")?.problem(401)?;
    daemon
        .with_token(&forged)
        .post("/topics/oidc.orders", &json!({"n": 2}))?
        .problem(401)?;
    service
        .with_token(&forged)
        .get("/consumers/")?
        .problem(401)?;
    Ok(())
}

/// Runs the command line with a token and an input; answers its exit code and both outputs.
fn sluice(
    stack: &Stack,
    token: &str,
    arguments: &[&str],
    input: &str,
) -> Outcome<(Option<i32>, String, String)> {
    let mut child = Command::new(stack.binaries()?.join("sluice"))
        .args(arguments)
        .env("SLUICE_ADMIN_URL", stack.fact("/admin_api/url"))
        .env("SLUICE_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let words = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((
        output.status.code(),
        words(output.stdout),
        words(output.stderr),
    ))
}

fn command_line(stack: &Stack) -> Outcome {
    let admin = stack.token("admin");
    let does = |token: &str, line: &str, input: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let (code, out, errors) = sluice(stack, token, &words, input)?;
        ensure_eq!(code, Some(0), "{line}: {out}{errors}");
        Ok::<_, sluice_e2e::Fault>(out.trim().to_owned())
    };
    does(admin, "team create cli-crew --description tests", "")?;
    let line = "user create carl --role producer --team cli-crew --password";
    let made = does(admin, line, "a fine password\n")?;
    ensure_eq!(
        made,
        "carl: created, roles producer, teams cli-crew",
        "create"
    );
    let (code, _, _) = sluice(stack, "", &["login", "carl"], "not his password\n")?;
    ensure_eq!(code, Some(4), "a wrong password is denied");
    let session = does("", "login carl", "a fine password\n")?;
    does(
        &session,
        "user password",
        "a fine password\na finer password\n",
    )?;
    let home = tempfile::tempdir()?;
    let file = home.path().join("token").display().to_string();
    does(
        "",
        &format!("login carl --save {file}"),
        "a finer password\n",
    )?;
    let whoami = does("", &format!("--token-file {file} whoami -o json"), "")?;
    let whoami: Value = serde_json::from_str(&whoami)?;
    ensure_eq!(whoami["teams"], json!(["cli-crew"]), "{whoami}");
    let line = format!("--token-file {file} token create --scope topics:read --expires 1d -o json");
    let made: Value = serde_json::from_str(&does("", &line, "")?)?;
    let narrowed = text(&made["token"])?.to_owned();
    does(&narrowed, "topic list", "")?;
    let (code, _, errors) = sluice(stack, &narrowed, &["topic", "request", "cli.t"], "")?;
    ensure_eq!(code, Some(4), "narrowed: {errors}");
    let listed = does(admin, "token list", "")?;
    ensure!(
        listed.contains("carl") && !listed.contains(&narrowed),
        "{listed}"
    );
    does(admin, &format!("token revoke {}", made["token_id"]), "")?;
    let (code, _, _) = sluice(stack, &narrowed, &["topic", "list"], "")?;
    ensure_eq!(code, Some(4), "revoked");
    does(admin, "user set carl --role viewer --no-teams", "")?;
    does(admin, "user disable carl", "")?;
    let (code, _, _) = sluice(stack, "", &["login", "carl"], "a finer password\n")?;
    ensure_eq!(code, Some(4), "disabled");
    does(admin, "team delete cli-crew", "")?;
    Ok(())
}
