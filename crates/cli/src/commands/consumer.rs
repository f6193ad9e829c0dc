//! `sluice consumer`: managed consumers.

use crate::args::{Consumer as Command, ConsumerId};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::http::Method;
use crate::output::{Column, cell};
use crate::text::segment;
use std::io::Read as _;
use std::path::Path;

const COLUMNS: [Column; 7] = [
    ("ID", "id"),
    ("STATUS", "status"),
    ("DESIRED", "desired"),
    ("TOPICS", "topics"),
    ("GROUP", "consumer_group"),
    ("OWNER", "owner"),
    ("DETAIL", "detail"),
];
/// Largest file that describes a consumer.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let get = |path: &str| context.consumer.json(Method::Get, path);
    match command {
        Command::List => context.output.listing(&get("/consumers/")?, &COLUMNS, "id"),
        Command::Get(id) => context.output.object(&get(&path(&id, ""))?, "id"),
        Command::Status(id) => context.output.object(&get(&path(&id, "status/"))?, "id"),
        Command::Lag(id) => context
            .output
            .object(&get(&path(&id, "lag/"))?, "total_lag"),
        Command::Start(id) => verb(context, &id, "start/"),
        Command::Stop(id) => verb(context, &id, "stop/"),
        Command::Restart(id) => verb(context, &id, "restart/"),
        Command::Delete(id) => {
            let answer = context.consumer.json(Method::Delete, &path(&id, ""))?;
            context
                .output
                .done(&answer, &id.id, &format!("{}: deleted", id.id))
        }
        Command::Create { file } => {
            let answer = context
                .consumer
                .post("/consumers/", "application/json", read(&file)?)?;
            let (id, status) = (cell(&answer, "id"), cell(&answer, "status"));
            context
                .output
                .done(&answer, &id, &format!("{id}: created, {status}"))
        }
    }
}

fn path(id: &ConsumerId, rest: &str) -> String {
    format!("/consumers/{}/{rest}", segment(&id.id))
}

fn verb(context: &Context, id: &ConsumerId, verb: &str) -> Result<(), Failure> {
    let answer = context.consumer.json(Method::Post, &path(id, verb))?;
    let (status, detail) = (cell(&answer, "status"), cell(&answer, "detail"));
    context
        .output
        .done(&answer, &id.id, &format!("{}: {status}, {detail}", id.id))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("--file {}: {error}", file.display()))
    };
    let mut body = Vec::new();
    let input: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    input
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(failed)?;
    Ok(body)
}
