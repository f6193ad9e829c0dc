//! The admin's menu: the numbers 1 to 7, or words.

use super::producer::unknown;
use super::{Session, names, split_word, summary};
use crate::commands::{request, subscription, topic};
use crate::failure::{Exit, Failure};
use sluice_admin_client::call;
use std::time::Duration;

const MENU: &str = "\
1  pending         what waits for a decision
2  approve         say yes: names separated by commas, or all
3  reject          say no: names, then the reason
4  deactivate      fence topics
5  topics          all topics
6  subscriptions   who reads what
7  quit            leave";

/// One choice of the menu, with what the line said beside it.
#[derive(Debug, PartialEq, Eq)]
enum Choice<'a> {
    Pending,
    Approve(&'a str),
    Reject(&'a str),
    Deactivate(&'a str),
    Topics,
    Subscriptions,
    Help,
    Quit,
    Nothing,
    Unknown(&'a str),
}

fn parse(line: &str) -> Choice<'_> {
    let (word, rest) = split_word(line);
    match word {
        "" => Choice::Nothing,
        "1" | "pending" => Choice::Pending,
        "2" | "approve" => Choice::Approve(rest),
        "3" | "reject" => Choice::Reject(rest),
        "4" | "deactivate" => Choice::Deactivate(rest),
        "5" | "topics" | "all" | "list" => Choice::Topics,
        "6" | "subscriptions" => Choice::Subscriptions,
        "help" | "?" => Choice::Help,
        "7" | "quit" | "exit" => Choice::Quit,
        other => Choice::Unknown(other),
    }
}

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    if session.printer.is_terminal() {
        session.printer.print(MENU)?;
    }
    while let Some(line) = session.printer.ask("Choose option: ")? {
        match parse(&line) {
            Choice::Quit => break,
            Choice::Nothing => {}
            choice => {
                let outcome = act(session, &choice);
                session.told(outcome);
            }
        }
    }
    Ok(())
}

fn act(session: &mut Session<'_>, choice: &Choice<'_>) -> Result<(), Failure> {
    let context = session.context;
    match *choice {
        Choice::Pending => {
            session.same_as(&["request", "list"])?;
            let requests = context.admin(call::requests(Some("pending")).raw())?;
            session.listing(&requests, &request::COLUMNS, "nothing waits for a decision")
        }
        Choice::Approve(rest) => {
            let names = chosen(
                session,
                rest,
                "Enter topic names, or all: ",
                Some("pending"),
            )?;
            decide(session, "approve", &names, None)
        }
        Choice::Reject(rest) => reject(session, rest),
        Choice::Deactivate(rest) => {
            let names = chosen(session, rest, "Enter topic: ", None)?;
            decide(session, "deactivate", &names, None)
        }
        Choice::Topics => {
            session.same_as(&["topic", "list"])?;
            let topics = context.admin(call::topics(None).raw())?;
            session.listing(&topics, &topic::COLUMNS, "there are no topics")?;
            session.printer.print(&summary(&topics, "status"))
        }
        Choice::Subscriptions => {
            session.same_as(&["subscriptions", "--all"])?;
            let subscriptions = context.admin(call::subscriptions(None).raw())?;
            session.listing(
                &subscriptions,
                &subscription::COLUMNS,
                "there are no subscriptions",
            )?;
            session.printer.print(&summary(&subscriptions, "user_id"))
        }
        Choice::Unknown(word) => Err(unknown(word)),
        Choice::Help | Choice::Quit | Choice::Nothing => session.printer.print(MENU),
    }
}

/// `reject NAMES REASON…` in one line (names with commas), or asked for one after the other.
fn reject(session: &mut Session<'_>, rest: &str) -> Result<(), Failure> {
    let (first, reason) = split_word(rest);
    let names = chosen(
        session,
        first,
        "Enter topic names, or all: ",
        Some("pending"),
    )?;
    if names.is_empty() {
        return Ok(());
    }
    let reason = if reason.trim().is_empty() {
        session.ask("Reason: ")?
    } else {
        Some(reason.to_owned())
    };
    match reason {
        Some(reason) => decide(session, "reject", &names, Some(reason.trim())),
        None => Err(Failure::new(Exit::Usage, "a rejection needs a reason")),
    }
}

/// The names that the line gave, or that are asked for; `all` is everything in a status.
fn chosen(
    session: &Session<'_>,
    rest: &str,
    prompt: &str,
    all: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let text = if rest.trim().is_empty() {
        session.ask(prompt)?.unwrap_or_default()
    } else {
        rest.to_owned()
    };
    if all.is_some() && text.trim() == "all" {
        let topics = session.context.admin(call::topics(all))?;
        return Ok(topics.into_iter().map(|topic| topic.topic_name).collect());
    }
    Ok(names(&text))
}

/// Decides about each; what fails is told and does not keep the others from being done.
fn decide(
    session: &mut Session<'_>,
    verb: &str,
    names: &[String],
    reason: Option<&str>,
) -> Result<(), Failure> {
    let mut words = vec!["topic", verb];
    words.extend(names.iter().map(String::as_str));
    words.extend(reason.iter().flat_map(|reason| ["--reason", reason]));
    if names.is_empty() {
        return session.printer.print("no topics");
    }
    session.same_as(&words)?;
    for name in names {
        let outcome = decide_one(session, verb, name, reason);
        session.told(outcome);
    }
    Ok(())
}

fn decide_one(
    session: &Session<'_>,
    verb: &str,
    name: &str,
    reason: Option<&str>,
) -> Result<(), Failure> {
    let topic = session.context.admin(call::topic_by_name(name))?;
    let decide = call::decide(topic.topic_id, verb, reason, Duration::ZERO);
    let decided = session.context.admin(decide)?;
    session
        .printer
        .print(&format!("{name}: {}", decided.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_the_same() {
        assert_eq!(parse("1"), parse("pending"));
        assert_eq!(parse("2 a,b"), Choice::Approve("a,b"));
        assert_eq!(parse("approve all"), Choice::Approve("all"));
        assert_eq!(parse("3 a too big"), Choice::Reject("a too big"));
        assert_eq!(parse("4"), Choice::Deactivate(""));
        assert_eq!(parse("5"), parse("topics"));
        assert_eq!(parse("6"), parse("subscriptions"));
        assert_eq!(parse("7"), parse("quit"));
        assert_eq!(parse("8"), Choice::Unknown("8"));
    }
}
