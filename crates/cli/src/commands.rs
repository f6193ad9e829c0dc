//! One function per command.

pub(crate) mod access;
pub(crate) mod consumer;
pub(crate) mod declared;
pub(crate) mod govern;
pub(crate) mod request;
pub(crate) mod send;
pub(crate) mod subscription;
pub(crate) mod tail;
pub(crate) mod topic;

use crate::args::{Args, Command, Menu, Request, Topic};
use crate::context::Context;
use crate::failure::Failure;
use crate::http::Method;
use crate::output::{Column, Format};
use crate::{output, shell};
use serde_json::Value;
use sluice_admin_client::call;

/// Does what the command line asks.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let context = Context::new(&args.global, account_for(&args.command))?;
    match args.command {
        Command::Topic(command) => topic::run(&context, command),
        Command::Request(command) => request::run(&context, command),
        Command::Apply(command) => declared::apply(&context, &command),
        Command::Diff(command) => declared::diff(&context, &command),
        Command::Deletions(command) => govern::deletions(&context, &command),
        Command::Notice(command) => govern::notice(&context, command),
        Command::Audit(command) => govern::audit(&context, command),
        Command::Subscribe(command) => subscription::subscribe(&context, &command),
        Command::Unsubscribe(command) => subscription::unsubscribe(&context, &command),
        Command::Subscriptions { user, all } => subscription::list(&context, user, all),
        Command::Send(command) => send::run(&context, &command),
        Command::Tail(command) => tail::run(&context, &command),
        Command::Consumer(command) => consumer::run(&context, command),
        Command::Flow => flow(&context),
        Command::Stats => context
            .output
            .object(&context.admin(call::stats().raw())?, "timestamp"),
        Command::Whoami => context
            .output
            .object(&context.admin(call::whoami().raw())?, "account"),
        Command::User(command) => access::user(&context, command),
        Command::Team(command) => access::team(&context, command),
        Command::Token(command) => access::token::run(&context, command),
        Command::Login(command) => access::login(&context, &command),
        Command::Logout => access::logout(&context),
        Command::Shell(command) => shell::run(&context, &command),
    }
}

const FLOW: [Column; 6] = [
    ("TOPIC", "topic_name"),
    ("STATE", "state"),
    ("HELD", "held_records"),
    ("HELD BYTES", "held_bytes"),
    ("IN FLIGHT", "in_flight"),
    ("DELIVERED", "delivered"),
];

/// A table of topics, or the producer's whole status as JSON.
fn flow(context: &Context) -> Result<(), Failure> {
    let status = context.producer.json(Method::Get, "/status")?;
    match context.output.format {
        Format::Json => context.output.object(&status, "instance"),
        _ => context
            .output
            .listing(&status["topics"], &FLOW, "topic_name"),
    }
}

/// Which of a stack's accounts may do a command.
fn account_for(command: &Command) -> &'static str {
    match command {
        Command::Topic(Topic::Request(_) | Topic::Delete(_) | Topic::Withdraw(_))
        | Command::Request(Request::Withdraw(_) | Request::Edit(_))
        | Command::Apply(_)
        | Command::Diff(_)
        | Command::Shell(crate::args::Shell {
            menu: Menu::Producer,
            ..
        }) => "requester",
        Command::Deletions(command) if command.switch.is_some() => "admin",
        Command::Topic(Topic::List { .. } | Topic::Get { .. } | Topic::Fence { .. })
        | Command::Deletions(_)
        | Command::Notice(_)
        | Command::Audit(_)
        | Command::Request(Request::List { .. } | Request::Get { .. } | Request::Comments { .. })
        | Command::Subscriptions { all: true, .. }
        | Command::Flow
        | Command::Stats => "viewer",
        Command::Topic(Topic::Protect(_) | Topic::Unprotect(_))
        | Command::User(_)
        | Command::Team(_)
        | Command::Token(_) => "admin",
        Command::Topic(_)
        | Command::Request(_)
        | Command::Shell(crate::args::Shell {
            menu: Menu::Admin, ..
        }) => "approver",
        Command::Send(_) => "producer",
        Command::Subscribe(command) | Command::Unsubscribe(command) => {
            reader(command.user.as_ref())
        }
        Command::Subscriptions { user, .. } => reader(user.as_ref()),
        Command::Tail(command) => reader(command.user.as_ref()),
        Command::Shell(command) => reader(command.user.as_ref()),
        Command::Consumer(_) | Command::Whoami | Command::Login(_) | Command::Logout => "consumer",
    }
}

/// Another user's subscriptions need an admin.
fn reader(user: Option<&String>) -> &'static str {
    if user.is_some() { "admin" } else { "consumer" }
}

/// The outcome of doing one thing of several.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Value,
    pub(crate) name: String,
    pub(crate) sentence: String,
}

/// Does the same to every item. What fails is told at once and does not keep the others from being done;
/// the exit code is that of the first failure.
pub(crate) fn each<T>(
    context: &Context,
    items: &[T],
    mut work: impl FnMut(&T) -> Result<Outcome, Failure>,
) -> Result<(), Failure> {
    let mut first = None;
    let mut answers = Vec::new();
    for item in items {
        match work(item) {
            Ok(outcome) if context.output.format == Format::Json => {
                answers.push(outcome.answer);
            }
            Ok(outcome) => {
                let Outcome {
                    answer,
                    name,
                    sentence,
                } = outcome;
                context.output.done(&answer, &name, &sentence)?;
            }
            Err(failure) => {
                failure.tell();
                first.get_or_insert(failure.exit);
            }
        }
    }
    match (answers.len(), items.len()) {
        (0, _) => {}
        (1, 1) => output::write(&format!("{:#}\n", answers[0]))?,
        _ => output::write(&format!("{:#}\n", Value::from(answers)))?,
    }
    first.map_or(Ok(()), |exit| Err(Failure::told(exit)))
}
