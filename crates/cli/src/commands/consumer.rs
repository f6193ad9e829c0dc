//! `sluice consumer`: managed consumers.

mod body;

use super::{Outcome, each};
use crate::args::consumer::{
    Consumer as Command, ConsumerIds, Create, Offsets, Redrive, Replay, Update, Watch,
};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::http::Method;
use crate::output::{Column, cell};
use crate::text::segment;
use body::{place, place_of_record, spec};
use serde_json::{Value, json};
use std::io::IsTerminal as _;

const COLUMNS: [Column; 7] = [
    ("ID", "id"),
    ("STATUS", "status"),
    ("DESIRED", "desired"),
    ("TOPICS", "topics"),
    ("GROUP", "consumer_group"),
    ("OWNER", "owner"),
    ("DETAIL", "detail"),
];
const LAG: [Column; 6] = [
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("COMMITTED", "committed"),
    ("END", "end"),
    ("LAG", "lag"),
    ("SECONDS", "lag_seconds"),
];
const MOVES: [Column; 4] = [
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("FROM", "from"),
    ("TO", "to"),
];
const REVISIONS: [Column; 4] = [
    ("REVISION", "revision"),
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("CURRENT", "current"),
];
const LETTERS: [Column; 5] = [
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("OFFSET", "offset"),
    ("ATTEMPTS", "attempts"),
    ("ERROR", "error"),
];
const REPLAYS: [Column; 6] = [
    ("ID", "replay_id"),
    ("STATE", "state"),
    ("FROM", "from"),
    ("TO", "to"),
    ("RECORDS", "records"),
    ("OF", "total"),
];
const AUDIT: [Column; 5] = [
    ("SEQ", "seq"),
    ("AT", "at"),
    ("ACTION", "action"),
    ("ACTOR", "actor"),
    ("CONSUMER", "consumer_id"),
];
const INSTANCES: [Column; 4] = [
    ("ID", "id"),
    ("URL", "url"),
    ("CONSUMERS", "consumers"),
    ("LEASE MS", "lease_ms"),
];

pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (api, out) = (&context.consumer, context.output);
    let get = |path: &str| api.json(Method::Get, path);
    match command {
        Command::List { status, watch } => {
            let query = query(&[("status", status)]);
            again(watch, || {
                out.listing(&api.pages(&format!("/consumers/{query}"))?, &COLUMNS, "id")
            })
        }
        Command::Get(id) => out.object(&get(&path(&id.id, ""))?, "id"),
        Command::Status(id) => again(id.watch, || {
            out.object(&get(&path(&id.id, "status/"))?, "id")
        }),
        Command::Lag(id) => again(id.watch, || {
            let lag = get(&path(&id.id, "lag/"))?;
            out.listing_of(&lag, "partitions", &LAG, "partition")
        }),
        Command::Start(ids) => verb(context, &ids, "start/"),
        Command::Stop(ids) => verb(context, &ids, "stop/"),
        Command::Pause(ids) => verb(context, &ids, "pause/"),
        Command::Resume(ids) => verb(context, &ids, "resume/"),
        Command::Restart(ids) => verb(context, &ids, "restart/"),
        Command::Delete(ids) => delete(context, &ids),
        Command::Create(command) => create(context, &command),
        Command::Update(command) => update(context, &command),
        Command::Offsets(command) => offsets(context, &command),
        Command::Revisions(id) => {
            out.listing(&get(&path(&id.id, "revisions/"))?, &REVISIONS, "revision")
        }
        Command::Rollback {
            id,
            revision,
            dry_run,
        } => rollback(context, &id, revision, dry_run),
        Command::DeadLetters(id) => out.listing(
            &api.pages(&path(&id.id, "dead-letters/"))?,
            &LETTERS,
            "offset",
        ),
        Command::Redrive(command) => redrive(context, &command),
        Command::Replay(command) => replay(context, &command),
        Command::Replays(id) => {
            out.listing(&get(&path(&id.id, "replays/"))?, &REPLAYS, "replay_id")
        }
        Command::CancelReplay { id, replay } => {
            let path = path(&id, &format!("replays/{}/cancel", segment(&replay)));
            out.object(&api.json(Method::Post, &path)?, "replay_id")
        }
        Command::Audit { id, actor, action } => {
            let query = query(&[("consumer_id", id), ("actor", actor), ("action", action)]);
            out.listing(&api.pages(&format!("/audit{query}"))?, &AUDIT, "seq")
        }
        Command::Instances => out.listing(&get("/instances/")?, &INSTANCES, "id"),
        Command::Processors => {
            let columns = [("PROCESSOR", "processor_type")];
            out.listing(&get("/processors/")?, &columns, "processor_type")
        }
    }
}

fn rollback(context: &Context, id: &str, revision: i64, dry_run: bool) -> Result<(), Failure> {
    let (path, body) = (path(id, "rollback/"), json!({"revision": revision}));
    let answer = context
        .consumer
        .send_json(Method::Post, &dry(path, dry_run), &body)?;
    let did = if dry_run {
        "would be changed"
    } else {
        "rolled back"
    };
    told(context, &answer, did)
}

fn path(id: &str, rest: &str) -> String {
    format!("/consumers/{}/{rest}", segment(id))
}

fn dry(path: String, dry_run: bool) -> String {
    if dry_run {
        path + "?dry_run=true"
    } else {
        path
    }
}

fn query(members: &[(&str, Option<String>)]) -> String {
    let given = members
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_ref()?)));
    let text = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish();
    if text.is_empty() {
        text
    } else {
        format!("?{text}")
    }
}

/// Shows something once, or again and again until Ctrl-C.
fn again(watch: Watch, mut show: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    if !watch.watch {
        return show();
    }
    let terminal = std::io::stdout().is_terminal();
    loop {
        if terminal {
            // The screen anew, from its upper left corner.
            crate::output::write("\x1b[2J\x1b[H")?;
        }
        match show() {
            // A service that restarts must not end the watch.
            Err(failure) if failure.exit == Exit::Unreachable => failure.tell(),
            other => other?,
        }
        std::thread::sleep(watch.interval);
    }
}

fn told(context: &Context, answer: &Value, what: &str) -> Result<(), Failure> {
    let (id, status) = (cell(answer, "id"), cell(answer, "status"));
    context
        .output
        .done(answer, &id, &format!("{id}: {what}, {status}"))
}

fn verb(context: &Context, ids: &ConsumerIds, verb: &str) -> Result<(), Failure> {
    each(context, &ids.ids, |id| {
        let answer = context.consumer.json(Method::Post, &path(id, verb))?;
        let (status, detail) = (cell(&answer, "status"), cell(&answer, "detail"));
        Ok(Outcome {
            sentence: format!("{id}: {status}, {detail}"),
            name: id.clone(),
            answer,
        })
    })
}

fn delete(context: &Context, ids: &ConsumerIds) -> Result<(), Failure> {
    each(context, &ids.ids, |id| {
        let answer = context.consumer.json(Method::Delete, &path(id, ""))?;
        Ok(Outcome {
            sentence: format!("{id}: deleted"),
            name: id.clone(),
            answer,
        })
    })
}

fn create(context: &Context, command: &Create) -> Result<(), Failure> {
    let mut body = spec(&command.spec)?;
    if command.start {
        body.insert("auto_start".to_owned(), Value::from(true));
    }
    if let Some(from) = &command.from {
        body.insert("start_from".to_owned(), place(from));
    }
    let path = dry("/consumers/".to_owned(), command.dry_run);
    let answer = context
        .consumer
        .send_json(Method::Post, &path, &Value::Object(body))?;
    if command.dry_run {
        let sentence = "valid; nothing is stored";
        return context.output.done(&answer, "valid", sentence);
    }
    told(context, &answer, "created")
}

fn update(context: &Context, command: &Update) -> Result<(), Failure> {
    let body = Value::Object(spec(&command.spec)?);
    let path = dry(path(&command.id, ""), command.dry_run);
    let answer = match command.if_match {
        Some(generation) => context.consumer.put_if(&path, &body, generation)?,
        None => context.consumer.send_json(Method::Put, &path, &body)?,
    };
    told(
        context,
        &answer,
        if command.dry_run {
            "would be changed"
        } else {
            "changed"
        },
    )
}

fn offsets(context: &Context, command: &Offsets) -> Result<(), Failure> {
    let exact: Vec<Value> = command
        .to
        .iter()
        .filter_map(|to| place_of_record(to))
        .collect();
    let to = match command.to.as_slice() {
        all if exact.len() == all.len() => json!({"offsets": exact}),
        [one] => place(one),
        _ => {
            let message = "--to is given once, or each time as TOPIC:PARTITION:OFFSET";
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    let path = dry(path(&command.id, "offsets/"), !command.execute);
    let moves = context
        .consumer
        .send_json(Method::Patch, &path, &json!({"to": to}))?;
    context.output.listing(&moves, &MOVES, "partition")?;
    if !command.execute {
        crate::failure::note("nothing has moved; --execute does it");
    }
    Ok(())
}

fn redrive(context: &Context, command: &Redrive) -> Result<(), Failure> {
    let records: Vec<Value> = if command.all {
        let letters = context
            .consumer
            .pages(&path(&command.id, "dead-letters/"))?;
        let letters = letters.as_array().into_iter().flatten();
        let origin = |letter: &Value| json!({"topic": letter["topic"], "partition": letter["partition"], "offset": letter["offset"]});
        letters.map(origin).collect()
    } else {
        let read = |text: &String| {
            let message = || format!("{text:?} is no TOPIC:PARTITION:OFFSET");
            place_of_record(text).ok_or_else(|| Failure::new(Exit::Usage, message()))
        };
        command.records.iter().map(read).collect::<Result<_, _>>()?
    };
    let path = dry(path(&command.id, "redrive/"), command.dry_run);
    let body = json!({"records": records});
    let answer = context.consumer.send_json(Method::Post, &path, &body)?;
    let columns = [
        ("TOPIC", "topic"),
        ("PARTITION", "partition"),
        ("OFFSET", "offset"),
        ("STATE", "state"),
        ("DETAIL", "detail"),
    ];
    context.output.listing(&answer, &columns, "offset")
}

fn replay(context: &Context, command: &Replay) -> Result<(), Failure> {
    let mut body = json!({"from": command.from, "to": command.to});
    if let Some(topic) = &command.topic {
        body["topic"] = Value::from(topic.as_str());
    }
    let path = dry(path(&command.id, "replays/"), command.dry_run);
    let answer = context.consumer.send_json(Method::Post, &path, &body)?;
    context.output.object(&answer, "replay_id")
}
